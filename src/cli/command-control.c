/*
 * otactl suspend, resume, cancel: each one call to otad.
 */
#include <errno.h>
#include <stdio.h>

#include "agent/control.h"
#include "base/log.h"
#include "command.h"
#include "manager.h"

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
        r = sd_bus_call_method(manager.bus, manager.destination, CONTROL_PATH, CONTROL_INTERFACE, member, &error,
                               NULL, why ? "s" : "", why);
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
