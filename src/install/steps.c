#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "session-private.h"
#include "trust/signature.h"

/* ---- opening ---- */

int step_choose_slot(InstallSession *s, const Step *step, Failure *reterr)
{
        FileRun *run = &s->runs[step->file];
        InstallFileRecord *more = &s->record.files[step->file];
        const Target *target = run->target->target;

        if (!run_is_ab(run))
                return STEP_DONE;
        if (s->has_session) {
                if (run->booted_slot == run->slot)
                        return fail(reterr, FAILURE_TARGET_BUSY, EBUSY,
                                    "target %s: slot %s, which was being written, is the one that runs",
                                    target_name(target), more->slot);
                return STEP_DONE;
        }
        run->slot = other_slot(run->booted_slot);
        (void)snprintf(more->slot, sizeof(more->slot), "%s", target_slot_name(target, run->slot));
        (void)snprintf(more->old_slot, sizeof(more->old_slot), "%s", target_slot_name(target, run->booted_slot));
        return STEP_DONE;
}

/* The target from what of it is durable on; what lies there is hashed again from its first byte. */
static int run_open(InstallSession *s, unsigned index, Failure *reterr)
{
        FileRun *run = &s->runs[index];
        InstallFileRecord *more = &s->record.files[index];
        const InstallFile *file = session_file(s, index);
        TargetWriterParams params = {
                .slot = run->slot,
                .booted_slot = run->booted_slot,
                .size_bytes = file->size_bytes,
                .resume_bytes = more->durable_bytes,
                .skip_equal = s->params->skip_equal,
        };
        int r;

        r = target_writer_open(run->target->target, &params, &run->writer, reterr);
        if (r < 0)
                return r;
        more->durable_bytes = MIN2(more->durable_bytes, target_writer_written(run->writer));
        run->digest = digest_free(run->digest);
        r = digest_new(policy_digest_algorithm(file), &run->digest);
        if (r < 0)
                return fail(reterr, FAILURE_ALGORITHM_REFUSED, -r, "target %s: cannot hash for %s: %s", file->target,
                            signature_algorithm_to_string(file->algorithm), strerror(-r));
        run->hashed_bytes = 0;
        run->verified = false;
        return hashing_start(s, reterr);
}

int step_open(InstallSession *s, const Step *step, Failure *reterr)
{
        /* Once more after a failure of the loop's making or a "not now": what is open stays open. */
        if (s->runs[step->file].writer)
                return STEP_DONE;
        return run_open(s, step->file, reterr);
}

int run_step_back(InstallSession *s, unsigned index, uint64_t offset, Failure *reterr)
{
        FileRun *run = &s->runs[index];
        InstallFileRecord *more = &s->record.files[index];
        int r;

        /* The record first: what is about to be written over is not durable any more. */
        more->durable_bytes = MIN2(more->durable_bytes, offset);
        r = session_save(s, reterr);
        if (r < 0)
                return r;
        run->writer = target_writer_free(run->writer);
        r = run_open(s, index, reterr);
        if (r < 0)
                return r;
        if (target_writer_written(run->writer) != offset)
                return fail(reterr, FAILURE_INSTALLER, ESPIPE, "target %s cannot be written again from byte %" PRIu64,
                            target_name(run->target->target), offset);
        return 0;
}

void runs_close(InstallSession *s)
{
        if (s->hashing)
                (void)sd_event_source_set_enabled(s->hashing, SD_EVENT_OFF);
        for (unsigned i = 0; i < s->n_runs; i++) {
                s->runs[i].writer = target_writer_free(s->runs[i].writer);
                s->runs[i].digest = digest_free(s->runs[i].digest);
                s->runs[i].verified = false;
                s->runs[i].hashed_bytes = 0;
        }
        s->opened = s->sealed = false;
}

int step_enter(InstallSession *s, const Step *step, Failure *reterr)
{
        UpdateState next = (UpdateState)step->argument;

        return s->has_session && s->record.state == next ? STEP_DONE : session_enter(s, next, reterr);
}

