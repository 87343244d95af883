/*
 * control: the D-Bus interface of otad, for otactl and for front ends.
 *
 *   org.otad1.Manager at /org/otad1
 *     property  Operation s        "idle", "installing"
 *     property  Progress (isi)     percent of the whole update, what is done now, nesting depth (always 1)
 *     property  LastError s        of the update under way, else of the last one; "" where it went well
 *     method    GetStatus() -> s   agent/status-json.h
 *     method    GetStats() -> s    agent/status-json.h
 *     method    GetHistory() -> a(sstsssssssttt)   LinkHistoryEntry of link/link-message.h, oldest first
 *     method    Suspend() Resume() Cancel(s why)
 *     signal    Completed(i)       0: the update succeeded, 1: it did not
 *
 * The properties and Completed are those of RAUC's de.pengutronix.rauc.Installer, so that its front ends port easily.
 * PropertiesChanged is sent at most four times a second.
 *
 * Served on a socket of our own (RUNTIME/control.sock, no bus daemon between; always) and on a bus (name org.otad1; if
 * configured). A bus that is absent, refuses the name or goes away is logged once and tried again every
 * CONTROL_BUS_RETRY_SEC; it never delays anything. Everyone who can connect may read; Suspend, Resume and Cancel are
 * for uid 0 and our own: by the kernel's word on the socket, by that of the bus daemon on a bus. About other users of a
 * bus polkit is asked (CONTROL_POLKIT_*), where there is one.
 *
 * Watches how updates end and how fast they come in, from what the engine shows; decides nothing.
 */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "engine/engine.h"

#define CONTROL_SOCKET_NAME "control.sock"
#define CONTROL_BUS_NAME    "org.otad1"
#define CONTROL_PATH        "/org/otad1"
#define CONTROL_INTERFACE   "org.otad1.Manager"

#define CONTROL_ERROR_ALREADY   "org.otad1.Error.Already"  /* it is so already */
#define CONTROL_ERROR_NO_UPDATE "org.otad1.Error.NoUpdate" /* nothing to cancel */
#define CONTROL_ERROR_TOO_LATE  "org.otad1.Error.TooLate"  /* past the point of no return */
#define CONTROL_ERROR_FAILED    "org.otad1.Error.Failed"   /* anything else; the message says what */

/* conf/org.otad1.policy */
#define CONTROL_POLKIT_READ   "org.otad1.read"
#define CONTROL_POLKIT_MANAGE "org.otad1.manage"

enum { CONTROL_WHY_MAX = 256, CONTROL_BUS_RETRY_SEC = 30 };

typedef struct Control Control;

typedef struct ControlParams {
        const char *thing_name;  /* copied */
        const char *runtime_dir; /* for the socket; must be there */
        const char *bus;         /* "system", "user", "none" or a D-Bus address; copied */
        uint64_t bus_retry_usec; /* 0: CONTROL_BUS_RETRY_SEC */
} ControlParams;

/* None but the last may be NULL; none may free the control. */
typedef struct ControlOps {
        void (*status)(EngineStatus *ret, void *userdata); /* engine_status() */
        void (*totals)(UpdateTotals *ret, void *userdata); /* engine_totals() */
        /* Asks otad-installer; control_on_history() follows, from the loop. -ENOTCONN, -ENOMEM. */
        int (*get_history)(void *userdata);
        /* Of the moment, for one answer; borrowed until the next call. */
        const struct CertificateWatch *(*certificates)(void *userdata);
        /* engine_suspend() and its like: 0, -EALREADY, -ENOENT, -EPERM, or another errno. */
        int (*suspend)(void *userdata);
        int (*resume)(void *userdata);
        int (*cancel)(const char *why,
                      void *userdata); /* `why` is never empty; at most CONTROL_WHY_MAX and a few bytes */
        /* The bus was opened, for others to use too; NULL: it goes away, and so must they. NULL is fine. */
        void (*bus)(sd_bus *bus, void *userdata);
} ControlOps;

/*
 * Listens on the socket at once and looks for the bus from the loop. `ops` must outlive the control. The errors are
 * those of peer_bus_new() for the socket (-EADDRINUSE: another otad runs) and -ENOMEM.
 */
_must_use_ int control_new(sd_event *event, const ControlParams *params, const ControlOps *ops, void *userdata,
                           Control **ret);
Control *control_free(Control *control); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Control *, control_free);

/* What otad-installer remembers, for all who wait for it; or `failure`: why that cannot be told. */
void control_on_history(Control *control, const Failure *failure, const LinkHistoryEntry *entries, size_t n_entries);

/*
 * Something that is shown may have changed. To be called from inside WorldOps.changed, not later: an update can end and
 * be forgotten within one event, and how it ended is seen only on the way. Asks ops->status() before it returns; sends
 * nothing itself, that is done from the loop.
 */
void control_changed(Control *control);
