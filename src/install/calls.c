#include <errno.h>
#include <string.h>

#include "base/local-session.h"
#include "base/log.h"
#include "base/time-util.h"
#include "session-private.h"

/* Calls that wait for the end of one step. otad makes one; whoever makes thousands shall not fill the memory. */
enum { WAITERS_MAX = 16 };

static const char *verb_to_string(Verb verb)
{
        static const char *const words[_VERB_MAX] = {
                [VERB_BEGIN] = "Begin",      [VERB_VERIFY] = "Verify",      [VERB_ACTIVATE] = "Activate",
                [VERB_REBOOT] = "Reboot",    [VERB_SELF_TEST] = "SelfTest", [VERB_COMMIT] = "Commit",
                [VERB_RELEASE] = "Release",  [VERB_ROLL_BACK] = "rollback", [VERB_STARTUP] = "start",
                [VERB_RECOVER] = "recovery", [VERB_REVERT] = "Revert",
        };

        return words[verb];
}

static void answer_out_of_turn(InstallSession *s, Verb verb, InstallDoneFn done, void *userdata)
{
        Failure failure;

        (void)fail(&failure, FAILURE_INSTALLER, ESTALE, "%s is not for state %s", verb_to_string(verb),
                   update_state_to_string(session_state(s)));
        done(INSTALL_OUTCOME_OUT_OF_TURN, &failure, userdata);
}

static void answer_busy(InstallSession *s, InstallDoneFn done, void *userdata)
{
        Failure failure;

        (void)fail(&failure, FAILURE_INSTALLER, EBUSY, "%s is still at work", verb_to_string(s->plan.verb));
        done(INSTALL_OUTCOME_BUSY, &failure, userdata);
}

static bool wait_for(InstallSession *s, Verb verb, InstallDoneFn done, void *userdata)
{
        Waiter *w = NULL, **last = &s->waiters;
        Failure failure;
        unsigned n = 0;

        while (*last) {
                last = &(*last)->next;
                n++;
        }
        if (n < WAITERS_MAX)
                w = calloc(1, sizeof(*w));
        if (!w) {
                (void)fail(&failure, FAILURE_RESOURCES, ENOMEM, "%u calls wait for the end of %s already", n,
                           verb_to_string(verb));
                done(INSTALL_OUTCOME_BUSY, &failure, userdata);
                return false;
        }
        *w = (Waiter){.verb = verb, .done = done, .userdata = userdata};
        *last = w;
        return true;
}

/*
 * What all calls share that run a plan: joins the same call at work, is refused while another works or in a state not
 * its own, goes on where a "not now" stopped it, or starts.
 */
static void run(InstallSession *s, Verb verb, bool in_turn, void (*plan)(InstallSession *s), InstallDoneFn done,
                void *userdata)
{
        if (!s->ready || (s->plan.running && s->plan.verb != verb)) {
                answer_busy(s, done, userdata);
                return;
        }
        if (!s->plan.running && !in_turn) {
                answer_out_of_turn(s, verb, done, userdata);
                return;
        }
        if (!wait_for(s, verb, done, userdata) || s->plan.running)
                return;
        if (s->plan.paused && s->plan.verb == verb)
                plan_start(s);
        else
                plan(s);
}

/* A record for a session that is to begin, its targets bound. */
static int prepare_record(InstallSession *s, const InstallRequest *request, Failure *reterr)
{
        int r;

        memset(&s->record, 0, sizeof(s->record));
        s->record.request = *request;
        s->record.began_wall_usec = wall_clock_usec();
        r = install_request_check(request);
        if (r < 0)
                return fail(reterr, FAILURE_INSTALLER, EBADMSG, "the request is out of bounds");
        return session_bind_targets(s, reterr);
}

static void note_previous_versions(InstallSession *s)
{
        failure_set(&s->damage, FAILURE_NONE, "");
        s->owned = session_is_local(s->record.request.session);
        for (unsigned i = 0; i < s->n_runs; i++)
                policy_read_version(s->runs[i].target->version_file, s->runs[i].target->version_key,
                                    s->record.files[i].previous_version);
}

