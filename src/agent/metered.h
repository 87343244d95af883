/*
 * metered: whether the network is paid for by the byte, as NetworkManager on a bus tells it.
 *
 * Asks when it is made, when NetworkManager comes, and when it says that something has changed; never waits for an
 * answer. A bus without NetworkManager, or one that does not answer, means: not metered.
 *
 * Source: NetworkManager D-Bus reference, property Metered of org.freedesktop.NetworkManager, and NMMetered.
 */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"

typedef struct Metered Metered;

/* From the loop, after the first answer and each that differs from the one before. May not free the object. */
typedef void (*MeteredFn)(bool is_metered, void *userdata);

/* `bus` may still be connecting; it must be closed only after the object is freed. */
_must_use_ int metered_new(sd_bus *bus, MeteredFn fn, void *userdata, Metered **ret);
Metered *metered_free(Metered *metered); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Metered *, metered_free);
