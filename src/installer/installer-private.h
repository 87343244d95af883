/*
 * installer-private: the installer, which is in two files:
 *
 *   installer.c         its life, the socket, and what the session tells of itself
 *   installer-calls.c   the calls that come by the link, and their answers
 */
#pragma once

#include "install/session.h"
#include "installer.h"
#include "link/link-server.h"
#include "settings.h"

struct Installer {
        sd_event *event;
        const Config *config;
        Settings settings;
        int state_fd; /* also holds the lock */
        int listen_fd;
        InstallSession *session;
        LinkServer *server; /* NULL until the session is ready */
        const void *owner;  /* the connection that began the local session, if there is one */
        sd_event_source *idle;
        uint64_t idle_since_usec;
};

/* What the link is told of the session. */
void installer_copy_state(Installer *installer, LinkState *ret);

extern const LinkServerOps installer_server_ops; /* of an Installer */
