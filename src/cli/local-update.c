#include "local-update-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/file-util.h"
#include "base/local-session.h"
#include "base/log.h"
#include "base/time-util.h"

#define REACH_USEC     (15 * USEC_PER_SEC) /* the installer answers within this time, or not at all */
#define END_EXTRA_USEC (15 * USEC_PER_SEC) /* on top of what the installer gives the self-test */

/* -- what is shown -------------------------------------------------------------------------------------------------- */

void local_update_say(LocalUpdate *u, const char *format, ...)
{
        va_list args;

        terminal_line_erase(&u->line);
        va_start(args, format);
        vprintf(format, args);
        va_end(args);
        putchar('\n');
        fflush(stdout);
}

void local_update_finish(LocalUpdate *u, int code)
{
        terminal_line_erase(&u->line);
        (void)sd_event_exit(u->event, code);
}

static void show(LocalUpdate *u)
{
        const LinkFileState *file = &u->state.files[0];
        StatusView view = {.download = {.protocol = "file", .total = file->size_bytes}};

        if (!u->line.is_terminal && u->state.state != u->printed && u->state.state != UPDATE_STATE_IDLE)
                local_update_say(u, "%s", update_state_to_string(u->state.state));
        u->printed = u->state.state;
        snprintf(view.state, sizeof(view.state), "%s", update_state_to_string(u->state.state));
        view.download.held = u->state.state == UPDATE_STATE_DOWNLOADING ? file->written_bytes : file->verified_bytes;
        if (file->size_bytes > 0)
                view.download.percent = (uint64_t)((double)view.download.held / (double)file->size_bytes * 100.0);
        if (u->state.state == UPDATE_STATE_DOWNLOADING || u->state.state == UPDATE_STATE_VERIFYING)
                terminal_line_draw(&u->line, &view);
        else
                terminal_line_erase(&u->line);
}

const char *local_update_at_hand(const LinkState *state, char *text, size_t text_size)
{
        bool is_local = session_is_local(state->session);

        snprintf(text, text_size, "%s%s is at hand (%s)", is_local ? "the local update " : "job ",
                 is_local ? state->session : state->job_id, update_state_to_string(state->state));
        return text;
}

/* -- the end -------------------------------------------------------------------------------------------------------- */

static void tell_result(LocalUpdate *u, const LinkHistoryEntry *entry)
{
        bool committed = strcmp(entry->result, "committed") == 0;
        /* Whoever asked for the rollback of what was at hand has got it. */
        bool wanted = u->asked_undo ? !committed : committed;

        local_update_say(u, "%s: %s%s%s%s%s", entry->targets, entry->result,
                         committed && entry->version[0] ? ", version " : "", committed ? entry->version : "",
                         entry->reason[0] ? ": " : "", entry->reason);
        if (!committed && entry->detail[0])
                local_update_say(u, "%s", entry->detail);
        local_update_finish(u, wanted ? EXIT_FINE : EXIT_FAILED);
}

static void on_history(const LinkError *error, const LinkHistoryEntry *entries, size_t n_entries, void *userdata)
{
        LocalUpdate *u = userdata;

        for (size_t i = n_entries; !error && i > 0; i--)
                if (strcmp(entries[i - 1].session, u->session) == 0) {
                        tell_result(u, &entries[i - 1]);
                        return;
                }
        log_error("The update has ended, and how cannot be told%s%s", error ? ": " : "",
                  error ? error->failure.detail : "");
        local_update_finish(u, EXIT_FAILED);
}

/* Released by the installer itself, or by otad: then its history has it. */
static void look_for_end(LocalUpdate *u)
{
        bool is_here = strcmp(u->state.session, u->session) == 0;

        /* A job's session may have to wait for otad, which the end need not. */
        if (is_here && u->asked_undo && u->state.state == UPDATE_STATE_ROLLED_BACK)
                is_here = session_is_local(u->session);
        if (!u->ending || u->asks_history || is_here)
                return;
        u->asks_history = true;
        local_update_check_sent(u, link_client_get_history(u->link, on_history, u));
}

static void set_timer(LocalUpdate *u, uint64_t wait_usec)
{
        int r = sd_event_source_set_time_relative(u->timer, wait_usec);

        if (r >= 0)
                r = sd_event_source_set_enabled(u->timer, SD_EVENT_ONESHOT);
        local_update_check_sent(u, r);
}

