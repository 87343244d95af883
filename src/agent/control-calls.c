/*
 * The methods and properties of org.otad1.Manager.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"
#include "control-private.h"

static int reply_error(sd_bus_message *call, const char *already, int error)
{
        if (error == -EALREADY)
                return sd_bus_reply_method_errorf(call, CONTROL_ERROR_ALREADY, "%s", already);
        if (error == -ENOENT)
                return sd_bus_reply_method_errorf(call, CONTROL_ERROR_NO_UPDATE, "There is no update to cancel");
        if (error == -EPERM)
                return sd_bus_reply_method_errorf(
                        call, CONTROL_ERROR_TOO_LATE,
                        "The new software is committed, the update cannot be cancelled any more");
        return sd_bus_reply_method_errorf(call, CONTROL_ERROR_FAILED, "%s", strerror(-error));
}

/* What changes something: an errno of the engine, as an answer. */
static int answer_change(Client *client, sd_bus_message *call, const char *already, int r)
{
        EngineStatus status;

        control_look(client->control, &status);
        return r < 0 ? reply_error(call, already, r) : sd_bus_reply_method_return(call, NULL);
}

static int cancel(Client *client, sd_bus_message *call)
{
        Control *c = client->control;
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
        return answer_change(client, call, "The update is about to end already", c->ops->cancel(text, c->userdata));
}

static int get_status(Client *client, sd_bus_message *call)
{
        Control *c = client->control;
        StatusFacts facts = {.thing_name = c->thing_name, .last = &c->watch.last};
        _cleanup_free_ char *text = NULL;
        uint64_t now = now_usec();
        EngineStatus status;
        LinkState device;
        int r;

        control_look(c, &status);
        facts.certificates = c->ops->certificates(c->userdata);
        facts.bytes_per_second = (uint64_t)c->watch.bytes_per_second;
        if (status.update.device) {
                device = *status.update.device;
                device.selftest_left_usec = status_watch_selftest_left(&c->watch, now);
                status.update.device = &device;
        }
        r = status_json_format(&status, &facts, now, &text);
        return r < 0 ? r : sd_bus_reply_method_return(call, "s", text);
}

static int get_stats(Client *client, sd_bus_message *call)
{
        Control *c = client->control;
        _cleanup_free_ char *text = NULL;
        UpdateTotals totals = {0};
        int r;

        c->ops->totals(&totals, c->userdata);
        r = stats_json_format(&totals, usec_sub(now_usec(), c->started_usec), &text);
        return r < 0 ? r : sd_bus_reply_method_return(call, "s", text);
}

static bool history_is_awaited(const Control *c)
{
        for (const Question *question = c->questions; question; question = question->next)
                if (question->awaits_history)
                        return true;
        return false;
}

/* Who asks while it is asked for already hears the same answer. */
static int get_history(Client *client, sd_bus_message *call)
{
        Control *c = client->control;
        bool is_asked = history_is_awaited(c);
        Question *question;
        int r;

        question = question_new(client, call, ACT_GET_HISTORY, &r);
        if (!question)
                return r;
        question->awaits_history = true;
        r = is_asked ? 0 : c->ops->get_history(c->userdata);
        if (r >= 0)
                return 1;
        question_free(question);
        return sd_bus_reply_method_errorf(call, CONTROL_ERROR_FAILED, "otad-installer is not reached");
}

static int answer_history(sd_bus_message *call, const Failure *failure, const LinkHistoryEntry *entries,
                          size_t n_entries)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
        int r;

        if (failure)
                return sd_bus_reply_method_errorf(call, CONTROL_ERROR_FAILED, "%s", failure->detail);
        r = sd_bus_message_new_method_return(call, &answer);
        if (r >= 0)
                r = link_history_append(answer, entries, n_entries);
        return r < 0 ? r : sd_bus_message_send(answer);
}

void control_on_history(Control *c, const Failure *failure, const LinkHistoryEntry *entries, size_t n_entries)
{
        Question *next;
        int r;

        for (Question *question = c->questions; question; question = next) {
                next = question->next;
                if (!question->awaits_history)
                        continue;
                r = answer_history(question->call, failure, entries, n_entries);
                if (r < 0)
                        (void)log_debug_errno(r, "Cannot answer GetHistory: %m");
                question_free(question);
        }
}

int control_perform(Client *client, sd_bus_message *call, Act act)
{
        Control *c = client->control;

        switch (act) {
        case ACT_GET_STATUS:
                return get_status(client, call);
        case ACT_GET_HISTORY:
                return get_history(client, call);
        case ACT_GET_STATS:
                return get_stats(client, call);
        case ACT_SUSPEND:
                return answer_change(client, call, "Updates are suspended already", c->ops->suspend(c->userdata));
        case ACT_RESUME:
                return answer_change(client, call, "Nothing is suspended", c->ops->resume(c->userdata));
        case ACT_CANCEL:
                return cancel(client, call);
        }
        return -EINVAL;
}

/* -- the interface -------------------------------------------------------------------------------------------------- */

static int on_get_status(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return control_act_for(userdata, m, ACT_GET_STATUS);
}

static int on_get_history(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return control_act_for(userdata, m, ACT_GET_HISTORY);
}

static int on_get_stats(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return control_act_for(userdata, m, ACT_GET_STATS);
}

static int on_suspend(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return control_act_for(userdata, m, ACT_SUSPEND);
}

static int on_resume(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return control_act_for(userdata, m, ACT_RESUME);
}

static int on_cancel(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return control_act_for(userdata, m, ACT_CANCEL);
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
        SD_BUS_METHOD_WITH_ARGS("GetHistory", SD_BUS_NO_ARGS, SD_BUS_RESULT("a" LINK_HISTORY_SIGNATURE, entries),
                                on_get_history, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetStats", SD_BUS_NO_ARGS, SD_BUS_RESULT("s", stats), on_get_stats,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Suspend", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_suspend, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, on_resume, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_ARGS("s", why), SD_BUS_NO_RESULT, on_cancel,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("Completed", SD_BUS_ARGS("i", result), 0),
        SD_BUS_VTABLE_END,
};

int control_add_object(Client *client)
{
        return sd_bus_add_object_vtable(client->bus, &client->object, CONTROL_PATH, CONTROL_INTERFACE, vtable,
                                        client);
}
