/* Which job is next, as transcripts: an event, and the acts it has to lead to. */
#include "base/time-util.h"
#include "engine/job-queue.h"
#include "transcript.h"

enum { STEPS_MAX = 32 };

/*
 * Jobs are named "a1": id a, execution 1. A job whose id begins with f is foreign (SKIP), with m: cannot be judged for
 * now (LATER), with b: its owner is busy (WAIT), any other is held.
 * Events: "connected", "disconnected", "timer" (at the next deadline), "list a1 b1" (get/accepted to what was asked
 * last), "notify a1 b1", "next a1" or "next -", "is a1" (described: in progress) and "is a1 CANCELED", "is -" (nothing
 * there), "rejected CODE", "hold a1", "replace a1" (put back, hold, describe), "let-go",
 * "describe-held", "unreadable a1".
 * Acts: "list" and "describe a1" are asked; "job a1" is offered; "gone a1 STATUS".
 */
typedef struct Step {
        const char *event;
        const char *acts;
} Step;

typedef struct Room {
        JobQueue *queue;
        uint64_t now_usec;
        Transcript acts;
        char token[128];
} Room;

static const char *key_text(const JobKey *key)
{
        static char text[JOB_KEY_TEXT_MAX];

        snprintf(text, sizeof(text), "%s%d", key->job_id, (int)key->execution_number);
        return text;
}

static JobKey key_of(const char *name)
{
        char id[2] = {name[0]};

        return job_key_make(id, name[1] - '0');
}

static void on_get(const char *json, void *userdata)
{
        Room *room = userdata;

        json_text(json, "clientToken", room->token);
        note(&room->acts, "list");
}

static void on_describe(const char *job_id, const char *json, void *userdata)
{
        Room *room = userdata;

        json_text(json, "clientToken", room->token);
        assert_non_null(strstr(json, "\"includeJobDocument\":true"));
        note(&room->acts, "describe %s%ld", job_id, json_number(json, "executionNumber"));
}

static JobVerdict on_job(const JobExecution *execution, void *userdata)
{
        JobKey key = job_key_make(execution->job_id, execution->execution_number);
        Room *room = userdata;

        note(&room->acts, "job %s", key_text(&key));
        switch (key.job_id[0]) {
        case 'f':
                return JOB_VERDICT_SKIP;
        case 'm':
                return JOB_VERDICT_LATER;
        case 'b':
                return JOB_VERDICT_WAIT;
        default:
                job_queue_hold(room->queue, &key);
                return JOB_VERDICT_HOLD;
        }
}

static void on_gone(const JobKey *key, JobStatus status, const char *why, void *userdata)
{
        Room *room = userdata;

        assert_true(why[0] != 0);
        note(&room->acts, "gone %s %s", key_text(key), job_status_to_string(status));
}

static const JobQueueOps ops = {
        .publish_get = on_get,
        .publish_describe = on_describe,
        .job = on_job,
        .gone = on_gone,
};

static int set_up(void **state)
{
        JobQueueParams params = {.answer_timeout_usec = 15 * USEC_PER_SEC, .refresh_usec = 3600 * USEC_PER_SEC};
        Room *room = calloc(1, sizeof(*room));

        assert_non_null(room);
        room->now_usec = 1000 * USEC_PER_SEC;
        assert_int_equal(job_queue_new(&params, &ops, room, &room->queue), 0);
        *state = room;
        return 0;
}

static int tear_down(void **state)
{
        Room *room = *state;

        job_queue_free(room->queue);
        free(room);
        return 0;
}

static void list_happens(Room *room, const char *names, const char *token)
{
        PendingJobs list = {0};

        snprintf(list.client_token, sizeof(list.client_token), "%s", token);
        for (const char *p = names; p[0] && p[1]; p += p[2] ? 3 : 2) {
                JobKey key = key_of(p);

                strcpy(list.jobs[list.n_jobs].job_id, key.job_id);
                list.jobs[list.n_jobs++].execution_number = key.execution_number;
        }
        job_queue_on_list(room->queue, &list, room->now_usec);
}

static JobExecution execution_of(const char *name, const char *status)
{
        JobExecution execution = {.present = name[0] != '-', .version_number = 1};
        JobKey key = key_of(name);

        if (!execution.present)
                return execution;
        strcpy(execution.job_id, key.job_id);
        execution.execution_number = key.execution_number;
        execution.status = status[0] ? job_status_from_string(status) : JOB_STATUS_IN_PROGRESS;
        return execution;
}

