#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time-util.h"
#include "install/history.h"
#include "session-private.h"

enum { TICK_MSEC = 1000, TICKS_PER_SIGN_OF_LIFE = 4 };

/* ---- facts ---- */

bool session_has_ab(const InstallSession *s)
{
        for (unsigned i = 0; i < s->n_runs; i++)
                if (run_is_ab(&s->runs[i]))
                        return true;
        return false;
}

UpdateState session_state(const InstallSession *s)
{
        return s->has_session ? s->record.state : UPDATE_STATE_IDLE;
}

uint64_t run_written_bytes(InstallSession *s, unsigned file)
{
        const FileRun *run = &s->runs[file];

        if (run->verified)
                return session_file(s, file)->size_bytes;
        return run->writer ? target_writer_written(run->writer) : s->record.files[file].durable_bytes;
}

bool session_is_over(const InstallSession *s)
{
        return session_state(s) == UPDATE_STATE_COMMITTED || session_state(s) == UPDATE_STATE_ROLLED_BACK;
}

uint64_t selftest_deadline_usec(const InstallSession *s)
{
        return usec_add(s->record.test_began_usec, s->params->selftest_timeout_usec);
}

static bool has_unsigned(const InstallSession *s)
{
        for (size_t i = 0; i < s->record.request.n_files; i++)
                if (s->record.request.files[i].algorithm == SIGNATURE_ALGORITHM_NONE)
                        return true;
        return false;
}

void session_read_version(InstallSession *s)
{
        const InstallTarget *target;

        s->version[0] = '\0';
        for (size_t i = 0; i < s->n_runs && s->version[0] == '\0'; i++) {
                target = s->runs[i].target;
                policy_read_version(target->version_file, target->version_key, s->version);
        }
        if (s->version[0] == '\0')
                policy_read_version(s->params->version_file, s->params->version_key, s->version);
}

static const char *previous_version(const InstallSession *s)
{
        for (size_t i = 0; i < s->record.request.n_files; i++)
                if (s->record.files[i].previous_version[0] != '\0')
                        return s->record.files[i].previous_version;
        return "";
}

void install_session_get_status(InstallSession *s, InstallStatus *ret)
{
        memset(ret, 0, sizeof(*ret));
        ret->record = s->has_session ? &s->record : NULL;
        ret->state = session_state(s);
        ret->failure = s->has_session ? &s->record.failure : &s->damage;
        ret->version = s->version;
        ret->previous_version = s->has_session ? previous_version(s) : "";
        ret->selftest_left_usec = USEC_INFINITY;
        if (!s->has_session)
                return;
        ret->reboot_needed = s->record.state == UPDATE_STATE_ACTIVATING && s->record.activated;
        ret->without_signature = has_unsigned(s);
        if (s->record.state == UPDATE_STATE_TESTING)
                ret->selftest_left_usec = usec_sub(selftest_deadline_usec(s), now_usec());
        for (unsigned i = 0; i < s->n_runs; i++)
                ret->files[i] = (InstallFileStatus){
                        .written_bytes = run_written_bytes(s, i),
                        .durable_bytes = s->record.files[i].durable_bytes,
                        .verified_bytes = s->runs[i].hashed_bytes,
                };
}

bool install_session_is_working(const InstallSession *s)
{
        return s->plan.running || intake_is_open(s) || hashing_is_busy(s) || s->retry_usec != USEC_INFINITY;
}

/* ---- answers and progress ---- */

void session_answer(InstallSession *s, Verb verb, InstallOutcome outcome, const Failure *failure)
{
        Waiter **link = &s->waiters, *mine = NULL, **last = &mine;

        while (*link) {
                Waiter *w = *link;

                if (verb != _VERB_MAX && w->verb != verb) {
                        link = &w->next;
                        continue;
                }
                *link = w->next;
                w->next = NULL;
                *last = w;
                last = &w->next;
        }
        while (mine) {
                Waiter *w = mine;

                mine = w->next;
                w->done(outcome, failure, w->userdata);
                free(w);
        }
}

