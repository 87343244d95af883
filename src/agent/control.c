#include "agent/control.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/status-json.h"
#include "base/log.h"
#include "base/time-util.h"
#include "control-bus.h"
#include "link/peer-bus.h"
#include "status-watch.h"

#define EMIT_MIN_USEC (250 * USEC_PER_MSEC)
#define SAMPLE_USEC   (1 * USEC_PER_SEC) /* while bytes come in, for the speed */

enum {
        /* So many clients that may only look; the rest of PEER_BUS_PEERS_MAX is kept for those that may act. */
        STRANGERS_MAX = PEER_BUS_PEERS_MAX / 2,
        QUESTIONS_MAX = 16,
        MESSAGE_MAX = 160,
        LAST_ERROR_MAX = FAILURE_DETAIL_MAX + 64,
};

/* What the properties say. */
typedef struct Shown {
        const char *operation;
        int32_t percent;
        char message[MESSAGE_MAX];
        char last_error[LAST_ERROR_MAX];
} Shown;

typedef enum Act { ACT_SUSPEND, ACT_RESUME, ACT_CANCEL } Act;

/* A connection that we serve: one of the socket's peers, or the bus. */
typedef struct Client {
        Control *control;
        struct Client *next;
        sd_bus *bus;
        sd_bus_slot *object;
        bool is_bus;
        uid_t uid; /* of the peer; on a bus each call has its own sender */
} Client;

/* A call that changes something, while the bus daemon is asked whose it is. */
typedef struct Question {
        Client *client;
        struct Question *next;
        sd_bus_slot *slot;
        sd_bus_message *call;
        Act act;
} Question;

struct Control {
        char *thing_name;
        const ControlOps *ops;
        void *userdata;
        PeerBus *socket;
        ControlBus *bus;
        Client *clients;
        unsigned n_strangers;
        Question *questions;
        unsigned n_questions;

        StatusWatch watch;
        Shown shown;
        Shown sent;
        uint64_t sent_usec;
        int n_completed; /* Completed signals still to be sent */
        sd_event_source *timer;
};

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

static void show_failure(char text[static LAST_ERROR_MAX], const Failure *failure)
{
        snprintf(text, LAST_ERROR_MAX, "%s: %s", failure_reason_to_string(failure->reason), failure->detail);
}

static void show(Control *c, const EngineStatus *status)
{
        const UpdateStatus *u = &status->update;
        const StatusResult *last = &c->watch.last;
        Shown shown = {.percent = overall_percent(status)};

        if (u->state != UPDATE_STATE_IDLE) {
                shown.operation = "installing";
                snprintf(shown.message, sizeof(shown.message), "%s %s", u->key ? u->key->job_id : "",
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

void control_changed(Control *c)
{
        EngineStatus status;

        observe(c, &status);
        plan(c, &status);
}

/* -- calls -------------------------------------------------------------------------------------------------------- */

static bool may_act(uid_t uid)
{
        return uid == 0 || uid == geteuid();
}

static int refuse(sd_bus_message *call)
{
        return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_ACCESS_DENIED,
                                          "Only root and the user that otad runs as may do this");
}

static int reply_error(sd_bus_message *call, Act act, int error)
{
        static const char *const already[] = {
                [ACT_SUSPEND] = "Updates are suspended already",
                [ACT_RESUME] = "Nothing is suspended",
                [ACT_CANCEL] = "The update is about to end already",
        };

        if (error == -EALREADY)
                return sd_bus_reply_method_errorf(call, CONTROL_ERROR_ALREADY, "%s", already[act]);
        if (error == -ENOENT)
                return sd_bus_reply_method_errorf(call, CONTROL_ERROR_NO_UPDATE, "There is no update to cancel");
        if (error == -EPERM)
                return sd_bus_reply_method_errorf(
                        call, CONTROL_ERROR_TOO_LATE,
                        "The new software is committed, the update cannot be cancelled any more");
        return sd_bus_reply_method_errorf(call, CONTROL_ERROR_FAILED, "%s", strerror(-error));
}

static int cancel(Control *c, sd_bus_message *call)
{
        char text[CONTROL_WHY_MAX + 64];
        const char *why;
        int r;

        r = sd_bus_message_read(call, "s", &why);
        if (r < 0)
                return r;
        if (strlen(why) > CONTROL_WHY_MAX)
                return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_INVALID_ARGS,
                                                  "The reason has more than %d bytes", CONTROL_WHY_MAX);
        snprintf(text, sizeof(text), "cancelled by an operator%s%s", why[0] ? ": " : "", why);
        r = c->ops->cancel(text, c->userdata);
        return r < 0 ? reply_error(call, ACT_CANCEL, r) : sd_bus_reply_method_return(call, NULL);
}

static int perform(Control *c, sd_bus_message *call, Act act)
{
        int r = 0;

        switch (act) {
        case ACT_SUSPEND:
                r = c->ops->suspend(c->userdata);
                break;
        case ACT_RESUME:
                r = c->ops->resume(c->userdata);
                break;
        case ACT_CANCEL:
                r = cancel(c, call);
                control_changed(c);
                return r;
        }
        control_changed(c);
        return r < 0 ? reply_error(call, act, r) : sd_bus_reply_method_return(call, NULL);
}

static Question *question_free(Question *question)
{
        Control *c = question->client->control;

        for (Question **link = &c->questions; *link; link = &(*link)->next)
                if (*link == question) {
                        *link = question->next;
                        break;
                }
        c->n_questions--;
        sd_bus_slot_unref(question->slot);
        sd_bus_message_unref(question->call);
        free(question);
        return NULL;
}

static int on_sender(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Question *question = userdata;
        uint32_t uid;
        int r;

        /* A sender that has gone since has no user any more; then nobody hears this answer. */
        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "u", &uid) < 0 || !may_act(uid))
                r = refuse(question->call);
        else
                r = perform(question->client->control, question->call, question->act);
        if (r < 0) {
                (void)log_debug_errno(r, "Cannot answer a call on the bus: %m");
                (void)sd_bus_reply_method_errno(question->call, r, NULL);
        }
        question_free(question);
        return 0;
}

