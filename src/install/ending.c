#include <errno.h>
#include <string.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "session-private.h"

#define RETRY_CAP_USEC (3600 * USEC_PER_SEC)
/* Until the start is judged nobody is served, and the service manager waits: TimeoutStartSec= of the unit. */
#define START_RETRY_CAP_USEC (10 * USEC_PER_SEC)

/* ---- failure ---- */

static void discard_files(InstallSession *s)
{
        Failure failure;

        for (unsigned i = 0; i < s->n_runs; i++)
                if (target_discard(s->runs[i].target->target, &failure) < 0)
                        log_warning("%s: %s", s->record.request.session, failure.detail);
}

void session_fail(InstallSession *s, const Failure *failure)
{
        Failure why = *failure;

        plan_cancel(s);
        intake_close(s);
        if (s->has_session && !failure_is_set(&s->record.failure))
                s->record.failure = why;
        if (session_state(s) == UPDATE_STATE_TESTING)
                session_log_event(s, LOG_EVENT_SELFTEST_FAILED, "the new software has not stood the test");
        else
                log_warning("%s: %s: %s", s->record.request.session, failure_reason_to_string(why.reason),
                            why.detail);
        switch (session_state(s)) {
        case UPDATE_STATE_IDLE:
                runs_close(s);
                discard_files(s);
                session_forget(s);
                break;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
                runs_close(s);
                discard_files(s);
                session_enter_anyway(s, UPDATE_STATE_ROLLED_BACK);
                break;
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
                s->record.n_boots = 0;
                s->record.undone = false;
                s->switched_back = false;
                s->n_tries = 0;
                session_enter_anyway(s, UPDATE_STATE_ROLLING_BACK);
                plans_roll_back(s);
                break;
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        intake_refuse_next(s, INSTALL_OUTCOME_FAILED, &why);
        session_answer(s, _VERB_MAX, INSTALL_OUTCOME_FAILED, &why);
}

void session_give_up_rollback(InstallSession *s, const Failure *failure)
{
        Failure why;

        (void)fail(&why, FAILURE_ROLLBACK_FAILED, EIO, "%s; it was to be undone because of %s: %s", failure->detail,
                   failure_reason_to_string(s->record.failure.reason), s->record.failure.detail);
        s->record.failure = why;
        session_log_event(s, LOG_EVENT_ROLLBACK_FAILED, "the rollback failed, and only a person can help");
        session_enter_anyway(s, UPDATE_STATE_ROLLED_BACK);
}

void session_wait_and_retry(InstallSession *s, const Failure *failure)
{
        char text[DURATION_TEXT_MAX];
        uint64_t wait = s->params->retry_usec, cap = s->ready ? RETRY_CAP_USEC : START_RETRY_CAP_USEC;

        for (unsigned i = 0; i < s->n_tries && wait < cap; i++)
                wait *= 2;
        wait = MIN2(wait, cap);
        s->n_tries++;
        log_warning("%s: %s, trying again in %s", s->has_session ? s->record.request.session : "start",
                    failure->detail, duration_format(text, wait));
        s->retry_usec = usec_add(now_usec(), wait);
        session_arm(s);
}

static void on_roll_back_failed(InstallSession *s, const Failure *failure)
{
        /* What is switched back only lacks a reboot: that must come, however long it takes. */
        if (s->switched_back || s->n_tries < UNDO_TRIES_MAX) {
                session_wait_and_retry(s, failure);
        } else if (s->n_tries == UNDO_TRIES_MAX && session_has_ab(s)) {
                s->n_tries++;
                s->undo_failure = *failure;
                plans_reboot_to_undo(s);
        } else {
                session_give_up_rollback(s, s->n_tries > UNDO_TRIES_MAX ? &s->undo_failure : failure);
        }
}

void session_on_plan_end(InstallSession *s, Verb verb, InstallOutcome outcome, const Failure *failure)
{
        switch (verb) {
        case VERB_STARTUP:
                if (outcome != INSTALL_OUTCOME_DONE && s->n_tries < STARTUP_TRIES_MAX) {
                        session_wait_and_retry(s, failure);
                        return;
                }
                if (outcome != INSTALL_OUTCOME_DONE)
                        s->found = *failure;
                startup_end(s);
                return;
        case VERB_RECOVER:
                session_forget(s);
                startup_end(s);
                return;
        case VERB_ROLL_BACK:
                if (outcome != INSTALL_OUTCOME_DONE)
                        on_roll_back_failed(s, failure);
                return;
        case VERB_RELEASE:
                break;
        case VERB_BEGIN:
        case VERB_REVERT:
        case VERB_VERIFY:
        case VERB_ACTIVATE:
        case VERB_REBOOT:
        case VERB_SELF_TEST:
        case VERB_COMMIT:
                if (outcome == INSTALL_OUTCOME_FAILED) {
                        session_fail(s, failure);
                        return;
                }
                break;
        case _VERB_MAX:
                return;
        }
        session_answer(s, verb, outcome, failure);
}

/* ---- deadlines ---- */

static uint64_t session_deadline(const InstallSession *s)
{
        uint64_t deadline = s->retry_usec;

        if (!s->has_session || !s->ready)
                return deadline;
        if (s->record.state == UPDATE_STATE_TESTING)
                deadline = MIN2(deadline, selftest_deadline_usec(s));
        if (s->record.state == UPDATE_STATE_ACTIVATING && s->record.reboot_asked_usec != 0)
                deadline = MIN2(deadline, usec_add(s->record.reboot_asked_usec, s->params->reboot_timeout_usec));
        return deadline;
}

static void on_retry(InstallSession *s)
{
        s->retry_usec = USEC_INFINITY;
        if (!s->ready) {
                startup_run(s);
                return;
        }
        if (session_state(s) != UPDATE_STATE_ROLLING_BACK) {
                local_go_on(s);
                return;
        }
        if (s->plan.running) {
                log_warning("%s: the machine is still up after a reboot was asked for, asking again",
                            s->record.request.session);
                plan_cancel(s);
        }
        plans_roll_back(s);
}

int session_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        InstallSession *s = userdata;
        char text[DURATION_TEXT_MAX];
        Failure failure;

        if (session_deadline(s) > now_usec()) {
                session_arm(s);
        } else if (s->retry_usec <= now_usec()) {
                on_retry(s);
        } else if (s->record.state == UPDATE_STATE_TESTING) {
                (void)fail(&failure, FAILURE_SELFTEST_TIMEOUT, ETIMEDOUT, "no commit within %s of the start",
                           duration_format(text, s->params->selftest_timeout_usec));
                session_fail(s, &failure);
        } else {
                (void)fail(&failure, FAILURE_REBOOT_FAILED, ETIMEDOUT,
                           "the machine is still up %s after the reboot hook ended",
                           duration_format(text, s->params->reboot_timeout_usec));
                session_fail(s, &failure);
        }
        return 0;
}

void session_arm(InstallSession *s)
{
        uint64_t deadline = session_deadline(s);
        int r;

        r = sd_event_source_set_time(s->timer, deadline);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->timer,
                                                deadline == USEC_INFINITY ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the session's timer: %m");
}
