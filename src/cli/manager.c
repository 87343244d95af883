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

static int get_status(const Manager *m, char **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        const char *text;
        char *copy;
        int r;

        r = sd_bus_set_method_call_timeout(m->bus, CALL_TIMEOUT_USEC);
        if (r >= 0)
                r = sd_bus_call_method(m->bus, m->destination, CONTROL_PATH, CONTROL_INTERFACE, "GetStatus", &error,
                                       &reply, "");
        if (sd_bus_error_has_name(&error, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
            sd_bus_error_has_name(&error, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return -ENOENT;
        if (r < 0)
                return r;
        if (sd_bus_message_read(reply, "s", &text) < 0 || strlen(text) > STATUS_VIEW_JSON_MAX)
                return -EBADMSG;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int open_bus(sd_event *event, const char *address, sd_bus **ret)
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
        if (r >= 0)
                r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static int open_socket(sd_event *event, const char *path, Manager *ret, char **ret_status)
{
        int r = peer_bus_connect(event, path, "otad", &ret->bus);

        if (r >= 0)
                r = get_status(ret, ret_status);
        if (r < 0)
                manager_done(ret);
        return r;
}

static int open_name(sd_event *event, const char *address, Manager *ret, char **ret_status)
{
        int r;

        ret->destination = CONTROL_BUS_NAME;
        r = open_bus(event, address, &ret->bus);
        if (r >= 0)
                r = get_status(ret, ret_status);
        if (r < 0)
                manager_done(ret);
        return r;
}

int manager_open(sd_event *event, const Options *options, Manager *ret, char **ret_status,
                 char why[static MANAGER_WHY_MAX])
{
        const char *bus = options->config ? options->config->control.bus : "system";
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

void manager_explain(int error, const char *why)
{
        if (error == -ENOENT || error == -ECONNREFUSED)
                log_error("otad is not running (%s)", why);
        else if (error == -EBADMSG)
                log_error("otad answers in words that this otactl does not know: are they of one version?");
        else
                log_error("otad cannot be asked (%s)", why);
}

int installer_get_state(sd_event *event, const Options *options, LinkState *ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/installer.sock", options_runtime_dir(options)) < 0)
                return -ENOMEM;
        if ((r = peer_bus_connect(event, path, "installer", &bus)) < 0 ||
            (r = sd_bus_set_method_call_timeout(bus, CALL_TIMEOUT_USEC)) < 0 ||
            (r = sd_bus_call_method(bus, NULL, LINK_PATH, LINK_INTERFACE, "GetState", NULL, &reply, "")) < 0)
                return r;
        return link_state_read(reply, ret);
}