void local_update_await_end(LocalUpdate *u)
{
        const Config *config = u->options->config;

        u->ending = true;
        set_timer(u, config->selftest.timeout_usec + config->hook.timeout_usec + END_EXTRA_USEC);
        look_for_end(u);
}

/* -- errors --------------------------------------------------------------------------------------------------------- */

void local_update_check_sent(LocalUpdate *u, int r)
{
        if (r >= 0)
                return;
        log_error("otad-installer cannot be asked: %s", strerror(-r));
        local_update_finish(u, EXIT_FAILED);
}

static void on_given_up(const LinkError *error, void *userdata)
{
        local_update_await_end(userdata);
}

static void on_not_now(LocalUpdate *u, const Failure *why, void (*again)(LocalUpdate *u))
{
        const Config *config = u->options->config;
        uint64_t give_up_usec = config->hook.give_up_usec ?: USEC_INFINITY;
        char text[DURATION_TEXT_MAX];
        uint64_t now = now_usec();
        Failure failure;

        if (u->not_now_since_usec == 0)
                u->not_now_since_usec = now;
        if (now - u->not_now_since_usec < give_up_usec) {
                local_update_say(u, "The hook says not now: %s; trying again in %s", why->detail,
                                 duration_format(text, config->hook.retry_usec));
                u->again = again;
                set_timer(u, config->hook.retry_usec);
                return;
        }
        (void)fail(&failure, FAILURE_HOOK_NOT_NOW, ETIMEDOUT, "the hook said not now for %s: %s",
                   duration_format(text, now - u->not_now_since_usec), why->detail);
        local_update_check_sent(u, link_client_roll_back(u->link, &failure, on_given_up, u));
}

void local_update_on_error(LocalUpdate *u, const LinkError *error, void (*again)(LocalUpdate *u))
{
        const Failure *failure = &error->failure;

        switch (error->kind) {
        case LINK_ERROR_NOT_NOW:
                on_not_now(u, failure, again);
                return;
        case LINK_ERROR_FAILED:
                /* Where there is a session, the installer ends it, and its history says why. */
                if (u->began) {
                        local_update_await_end(u);
                        return;
                }
                log_error("%s: %s", failure_reason_to_string(failure->reason), failure->detail);
                local_update_finish(u, EXIT_FAILED);
                return;
        case LINK_ERROR_NOTHING:
                log_error("%s", failure->detail);
                local_update_finish(u, EXIT_NOTHING_TO_DO);
                return;
        case LINK_ERROR_BUSY:
        case LINK_ERROR_OUT_OF_TURN:
                log_error("otad-installer refuses: %s", failure->detail);
                local_update_finish(u, EXIT_FAILED);
                return;
        case LINK_ERROR_LOST:
        case _LINK_ERROR_MAX:
                return; /* on_down() says it */
        }
}

/* -- steps ---------------------------------------------------------------------------------------------------------- */

static void reboot(LocalUpdate *u);

static void on_rebooting(const LinkError *error, void *userdata)
{
        LocalUpdate *u = userdata;

        /* Busy with ending, or gone already: the machine is on its way down. */
        if (error && error->kind != LINK_ERROR_LOST && error->kind != LINK_ERROR_BUSY) {
                u->goes_down = false;
                local_update_on_error(u, error, reboot);
                return;
        }
        local_update_say(u, "The machine reboots; 'otactl history' tells then how it ended.");
        local_update_finish(u, EXIT_FINE);
}

static void reboot(LocalUpdate *u)
{
        u->goes_down = true;
        local_update_check_sent(u, link_client_reboot(u->link, on_rebooting, u));
}

static void on_activated(const LinkError *error, bool reboot_needed, void *userdata)
{
        LocalUpdate *u = userdata;

        if (error) {
                local_update_on_error(u, error, local_update_activate);
                return;
        }
        u->not_now_since_usec = 0;
        if (!reboot_needed) {
                local_update_await_end(u);
        } else if (u->options->reboot) {
                reboot(u);
        } else {
                local_update_say(u, "Installed; a reboot starts it on trial, 'otactl rollback' takes it back.");
                local_update_finish(u, EXIT_REBOOT_NEEDED);
        }
}

void local_update_activate(LocalUpdate *u)
{
        local_update_check_sent(u, link_client_activate(u->link, on_activated, u));
}

int local_update_name(LocalUpdate *u, const char *word)
{
        uint64_t number;

        if (getrandom(&number, sizeof(number), 0) != sizeof(number))
                return -EIO;
        snprintf(u->session, sizeof(u->session), LOCAL_SESSION_PREFIX "%s-%016" PRIx64, word, number);
        return 0;
}

