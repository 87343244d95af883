/*
 * message-pair: a message that was written and can be read, without a connection.
 */
#pragma once

#include <stddef.h>
#include <sys/socket.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "link/link-message.h"

typedef struct MessagePair {
        sd_bus *bus;
        sd_bus_message *m;
        int other_end;
} MessagePair;

/* A bus on a socket nobody answers on: enough to build messages. Aborts where that fails, for it cannot. */
static inline void pair_init(MessagePair *pair)
{
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ||
            sd_bus_new(&pair->bus) < 0 || sd_bus_set_fd(pair->bus, fds[0], fds[0]) < 0 || sd_bus_start(pair->bus) < 0)
                abort();
        pair->other_end = fds[1];
        pair->m = NULL;
}

static inline void pair_begin(MessagePair *pair)
{
        pair->m = sd_bus_message_unref(pair->m);
        if (sd_bus_message_new_signal(pair->bus, &pair->m, LINK_PATH, LINK_INTERFACE, "Test") < 0)
                abort();
}

static inline void pair_seal(MessagePair *pair)
{
        if (sd_bus_message_seal(pair->m, 1, 0) < 0 || sd_bus_message_rewind(pair->m, true) < 0)
                abort();
}

static inline void pair_done(MessagePair *pair)
{
        sd_bus_message_unref(pair->m);
        sd_bus_close_unref(pair->bus);
        close_fd(pair->other_end);
}
