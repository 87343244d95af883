#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file-util.h"
#include "base/log-event.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time-util.h"
#include "session-private.h"

static int read_boot_id(InstallSession *s)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text;
        int r;

        r = file_read(AT_FDCWD, s->params->boot_id_path, 4096, &text, &n_text);
        if (r < 0)
                return log_error_errno(r, "Cannot read the boot id from %s: %m", s->params->boot_id_path);
        text[strcspn(text, "\n")] = '\0';
        if (!text_is_token(text, INSTALL_BOOT_ID_MAX, "-"))
                return log_error_errno(-EBADMSG, "%s holds no boot id: %m", s->params->boot_id_path);
        (void)snprintf(s->boot_id, sizeof(s->boot_id), "%s", text);
        return 0;
}

static bool boot_is_new(const InstallSession *s)
{
        return strcmp(s->boot_id, s->record.boot_id) != 0;
}

/* All configured targets stand in for the files of a session that nobody knows any more. */
static void bind_all_targets(InstallSession *s)
{
        s->n_runs = MIN2(s->params->n_targets, (size_t)RUNS_MAX);
        for (size_t i = 0; i < s->n_runs; i++)
                s->runs[i] = (FileRun){
                        .target = &s->params->targets[i],
                        .slot = TARGET_NO_SLOT,
                        .booted_slot = TARGET_NO_SLOT,
                };
}

static bool is_activated(UpdateState state)
{
        return state == UPDATE_STATE_ACTIVATING || state == UPDATE_STATE_TESTING ||
               state == UPDATE_STATE_ROLLING_BACK;
}

int startup_load(InstallSession *s)
{
        Failure failure;
        int r;

        r = read_boot_id(s);
        if (r < 0)
                return r;
        r = install_record_load(s->params->state_dir_fd, &s->record);
        if (r == -EBADMSG || r == -EUCLEAN) {
                /* Where it is still there the next start does the same once more, or goes on with what it can read then. */
                (void)fail(&s->damage, FAILURE_RECORD_DAMAGED, EBADMSG,
                           "the record of an update %s; what it was about was undone as far as that is safe",
                           r == -EBADMSG ? "was damaged and is put aside" : "can be neither read nor put aside");
                log_event(LOG_EVENT_RECORD_DAMAGED, &(LogFields){.file = "session"}, "%s", s->damage.detail);
                memset(&s->record, 0, sizeof(s->record));
                bind_all_targets(s);
        } else if (r == -ENOENT) {
                memset(&s->record, 0, sizeof(s->record));
        } else if (r < 0) {
                return log_error_errno(r, "Cannot read the session's record: %m");
        } else {
                s->has_session = true;
                log_info("Found session %s in state %s", s->record.request.session,
                         update_state_to_string(s->record.state));
                r = session_bind_targets(s, &failure);
                if (r < 0 && is_activated(s->record.state))
                        /* Without its targets it can be neither committed nor undone: not to be forgotten. */
                        return log_error_errno(r,
                                               "The session is for a target that is not configured any more (%s): %m",
                                               failure.detail);
                if (r < 0)
                        s->found = failure;
        }
        startup_run(s);
        return 0;
}

/* Testing goes on in another boot. */
static int test_once_more(InstallSession *s, Failure *reterr)
{
        s->record.n_boots++;
        (void)snprintf(s->record.boot_id, sizeof(s->record.boot_id), "%s", s->boot_id);
        s->record.test_began_usec = now_usec();
        s->record.tested = false;
        if (s->record.n_boots > s->params->selftest_max_boots)
                return fail(reterr, FAILURE_SELFTEST_FAILED, ETIMEDOUT,
                            "the new software was started %u times and not committed", s->record.n_boots);
        return session_save(s, reterr);
}

static bool runs_new_software(const InstallSession *s)
{
        for (unsigned i = 0; i < s->n_runs; i++)
                if (run_is_ab(&s->runs[i]) && s->runs[i].booted_slot != s->runs[i].slot)
                        return false;
        return true;
}

/* After a boot other than the one the record speaks of; for each A/B target it is known which slot runs. */
static int judge_boot(InstallSession *s, Failure *reterr)
{
        bool runs_new = runs_new_software(s), testing = s->record.state == UPDATE_STATE_TESTING;

        if (testing && runs_new)
                return test_once_more(s, reterr);
        if (testing)
                return fail(reterr, FAILURE_BOOTED_OLD, EIO,
                            "the boot loader went back to the old slot after %u starts of the new software",
                            s->record.n_boots);
        if (s->record.primary_asked && runs_new) {
                s->record.activated = true;
                s->record.n_boots = 0;
                return session_enter_testing(s, reterr);
        }
        /* Until the boot loader has said that it heard, a restart is only an interruption: it may never have been asked.
         * If it was, and the new slot did not come up, then it is asked once more, and its answer recorded. */
        if (!s->record.activated) {
                s->record.primary_asked = false;
                (void)snprintf(s->record.boot_id, sizeof(s->record.boot_id), "%s", s->boot_id);
                s->record.reboot_asked_usec = 0;
                return session_save(s, reterr);
        }
        return fail(reterr, FAILURE_BOOTED_OLD, EIO, "the machine restarted and came up in the old slot");
}

/* What was found may end the session; that is no failure of the start, and waits for its end. */
static int step_judge(InstallSession *s, const Step *step, Failure *reterr)
{
        Failure failure;

        if (judge_boot(s, &failure) < 0)
                s->found = failure;
        return STEP_DONE;
}

void startup_run(InstallSession *s)
{
        if (!s->has_session && failure_is_set(&s->damage)) {
                plans_recover(s);
                return;
        }
        plan_begin(s, VERB_STARTUP);
        if (s->has_session && boot_is_new(s)) {
                bool counts = is_activated(s->record.state) && s->record.state != UPDATE_STATE_ROLLING_BACK;

                for (unsigned i = 0; counts && i < s->n_runs; i++)
                        if (run_is_ab(&s->runs[i]))
                                plan_add(s, step_get_current, i, 0);
                if (counts)
                        plan_add(s, step_judge, 0, 0);
        }
        plan_start(s);
}

/* A rollback goes on by itself; each boot that did not bring the old software counts. */
static void roll_back_on(InstallSession *s)
{
        Failure failure;

        if (boot_is_new(s)) {
                s->record.n_boots++;
                (void)snprintf(s->record.boot_id, sizeof(s->record.boot_id), "%s", s->boot_id);
                if (session_save(s, &failure) < 0)
                        log_error("%s: %s, going on", s->record.request.session, failure.detail);
        }
        plans_roll_back(s);
}

void startup_end(InstallSession *s)
{
        s->ready = true;
        s->n_tries = 0;
        session_read_version(s);
        session_arm(s);
        local_judge_start(s);
        /* The power may have failed between the record and the history. */
        if (session_is_over(s))
                session_write_history(s);
        s->ops->on_ready(s->userdata);
        if (failure_is_set(&s->found))
                session_fail(s, &s->found);
        else if (s->has_session && s->record.state == UPDATE_STATE_ROLLING_BACK)
                roll_back_on(s);
        else
                local_go_on(s);
}
