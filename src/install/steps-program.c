#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "session-private.h"

/* ---- boot script ---- */

static void on_boot_done(BootCall *call, int answer, const Failure *failure, void *userdata)
{
        InstallSession *s = userdata;
        Failure own = {.reason = FAILURE_NONE};
        int r;

        s->boot = boot_call_free(call);
        if (failure) {
                own = *failure;
                plan_step_done(s, -EIO, &own);
                return;
        }
        r = s->on_boot_answer(s, step_at_work(s), answer, &own);
        if (r < 0 && !failure_is_set(&own))
                (void)fail(&own, FAILURE_BOOT_SCRIPT, -r, "the boot script cannot be started: %s", strerror(-r));
        if (r != STEP_PENDING)
                plan_step_done(s, r, &own);
}

static const BootScript *boot_script(InstallSession *s, const Step *step)
{
        return target_boot_script(s->runs[step->file].target->target);
}

static int on_answered(InstallSession *s, const Step *step, int answer, Failure *reterr)
{
        return STEP_DONE;
}

static int on_current(InstallSession *s, const Step *step, int answer, Failure *reterr)
{
        s->runs[step->file].booted_slot = answer;
        return STEP_DONE;
}

int step_get_current(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->runs[step->file].booted_slot = TARGET_NO_SLOT;
        s->on_boot_answer = on_current;
        r = boot_get_current(s->event, boot_script(s, step), on_boot_done, s, &s->boot);
        return r < 0 ? r : STEP_PENDING;
}

static int set_primary(InstallSession *s, const Step *step, int slot)
{
        int r;

        s->on_boot_answer = on_answered;
        r = boot_set_primary(s->event, boot_script(s, step), slot, on_boot_done, s, &s->boot);
        return r < 0 ? r : STEP_PENDING;
}

int step_set_primary(InstallSession *s, const Step *step, Failure *reterr)
{
        int slot = s->runs[step->file].slot;

        return set_primary(s, step, step->argument == SLOT_NEW ? slot : other_slot(slot));
}

/* Whoever left it on trial, or bad, is gone, and with the other slot its way back goes, too. */
int step_confirm_current(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->on_boot_answer = on_answered;
        r = boot_set_state(s->event, boot_script(s, step), s->runs[step->file].booted_slot, true, on_boot_done, s,
                           &s->boot);
        return r < 0 ? r : STEP_PENDING;
}

static int on_primary(InstallSession *s, const Step *step, int answer, Failure *reterr)
{
        const FileRun *run = &s->runs[step->file];

        if (answer == run->booted_slot)
                return STEP_DONE;
        log_warning("Target %s: slot %s runs but %s is primary, making the one that runs primary",
                    target_name(run->target->target), target_slot_name(run->target->target, run->booted_slot),
                    target_slot_name(run->target->target, answer));
        return set_primary(s, step, run->booted_slot);
}

/* A slot that is about to be overwritten must not be what the next start would choose. */
int step_free_primary(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->on_boot_answer = on_primary;
        r = boot_get_primary(s->event, boot_script(s, step), on_boot_done, s, &s->boot);
        return r < 0 ? r : STEP_PENDING;
}

int step_primary_is_current(InstallSession *s, const Step *step, Failure *reterr)
{
        if (s->runs[step->file].booted_slot == TARGET_NO_SLOT)
                return fail(reterr, FAILURE_BOOT_SCRIPT, ENODATA, "it is not known which slot of target %s runs",
                            target_name(s->runs[step->file].target->target));
        return step_free_primary(s, step, reterr);
}

int step_set_state(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->on_boot_answer = on_answered;
        r = boot_set_state(s->event, boot_script(s, step), s->runs[step->file].slot, step->argument, on_boot_done, s,
                           &s->boot);
        return r < 0 ? r : STEP_PENDING;
}

static int on_state_read(InstallSession *s, const Step *step, int answer, Failure *reterr)
{
        FileRun *run = &s->runs[step->file];

        if (!answer)
                return fail(reterr, FAILURE_INSTALLER, ENODATA, "target %s: slot %s holds nothing good to go back to",
                            target_name(run->target->target), target_slot_name(run->target->target, run->slot));
        run->verified = true; /* for all there is to read, which is nothing */
        return STEP_DONE;
}

/* -ENODATA: there is nothing to go back to. */
int step_find_previous(InstallSession *s, const Step *step, Failure *reterr)
{
        const FileRun *run = &s->runs[step->file];
        int r;

        if (!run_is_ab(run))
                return fail(reterr, FAILURE_INSTALLER, ENODATA,
                            "target %s: the version before is not kept beyond the commit",
                            target_name(run->target->target));
        s->on_boot_answer = on_state_read;
        r = boot_get_state(s->event, boot_script(s, step), run->slot, on_boot_done, s, &s->boot);
        return r < 0 ? r : STEP_PENDING;
}