static void refuse(Room *room, const char *code)
{
        JobRejection rejection = {0};

        for (rejection.code = 0; strcmp(job_rejection_code_to_string(rejection.code), code) != 0; rejection.code++)
                assert_true(rejection.code < _JOB_REJECTION_MAX);
        strcpy(rejection.code_text, code);
        strcpy(rejection.client_token, room->token);
        job_queue_on_rejection(room->queue, &rejection, room->now_usec);
}

static void happen(Room *room, const char *event)
{
        char a[32] = "", b[32] = "";
        JobExecution execution;
        JobKey key;

        if (strcmp(event, "connected") == 0) {
                job_queue_on_connected(room->queue, room->now_usec);
        } else if (strcmp(event, "disconnected") == 0) {
                job_queue_on_disconnected(room->queue);
                assert_true(job_queue_next_deadline(room->queue) == USEC_INFINITY);
        } else if (strcmp(event, "timer") == 0) {
                uint64_t deadline = job_queue_next_deadline(room->queue);

                assert_true(deadline != USEC_INFINITY && deadline > room->now_usec);
                room->now_usec = deadline;
                job_queue_on_timer(room->queue, room->now_usec);
        } else if (strncmp(event, "list", 4) == 0) {
                list_happens(room, event[4] ? event + 5 : "", room->token);
        } else if (strncmp(event, "notify", 6) == 0) {
                list_happens(room, event[6] ? event + 7 : "", "");
        } else if (sscanf(event, "next %31s", a) == 1) {
                execution = execution_of(a, "QUEUED");
                job_queue_on_next(room->queue, &execution, room->now_usec);
        } else if (sscanf(event, "is %31s %31s", a, b) >= 1) {
                execution = execution_of(a, b);
                strcpy(execution.client_token, room->token);
                job_queue_on_execution(room->queue, &execution, room->now_usec);
        } else if (sscanf(event, "rejected %31s", a) == 1) {
                refuse(room, a);
        } else if (sscanf(event, "unreadable %31s", a) == 1) {
                key = key_of(a);
                job_queue_on_unreadable(room->queue, key.job_id, room->now_usec);
        } else if (sscanf(event, "hold %31s", a) == 1) {
                key = key_of(a);
                job_queue_hold(room->queue, &key);
        } else if (strcmp(event, "let-go") == 0) {
                job_queue_let_go(room->queue, room->now_usec);
        } else if (sscanf(event, "replace %31s", a) == 1) {
                key = key_of(a);
                job_queue_put_back(room->queue);
                job_queue_hold(room->queue, &key);
                job_queue_describe_held(room->queue, room->now_usec);
        } else {
                assert_string_equal(event, "describe-held");
                job_queue_describe_held(room->queue, room->now_usec);
        }
        /* Whatever it was: the timer is not due at once for ever. */
        for (unsigned i = 0; i < 3 && job_queue_next_deadline(room->queue) <= room->now_usec; i++) {
                assert_true(i < 2);
                job_queue_on_timer(room->queue, room->now_usec);
        }
}

static void play(void **state, const Step *steps)
{
        Room *room = *state;

        for (unsigned i = 0; i < STEPS_MAX && steps[i].event; i++) {
                forget_notes(&room->acts);
                room->now_usec += USEC_PER_MSEC;
                happen(room, steps[i].event);
                if (strcmp(room->acts.text, steps[i].acts) != 0)
                        fail_msg("step %u, '%s': '%s' instead of '%s'", i, steps[i].event, room->acts.text,
                                 steps[i].acts);
        }
}

#define TRANSCRIPT(name, ...)                                       \
        static void name(void **state)                              \
        {                                                           \
                static const Step steps[STEPS_MAX] = {__VA_ARGS__}; \
                                                                    \
                play(state, steps);                                 \
        }                                                           \
        struct transcript_needs_a_semicolon_

/* -- finding one ------------------------------------------------------------------------------------------------ */

TRANSCRIPT(test_nothing_pending, {"connected", "list"}, {"list", ""}, {"timer", "list"}, {"list", ""});

TRANSCRIPT(test_first_job, {"connected", "list"}, {"list a1 c1", "describe a1"}, {"is a1", "job a1"},
           {"notify a1 c1", ""}, {"next a1", ""}, {"let-go", "list"}, {"list c1", "describe c1"},
           {"is c1", "job c1"});

