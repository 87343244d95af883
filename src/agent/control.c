#include "control-private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"

#define EMIT_MIN_USEC (250 * USEC_PER_MSEC)
#define SAMPLE_USEC   (1 * USEC_PER_SEC) /* while bytes come in, for the speed */

/* So many clients that may only look; the rest of PEER_BUS_PEERS_MAX is kept for those that may act. */
enum { STRANGERS_MAX = PEER_BUS_PEERS_MAX / 2 };

/* -- what is shown ------------------------------------------------------------------------------------------------ */

/* Of the whole update, so that a bar in a front end never goes back: the download is the first nine tenths. */
static int32_t overall_percent(const EngineStatus *status)
{
        switch (status->update.state) {
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_ACCEPTED:
                return 0;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_SUSPENDED:
                return (int32_t)(status_percent(status) * 9 / 10);
        case UPDATE_STATE_VERIFYING:
                return 91;
        case UPDATE_STATE_INSTALLED:
                return 94;
        case UPDATE_STATE_ACTIVATING:
                return 95;
        case UPDATE_STATE_TESTING:
                return 97;
        case UPDATE_STATE_ROLLING_BACK:
                return 98;
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLED_BACK:
                return 100;
        case _UPDATE_STATE_MAX:
                break;
        }
        assert(false);
        return 0;
}

static void show_failure(char text[static SHOWN_ERROR_MAX], const Failure *failure)
{
        snprintf(text, SHOWN_ERROR_MAX, "%s: %s", failure_reason_to_string(failure->reason), failure->detail);
}

static void show(Control *c, const EngineStatus *status)
{
        const UpdateStatus *u = &status->update;
        const StatusResult *last = &c->watch.last;
        Shown shown = {.percent = overall_percent(status)};

        if (u->state != UPDATE_STATE_IDLE) {
                shown.operation = "installing";
                snprintf(shown.message, sizeof(shown.message), "%s %s",
                         u->local_session && u->local_session[0] ? "local update"
                         : u->key                                ? u->key->job_id
                                                                 : "",
                         update_state_to_string(u->state));
                if (u->failure && failure_is_set(u->failure))
                        show_failure(shown.last_error, u->failure);
        } else {
                shown.operation = "idle";
                if (job_key_is_set(&last->key)) {
                        shown.percent = 100;
                        snprintf(shown.message, sizeof(shown.message), "%s %s", last->key.job_id,
                                 status_outcome_to_string(last->outcome));
                }
                if (failure_is_set(&last->failure))
                        show_failure(shown.last_error, &last->failure);
        }
        c->shown = shown;
}

static void observe(Control *c, EngineStatus *ret)
{
        EngineStatus status = {0};

        c->ops->status(&status, c->userdata);
        if (status_watch_observe(&c->watch, &status, now_usec(), wall_clock_usec()))
                c->n_completed++;
        show(c, &status);
        *ret = status;
}

/* -- signals ------------------------------------------------------------------------------------------------------ */

enum { PROPERTIES_MAX = 3 };

/* Names of the properties that differ from what was sent, and a NULL. */
static size_t changed_properties(const Control *c, char *names[static PROPERTIES_MAX + 1])
{
        const Shown *a = &c->shown, *b = &c->sent;
        size_t n = 0;

        if (strcmp(a->operation, b->operation) != 0)
                names[n++] = (char *)"Operation";
        if (a->percent != b->percent || strcmp(a->message, b->message) != 0)
                names[n++] = (char *)"Progress";
        if (strcmp(a->last_error, b->last_error) != 0)
                names[n++] = (char *)"LastError";
        names[n] = NULL;
        return n;
}