static void refuse_request(InstallSession *s, const InstallRequest *request, const Failure *failure,
                           InstallDoneFn done, void *userdata)
{
        s->n_runs = 0;
        log_warning("%s: refused: %s", request->session, failure->detail);
        done(INSTALL_OUTCOME_FAILED, failure, userdata);
}

static void begin_new(InstallSession *s, const InstallRequest *request, InstallDoneFn done, void *userdata)
{
        Failure failure = {.reason = FAILURE_NONE};
        int r;

        r = prepare_record(s, request, &failure);
        if (r >= 0)
                r = policy_check_space(s->params, &failure);
        for (size_t i = 0; r >= 0 && i < request->n_files; i++)
                r = policy_check_file(s->params, &request->files[i], &failure);
        if (r < 0) {
                refuse_request(s, request, &failure, done, userdata);
                return;
        }
        note_previous_versions(s);
        run(s, VERB_BEGIN, true, plans_begin, done, userdata);
}

void install_session_revert(InstallSession *s, const InstallRequest *request, InstallDoneFn done, void *userdata)
{
        Failure failure = {.reason = FAILURE_NONE};

        if (!s->ready || s->plan.running) {
                answer_busy(s, done, userdata);
                return;
        }
        if (s->has_session) {
                (void)fail(&failure, FAILURE_INSTALLER, EBUSY, "session %s is here", s->record.request.session);
                done(INSTALL_OUTCOME_BUSY, &failure, userdata);
                return;
        }
        if (prepare_record(s, request, &failure) < 0) {
                refuse_request(s, request, &failure, done, userdata);
                return;
        }
        s->record.reverts = true;
        note_previous_versions(s);
        run(s, VERB_REVERT, true, plans_revert, done, userdata);
}

void install_session_begin(InstallSession *s, const InstallRequest *request, InstallDoneFn done, void *userdata)
{
        Failure failure;
        bool known = s->has_session || (s->plan.running && s->plan.verb == VERB_BEGIN);

        if (!s->ready || (s->plan.running && s->plan.verb != VERB_BEGIN)) {
                answer_busy(s, done, userdata);
                return;
        }
        if (!known) {
                begin_new(s, request, done, userdata);
                return;
        }
        /* That of the same name never ends by itself in favour of the other; another one does. */
        if (!install_request_is_same(&s->record.request, request)) {
                bool same_name = strcmp(s->record.request.session, request->session) == 0;

                (void)fail(&failure, FAILURE_INSTALLER, EBUSY, "session %s is here%s", s->record.request.session,
                           same_name ? ", with other files" : "");
                done(same_name ? INSTALL_OUTCOME_OUT_OF_TURN : INSTALL_OUTCOME_BUSY, &failure, userdata);
                return;
        }
        switch (session_state(s)) {
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
                if (s->opened && !s->plan.running)
                        done(INSTALL_OUTCOME_DONE, NULL, userdata);
                else
                        run(s, VERB_BEGIN, true, plans_begin, done, userdata);
                break;
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                answer_out_of_turn(s, VERB_BEGIN, done, userdata);
                break;
        }
}

void install_session_write(InstallSession *s, unsigned file, uint64_t offset, InstallWriteFn done, void *userdata)
{
        Failure failure;

        if (session_state(s) != UPDATE_STATE_DOWNLOADING || !s->opened || s->plan.running) {
                (void)fail(&failure, FAILURE_INSTALLER, ESTALE, "Write is not for state %s%s",
                           update_state_to_string(session_state(s)),
                           !s->opened        ? ", before Begin"
                           : s->plan.running ? ", while a call is at work"
                                             : "");
                done(INSTALL_OUTCOME_OUT_OF_TURN, &failure, -1, userdata);
                return;
        }
        /* While a pipe is open more bytes may still come in from it; then the offset is judged at its end. */
        if (file >= s->n_runs ||
            (!intake_is_open(s) && (offset > run_written_bytes(s, file) || !s->runs[file].writer))) {
                (void)fail(&failure, FAILURE_INSTALLER, EINVAL, "Write at %llu of file %u leaves a gap",
                           (unsigned long long)offset, file);
                done(INSTALL_OUTCOME_OUT_OF_TURN, &failure, -1, userdata);
                return;
        }
        intake_start(s, file, offset, done, userdata);
}