int step_begun(InstallSession *s, const Step *step, Failure *reterr)
{
        s->record.begun = true;
        return session_save(s, reterr);
}

int step_opened(InstallSession *s, const Step *step, Failure *reterr)
{
        bool complete = true;

        s->opened = true;
        for (unsigned i = 0; i < s->n_runs; i++)
                complete &= run_written_bytes(s, i) == session_file(s, i)->size_bytes;
        if (complete || s->record.state == UPDATE_STATE_DOWNLOADING)
                return STEP_DONE;
        log_warning("%s: not all of what was received is there any more, going back to downloading",
                    s->record.request.session);
        return session_enter(s, UPDATE_STATE_DOWNLOADING, reterr);
}

/* ---- sealing ---- */

int step_intake_ended(InstallSession *s, const Step *step, Failure *reterr)
{
        if (!intake_is_open(s))
                return STEP_DONE;
        intake_be_patient(s);
        return STEP_PENDING;
}

int step_complete(InstallSession *s, const Step *step, Failure *reterr)
{
        for (unsigned i = 0; i < s->n_runs; i++) {
                uint64_t written = run_written_bytes(s, i), size = session_file(s, i)->size_bytes;

                if (written != size)
                        return fail(reterr, FAILURE_INSTALLER, ESTALE, "target %s has %llu of %llu bytes",
                                    session_file(s, i)->target, (unsigned long long)written,
                                    (unsigned long long)size);
        }
        return STEP_DONE;
}

int step_flush(InstallSession *s, const Step *step, Failure *reterr)
{
        if (!s->runs[step->file].writer)
                return STEP_DONE;
        return intake_checkpoint(s, step->file, reterr);
}

int step_hashed(InstallSession *s, const Step *step, Failure *reterr)
{
        const FileRun *run = &s->runs[step->file];
        int r;

        if (run->verified || run->hashed_bytes == session_file(s, step->file)->size_bytes)
                return STEP_DONE;
        r = hashing_start(s, reterr);
        return r < 0 ? r : STEP_PENDING;
}

int step_signature(InstallSession *s, const Step *step, Failure *reterr)
{
        FileRun *run = &s->runs[step->file];
        DigestValue value;
        char hex[DIGEST_HEX_MAX];
        int r;

        if (run->verified)
                return STEP_DONE;
        r = digest_finish(run->digest, &value);
        if (r < 0)
                return fail(reterr, FAILURE_INTERNAL, -r, "target %s: the hash cannot be finished: %s",
                            session_file(s, step->file)->target, strerror(-r));
        if (value.algorithm == DIGEST_SHA256)
                (void)snprintf(s->record.files[step->file].sha256, sizeof(s->record.files[step->file].sha256), "%s",
                               digest_value_to_hex(&value, hex));
        r = policy_verify_file(s->params, session_file(s, step->file), &value, reterr);
        if (r < 0)
                return r;
        run->verified = true;
        /* Let go of the device: a post-install hook may want to look into it. */
        run->writer = target_writer_free(run->writer);
        run->digest = digest_free(run->digest);
        return STEP_DONE;
}

int step_post_installed(InstallSession *s, const Step *step, Failure *reterr)
{
        s->record.post_installed = true;
        return session_save(s, reterr);
}

int step_sealed(InstallSession *s, const Step *step, Failure *reterr)
{
        s->sealed = true;
        return s->record.state == UPDATE_STATE_INSTALLED ? STEP_DONE
                                                         : session_enter(s, UPDATE_STATE_INSTALLED, reterr);
}

/* ---- switching ---- */

int step_target_activate(InstallSession *s, const Step *step, Failure *reterr)
{
        return target_activate(s->runs[step->file].target->target, reterr);
}

int step_target_commit(InstallSession *s, const Step *step, Failure *reterr)
{
        return target_commit(s->runs[step->file].target->target, reterr);
}

int step_target_roll_back(InstallSession *s, const Step *step, Failure *reterr)
{
        return target_roll_back(s->runs[step->file].target->target, reterr);
}

