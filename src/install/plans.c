#include "session-private.h"

typedef enum Kind { AB, FILES, ALL } Kind;

static void each(InstallSession *s, Kind kind, StepFn run, int argument)
{
        for (unsigned i = 0; i < s->n_runs; i++)
                if (kind == ALL || run_is_ab(&s->runs[i]) == (kind == AB))
                        plan_add(s, run, i, argument);
}

static void each_tolerant(InstallSession *s, Kind kind, StepFn run, int argument)
{
        for (unsigned i = 0; i < s->n_runs; i++)
                if (kind == ALL || run_is_ab(&s->runs[i]) == (kind == AB))
                        plan_add_tolerant(s, run, i, argument);
}

static unsigned first_ab(const InstallSession *s)
{
        for (unsigned i = 0; i < s->n_runs; i++)
                if (run_is_ab(&s->runs[i]))
                        return i;
        return 0;
}

/* Opens the targets: of a new session, or once after each start of this process. */
static void add_open(InstallSession *s)
{
        if (s->opened)
                return;
        each(s, AB, step_get_current, 0);
        each(s, ALL, step_choose_slot, 0);
        each(s, ALL, step_open, 0);
        if (!s->has_session)
                plan_add(s, step_enter, 0, UPDATE_STATE_DOWNLOADING);
        if (!s->record.begun) {
                each(s, ALL, step_hook, HOOK_STAGE_PRE_INSTALL);
                /* Before the first byte: the boot loader must not choose what is half written, and never lose trust in what
                 * runs, which is the only software there is from here on. */
                each(s, AB, step_confirm_current, 0);
                each(s, AB, step_free_primary, 0);
                each(s, AB, step_set_state, false);
                plan_add(s, step_begun, 0, 0);
        }
        plan_add(s, step_opened, 0, 0);
}

/* Reads back, hashes, checks signatures. */
static void add_seal(InstallSession *s)
{
        add_open(s);
        plan_add(s, step_intake_ended, 0, 0);
        plan_add(s, step_complete, 0, 0);
        if (s->record.state != UPDATE_STATE_INSTALLED)
                plan_add(s, step_enter, 0, UPDATE_STATE_VERIFYING);
        each(s, ALL, step_flush, 0);
        each(s, ALL, step_hashed, 0);
        each(s, ALL, step_signature, 0);
        if (!s->record.post_installed) {
                each(s, ALL, step_hook, HOOK_STAGE_POST_INSTALL);
                plan_add(s, step_post_installed, 0, 0);
        }
        plan_add(s, step_sealed, 0, 0);
}

void plans_begin(InstallSession *s)
{
        plan_begin(s, VERB_BEGIN);
        add_open(s);
        plan_start(s);
}

void plans_revert(InstallSession *s)
{
        plan_begin(s, VERB_REVERT);
        each(s, AB, step_get_current, 0);
        each(s, ALL, step_choose_slot, 0);
        each(s, ALL, step_find_previous, 0);
        plan_add(s, step_sealed, 0, 0);
        plan_start(s);
}

void plans_verify(InstallSession *s)
{
        plan_begin(s, VERB_VERIFY);
        add_seal(s);
        plan_start(s);
}

void plans_activate(InstallSession *s)
{
        plan_begin(s, VERB_ACTIVATE);
        if (s->record.state == UPDATE_STATE_INSTALLED) {
                if (!s->sealed)
                        add_seal(s);
                plan_add(s, step_enter, 0, UPDATE_STATE_ACTIVATING);
        }
        for (unsigned i = 0; i < s->n_runs; i++) {
                if (run_is_ab(&s->runs[i]))
                        continue;
                plan_add(s, step_target_activate, i, 0);
                plan_add(s, step_hook, i, HOOK_STAGE_ACTIVATE);
        }
        each(s, AB, step_hook, HOOK_STAGE_ACTIVATE);
        if (session_has_ab(s))
                plan_add(s, step_primary_asked, 0, 0);
        /* A slot that is good already would be started without a trial, and for ever. */
        if (s->record.reverts)
                each(s, AB, step_set_state, false);
        each(s, AB, step_set_primary, SLOT_NEW);
        plan_add(s, step_activated, 0, 0);
        plan_start(s);
}