TRANSCRIPT(test_foreign_at_the_head, {"connected", "list"}, {"list f1 g1 a1", "describe f1"},
           {"is f1", "job f1; describe g1"}, {"is g1", "job g1"}, {"let-go", "list"}, {"list f1 a1", "describe a1"},
           {"is a1", "job a1"}, {"let-go", "list"}, {"list f1", ""}, {"notify f1", ""}, {"next f1", ""});

TRANSCRIPT(test_candidate_over_meanwhile, {"connected", "list"}, {"list a1 c1 d1 e1", "describe a1"},
           {"is a1 CANCELED", "describe c1"}, {"is -", "describe d1"},
           {"rejected TerminalStateReached", "describe e1"}, {"rejected ResourceNotFound", ""});

TRANSCRIPT(test_list_and_next_in_any_order, {"connected", "list"}, {"list", ""}, {"notify a1", "describe a1"},
           {"next a1", ""}, {"is a1", "job a1"}, {"disconnected", ""}, {"let-go", ""}, {"connected", "list"},
           {"list", ""}, {"next c1", "list"}, {"notify c1", ""}, {"list c1", "describe c1"}, {"is c1", "job c1"});

TRANSCRIPT(test_unreadable_is_left_alone, {"connected", "list"}, {"list u1 a1", "describe u1"}, {"unreadable x1", ""},
           {"unreadable u1", "describe a1"}, {"is a1", "job a1"}, {"unreadable a1", ""});

TRANSCRIPT(test_one_that_is_never_described, {"connected", "list"}, {"list u1 a1", "describe u1"}, {"timer", ""},
           {"timer", "describe u1"}, {"rejected InternalError", ""}, {"timer", "describe u1"}, {"timer", ""},
           {"timer", "describe a1"}, {"is a1", "job a1"}, {"let-go", "list"}, {"list u1", "describe u1"},
           {"rejected RequestThrottled", ""}, {"timer", "describe u1"});

TRANSCRIPT(test_no_memory, {"connected", "list"}, {"list m1", "describe m1"}, {"is m1", "job m1"},
           {"timer", "describe m1"}, {"is m1", "job m1"}, {"notify", ""}, {"timer", "list"});

/* -- while one is held ------------------------------------------------------------------------------------------ */

TRANSCRIPT(test_second_job_waits, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify a1 c1", ""}, {"timer", "list"}, {"list a1 c1", ""}, {"let-go", "list"},
           {"list c1", "describe c1"});

TRANSCRIPT(test_not_in_the_list_but_described_fine, {"connected", "list"}, {"list a1", "describe a1"},
           {"is a1", "job a1"}, {"notify c1", "describe a1"}, {"is a1", "job a1"}, {"notify c1", "describe a1"},
           {"is a1 TIMED_OUT", "gone a1 TIMED_OUT; list"});

TRANSCRIPT(test_list_that_is_cut, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify c1 d1 e1 g1 h1 i1 j1 k1 l1 n1 o1 p1 q1 r1 s1", "describe a1"}, {"is a1", "job a1"});

TRANSCRIPT(test_cancelled, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify", "describe a1"}, {"next -", ""}, {"rejected TerminalStateReached", "gone a1 UNKNOWN; list"},
           {"list", ""}, {"let-go", "list"}, {"list", ""});

/* Its traces are still on the device: the next job has to wait for that, and is not forgotten. */
TRANSCRIPT(test_next_job_while_the_owner_is_busy, {"connected", "list"}, {"list a1", "describe a1"},
           {"is a1", "job a1"}, {"notify b1", "describe a1"}, {"is a1 CANCELED", "gone a1 CANCELED; list"},
           {"list b1", "describe b1"}, {"is b1", "job b1"}, {"notify b1", ""}, {"next b1", ""}, {"let-go", "list"},
           {"list b1", "describe b1"});

/* A retry brings four notifications; order and number of them change nothing. */
TRANSCRIPT(test_retry, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify", "describe a1"}, {"next -", ""}, {"is a1 TIMED_OUT", "gone a1 TIMED_OUT; list"},
           {"notify a2", ""}, {"next a2", ""}, {"list a2", "describe a2"}, {"is a2", "job a2"}, {"notify a2", ""},
           {"next -", "list"}, {"list a2", ""});

TRANSCRIPT(test_retry_seen_at_once, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify a2", "gone a1 UNKNOWN; list"}, {"next a2", ""}, {"list a2", "describe a2"}, {"is a2", "job a2"});

TRANSCRIPT(test_retry_seen_by_describing, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify", "describe a1"}, {"is a2", "gone a1 UNKNOWN; list"}, {"list a2", "describe a2"},
           {"is a2", "job a2"});

/* A notification from the attempt before, and late: the one at hand is not given up for that. */
TRANSCRIPT(test_late_word_of_an_older_attempt, {"connected", "list"}, {"list a2", "describe a2"}, {"is a2", "job a2"},
           {"notify a1", "describe a2"}, {"notify a1", ""}, {"is a2", "job a2"}, {"list a2", ""}, {"notify a2", ""},
           {"timer", "list"}, {"list a2", ""}, {"let-go", "list"});

TRANSCRIPT(test_made_anew_with_a_lower_number, {"connected", "list"}, {"list a2", "describe a2"}, {"is a2", "job a2"},
           {"notify a1", "describe a2"}, {"rejected ResourceNotFound", "gone a2 UNKNOWN; list"},
           {"list a1", "describe a1"}, {"is a1", "job a1"});

TRANSCRIPT(test_job_id_again_after_a_delete, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"notify", "describe a1"}, {"rejected ResourceNotFound", "gone a1 UNKNOWN; list"}, {"list", ""},
           {"let-go", "list"}, {"list", ""}, {"notify a1", "describe a1"}, {"is a1", "job a1"});

TRANSCRIPT(test_fresh_document, {"connected", "list"}, {"describe-held", ""}, {"list a1", "describe a1"},
           {"is a1", "job a1"}, {"describe-held", "describe a1"}, {"describe-held", ""}, {"is a1", "job a1"});

/* Nobody asks again for a job that was let go while it was described, and the timer does not wait for that. */
TRANSCRIPT(test_let_go_while_described, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"describe-held", "describe a1"}, {"let-go", ""}, {"rejected RequestThrottled", ""}, {"timer", "list"},
           {"list", ""}, {"timer", "list"});

