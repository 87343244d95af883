#include "control-bus.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"
#include "link/peer-bus.h"

/* For the bus daemon to answer: it is on this machine. */
#define CALL_TIMEOUT_USEC (10 * USEC_PER_SEC)

/* Answers of RequestName: D-Bus Specification, "org.freedesktop.DBus.RequestName". */
enum { NAME_PRIMARY_OWNER = 1, NAME_ALREADY_OWNER = 4, NAME_DO_NOT_QUEUE = 4 };

struct ControlBus {
        sd_event *event;
        const char *name;
        char *address;
        uint64_t retry_usec;
        ControlBusOpenFn on_open;
        ControlBusCloseFn on_close;
        void *userdata;

        sd_event_source *timer; /* the next try; off while there is a bus */
        sd_event_source *exit;
        sd_bus *bus;
        bool announced; /* on_open() went well */
        bool owned;
        bool complained;
};

static void close_bus(ControlBus *b)
{
        if (b->announced)
                b->on_close(b->bus, b->userdata);
        b->announced = b->owned = false;
        b->bus = sd_bus_close_unref(b->bus);
}

static void try_later(ControlBus *b, const char *why)
{
        char duration[DURATION_TEXT_MAX];
        int r;

        if (!b->complained)
                log_warning("Cannot be %s on the bus '%s' (%s), trying again every %s; otactl uses the socket",
                            b->name, b->address, why, duration_format(duration, b->retry_usec));
        b->complained = true;
        close_bus(b);
        r = sd_event_source_set_time_relative(b->timer, b->retry_usec);
        if (r >= 0)
                r = sd_event_source_set_enabled(b->timer, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the timer for the bus '%s', it is not tried again: %m",
                                      b->address);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        try_later(userdata, "the connection was closed");
        return 0;
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        ControlBus *b = userdata;
        const sd_bus_error *error = sd_bus_message_get_error(m);
        uint32_t answer = 0;

        if (error) {
                try_later(b, error->message ?: error->name);
        } else if (sd_bus_message_read(m, "u", &answer) < 0 ||
                   (answer != NAME_PRIMARY_OWNER && answer != NAME_ALREADY_OWNER)) {
                try_later(b, "another process has the name");
        } else {
                b->owned = true;
                if (b->complained)
                        log_info("Is %s on the bus '%s' now", b->name, b->address);
                b->complained = false;
        }
        return 0;
}

static int open_bus(const char *address, sd_bus **ret)
{
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        int r;

        if (strcmp(address, "system") == 0)
                return sd_bus_open_system_with_description(ret, "control");
        if (strcmp(address, "user") == 0)
                return sd_bus_open_user_with_description(ret, "control");
        if ((r = sd_bus_new(&bus)) < 0 || (r = sd_bus_set_address(bus, address)) < 0 ||
            (r = sd_bus_set_bus_client(bus, true)) < 0 || (r = sd_bus_set_description(bus, "control")) < 0 ||
            (r = sd_bus_start(bus)) < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        ControlBus *b = userdata;
        int r;

        if ((r = open_bus(b->address, &b->bus)) < 0 ||
            (r = sd_bus_set_method_call_timeout(b->bus, CALL_TIMEOUT_USEC)) < 0 ||
            (r = sd_bus_attach_event(b->bus, b->event, SD_EVENT_PRIORITY_NORMAL)) < 0 ||
            (r = peer_bus_on_disconnected(b->bus, on_disconnected, b)) < 0 ||
            (r = b->on_open(b->bus, b->userdata)) < 0) {
                try_later(b, strerror(-r));
                return 0;
        }
        b->announced = true;
        r = sd_bus_call_method_async(b->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                     "org.freedesktop.DBus", "RequestName", on_name, b, "su", b->name,
                                     (uint32_t)NAME_DO_NOT_QUEUE);
        if (r < 0)
                try_later(b, strerror(-r));
        return 0;
}

/* Without this sd-bus would wait for a bus that hangs. */
static int on_exit_of_loop(sd_event_source *source, void *userdata)
{
        ControlBus *b = userdata;

        if (b->bus)
                (void)sd_bus_detach_event(b->bus);
        return 0;
}

int control_bus_new(sd_event *event, const ControlBusParams *params, ControlBusOpenFn on_open,
                    ControlBusCloseFn on_close, void *userdata, ControlBus **ret)
{
        _cleanup_(control_bus_freep) ControlBus *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->event = sd_event_ref(event);
        b->name = params->name;
        b->address = strdup(params->address);
        if (!b->address)
                return -ENOMEM;
        b->retry_usec = params->retry_usec;
        b->on_open = on_open;
        b->on_close = on_close;
        b->userdata = userdata;
        r = sd_event_add_time_relative(event, &b->timer, CLOCK_BOOTTIME, 0, 0, on_timer, b);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(b->timer, "control-bus");
        r = peer_bus_add_exit(event, on_exit_of_loop, b, &b->exit);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}

ControlBus *control_bus_free(ControlBus *b)
{
        if (!b)
                return NULL;
        close_bus(b);
        sd_event_source_disable_unref(b->timer);
        sd_event_source_disable_unref(b->exit);
        free(b->address);
        sd_event_unref(b->event);
        free(b);
        return NULL;
}

sd_bus *control_bus_get(const ControlBus *b)
{
        return b && b->owned ? b->bus : NULL;
}
