/*
 * otactl watch: asks otad for its status whenever something changes, and at least every second.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "agent/control.h"
#include "base/log.h"
#include "base/time-util.h"
#include "cli/status-view.h"
#include "command.h"
#include "manager.h"
#include "terminal-line.h"

#define ASK_USEC       (1 * USEC_PER_SEC)
#define RECONNECT_USEC (2 * USEC_PER_SEC)

enum { NOT_PRINTED = 1000 };

typedef struct Watch {
        const Options *options;
        sd_event *event;
        Manager manager;
        sd_bus_slot *answer; /* a GetStatus() under way */
        bool ask_again;
        sd_event_source *timer;
        TerminalLine line;
        bool began;
        bool reconnected;
        StatusView view;       /* as last seen */
        uint64_t printed_tens; /* of percent */
} Watch;

/* -- output ------------------------------------------------------------------------------------------------------- */

_printf_(2, 3) static void print_line(Watch *w, const char *format, ...)
{
        char clock[16];
        time_t now = time(NULL);
        struct tm tm;
        va_list args;

        terminal_line_erase(&w->line);
        if (localtime_r(&now, &tm) && strftime(clock, sizeof(clock), "%H:%M:%S", &tm) > 0)
                printf("%s  ", clock);
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
}

static void print_changes(Watch *w, const StatusView *now)
{
        const StatusView *before = &w->view;
        bool ended = w->began && status_view_has_ended(before, now);

        if (ended)
                print_line(w, "%s %s%s%s%s%s", now->last.job, now->last.status, now->last.error[0] ? ": " : "",
                           now->last.error, now->last.error[0] ? ": " : "", now->last.detail);
        if (!w->began || strcmp(before->state, now->state) != 0 || strcmp(before->job, now->job) != 0) {
                print_line(w, "%s%s%s", now->job, now->job[0] ? " " : "", now->state);
                w->printed_tens = NOT_PRINTED;
        }
        if (!w->began || before->connected != now->connected)
                print_line(w, "%s", now->connected ? "connected to the broker" : "not connected to the broker");
        if (now->failure.error[0] && strcmp(before->failure.error, now->failure.error) != 0)
                print_line(w, "failure: %s: %s", now->failure.error, now->failure.detail);
        if (now->waiting.reason[0] && strcmp(before->waiting.reason, now->waiting.reason) != 0)
                print_line(w, "waits: %s", now->waiting.reason);
}

/* A line for every ten percent, where there is no bar. */
static void print_progress(Watch *w)
{
        uint64_t tens = w->view.download.percent / 10;
        char line[TERMINAL_LINE_MAX + 1];

        if (!w->view.download.protocol[0] || w->view.waiting.reason[0] || tens == w->printed_tens)
                return;
        w->printed_tens = tens;
        print_line(w, "%s", status_view_progress(&w->view, TERMINAL_LINE_DEFAULT, line, sizeof(line)));
}

static void finish(Watch *w, int code)
{
        terminal_line_erase(&w->line);
        (void)sd_event_exit(w->event, code);
}

/* -- what otad says ------------------------------------------------------------------------------------------------ */

/* Another otad than before, which remembers no result: the update that was watched is over, but not how. */
static bool has_missed_the_end(const Watch *w, const StatusView *now)
{
        return w->reconnected && w->view.job[0] && !now->job[0] && !now->last.job[0];
}

static void take_status(Watch *w, const char *text)
{
        StatusView now;
        bool ended, missed;

        if (status_view_parse(text, &now) < 0) {
                terminal_line_erase(&w->line);
                manager_explain(-EBADMSG, "");
                finish(w, EXIT_FAILED);
                return;
        }
        print_changes(w, &now);
        ended = w->began && status_view_has_ended(&w->view, &now);
        missed = has_missed_the_end(w, &now);
        w->view = now;
        w->began = true;
        w->reconnected = false;
        if (missed && w->options->until_done) {
                print_line(w, "otad was started anew, and how the update ended was not seen");
                finish(w, EXIT_FAILED);
                return;
        }
        if (ended && w->options->until_done) {
                finish(w, strcmp(now.last.status, "succeeded") == 0 ? EXIT_FINE : EXIT_FAILED);
                return;
        }
        if (w->line.is_terminal)
                terminal_line_draw(&w->line, &w->view);
        else
                print_progress(w);
        fflush(stdout);
}