TRANSCRIPT(test_let_go_while_never_described, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"disconnected", ""}, {"connected", "describe a1"}, {"let-go", ""}, {"timer", ""}, {"timer", "list"},
           {"list c1", "describe c1"}, {"is c1", "job c1"}, {"notify c1", ""}, {"timer", "list"});

TRANSCRIPT(test_replaced_while_described, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"describe-held", "describe a1"}, {"replace c1", ""}, {"rejected InternalError", ""},
           {"timer", "describe c1"}, {"is c1", "job c1; list"}, {"list a1 c1", ""}, {"let-go", "list"});

/* -- a job found on the device ---------------------------------------------------------------------------------- */

TRANSCRIPT(test_found_on_the_device, {"hold a1", ""}, {"describe-held", ""}, {"connected", "describe a1"},
           {"is a1", "job a1; list"}, {"list a1 c1", ""});

TRANSCRIPT(test_found_while_another_is_described, {"connected", "list"}, {"list b1", "describe b1"}, {"hold a1", ""},
           {"describe-held", ""}, {"is b1", "job b1; describe a1"}, {"is a1 FAILED", "gone a1 FAILED; list"},
           {"list b1", ""}, {"let-go", "list"}, {"list b1", "describe b1"});

TRANSCRIPT(test_put_back, {"connected", "list"}, {"list c1", "describe c1"}, {"is c1", "job c1"},
           {"replace a1", "describe a1"}, {"is a1", "job a1; list"}, {"list c1", "describe a1"},
           {"is a1 FAILED", "gone a1 FAILED; list"}, {"let-go", ""}, {"list c1", "describe c1"});

/* -- answers that do not come, or not well ---------------------------------------------------------------------- */

TRANSCRIPT(test_no_answer, {"connected", "list"}, {"timer", ""}, {"timer", "list"}, {"list a1", "describe a1"},
           {"timer", ""}, {"timer", "describe a1"}, {"is a1", "job a1"}, {"describe-held", "describe a1"},
           {"timer", ""}, {"timer", "describe a1"}, {"is a1", "job a1"});

TRANSCRIPT(test_throttled, {"connected", "list"}, {"rejected RequestThrottled", ""}, {"notify a1", ""},
           {"timer", "describe a1"}, {"rejected RequestThrottled", ""}, {"next c1", ""}, {"timer", "list"},
           {"rejected InternalError", ""}, {"timer", "list"}, {"list a1", "describe a1"}, {"rejected unknown", ""},
           {"timer", "describe a1"}, {"is a1", "job a1"});

TRANSCRIPT(test_connection_comes_and_goes, {"notify a1", ""}, {"next a1", ""}, {"connected", "list"},
           {"disconnected", ""}, {"connected", "list"}, {"list a1", "describe a1"}, {"disconnected", ""},
           {"is a1", ""}, {"connected", "list"}, {"list a1", "describe a1"}, {"is a1", "job a1"},
           {"disconnected", ""}, {"describe-held", ""}, {"connected", "describe a1"}, {"is a1", "job a1; list"},
           {"list a1", ""});