/* -- the link ------------------------------------------------------------------------------------------------------- */

static void on_up(const LinkState *state, void *userdata)
{
        LocalUpdate *u = userdata;

        u->state = *state;
        (void)sd_event_source_set_enabled(u->timer, SD_EVENT_OFF);
        u->start(u);
}

static void on_down(const Failure *failure, void *userdata)
{
        LocalUpdate *u = userdata;

        terminal_line_erase(&u->line);
        if (u->goes_down || u->state.state == UPDATE_STATE_ROLLING_BACK) {
                local_update_say(u, "The machine goes down; 'otactl history' tells then how it ended.");
                local_update_finish(u, EXIT_FINE);
                return;
        }
        log_error("otad-installer was lost (%s); what was not activated yet is abandoned", failure->detail);
        local_update_finish(u, EXIT_FAILED);
}

static void on_progress(const LinkProgress *progress, void *userdata)
{
        LocalUpdate *u = userdata;
        LinkFileState *file = &u->state.files[0];

        if (progress->file != 0)
                return;
        file->written_bytes = progress->written_bytes;
        file->durable_bytes = progress->durable_bytes;
        file->verified_bytes = progress->verified_bytes;
        show(u);
}

static void on_state(const LinkState *state, void *userdata)
{
        LocalUpdate *u = userdata;

        u->state = *state;
        if (u->session[0] && strcmp(state->session, u->session) == 0) {
                u->began = true;
                show(u);
        }
        look_for_end(u);
}

static const LinkClientOps link_ops = {
        .on_up = on_up,
        .on_down = on_down,
        .on_progress = on_progress,
        .on_state = on_state,
};

/* -- life ----------------------------------------------------------------------------------------------------------- */

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        LocalUpdate *u = userdata;

        if (u->again) {
                void (*again)(LocalUpdate *) = TAKE_PTR(u->again);

                again(u);
        } else if (u->ending) {
                log_error("The update has not ended in time; 'otactl status' shows where it is");
                local_update_finish(u, EXIT_FAILED);
        } else {
                log_error("otad-installer does not answer; 'otactl check' looks for the reason");
                local_update_finish(u, EXIT_FAILED);
        }
        return 0;
}

static int on_interrupt(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        LocalUpdate *u = userdata;

        terminal_line_erase(&u->line);
        log_error("Interrupted: %s",
                  u->ending ? "the update goes on without otactl" : "what was not activated yet is abandoned");
        local_update_finish(u, EXIT_FAILED);
        return 0;
}

static int prepare(LocalUpdate *u)
{
        LinkClientParams params = {.silence_usec = 0};
        _cleanup_free_ char *path = NULL;
        int r;

        if (asprintf(&path, "%s/installer.sock", options_runtime_dir(u->options)) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        params.socket_path = path;
        (void)signal(SIGPIPE, SIG_IGN);
        if ((r = sd_event_new(&u->event)) < 0 ||
            (r = sd_event_add_signal(u->event, NULL, SIGINT | SD_EVENT_SIGNAL_PROCMASK, on_interrupt, u)) < 0 ||
            (r = sd_event_add_signal(u->event, NULL, SIGTERM | SD_EVENT_SIGNAL_PROCMASK, on_interrupt, u)) < 0 ||
            (r = sd_event_add_time_relative(u->event, &u->timer, CLOCK_BOOTTIME, REACH_USEC, 0, on_timer, u)) < 0)
                return r;
        return link_client_new(u->event, &params, &link_ops, u, &u->link);
}

static int run(LocalUpdate *u)
{
        int r = prepare(u);

        if (r >= 0)
                r = sd_event_loop(u->event);
        else
                log_error("Cannot start: %s", strerror(-r));
        link_client_free(u->link);
        sd_event_source_disable_unref(u->bell);
        sd_event_source_disable_unref(u->sending);
        data_pipe_free(u->pipe);
        sd_event_source_disable_unref(u->timer);
        sd_event_unref(u->event);
        free(u->buffer);
        return r < 0 ? EXIT_FAILED : r;
}

int local_update_install(const Options *options, const Image *image)
{
        LocalUpdate u = {.options = options, .image = image, .start = local_install_start};

        u.line = terminal_line_open();
        return run(&u);
}

int local_update_roll_back(const Options *options)
{
        LocalUpdate u = {.options = options, .start = local_rollback_start};

        u.line = terminal_line_open();
        return run(&u);
}
