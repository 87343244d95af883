#include <string.h>

#include "base/time-util.h"
#include "status-watch.h"
#include "unit.h"

typedef struct Scene {
        StatusWatch watch;
        EngineStatus status;
        JobKey key;
        LinkState device;
        DownloadStats download;
        Failure failure;
} Scene;

static void scene_init(Scene *s)
{
        memset(s, 0, sizeof(*s));
        s->status.update.key = &s->key;
        s->status.update.failure = &s->failure;
        s->status.update.device = &s->device;
}

static bool see(Scene *s, UpdateState state, double sec)
{
        s->status.update.state = state;
        return status_watch_observe(&s->watch, &s->status, (uint64_t)(sec * 1e6), 7 * USEC_PER_SEC);
}

static void test_success(void **state)
{
        Scene s;

        scene_init(&s);
        assert_false(see(&s, UPDATE_STATE_IDLE, 0));
        s.key = job_key_make("j", 3);
        assert_false(see(&s, UPDATE_STATE_ACCEPTED, 1));
        assert_false(see(&s, UPDATE_STATE_TESTING, 2));
        assert_false(see(&s, UPDATE_STATE_COMMITTED, 3));
        /* The engine forgets: idle with the key still there, then without. */
        assert_true(see(&s, UPDATE_STATE_IDLE, 4));
        s.key = (JobKey){0};
        assert_false(see(&s, UPDATE_STATE_IDLE, 5));
        assert_string_equal(s.watch.last.key.job_id, "j");
        assert_int_equal(s.watch.last.key.execution_number, 3);
        assert_int_equal(s.watch.last.outcome, STATUS_OUTCOME_SUCCEEDED);
        assert_int_equal(s.watch.last.wall_clock_usec, 7 * USEC_PER_SEC);
        assert_false(failure_is_set(&s.watch.last.failure));
}

static void test_failures(void **state)
{
        static const struct {
                FailureReason reason;
                StatusOutcome outcome;
        } rows[] = {
                {FAILURE_SIGNATURE_INVALID, STATUS_OUTCOME_FAILED},
                {FAILURE_CANCELLED_LOCALLY, STATUS_OUTCOME_FAILED},
                {FAILURE_CANCELLED, STATUS_OUTCOME_CANCELLED},
                {FAILURE_TARGET_UNKNOWN, STATUS_OUTCOME_REJECTED},
        };
        Scene s;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                assert_int_equal(failure_reason_is_permanent(rows[i].reason),
                                 rows[i].outcome == STATUS_OUTCOME_REJECTED);
                scene_init(&s);
                s.key = job_key_make("j", 1);
                assert_false(see(&s, UPDATE_STATE_DOWNLOADING, 1));
                failure_set(&s.failure, rows[i].reason, "because");
                assert_false(see(&s, UPDATE_STATE_ROLLED_BACK, 2));
                assert_true(see(&s, UPDATE_STATE_IDLE, 3));
                assert_int_equal(s.watch.last.outcome, rows[i].outcome);
                assert_int_equal(s.watch.last.failure.reason, rows[i].reason);
                assert_string_equal(s.watch.last.failure.detail, "because");
        }
}

/* The failure is set and the job forgotten between two looks. */
static void test_failure_seen_late(void **state)
{
        Scene s;

        scene_init(&s);
        s.key = job_key_make("j", 1);
        assert_false(see(&s, UPDATE_STATE_ACCEPTED, 1));
        failure_set(&s.failure, FAILURE_NO_SPACE, "full");
        assert_true(see(&s, UPDATE_STATE_IDLE, 2));
        assert_int_equal(s.watch.last.failure.reason, FAILURE_NO_SPACE);
}