void install_session_verify(InstallSession *s, InstallDoneFn done, void *userdata)
{
        UpdateState state = session_state(s);

        if (state == UPDATE_STATE_INSTALLED && s->sealed && !s->plan.running)
                done(INSTALL_OUTCOME_DONE, NULL, userdata);
        else
                run(s, VERB_VERIFY,
                    state == UPDATE_STATE_DOWNLOADING || state == UPDATE_STATE_VERIFYING ||
                            state == UPDATE_STATE_INSTALLED,
                    plans_verify, done, userdata);
}

void install_session_activate(InstallSession *s, InstallDoneFn done, void *userdata)
{
        UpdateState state = session_state(s);

        if (s->ready && !s->plan.running && s->has_session && s->record.activated &&
            (state == UPDATE_STATE_ACTIVATING || state == UPDATE_STATE_TESTING))
                done(INSTALL_OUTCOME_DONE, NULL, userdata);
        else
                run(s, VERB_ACTIVATE, state == UPDATE_STATE_INSTALLED || state == UPDATE_STATE_ACTIVATING,
                    plans_activate, done, userdata);
}

void install_session_reboot(InstallSession *s, InstallDoneFn done, void *userdata)
{
        bool in_turn = session_state(s) == UPDATE_STATE_ACTIVATING && s->record.activated;

        /* Asked already: the deadline runs. */
        if (in_turn && s->record.reboot_asked_usec != 0 && !s->plan.running)
                done(INSTALL_OUTCOME_DONE, NULL, userdata);
        else
                run(s, VERB_REBOOT, in_turn, plans_reboot, done, userdata);
}

void install_session_self_test(InstallSession *s, InstallDoneFn done, void *userdata)
{
        bool in_turn = session_state(s) == UPDATE_STATE_TESTING;

        if (in_turn && s->record.tested && !s->plan.running)
                done(INSTALL_OUTCOME_DONE, NULL, userdata);
        else
                run(s, VERB_SELF_TEST, in_turn, plans_self_test, done, userdata);
}

void install_session_commit(InstallSession *s, InstallDoneFn done, void *userdata)
{
        UpdateState state = session_state(s);

        if (state == UPDATE_STATE_COMMITTED && !s->plan.running)
                done(INSTALL_OUTCOME_DONE, NULL, userdata);
        else
                run(s, VERB_COMMIT, state == UPDATE_STATE_TESTING && s->record.tested, plans_commit, done, userdata);
}

void install_session_roll_back(InstallSession *s, const Failure *why, InstallDoneFn done, void *userdata)
{
        if (!s->ready) {
                answer_busy(s, done, userdata);
                return;
        }
        switch (session_state(s)) {
        case UPDATE_STATE_COMMITTED:
                answer_out_of_turn(s, VERB_ROLL_BACK, done, userdata);
                return;
        case UPDATE_STATE_IDLE:
                if (s->plan.running && s->plan.verb == VERB_BEGIN)
                        session_fail(s, why);
                break;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
                session_fail(s, why);
                break;
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        done(INSTALL_OUTCOME_DONE, NULL, userdata);
}

void install_session_release(InstallSession *s, InstallDoneFn done, void *userdata)
{
        UpdateState state = session_state(s);

        if (s->ready && state == UPDATE_STATE_IDLE && !s->plan.running)
                done(INSTALL_OUTCOME_DONE, NULL, userdata);
        else
                run(s, VERB_RELEASE, session_is_over(s), plans_release, done, userdata);
}