/* A service that answers with another job is not asked as fast as it answers. */
TRANSCRIPT(test_another_job_is_described, {"connected", "list"}, {"list a1", "describe a1"}, {"is c1", ""},
           {"timer", "describe a1"}, {"is a1", "job a1"});

static void test_foreign_answers(void **state)
{
        JobExecution execution = execution_of("a1", "");
        PendingJobs list = {.client_token = "g-77"};
        JobRejection rejection = {.code = JOB_REJECTION_RESOURCE_NOT_FOUND, .client_token = "d-77"};
        Room *room = *state;

        job_queue_on_rejection(room->queue, &rejection, room->now_usec); /* nothing was asked */
        happen(room, "connected");
        happen(room, "list a1");
        forget_notes(&room->acts);
        job_queue_on_execution(room->queue, &execution, room->now_usec); /* without a token */
        strcpy(execution.client_token, "d-77");
        job_queue_on_execution(room->queue, &execution, room->now_usec);
        job_queue_on_list(room->queue, &list, room->now_usec);
        job_queue_on_rejection(room->queue, &rejection, room->now_usec);
        assert_string_equal(room->acts.text, "");
        rejection.client_token[0] = 0; /* the service could not read the request */
        job_queue_on_rejection(room->queue, &rejection, room->now_usec);
        happen(room, "notify a1 c1");
        assert_string_equal(room->acts.text, "describe c1");
}

/* More skipped jobs than are remembered: at worst one is looked at twice. */
/* A fleet that connected together does not ask together an hour later; each asks within the hour. */
static void test_refresh_is_spread(void **state)
{
        static const Step steps[STEPS_MAX] = {{"connected", "list"}, {"list", ""}};
        Room *room = *state;
        uint64_t earliest = UINT64_MAX, latest = 0;

        play(state, steps);
        for (unsigned i = 0; i < 50; i++) {
                uint64_t wait;

                happen(room, "notify");
                wait = job_queue_next_deadline(room->queue) - room->now_usec;
                earliest = MIN2(earliest, wait);
                latest = MAX2(latest, wait);
        }
        assert_true(earliest >= 3240 * USEC_PER_SEC && latest <= 3600 * USEC_PER_SEC);
        assert_true(latest - earliest > 60 * USEC_PER_SEC);
}

static void test_many_foreign_jobs(void **state)
{
        Room *room = *state;
        char event[16];

        happen(room, "connected");
        for (unsigned i = 0; i < 500; i++) {
                snprintf(event, sizeof(event), "%s f%c", i ? "notify" : "list", '1' + (char)(i % 8));
                happen(room, event);
                snprintf(event, sizeof(event), "is f%c", '1' + (char)(i % 8));
                happen(room, event);
                forget_notes(&room->acts);
        }
        happen(room, "notify f1 a1");
        assert_non_null(strstr(room->acts.text, "describe"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                CASE(test_nothing_pending),
                CASE(test_refresh_is_spread),
                CASE(test_first_job),
                CASE(test_foreign_at_the_head),
                CASE(test_candidate_over_meanwhile),
                CASE(test_list_and_next_in_any_order),
                CASE(test_unreadable_is_left_alone),
                CASE(test_one_that_is_never_described),
                CASE(test_no_memory),
                CASE(test_second_job_waits),
                CASE(test_not_in_the_list_but_described_fine),
                CASE(test_list_that_is_cut),
                CASE(test_cancelled),
                CASE(test_next_job_while_the_owner_is_busy),
                CASE(test_retry),
                CASE(test_retry_seen_at_once),
                CASE(test_retry_seen_by_describing),
                CASE(test_late_word_of_an_older_attempt),
                CASE(test_made_anew_with_a_lower_number),
                CASE(test_job_id_again_after_a_delete),
                CASE(test_fresh_document),
                CASE(test_let_go_while_described),
                CASE(test_let_go_while_never_described),
                CASE(test_replaced_while_described),
                CASE(test_found_on_the_device),
                CASE(test_found_while_another_is_described),
                CASE(test_put_back),
                CASE(test_no_answer),
                CASE(test_throttled),
                CASE(test_connection_comes_and_goes),
                CASE(test_another_job_is_described),
                CASE(test_foreign_answers),
                CASE(test_many_foreign_jobs),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