void session_tell_state(InstallSession *s)
{
        if (s->ready)
                s->ops->on_state(s->userdata);
        local_go_on(s);
}

static int session_on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
        InstallSession *s = userdata;
        bool told = false;

        if (!s->ready)
                return 0;
        s->n_ticks++;
        for (unsigned i = 0; i < s->n_runs; i++) {
                FileRun *run = &s->runs[i];
                uint64_t bytes = run_written_bytes(s, i) + run->hashed_bytes;

                if (bytes == run->told_bytes)
                        continue;
                run->told_bytes = bytes;
                s->ops->on_progress(i, s->userdata);
                told = true;
        }
        if (!told && s->n_ticks % TICKS_PER_SIGN_OF_LIFE == 0)
                s->ops->on_progress(0, s->userdata);
        if (s->plan.running || intake_is_open(s) || hashing_is_busy(s))
                session_tick(s);
        return 0;
}

void session_tick(InstallSession *s)
{
        int enabled = SD_EVENT_OFF, r = 0;

        if (s->tick && sd_event_source_get_enabled(s->tick, &enabled) >= 0 && enabled != SD_EVENT_OFF)
                return;
        if (!s->tick)
                r = sd_event_add_time(s->event, &s->tick, CLOCK_BOOTTIME, 0, 100 * USEC_PER_MSEC, session_on_tick, s);
        if (r >= 0)
                r = sd_event_source_set_time(s->tick, now_usec() + TICK_MSEC * USEC_PER_MSEC);
        if (r >= 0)
                r = sd_event_source_set_enabled(s->tick, SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the timer for progress: %m");
}

/* ---- states ---- */

static bool may_enter(UpdateState from, UpdateState to)
{
        switch (to) {
        case UPDATE_STATE_DOWNLOADING:
                return from == UPDATE_STATE_IDLE || from == UPDATE_STATE_VERIFYING || from == UPDATE_STATE_INSTALLED;
        case UPDATE_STATE_VERIFYING:
                return from == UPDATE_STATE_DOWNLOADING;
        case UPDATE_STATE_INSTALLED:
                return from == UPDATE_STATE_VERIFYING || from == UPDATE_STATE_IDLE;
        case UPDATE_STATE_ACTIVATING:
                return from == UPDATE_STATE_INSTALLED;
        case UPDATE_STATE_TESTING:
                return from == UPDATE_STATE_ACTIVATING;
        case UPDATE_STATE_COMMITTED:
                return from == UPDATE_STATE_TESTING;
        case UPDATE_STATE_ROLLING_BACK:
                return from == UPDATE_STATE_ACTIVATING || from == UPDATE_STATE_TESTING;
        case UPDATE_STATE_ROLLED_BACK:
                return from == UPDATE_STATE_DOWNLOADING || from == UPDATE_STATE_VERIFYING ||
                       from == UPDATE_STATE_INSTALLED || from == UPDATE_STATE_ROLLING_BACK;
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        return false;
}

int session_save(InstallSession *s, Failure *reterr)
{
        int r = install_record_save(&s->record, s->params->state_dir_fd);

        if (r < 0)
                return fail(reterr, FAILURE_RESOURCES, -r, "the session's record cannot be saved: %s", strerror(-r));
        return 0;
}

void session_write_history(InstallSession *s)
{
        const InstallRecord *record = &s->record;
        HistoryEntry e = {.attempt = record->request.attempt, .began_wall_usec = record->began_wall_usec};
        size_t n = 0;
        int r;

        e.ended_wall_usec = wall_clock_usec();
        (void)snprintf(e.session, sizeof(e.session), "%s", record->request.session);
        (void)snprintf(e.job_id, sizeof(e.job_id), "%s", record->request.job_id);
        (void)snprintf(e.operation, sizeof(e.operation), "%s", record->reverts ? "rollback" : "update");
        (void)snprintf(e.result, sizeof(e.result), "%s", update_state_to_string(record->state));
        (void)snprintf(e.previous_version, sizeof(e.previous_version), "%s", previous_version(s));
        (void)snprintf(e.version, sizeof(e.version), "%s", record->version);
        if (failure_is_set(&record->failure))
                (void)snprintf(e.reason, sizeof(e.reason), "%s", failure_reason_to_string(record->failure.reason));
        (void)text_escape(e.detail, sizeof(e.detail), record->failure.detail, strlen(record->failure.detail), false);
        for (size_t i = 0; i < record->request.n_files; i++)
                e.size_bytes += record->request.files[i].size_bytes;
        for (size_t i = 0; i < record->request.n_files && n < sizeof(e.targets); i++)
                n += (size_t)snprintf(e.targets + n, sizeof(e.targets) - n, "%s%s", i > 0 ? "," : "",
                                      record->request.files[i].target);
        r = history_append(s->params->state_dir_fd, &e);
        if (r < 0)
                (void)log_error_errno(r, "%s: cannot be written to the history: %m", e.session);
}

void session_log_event(const InstallSession *s, LogEvent event, const char *what)
{
        const InstallRecord *record = &s->record;
        const char *detail = record->failure.detail, *error = failure_reason_to_string(record->failure.reason);
        bool failed = failure_is_set(&record->failure);
        const LogFields fields = {
                .job_id = record->request.job_id,
                .state = update_state_to_string(record->state),
                .error = failed ? error : NULL,
                .target = record->request.n_files > 0 ? record->request.files[0].target : NULL,
                .version = s->version,
        };

        log_event(event, &fields, "%s: %s%s%s", record->request.session, what, failed ? ": " : "", detail);
}

static void log_state(const InstallSession *s, UpdateState from)
{
        static const LogEvent events[_UPDATE_STATE_MAX] = {
                [UPDATE_STATE_INSTALLED] = LOG_EVENT_UPDATE_INSTALLED,
                [UPDATE_STATE_TESTING] = LOG_EVENT_UPDATE_ACTIVATED,
                [UPDATE_STATE_COMMITTED] = LOG_EVENT_UPDATE_COMMITTED,
                [UPDATE_STATE_ROLLED_BACK] = LOG_EVENT_UPDATE_ROLLED_BACK,
        };
        const Failure *failure = &s->record.failure;
        char text[64];

        snprintf(text, sizeof(text), "%s -> %s", update_state_to_string(from),
                 update_state_to_string(s->record.state));
        if (events[s->record.state] != LOG_EVENT_NONE)
                session_log_event(s, events[s->record.state], text);
        else
                log_info("%s: %s%s%s", s->record.request.session, text, failure_is_set(failure) ? ": " : "",
                         failure->detail);
}

/* What every entry does, saved or not. */
static void session_entered(InstallSession *s, UpdateState from)
{
        log_state(s, from);
        s->retry_usec = USEC_INFINITY;
        if (session_is_over(s))
                session_write_history(s);
        session_arm(s);
        session_tell_state(s);
}

static void note_boot(InstallSession *s)
{
        (void)snprintf(s->record.boot_id, sizeof(s->record.boot_id), "%s", s->boot_id);
        s->record.reboot_asked_usec = 0;
}

int session_enter(InstallSession *s, UpdateState next, Failure *reterr)
{
        UpdateState from = session_state(s);
        InstallRecord before = s->record;
        int r;

        assert(may_enter(from, next));
        s->record.state = next;
        if (next == UPDATE_STATE_ACTIVATING || next == UPDATE_STATE_TESTING || next == UPDATE_STATE_ROLLING_BACK)
                note_boot(s);
        r = session_save(s, reterr);
        if (r < 0) {
                s->record = before;
                return r;
        }
        s->has_session = true;
        session_entered(s, from);
        return 0;
}

void session_enter_anyway(InstallSession *s, UpdateState next)
{
        UpdateState from = session_state(s);
        Failure failure;

        if (session_enter(s, next, &failure) >= 0)
                return;
        /* Giving up is always right; if the power fails now, the next start gives up again. */
        log_error("%s: %s, going on", s->record.request.session, failure.detail);
        s->record.state = next;
        session_entered(s, from);
}

int session_enter_testing(InstallSession *s, Failure *reterr)
{
        int r;

        s->record.test_began_usec = now_usec();
        s->record.n_boots++;
        s->record.tested = false;
        session_read_version(s);
        memcpy(s->record.version, s->version, sizeof(s->record.version));
        r = session_enter(s, UPDATE_STATE_TESTING, reterr);
        return r;
}

void session_forget(InstallSession *s)
{
        runs_close(s);
        s->has_session = false;
        s->n_runs = 0;
        session_read_version(s); /* the device's, no more that of a target of its own version */
        memset(&s->record, 0, sizeof(s->record));
        s->switched_back = s->owned = false;
        s->n_tries = 0;
        s->retry_usec = USEC_INFINITY;
        session_arm(s);
        session_tell_state(s);
}

/* ---- life ---- */

int session_bind_targets(InstallSession *s, Failure *reterr)
{
        const InstallRequest *request = &s->record.request;

        s->n_runs = 0;
        for (size_t i = 0; i < request->n_files; i++) {
                FileRun *run = &s->runs[i];
                const char *slot = s->record.files[i].slot;

                *run = (FileRun){.slot = TARGET_NO_SLOT, .booted_slot = TARGET_NO_SLOT};
                for (size_t j = 0; j < s->params->n_targets; j++)
                        if (strcmp(target_name(s->params->targets[j].target), request->files[i].target) == 0)
                                run->target = &s->params->targets[j];
                if (!run->target)
                        return fail(reterr, FAILURE_TARGET_UNKNOWN, ENOENT, "no target is called %s",
                                    request->files[i].target);
                for (size_t j = 0; j < i; j++)
                        if (s->runs[j].target == run->target)
                                return fail(reterr, FAILURE_TARGET_REPEATED, EEXIST, "two files are for target %s",
                                            request->files[i].target);
                if (run_is_ab(run) && slot[0] != '\0') {
                        run->slot = target_slot_from_name(run->target->target, slot);
                        if (run->slot < 0)
                                return fail(reterr, FAILURE_TARGET_UNKNOWN, ENOENT, "target %s has no slot %s",
                                            request->files[i].target, slot);
                }
        }
        s->n_runs = request->n_files;
        return 0;
}

int install_session_new(sd_event *event, const InstallParams *params, const InstallOps *ops, void *userdata,
                        InstallSession **ret)
{
        _cleanup_(install_session_freep) InstallSession *s = calloc(1, sizeof(*s));
        int r;

        if (!s)
                return -ENOMEM;
        s->event = sd_event_ref(event);
        s->params = params;
        s->ops = ops;
        s->userdata = userdata;
        s->retry_usec = USEC_INFINITY;
        r = plan_init(s);
        if (r >= 0)
                r = local_init(s);
        if (r < 0)
                return r;
        r = sd_event_add_time(event, &s->timer, CLOCK_BOOTTIME, USEC_INFINITY, 10 * USEC_PER_MSEC, session_on_timer,
                              s);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(s->timer, "install-session");
        r = startup_load(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

InstallSession *install_session_free(InstallSession *s)
{
        Failure failure;

        if (!s)
                return NULL;
        plan_cancel(s);
        intake_close(s);
        (void)fail(&failure, FAILURE_INSTALLER, ESHUTDOWN, "the installer stops");
        intake_refuse_next(s, INSTALL_OUTCOME_BUSY, &failure);
        session_answer(s, _VERB_MAX, INSTALL_OUTCOME_BUSY, &failure);
        runs_close(s);
        sd_event_source_disable_unref(s->plan.next);
        sd_event_source_disable_unref(s->alone);
        sd_event_source_disable_unref(s->hashing);
        sd_event_source_disable_unref(s->timer);
        sd_event_source_disable_unref(s->tick);
        sd_event_unref(s->event);
        free(s);
        return NULL;
}