int step_target_discard(InstallSession *s, const Step *step, Failure *reterr)
{
        return target_discard(s->runs[step->file].target->target, reterr);
}

int step_primary_asked(InstallSession *s, const Step *step, Failure *reterr)
{
        s->record.primary_asked = true;
        return session_save(s, reterr);
}

int step_activated(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->record.activated = true;
        if (session_has_ab(s)) {
                r = session_save(s, reterr);
                /* That a reboot is needed is news for who did not ask for the activation. */
                if (r >= 0)
                        session_tell_state(s);
                return r;
        }
        /* Without a slot nothing needs a reboot: the trial begins now. */
        s->record.n_boots = 0;
        return session_enter_testing(s, reterr);
}

int step_reboot_asked(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->record.reboot_asked_usec = now_usec();
        r = session_save(s, reterr);
        session_arm(s);
        return r;
}

/* ---- trial ---- */

int step_version(InstallSession *s, const Step *step, Failure *reterr)
{
        /* Who goes back wants an older one. */
        return policy_check_version(s->params, s->runs[step->file].target,
                                    s->record.reverts ? "" : s->record.files[step->file].previous_version, reterr);
}

int step_tested(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        s->record.tested = true;
        r = session_save(s, reterr);
        if (r >= 0)
                session_log_event(s, LOG_EVENT_SELFTEST_PASSED, "the self-test has passed");
        return r;
}

/* ---- rolling back ---- */

int step_undone(InstallSession *s, const Step *step, Failure *reterr)
{
        /* From here on waits grow anew, for the reboot. */
        if (!s->switched_back)
                s->n_tries = 0;
        s->switched_back = true;
        if (s->record.undone)
                return STEP_DONE;
        s->record.undone = true;
        return session_save(s, reterr);
}

/* Or may run: where it is not known. */
static bool new_slot_runs(const InstallSession *s)
{
        for (unsigned i = 0; i < s->n_runs; i++)
                if (run_is_ab(&s->runs[i]) && s->runs[i].booted_slot != other_slot(s->runs[i].slot))
                        return true;
        return false;
}

int step_rolled_back(InstallSession *s, const Step *step, Failure *reterr)
{
        if (!new_slot_runs(s)) {
                session_enter_anyway(s, UPDATE_STATE_ROLLED_BACK);
                plan_skip_rest(s);
                return STEP_DONE;
        }
        if (s->record.n_boots > s->params->selftest_max_boots) {
                Failure failure;

                (void)fail(&failure, FAILURE_ROLLBACK_FAILED, EIO,
                           "the old slot was made primary, but the machine came up in the new one %u times",
                           s->record.n_boots);
                session_give_up_rollback(s, &failure);
                plan_skip_rest(s);
                return STEP_DONE;
        }
        log_warning("%s: switched back, the old software needs a reboot", s->record.request.session);
        return STEP_DONE;
}

int step_reboot_may_undo(InstallSession *s, const Step *step, Failure *reterr)
{
        if (new_slot_runs(s) && s->record.n_boots <= UNDO_BOOTS_MAX) {
                log_warning(
                        "%s: cannot be switched back (%s), asking for a reboot, in which the boot loader may do it",
                        s->record.request.session, s->undo_failure.detail);
                return STEP_DONE;
        }
        session_give_up_rollback(s, &s->undo_failure);
        plan_skip_rest(s);
        return STEP_DONE;
}

int step_wait_down(InstallSession *s, const Step *step, Failure *reterr)
{
        /* The timer tries the whole rollback again if the machine is still up then. */
        s->retry_usec = usec_add(now_usec(), s->params->reboot_timeout_usec);
        session_arm(s);
        return STEP_PENDING;
}

/* ---- ending ---- */

int step_forget(InstallSession *s, const Step *step, Failure *reterr)
{
        int r;

        r = install_record_remove(s->params->state_dir_fd);
        if (r < 0)
                return fail(reterr, FAILURE_RESOURCES, -r, "cannot remove the session's record: %s", strerror(-r));
        session_forget(s);
        return STEP_DONE;
}
