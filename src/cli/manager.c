#include "manager.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent/control.h"
#include "base/log.h"
#include "base/time-util.h"
#include "cli/status-view.h"
#include "link/peer-bus.h"

#define CALL_TIMEOUT_USEC (MANAGER_CALL_TIMEOUT_MSEC * USEC_PER_MSEC)

void manager_done(Manager *m)
{
        m->bus = sd_bus_close_unref(m->bus);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        sd_bus_message **answer = userdata;

        *answer = sd_bus_message_ref(m);
        return 0;
}

/*
 * One question without arguments on a bus that was just opened. Not sd_bus_call(), whose time limit counts from the end
 * of the authentication: who accepts and then says nothing would hold us for minutes. The answer may be an error.
 */
static int ask_once(sd_bus *bus, const char *destination, const char *path, const char *interface, const char *member,
                    sd_bus_message **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        uint64_t deadline = now_usec() + CALL_TIMEOUT_USEC, left;
        int r;

        r = sd_bus_call_method_async(bus, &slot, destination, path, interface, member, on_answer, &answer, "");
        while (r >= 0 && !answer) {
                r = sd_bus_process(bus, NULL);
                if (r != 0)
                        continue;
                left = usec_sub(deadline, now_usec());
                r = left == 0 ? -ETIMEDOUT : sd_bus_wait(bus, left);
                if (r == -EINTR)
                        r = 0;
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(answer);
        return 0;
}

static int get_status(const Manager *m, char **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *text;
        char *copy;
        int r;

        r = ask_once(m->bus, m->destination, CONTROL_PATH, CONTROL_INTERFACE, "GetStatus", &reply);
        if (r < 0)
                return r;
        if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return -ENOENT;
        if (sd_bus_message_is_method_error(reply, NULL))
                return -sd_bus_message_get_errno(reply);
        if (sd_bus_message_read(reply, "s", &text) < 0 || strlen(text) > STATUS_VIEW_JSON_MAX)
                return -EBADMSG;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return sd_bus_set_method_call_timeout(m->bus, CALL_TIMEOUT_USEC);
}

static int open_bus(const char *address, sd_bus **ret)
{
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        if (strcmp(address, "system") == 0)
                r = sd_bus_open_system(&bus);
        else if (strcmp(address, "user") == 0)
                r = sd_bus_open_user(&bus);
        else if ((r = sd_bus_new(&bus)) >= 0 && (r = sd_bus_set_address(bus, address)) >= 0 &&
                 (r = sd_bus_set_bus_client(bus, true)) >= 0)
                r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

/* The event loop may be one that is just running: it comes in only when the question is answered. */
static int open_peer(sd_event *event, const char *path, const char *name, sd_bus **ret)
{
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        r = peer_bus_connect(event, path, name, &bus);
        if (r >= 0)
                r = sd_bus_detach_event(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static int prove(sd_event *event, Manager *m, char **ret_status)
{
        _cleanup_free_ char *status = NULL;
        int r;

        r = get_status(m, &status);
        if (r >= 0)
                r = sd_bus_attach_event(m->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0) {
                manager_done(m);
                return r;
        }
        *ret_status = TAKE_PTR(status);
        return 0;
}

static int open_socket(sd_event *event, const char *path, Manager *ret, char **ret_status)
{
        int r = open_peer(event, path, "otad", &ret->bus);

        return r < 0 ? r : prove(event, ret, ret_status);
}

static int open_name(sd_event *event, const char *address, Manager *ret, char **ret_status)
{
        int r;

        ret->destination = CONTROL_BUS_NAME;
        r = open_bus(address, &ret->bus);
        return r < 0 ? r : prove(event, ret, ret_status);
}

/* Where otad offers its name: an address, "system", "user" or "none". */
static const char *bus_of(const Options *options)
{
        return options->config ? options->config->control.bus : "system";
}

int manager_open(sd_event *event, const Options *options, Manager *ret, char **ret_status,
                 char why[static MANAGER_WHY_MAX])
{
        const char *bus = bus_of(options);
        _cleanup_free_ char *path = NULL;
        int r, r_bus;

        *ret = (Manager){0};
        if (options->socket_path)
                path = strdup(options->socket_path);
        else if (asprintf(&path, "%s/%s", options_runtime_dir(options), CONTROL_SOCKET_NAME) < 0)
                path = NULL;
        if (!path)
                return -ENOMEM;
        r = open_socket(event, path, ret, ret_status);
        if (r >= 0 || r == -EBADMSG)
                return r;
        snprintf(why, MANAGER_WHY_MAX, "%s: %s", path, strerror(-r));
        /* Who names a socket means this one and no other otad. */
        if (options->socket_path || strcmp(bus, "none") == 0)
                return r;
        r_bus = open_name(event, bus, ret, ret_status);
        if (r_bus >= 0 || r_bus == -EBADMSG)
                return r_bus;
        snprintf(why + strlen(why), MANAGER_WHY_MAX - strlen(why), "; bus '%s': %s", bus,
                 r_bus == -ENOENT ? "no " CONTROL_BUS_NAME " there" : strerror(-r_bus));
        return r;
}

int manager_take_bus(sd_event *event, const Options *options, Manager *m)
{
        const char *bus = bus_of(options);
        _cleanup_(manager_done) Manager other = {0};
        _cleanup_free_ char *status = NULL;
        int r;

        if (m->destination || options->socket_path || strcmp(bus, "none") == 0)
                return -ENOTCONN;
        r = open_name(event, bus, &other, &status);
        if (r < 0)
                return r;
        manager_done(m);
        *m = other;
        other.bus = NULL;
        return 0;
}

void manager_explain(int error, const char *why)
{
        if (error == -ENOENT || error == -ECONNREFUSED)
                log_error("otad is not running (%s)", why);
        else if (error == -EBADMSG)
                log_error("otad answers in words that this otactl does not know: are they of one version?");
        else
                log_error("otad cannot be asked (%s)", why);
}

int manager_call(const Manager *m, const char *member, sd_bus_message **ret, char why[static MANAGER_WHY_MAX])
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call_method(m->bus, m->destination, CONTROL_PATH, CONTROL_INTERFACE, member, &error, ret, "");
        if (r < 0)
                snprintf(why, MANAGER_WHY_MAX, "%s", error.message ?: strerror(-r));
        return r < 0 ? r : 0;
}

static int ask_installer(sd_event *event, const Options *options, const char *member, sd_bus_message **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/installer.sock", options_runtime_dir(options)) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        r = open_peer(event, path, "installer", &bus);
        if (r >= 0)
                r = ask_once(bus, NULL, LINK_PATH, LINK_INTERFACE, member, &reply);
        if (r < 0)
                return r;
        if (sd_bus_message_is_method_error(reply, NULL))
                return -sd_bus_message_get_errno(reply);
        *ret = TAKE_PTR(reply);
        return 0;
}

int installer_get_state(sd_event *event, const Options *options, LinkState *ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = ask_installer(event, options, "GetState", &reply);

        return r < 0 ? r : link_state_read(reply, ret);
}

int installer_get_history(sd_event *event, const Options *options, LinkHistoryEntry **ret, size_t *ret_n)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = ask_installer(event, options, "GetHistory", &reply);

        return r < 0 ? r : link_history_read(reply, ret, ret_n);
}