/* One update ends and the next begins between two looks; the failure seen now is the next one's. */
static void test_next_job_at_once(void **state)
{
        Scene s;

        scene_init(&s);
        s.key = job_key_make("one", 1);
        assert_false(see(&s, UPDATE_STATE_COMMITTED, 1));
        s.key = job_key_make("two", 1);
        failure_set(&s.failure, FAILURE_NO_SPACE, "full");
        assert_true(see(&s, UPDATE_STATE_ACCEPTED, 2));
        assert_string_equal(s.watch.last.key.job_id, "one");
        assert_int_equal(s.watch.last.outcome, STATUS_OUTCOME_SUCCEEDED);
        assert_true(see(&s, UPDATE_STATE_IDLE, 3));
        assert_string_equal(s.watch.last.key.job_id, "two");
}

/* Put aside for another session: that is no end. */
static void test_put_aside(void **state)
{
        Scene s;

        scene_init(&s);
        s.key = job_key_make("j", 1);
        assert_false(see(&s, UPDATE_STATE_ACCEPTED, 1));
        assert_false(see(&s, UPDATE_STATE_IDLE, 2));
        assert_false(job_key_is_set(&s.watch.last.key));
}

static void test_speed(void **state)
{
        Scene s;

        scene_init(&s);
        s.status.update.download = &s.download;
        s.key = job_key_make("j", 1);
        see(&s, UPDATE_STATE_DOWNLOADING, 10);
        assert_int_equal(s.watch.bytes_per_second, 0);
        /* Too soon to tell. */
        s.download.fetched_bytes = 500;
        see(&s, UPDATE_STATE_DOWNLOADING, 10.25);
        assert_int_equal(s.watch.bytes_per_second, 0);
        s.download.fetched_bytes = 1000;
        see(&s, UPDATE_STATE_DOWNLOADING, 11);
        assert_int_equal(s.watch.bytes_per_second, 1000);
        /* A second of silence takes a sixth away, a minute nearly all. */
        see(&s, UPDATE_STATE_DOWNLOADING, 12);
        assert_in_range((uint64_t)s.watch.bytes_per_second, 830, 836);
        see(&s, UPDATE_STATE_DOWNLOADING, 72);
        assert_in_range((uint64_t)s.watch.bytes_per_second, 1, 70);
        /* Another download counts from 0 again. */
        s.download.fetched_bytes = 10;
        see(&s, UPDATE_STATE_DOWNLOADING, 73);
        assert_int_equal(s.watch.bytes_per_second, 0);
        s.download.fetched_bytes = 110;
        see(&s, UPDATE_STATE_DOWNLOADING, 74);
        assert_int_equal(s.watch.bytes_per_second, 100);
        s.status.update.download = NULL;
        see(&s, UPDATE_STATE_VERIFYING, 75);
        assert_int_equal(s.watch.bytes_per_second, 0);
}

static void test_selftest_left(void **state)
{
        Scene s;

        scene_init(&s);
        see(&s, UPDATE_STATE_IDLE, 0);
        assert_true(status_watch_selftest_left(&s.watch, 5) == USEC_INFINITY);
        s.device.state = UPDATE_STATE_TESTING;
        s.device.selftest_left_usec = 100 * USEC_PER_SEC;
        see(&s, UPDATE_STATE_TESTING, 10);
        see(&s, UPDATE_STATE_TESTING, 30);
        assert_int_equal(status_watch_selftest_left(&s.watch, 40 * USEC_PER_SEC), 70 * USEC_PER_SEC);
        assert_int_equal(status_watch_selftest_left(&s.watch, 400 * USEC_PER_SEC), 0);
        s.device.selftest_left_usec = 65 * USEC_PER_SEC;
        see(&s, UPDATE_STATE_TESTING, 45);
        assert_int_equal(status_watch_selftest_left(&s.watch, 50 * USEC_PER_SEC), 60 * USEC_PER_SEC);
        s.status.update.device = NULL;
        see(&s, UPDATE_STATE_TESTING, 46);
        assert_true(status_watch_selftest_left(&s.watch, 50) == USEC_INFINITY);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_success),           cmocka_unit_test(test_failures),
                cmocka_unit_test(test_failure_seen_late), cmocka_unit_test(test_next_job_at_once),
                cmocka_unit_test(test_put_aside),         cmocka_unit_test(test_speed),
                cmocka_unit_test(test_selftest_left),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