static void plan(Control *c, const EngineStatus *status)
{
        char *names[PROPERTIES_MAX + 1];
        uint64_t due = USEC_INFINITY, now = now_usec();
        int r;

        if (c->n_completed > 0)
                due = now;
        else if (changed_properties(c, names) > 0)
                due = MAX2(now, usec_add(c->sent_usec, EMIT_MIN_USEC));
        if (status->update.state == UPDATE_STATE_DOWNLOADING)
                due = MIN2(due, usec_add(now, SAMPLE_USEC));
        r = sd_event_source_set_time(c->timer, due);
        if (r >= 0)
                r = sd_event_source_set_enabled(c->timer, due == USEC_INFINITY ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the timer of the control interface, its signals are late: %m");
}

static void emit_properties(sd_bus *bus, void *userdata)
{
        char **names = userdata;
        int r = sd_bus_emit_properties_changed_strv(bus, CONTROL_PATH, CONTROL_INTERFACE, names);

        /* A client that does not read, or is just going: it can ask when it is back. */
        if (r < 0)
                (void)log_debug_errno(r, "Cannot tell a client what has changed: %m");
}

static void emit_completed(sd_bus *bus, void *userdata)
{
        const int32_t *result = userdata;
        int r = sd_bus_emit_signal(bus, CONTROL_PATH, CONTROL_INTERFACE, "Completed", "i", *result);

        if (r < 0)
                (void)log_debug_errno(r, "Cannot tell a client that the update has ended: %m");
}

static void emit(Control *c, void (*fn)(sd_bus *bus, void *userdata), void *userdata)
{
        sd_bus *bus = control_bus_get(c->bus);

        peer_bus_for_each(c->socket, fn, userdata);
        if (bus)
                fn(bus, userdata);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Control *c = userdata;
        char *names[PROPERTIES_MAX + 1];
        EngineStatus status;
        uint64_t now = now_usec();
        int32_t result;

        observe(c, &status);
        if ((c->n_completed > 0 || now >= usec_add(c->sent_usec, EMIT_MIN_USEC)) &&
            changed_properties(c, names) > 0) {
                emit(c, emit_properties, names);
                c->sent = c->shown;
                c->sent_usec = now;
        }
        result = c->watch.last.outcome == STATUS_OUTCOME_SUCCEEDED ? 0 : 1;
        for (; c->n_completed > 0; c->n_completed--)
                emit(c, emit_completed, &result);
        plan(c, &status);
        return 0;
}

void control_look(Control *c, EngineStatus *ret)
{
        observe(c, ret);
        plan(c, ret);
}

void control_changed(Control *c)
{
        EngineStatus status;

        control_look(c, &status);
}

/* -- clients ------------------------------------------------------------------------------------------------------ */

static int client_add(Control *c, sd_bus *bus, bool is_bus, uid_t uid)
{
        Client *client = calloc(1, sizeof(*client));
        int r;

        if (!client)
                return -ENOMEM;
        *client = (Client){.control = c, .bus = bus, .is_bus = is_bus, .uid = uid};
        r = control_add_object(client);
        if (r < 0) {
                free(client);
                return r;
        }
        client->next = c->clients;
        c->clients = client;
        if (!is_bus && !control_uid_may_act(uid))
                c->n_strangers++;
        return 0;
}

static int on_connect(sd_bus *bus, uid_t uid, void *userdata)
{
        Control *c = userdata;

        if (!control_uid_may_act(uid) && c->n_strangers >= STRANGERS_MAX)
                return -EUSERS;
        return client_add(c, bus, false, uid);
}

static void on_disconnect(sd_bus *bus, void *userdata)
{
        Control *c = userdata;

        for (Client **link = &c->clients; *link; link = &(*link)->next) {
                Client *client = *link;

                if (client->bus != bus)
                        continue;
                control_forget_questions(client);
                if (!client->is_bus && !control_uid_may_act(client->uid))
                        c->n_strangers--;
                *link = client->next;
                sd_bus_slot_unref(client->object);
                free(client);
                return;
        }
}

static int on_bus_open(sd_bus *bus, void *userdata)
{
        Control *c = userdata;
        int r = client_add(c, bus, true, PEER_BUS_NO_UID);

        if (r >= 0 && c->ops->bus)
                c->ops->bus(bus, c->userdata);
        return r;
}

static void on_bus_close(sd_bus *bus, void *userdata)
{
        Control *c = userdata;

        if (c->ops->bus)
                c->ops->bus(NULL, c->userdata);
        on_disconnect(bus, c);
}

static int listen_on_socket(Control *c, sd_event *event, const char *runtime_dir)
{
        PeerBusParams params = {
                .name = "control", .mode = 0666, .listen_fd = -1, .peer_uid = PEER_BUS_NO_UID, .any_user = true};
        _cleanup_free_ char *path = NULL;

        if (asprintf(&path, "%s/%s", runtime_dir, CONTROL_SOCKET_NAME) < 0)
                return -ENOMEM;
        params.path = path;
        return peer_bus_new(event, &params, on_connect, on_disconnect, c, &c->socket);
}

int control_new(sd_event *event, const ControlParams *params, const ControlOps *ops, void *userdata, Control **ret)
{
        _cleanup_(control_freep) Control *c = calloc(1, sizeof(*c));
        ControlBusParams bus = {.name = CONTROL_BUS_NAME, .address = params->bus};
        EngineStatus status;
        int r;

        if (!c)
                return -ENOMEM;
        c->ops = ops;
        c->userdata = userdata;
        c->thing_name = strdup(params->thing_name);
        if (!c->thing_name)
                return -ENOMEM;
        r = sd_event_add_time(event, &c->timer, CLOCK_BOOTTIME, USEC_INFINITY, 0, on_timer, c);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(c->timer, "control");
        r = listen_on_socket(c, event, params->runtime_dir);
        if (r < 0)
                return r;
        bus.retry_usec = params->bus_retry_usec ?: CONTROL_BUS_RETRY_SEC * USEC_PER_SEC;
        if (strcmp(params->bus, "none") != 0) {
                r = control_bus_new(event, &bus, on_bus_open, on_bus_close, c, &c->bus);
                if (r < 0)
                        return r;
        }
        c->started_usec = now_usec();
        observe(c, &status);
        c->sent = c->shown;
        plan(c, &status);
        *ret = TAKE_PTR(c);
        return 0;
}

Control *control_free(Control *c)
{
        if (!c)
                return NULL;
        control_bus_free(c->bus);
        peer_bus_free(c->socket);
        sd_event_source_disable_unref(c->timer);
        free(c->thing_name);
        free(c);
        return NULL;
}
