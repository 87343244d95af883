/*
 * otactl status: what otad says, or, where there is no otad, what otad-installer says.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/local-session.h"
#include "base/log.h"
#include "cli/format.h"
#include "cli/status-view.h"
#include "command.h"
#include "manager.h"

static void print_installer(const LinkState *state)
{
        char written[FORMAT_TEXT_MAX], size[FORMAT_TEXT_MAX];
        bool is_local = session_is_local(state->session);

        printf("Installer %s%s%s%s\n", update_state_to_string(state->state),
               is_local           ? ", "
               : state->job_id[0] ? ", job "
                                  : "",
               is_local ? state->session : state->job_id, state->reboot_needed ? ", a reboot is needed" : "");
        for (size_t i = 0; i < state->n_files; i++)
                printf("Target    %s%s%s%s, %s of %s written\n", state->files[i].target,
                       state->files[i].slot[0] ? " (slot " : "", state->files[i].slot,
                       state->files[i].slot[0] ? ")" : "", bytes_format(written, state->files[i].written_bytes),
                       bytes_format(size, state->files[i].size_bytes));
        if (state->version[0])
                printf("Version   %s\n", state->version);
        if (failure_is_set(&state->failure))
                printf("Failure   %s: %s\n", failure_reason_to_string(state->failure.reason), state->failure.detail);
}

static int without_otad(sd_event *event, const Options *options)
{
        LinkState state;
        int r = installer_get_state(event, options, &state);

        if (r >= 0)
                print_installer(&state);
        else
                (void)log_full_errno(LOG_NOTICE, r, "otad-installer cannot be asked either: %m");
        if (r < 0 || state.state == UPDATE_STATE_IDLE)
                puts("Next      Nothing, until otad runs.");
        else if (session_is_local(state.session))
                puts(state.reboot_needed
                             ? "Next      Tests the new software after a reboot, which is yours to ask for."
                             : "Next      otad-installer ends the local update by itself.");
        else if (state.state == UPDATE_STATE_TESTING)
                puts("Next      Rolls back, unless otad comes up and the self-test passes in time.");
        else
                puts("Next      otad goes on with the update as soon as it runs.");
        return EXIT_FAILED;
}

int command_status(const Options *options)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_done) Manager manager = {0};
        _cleanup_free_ char *text = NULL;
        char why[MANAGER_WHY_MAX] = "";
        StatusView view;
        int r;

        r = sd_event_new(&event);
        if (r >= 0)
                r = manager_open(event, options, &manager, &text, why);
        if (r >= 0 && options->json) {
                puts(text);
                return EXIT_FINE;
        }
        if (r >= 0)
                r = status_view_parse(text, &view);
        if (r >= 0) {
                status_view_print(&view, stdout);
                return EXIT_FINE;
        }
        manager_explain(r, why);
        if (options->json || r == -EBADMSG || !event)
                return EXIT_FAILED;
        return without_otad(event, options);
}
