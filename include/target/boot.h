/*
 * boot: the five calls of a boot script, which knows the boot loader so that otad need not.
 *
 * The protocol is that of RAUC's custom bootloader backend: `get-primary` and `get-current` print a slot
 * name, `set-primary SLOT`, `get-state SLOT` prints good or bad, `set-state SLOT good|bad`; exit 0 or not.
 * Answers are checked against the configured names, and what was set is read back and compared, because a
 * boot script that only seems to have worked costs a device. Every failure is FAILURE_BOOT_SCRIPT, and its
 * detail names script, call, and what was expected and seen.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/failure.h"

enum { BOOT_N_SLOTS = 2 };

/* A plain value; borrowed for the call. */
typedef struct BootScript {
        const char *path;
        const char *slots[BOOT_N_SLOTS]; /* names as the boot loader knows them */
        uint64_t timeout_usec;           /* for each run of the script */
} BootScript;

typedef struct BootCall BootCall;
/*
 * Called exactly once, from the loop. May free the call. `failure` is NULL on success; then `answer` is an
 * index into slots (get-primary, get-current, set-primary) or 1 for good and 0 for bad (get-state,
 * set-state).
 */
typedef void (*BootDoneFn)(BootCall *call, int answer, const Failure *failure, void *userdata);

/*
 * The callback comes later, never from inside these calls. On success *ret is the caller's; freeing it before
 * the callback kills the script. -EINVAL: no script, no such slot. -ENOMEM and the like.
 */
_must_use_ int boot_get_primary(sd_event *event, const BootScript *script, BootDoneFn on_done, void *userdata,
                                BootCall **ret);
_must_use_ int boot_get_current(sd_event *event, const BootScript *script, BootDoneFn on_done, void *userdata,
                                BootCall **ret);
_must_use_ int boot_get_state(sd_event *event, const BootScript *script, int slot, BootDoneFn on_done, void *userdata,
                              BootCall **ret);
/* These two set, then get, and fail where the answer differs. */
_must_use_ int boot_set_primary(sd_event *event, const BootScript *script, int slot, BootDoneFn on_done,
                                void *userdata, BootCall **ret);
_must_use_ int boot_set_state(sd_event *event, const BootScript *script, int slot, bool good, BootDoneFn on_done,
                              void *userdata, BootCall **ret);
BootCall *boot_call_free(BootCall *call); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(BootCall *, boot_call_free);
