/*
 * control-bus: otad's name on a D-Bus bus, whenever there is such a bus.
 *
 * Opens the bus from the loop, asks for the name, and begins anew after a while when any of it fails or ends. Logs the
 * first failure and the return, not each try.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

typedef struct ControlBus ControlBus;

typedef struct ControlBusParams {
        const char *name;    /* to own; borrowed for the life of the object */
        const char *address; /* "system", "user" or a D-Bus address; copied */
        uint64_t retry_usec;
} ControlBusParams;

/* A bus was opened, the name not yet asked for: the place to add objects. Negative: it is given up and tried again. */
typedef int (*ControlBusOpenFn)(sd_bus *bus, void *userdata);
/* Once for each on_open() that went well; the bus goes away after it. */
typedef void (*ControlBusCloseFn)(sd_bus *bus, void *userdata);

_must_use_ int control_bus_new(sd_event *event, const ControlBusParams *params, ControlBusOpenFn on_open,
                               ControlBusCloseFn on_close, void *userdata, ControlBus **ret);
ControlBus *control_bus_free(ControlBus *bus); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(ControlBus *, control_bus_free);

/* NULL while the name is not ours. Borrowed. NULL for `bus` is fine. */
sd_bus *control_bus_get(const ControlBus *bus);