/* Not sd_bus_query_sender_creds(), which would block the loop on the bus daemon. */
static int ask_for_sender(Client *client, sd_bus_message *call, Act act)
{
        Control *c = client->control;
        Question *question;
        int r;

        if (!sd_bus_message_get_sender(call))
                return refuse(call);
        if (c->n_questions >= QUESTIONS_MAX)
                return sd_bus_reply_method_errorf(call, SD_BUS_ERROR_LIMITS_EXCEEDED, "Too many calls at a time");
        question = calloc(1, sizeof(*question));
        if (!question)
                return -ENOMEM;
        *question = (Question){.client = client, .next = c->questions, .call = sd_bus_message_ref(call), .act = act};
        c->questions = question;
        c->n_questions++;
        r = sd_bus_call_method_async(client->bus, &question->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "GetConnectionUnixUser", on_sender, question, "s",
                                     sd_bus_message_get_sender(call));
        if (r < 0) {
                question_free(question);
                return r;
        }
        return 1;
}

static int act_for(Client *client, sd_bus_message *call, Act act)
{
        if (client->is_bus)
                return ask_for_sender(client, call, act);
        return may_act(client->uid) ? perform(client->control, call, act) : refuse(call);
}

static int on_suspend(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return act_for(userdata, m, ACT_SUSPEND);
}

static int on_resume(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return act_for(userdata, m, ACT_RESUME);
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return act_for(userdata, m, ACT_CANCEL);
}

static int on_get_status(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Client *client = userdata;
        Control *c = client->control;
        StatusFacts facts = {.thing_name = c->thing_name, .last = &c->watch.last};
        _cleanup_free_ char *text = NULL;
        uint64_t now = now_usec();
        EngineStatus status;
        LinkState device;
        int r;

        observe(c, &status);
        plan(c, &status);
        facts.certificates = c->ops->certificates(c->userdata);
        facts.bytes_per_second = (uint64_t)c->watch.bytes_per_second;
        if (status.update.device) {
                device = *status.update.device;
                device.selftest_left_usec = status_watch_selftest_left(&c->watch, now);
                status.update.device = &device;
        }
        r = status_json_format(&status, &facts, now, &text);
        return r < 0 ? r : sd_bus_reply_method_return(m, "s", text);
}

static int get_operation(sd_bus *bus, const char *path, const char *interface, const char *property,
                         sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
        Client *client = userdata;

        return sd_bus_message_append(reply, "s", client->control->shown.operation);
}

static int get_progress(sd_bus *bus, const char *path, const char *interface, const char *property,
                        sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
        Client *client = userdata;
        const Shown *shown = &client->control->shown;

        return sd_bus_message_append(reply, "(isi)", shown->percent, shown->message, (int32_t)1);
}

static int get_last_error(sd_bus *bus, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
        Client *client = userdata;

        return sd_bus_message_append(reply, "s", client->control->shown.last_error);
}

/* Who may do what is judged here, by uid: sd-bus would ask for a capability instead. */
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Operation", "s", get_operation, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Progress", "(isi)", get_progress, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("LastError", "s", get_last_error, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_METHOD_WITH_ARGS("GetStatus", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", status), on_get_status,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Suspend", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_suspend, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_resume, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_ARGS("s", why), SD_BUS_NO_RESULT, on_cancel,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("Completed", SD_BUS_ARGS("i", result), 0),
        SD_BUS_VTABLE_END,
};

/* -- clients ------------------------------------------------------------------------------------------------------ */

static int client_add(Control *c, sd_bus *bus, bool is_bus, uid_t uid)
{
        Client *client = calloc(1, sizeof(*client));
        int r;

        if (!client)
                return -ENOMEM;
        *client = (Client){.control = c, .bus = bus, .is_bus = is_bus, .uid = uid};
        r = sd_bus_add_object_vtable(bus, &client->object, CONTROL_PATH, CONTROL_INTERFACE, vtable, client);
        if (r < 0) {
                free(client);
                return r;
        }
        client->next = c->clients;
        c->clients = client;
        if (!is_bus && !may_act(uid))
                c->n_strangers++;
        return 0;
}

static int on_connect(sd_bus *bus, uid_t uid, void *userdata)
{
        Control *c = userdata;

        if (!may_act(uid) && c->n_strangers >= STRANGERS_MAX)
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
                for (Question *question = c->questions, *next; question; question = next) {
                        next = question->next;
                        if (question->client == client)
                                question_free(question);
                }
                if (!client->is_bus && !may_act(client->uid))
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