void plans_reboot(InstallSession *s)
{
        plan_begin(s, VERB_REBOOT);
        plan_add(s, step_hook, first_ab(s), HOOK_STAGE_REBOOT);
        plan_add(s, step_reboot_asked, 0, 0);
        plan_start(s);
}

void plans_self_test(InstallSession *s)
{
        plan_begin(s, VERB_SELF_TEST);
        each(s, ALL, step_version, 0);
        each(s, ALL, step_hook, HOOK_STAGE_SELFTEST);
        plan_add(s, step_tested, 0, 0);
        plan_start(s);
}

void plans_commit(InstallSession *s)
{
        plan_begin(s, VERB_COMMIT);
        each(s, AB, step_set_state, true);
        each(s, ALL, step_hook, HOOK_STAGE_COMMIT);
        plan_add(s, step_enter, 0, UPDATE_STATE_COMMITTED);
        each_tolerant(s, FILES, step_target_commit, 0);
        plan_start(s);
}

void plans_release(InstallSession *s)
{
        plan_begin(s, VERB_RELEASE);
        /* Once more, for the case that a crash came right after the record said committed. */
        if (s->record.state == UPDATE_STATE_COMMITTED)
                each_tolerant(s, FILES, step_target_commit, 0);
        each_tolerant(s, ALL, step_hook, HOOK_STAGE_CLEANUP);
        plan_add(s, step_forget, 0, 0);
        plan_start(s);
}

void plans_roll_back(InstallSession *s)
{
        plan_begin(s, VERB_ROLL_BACK);
        each(s, AB, step_set_primary, SLOT_OLD);
        /* What was good and was found no worse may be gone back to another time. */
        each(s, AB, step_set_state, s->record.reverts && s->record.failure.reason == FAILURE_CANCELLED_LOCALLY);
        each(s, FILES, step_target_roll_back, 0);
        if (!s->record.undone)
                each_tolerant(s, ALL, step_hook, HOOK_STAGE_ROLLBACK);
        plan_add_tolerant(s, step_undone, 0, 0);
        /* Where even that cannot be told any more, a reboot is the way to the old software. */
        if (s->n_tries < UNDO_TRIES_MAX)
                each(s, AB, step_get_current, 0);
        else
                each_tolerant(s, AB, step_get_current, 0);
        /* Ends the rollback where the old software runs; else a reboot brings it. */
        plan_add(s, step_rolled_back, 0, 0);
        if (session_has_ab(s)) {
                plan_add(s, step_hook, first_ab(s), HOOK_STAGE_REBOOT);
                plan_add(s, step_wait_down, 0, 0);
        }
        plan_start(s);
}

void plans_reboot_to_undo(InstallSession *s)
{
        plan_begin(s, VERB_ROLL_BACK);
        each_tolerant(s, AB, step_get_current, 0);
        plan_add(s, step_reboot_may_undo, 0, 0);
        plan_add(s, step_hook, first_ab(s), HOOK_STAGE_REBOOT);
        plan_add(s, step_wait_down, 0, 0);
        plan_start(s);
}

void plans_recover(InstallSession *s)
{
        plan_begin(s, VERB_RECOVER);
        for (unsigned i = 0; i < s->n_runs; i++) {
                if (run_is_ab(&s->runs[i])) {
                        plan_add_tolerant(s, step_get_current, i, 0);
                        plan_add_tolerant(s, step_primary_is_current, i, 0);
                } else {
                        plan_add_tolerant(s, step_target_roll_back, i, 0);
                        plan_add_tolerant(s, step_target_discard, i, 0);
                }
        }
        plan_start(s);
}
