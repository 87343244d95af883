/*
 * manager: org.otad1.Manager, by the first way that leads there: the socket, then the bus. And otad-installer's state,
 * for when there is no otad.
 */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "command.h"
#include "link/link-message.h"

enum { MANAGER_CALL_TIMEOUT_MSEC = 5000 };

typedef struct Manager {
        sd_bus *bus;             /* attached to the event loop */
        const char *destination; /* NULL on the socket */
} Manager;

/*
 * Connects, and proves it by a GetStatus() whose answer is *ret_status, the caller's. -EBADMSG: otad is there, but not
 * in words we know. Another negative errno: nobody answers; -ENOENT and -ECONNREFUSED where otad is not running at all.
 * `why` then says for each way what was wrong.
 */
enum { MANAGER_WHY_MAX = 512 };
_must_use_ int manager_open(sd_event *event, const Options *options, Manager *ret, char **ret_status,
                            char why[static MANAGER_WHY_MAX]);
void manager_done(Manager *manager);

/*
 * From the socket to the bus, where polkit may let do what the socket refused. A negative errno where there is no such way,
 * or it is taken already; then all stays as it was.
 */
_must_use_ int manager_take_bus(sd_event *event, const Options *options, Manager *manager);

/*
 * One call without arguments. *ret is the caller's. A negative errno where otad does not answer or answers with an error;
 * `why` then says what.
 */
_must_use_ int manager_call(const Manager *manager, const char *member, sd_bus_message **ret,
                            char why[static MANAGER_WHY_MAX]);

/* Says on stderr that otad is not running, or why it cannot be asked. */
void manager_explain(int error, const char *why);

/* otad-installer's own word; connecting starts it where it is socket-activated. -EACCES: not for this user. */
_must_use_ int installer_get_state(sd_event *event, const Options *options, LinkState *ret);
/* *ret is the caller's to free(). */
_must_use_ int installer_get_history(sd_event *event, const Options *options, LinkHistoryEntry **ret, size_t *ret_n);