static void lose(Watch *w)
{
        w->answer = sd_bus_slot_unref(w->answer);
        manager_done(&w->manager);
        if (w->options->until_done && w->view.reboot_needed) {
                print_line(w, "otad has ended for the reboot");
                finish(w, EXIT_REBOOT_NEEDED);
                return;
        }
        w->reconnected = true;
        print_line(w, "otad is not reached any more, trying again");
        fflush(stdout);
        (void)sd_event_source_set_time_relative(w->timer, RECONNECT_USEC);
}

static void ask(Watch *w);

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Watch *w = userdata;
        const char *text;

        w->answer = sd_bus_slot_unref(w->answer);
        if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "s", &text) < 0) {
                lose(w);
                return 0;
        }
        take_status(w, text);
        if (w->ask_again)
                ask(w);
        return 0;
}

static void ask(Watch *w)
{
        int r;

        w->ask_again = w->answer != NULL;
        if (w->answer)
                return;
        r = sd_bus_call_method_async(w->manager.bus, &w->answer, w->manager.destination, CONTROL_PATH,
                                     CONTROL_INTERFACE, "GetStatus", on_answer, w, "");
        if (r < 0)
                lose(w);
}

static int on_signal_of_otad(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        ask(userdata);
        return 0;
}

static int begin(Watch *w, char why[static MANAGER_WHY_MAX])
{
        _cleanup_free_ char *text = NULL;
        int r;

        r = manager_open(w->event, w->options, &w->manager, &text, why);
        if (r < 0)
                return r;
        if ((r = sd_bus_match_signal_async(w->manager.bus, NULL, w->manager.destination, CONTROL_PATH,
                                           "org.freedesktop.DBus.Properties", "PropertiesChanged", on_signal_of_otad,
                                           NULL, w)) < 0 ||
            (r = sd_bus_match_signal_async(w->manager.bus, NULL, w->manager.destination, CONTROL_PATH,
                                           CONTROL_INTERFACE, "Completed", on_signal_of_otad, NULL, w)) < 0) {
                manager_done(&w->manager);
                return r;
        }
        take_status(w, text);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Watch *w = userdata;
        char why[MANAGER_WHY_MAX];
        bool there = w->manager.bus || begin(w, why) >= 0;

        if (there)
                ask(w);
        /* lose() has set a time of its own, which is later. */
        if (there && w->manager.bus)
                return sd_event_source_set_time_relative(source, ASK_USEC);
        return sd_event_source_set_time_relative(source, RECONNECT_USEC);
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        Watch *w = userdata;

        /* Who waits for the result has not got it. */
        finish(w, w->options->until_done ? EXIT_FAILED : EXIT_FINE);
        return 0;
}

static int prepare(Watch *w)
{
        int r;

        if ((r = sd_event_new(&w->event)) < 0 ||
            (r = sd_event_add_signal(w->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, on_interrupt, w)) < 0 ||
            (r = sd_event_add_signal(w->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, on_interrupt, w)) < 0 ||
            (r = sd_event_add_time_relative(w->event, &w->timer, CLOCK_BOOTTIME, ASK_USEC, 0, on_timer, w)) < 0)
                return r;
        return sd_event_source_set_enabled(w->timer, SD_EVENT_ON);
}

int command_watch(const Options *options)
{
        Watch w = {.options = options, .line = terminal_line_open(), .printed_tens = NOT_PRINTED};
        char why[MANAGER_WHY_MAX] = "";
        int r;

        r = prepare(&w);
        if (r >= 0)
                r = begin(&w, why);
        if (r < 0) {
                manager_explain(r, why);
                r = EXIT_FAILED;
        } else {
                r = sd_event_loop(w.event);
        }
        sd_bus_slot_unref(w.answer);
        manager_done(&w.manager);
        sd_event_source_disable_unref(w.timer);
        sd_event_unref(w.event);
        return r < 0 ? EXIT_FAILED : r;
}