/* ---- hooks ---- */

static bool stage_may_wait(HookStage stage, UpdateState state)
{
        switch (stage) {
        case HOOK_STAGE_PRE_INSTALL:
        case HOOK_STAGE_POST_INSTALL:
        case HOOK_STAGE_ACTIVATE:
        case HOOK_STAGE_SELFTEST:
                return true;
        case HOOK_STAGE_REBOOT:
                return state != UPDATE_STATE_ROLLING_BACK;
        case HOOK_STAGE_COMMIT:
        case HOOK_STAGE_ROLLBACK:
        case HOOK_STAGE_CLEANUP:
        case _HOOK_STAGE_MAX:
                break;
        }
        return false;
}

static FailureReason stage_failure(HookStage stage, HookOutcome outcome)
{
        switch (stage) {
        case HOOK_STAGE_REBOOT:
                return FAILURE_REBOOT_FAILED;
        case HOOK_STAGE_COMMIT:
                return FAILURE_COMMIT_FAILED;
        case HOOK_STAGE_SELFTEST:
                if (outcome == HOOK_OUTCOME_FAILED)
                        return FAILURE_SELFTEST_FAILED;
                break;
        case HOOK_STAGE_PRE_INSTALL:
        case HOOK_STAGE_POST_INSTALL:
        case HOOK_STAGE_ACTIVATE:
        case HOOK_STAGE_ROLLBACK:
        case HOOK_STAGE_CLEANUP:
        case _HOOK_STAGE_MAX:
                break;
        }
        return outcome == HOOK_OUTCOME_TIMED_OUT ? FAILURE_HOOK_TIMEOUT : FAILURE_HOOK_FAILED;
}

static void on_hook_done(Hook *hook, const HookResult *result, void *userdata)
{
        InstallSession *s = userdata;
        HookStage stage = (HookStage)step_at_work(s)->argument;
        Failure failure = {.reason = FAILURE_NONE};
        int r = STEP_DONE;

        switch (result->outcome) {
        case HOOK_OUTCOME_DONE:
        case HOOK_OUTCOME_SKIPPED:
                break;
        case HOOK_OUTCOME_NOT_NOW:
                if (stage_may_wait(stage, s->record.state)) {
                        failure_set(&failure, FAILURE_HOOK_NOT_NOW, result->reason);
                        r = -EAGAIN;
                        break;
                }
                __attribute__((fallthrough));
        case HOOK_OUTCOME_FAILED:
        case HOOK_OUTCOME_TIMED_OUT:
                failure_set(&failure, stage_failure(stage, result->outcome), result->detail);
                r = -EIO;
                break;
        }
        s->hook = hook_free(hook);
        plan_step_done(s, r, &failure);
}

static const char *stage_result(const InstallSession *s, HookStage stage)
{
        if (stage == HOOK_STAGE_COMMIT)
                return "committed";
        if (stage == HOOK_STAGE_ROLLBACK || s->record.state == UPDATE_STATE_ROLLING_BACK)
                return "rolled-back";
        if (stage == HOOK_STAGE_CLEANUP)
                return update_state_to_string(s->record.state);
        return NULL;
}

int step_hook(InstallSession *s, const Step *step, Failure *reterr)
{
        HookStage stage = (HookStage)step->argument;
        const FileRun *run = &s->runs[step->file];
        const Target *target = run->target->target;
        const InstallFileRecord *more = &s->record.files[step->file];
        HookContext context = {
                .job_id = s->record.request.job_id,
                .target = target_name(target),
                .type = target_type_to_string(target_type(target)),
                .slot = run->slot >= 0 ? target_slot_name(target, run->slot) : NULL,
                .device = run->slot >= 0 ? target_slot_device(target, run->slot) : NULL,
                .path = target_path(target),
                .version = s->record.version,
                .previous_version = more->previous_version,
                .size_bytes = session_file(s, step->file)->size_bytes,
                .sha256 = more->sha256,
                .attempt = (unsigned)MIN2(s->record.request.attempt, (uint64_t)UINT32_MAX),
                .result = stage_result(s, stage),
                .reason = failure_is_set(&s->record.failure) ? failure_reason_to_string(s->record.failure.reason)
                                                             : NULL,
        };
        int r;

        r = hook_run(s->event, s->params->hook_script, stage, &context, s->params->hook_timeout_usec, on_hook_done, s,
                     &s->hook);
        return r < 0 ? r : STEP_PENDING;
}
