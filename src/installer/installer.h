/*
 * installer: wires the session to the link, and the configuration to the session. Decides nothing about updates.
 */
#pragma once

#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "config/config.h"

typedef struct Installer Installer;

/*
 * Makes the state directory, takes its lock, loads what is there; the socket is served once that is decided. `listen_fd`:
 * a listening socket from systemd, ours from here on, or -1: our own at RUNTIME/installer.sock. The event loop ends with
 * a negative code where the socket cannot be served. `config` must outlive it. -EBUSY: another installer holds the lock.
 */
_must_use_ int installer_new(sd_event *event, const Config *config, int listen_fd, Installer **ret);
Installer *installer_free(Installer *installer);
DEFINE_CLEANUP(Installer *, installer_free);

/* Says on stderr which targets cannot work as configured. 0, or -EINVAL where there is one. */
_must_use_ int installer_check_targets(const Config *config);
