/*
 * otactl rollback: what is on trial, or about to be, is undone; else the installer goes back to what the last update that
 * was committed has replaced.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "local-update-private.h"

/* -- of what is at hand --------------------------------------------------------------------------------------------- */

static void on_rolling_back(const LinkError *error, void *userdata)
{
        LocalUpdate *u = userdata;

        if (error)
                local_update_on_error(u, error, NULL);
        else
                local_update_await_end(u);
}

static void undo(LocalUpdate *u)
{
        Failure why;

        (void)fail(&why, FAILURE_CANCELLED_LOCALLY, ECANCELED, "rolled back by an operator");
        snprintf(u->session, sizeof(u->session), "%s", u->state.session);
        u->began = u->asked_undo = true;
        local_update_check_sent(u, link_client_roll_back(u->link, &why, on_rolling_back, u));
}

/* -- of what was committed ------------------------------------------------------------------------------------------ */

static void on_reverted(const LinkError *error, void *userdata)
{
        LocalUpdate *u = userdata;

        if (error)
                local_update_on_error(u, error, NULL);
        else
                local_update_activate(u);
}

/* The names in "a,b" as a list. */
static void split_targets(const char *text, LinkRevert *revert)
{
        while (*text && revert->n_targets < LINK_FILES_MAX) {
                size_t n = strcspn(text, ",");

                snprintf(revert->targets[revert->n_targets++], sizeof(revert->targets[0]), "%.*s", (int)n, text);
                text += n + (text[n] == ',');
        }
}

static void revert(LocalUpdate *u, const char *targets)
{
        LinkRevert call = {.n_targets = 0};
        int r = local_update_name(u, "rollback");

        split_targets(targets, &call);
        snprintf(call.session, sizeof(call.session), "%s", u->session);
        if (r >= 0)
                r = link_client_revert(u->link, &call, on_reverted, u);
        local_update_check_sent(u, r);
}

static void on_history(const LinkError *error, const LinkHistoryEntry *entries, size_t n_entries, void *userdata)
{
        LocalUpdate *u = userdata;

        if (error) {
                local_update_on_error(u, error, NULL);
                return;
        }
        for (size_t i = n_entries; i > 0; i--)
                if (strcmp(entries[i - 1].result, "committed") == 0) {
                        revert(u, entries[i - 1].targets);
                        return;
                }
        log_error("There is nothing to go back to: no update was committed on this device");
        local_update_finish(u, EXIT_NOTHING_TO_DO);
}

static void go_back(LocalUpdate *u)
{
        if (u->options->target)
                revert(u, u->options->target);
        else
                local_update_check_sent(u, link_client_get_history(u->link, on_history, u));
}

/* -- which ---------------------------------------------------------------------------------------------------------- */

static bool is_for(const LinkState *state, const char *target)
{
        for (size_t i = 0; i < state->n_files; i++)
                if (strcmp(state->files[i].target, target) == 0)
                        return true;
        return false;
}

void local_rollback_start(LocalUpdate *u)
{
        const char *target = u->options->target;
        char text[256];

        (void)local_update_at_hand(&u->state, text, sizeof(text));
        if (target && u->state.state != UPDATE_STATE_IDLE && !is_for(&u->state, target)) {
                log_error("There is nothing to go back from for target %s: %s, and is not for it", target, text);
                local_update_finish(u, EXIT_NOTHING_TO_DO);
                return;
        }
        switch (u->state.state) {
        case UPDATE_STATE_IDLE:
                go_back(u);
                return;
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
                undo(u);
                return;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
                log_error("There is nothing to go back from: %s; 'otactl cancel' ends it", text);
                local_update_finish(u, EXIT_NOTHING_TO_DO);
                return;
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
                log_error("It is being rolled back already: %s", text);
                local_update_finish(u, EXIT_NOTHING_TO_DO);
                return;
        case UPDATE_STATE_COMMITTED:
                log_error("Not before the update is over: %s; try again in a moment", text);
                local_update_finish(u, EXIT_FAILED);
                return;
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break; /* words of otad, which the link does not let pass from the installer */
        }
        local_update_finish(u, EXIT_FAILED);
}
