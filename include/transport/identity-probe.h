/*
 * identity-probe: is the certificate there, and does the key sign? Looked at in a process of its own.
 *
 * What a token's module does can neither be interrupted nor be given a deadline, and a fault in it is a fault of the
 * process. So it is tried out in a child, which is killed when its time is up, before it is trusted in this process.
 * The child is this program once more, from the beginning, as modules and providers do not stand a fork().
 * And a PIN the token has refused is not tried again as long as its file stays as it is, since tokens lock themselves
 * after a few wrong ones.
 */
#pragma once

#include <stdint.h>
#include <systemd/sd-event.h>

#include "transport/identity.h"

typedef struct IdentityProbe IdentityProbe;

/* First of all in main(): -1, or what main() is to return, where this process is such a child. */
_must_use_ int identity_probe_main(int argc, char *argv[]);

/*
 * Called once, from the loop; may free the probe. `problem` is NULL where error is 0; else the errors and words are those
 * of transport/identity.h, or -ETIMEDOUT.
 */
typedef void (*IdentityProbeDoneFn)(int error, const char *problem, void *userdata);

_must_use_ int identity_probe_new(sd_event *event, IdentityProbe **ret);
IdentityProbe *identity_probe_free(IdentityProbe *probe); /* cancels; NULL is fine; returns NULL */
DEFINE_CLEANUP(IdentityProbe *, identity_probe_free);

/* True where a token has a part in it; files need no probe. */
bool identity_probe_is_needed(const IdentityParams *params);
/* `params` is borrowed for the call. One look at a time. */
_must_use_ int identity_probe_start(IdentityProbe *probe, const IdentityParams *params, uint64_t timeout_usec,
                                    IdentityProbeDoneFn on_done, void *userdata);
void identity_probe_cancel(IdentityProbe *probe); /* fine where there is nothing to cancel */
