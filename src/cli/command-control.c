/*
 * otactl suspend, resume, cancel: each one call to otad, and where its socket refuses that, once more by the bus.
 */
#include <errno.h>
#include <stdio.h>

#include "agent/control.h"
#include "base/log.h"
#include "base/time-util.h"
#include "command.h"
#include "manager.h"

/* On a bus polkit may have somebody type a password, for which otad waits 120 s. */
#define PERSON_TIMEOUT_USEC (130 * USEC_PER_SEC)

static int ask(const Manager *m, const char *member, const char *why, sd_bus_error *reterr)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *call = NULL;
        bool on_bus = m->destination;
        int r;

        r = sd_bus_message_new_method_call(m->bus, &call, m->destination, CONTROL_PATH, CONTROL_INTERFACE, member);
        if (r >= 0 && why)
                r = sd_bus_message_append(call, "s", why);
        if (r >= 0)
                r = sd_bus_message_set_allow_interactive_authorization(call, on_bus);
        return r < 0 ? r : sd_bus_call(m->bus, call, on_bus ? PERSON_TIMEOUT_USEC : 0, reterr, NULL);
}

static int call(const Options *options, const char *member, const char *why, const char *done)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_done) Manager manager = {0};
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_free_ char *status = NULL;
        char unreached[MANAGER_WHY_MAX] = "";
        int r;

        r = sd_event_new(&event);
        if (r >= 0)
                r = manager_open(event, options, &manager, &status, unreached);
        if (r < 0) {
                manager_explain(r, unreached);
                return EXIT_FAILED;
        }
        r = ask(&manager, member, why, &error);
        if (sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED) &&
            manager_take_bus(event, options, &manager) >= 0) {
                sd_bus_error_free(&error);
                r = ask(&manager, member, why, &error);
        }
        if (r >= 0) {
                puts(done);
                return EXIT_FINE;
        }
        log_error("%s", error.message ?: "otad did not answer");
        if (sd_bus_error_has_name(&error, CONTROL_ERROR_ALREADY) ||
            sd_bus_error_has_name(&error, CONTROL_ERROR_NO_UPDATE))
                return EXIT_NOTHING_TO_DO;
        return EXIT_FAILED;
}

int command_suspend(const Options *options)
{
        return call(options, "Suspend", NULL, "Updates are suspended; 'otactl resume' lets them go on.");
}

int command_resume(const Options *options)
{
        return call(options, "Resume", NULL, "Updates go on.");
}

int command_cancel(const Options *options)
{
        return call(options, "Cancel", options->argument,
                    "The update is cancelled; 'otactl watch' shows how it ends.");
}
