/* What an operator lets happen, and when: a whole engine, a clock on the wall, and windows that open and close. */
#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/time-util.h"
#include "stride.h"
#include "transcript.h"
#include "world-sim.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR   (60 * MINUTE)

int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
        return 0;
}

/* "2026-11-26 18:00:00" */
static void set_clock(World *w, const char *text)
{
        struct tm tm = {0};

        assert_non_null(strptime(text, "%Y-%m-%d %H:%M:%S", &tm));
        w->wall_base_usec = (uint64_t)timegm(&tm) * USEC_PER_SEC - w->now_usec;
}

static uint64_t wall(const World *w)
{
        return w->wall_base_usec + w->now_usec;
}

static void set_windows(Schedule *schedule, const char *text)
{
        const char *why = NULL;

        assert_int_equal(schedule_window_parse(text, &schedule->windows[0], &why), 0);
        schedule->n = 1;
}

/* A world with a job and one window for each, NULL for none; it is Thursday, 2026-11-26. */
static void open_world(World *w, bool ab, const char *clock, const char *download, const char *activate)
{
        setenv("TZ", "UTC0", 1);
        world_open(w, ab);
        set_clock(w, clock);
        if (download)
                set_windows(&w->download_windows, download);
        if (activate)
                set_windows(&w->activate_windows, activate);
        world_kill_otad(w); /* the config is read at the start */
        world_add_job(w, "a", ab ? "rootfs.img app" : "app");
}

static void check_ended(World *w, JobStatus status, const char *error)
{
        const SimJob *job = world_job(w, "a");

        if (job->status != status || strcmp(job->error, error) != 0)
                world_fail(w, "the job is %s (%s)", job_status_to_string(job->status), job->error);
}

static void run_until(World *w, uint64_t wall_usec)
{
        while (wall(w) < wall_usec)
                assert_true(world_step(w));
}

/* Until nothing happens but by time. */
static UpdateStatus run_to_a_wait(World *w)
{
        EngineStatus status;

        do
                assert_true(world_step(w));
        while (w->first);
        engine_status(w->engine, &status);
        return status.update;
}

/* -- windows ---------------------------------------------------------------------------------------------------- */

static void test_waits_for_the_download_window(void **state)
{
        UpdateStatus status;
        unsigned n_updates;
        World w;

        open_world(&w, true, "2026-11-26 11:00:00", "Sat 00:00-06:00", NULL);
        status = run_to_a_wait(&w);
        assert_int_equal(status.state, UPDATE_STATE_ACCEPTED);
        assert_string_equal(status.waiting, "outside the download windows: until Sat 00:00");
        assert_in_range(status.retry_usec - w.now_usec, 37 * HOUR - MINUTE, 37 * HOUR);
        run_until(&w, wall(&w) + MINUTE);
        assert_string_equal(world_job(&w, "a")->waiting, "outside the download windows: until Sat 00:00");
        assert_int_equal(world_job(&w, "a")->status, JOB_STATUS_IN_PROGRESS);

        /* Four times an hour the step timer is extended, and nothing else is said. */
        n_updates = world_job(&w, "a")->n_updates;
        run_until(&w, wall(&w) + 36 * HOUR);
        assert_in_range(world_job(&w, "a")->n_updates - n_updates, 36 * 4 - 1, 36 * 4 + 1);
        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 0);
        world_settle(&w);
        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
        world_close(&w);
}

static void test_open_windows_hold_nobody_up(void **state)
{
        World w;

        open_world(&w, true, "2026-11-26 11:00:00", "Thu 10:00-12:00", "Thu 11:00-11:30");
        world_settle(&w);
        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
        assert_true(w.now_usec < 1000 * USEC_PER_SEC + MINUTE);
        world_close(&w);
}

/* The download window closes at each point of an update, and opens again the next day. */
static void test_download_window_closes(void **state)
{
        for (int ab = 0; ab < 2; ab++) {
                bool was_suspended = false;
                uint64_t n = UINT64_MAX;

                for (uint64_t k = 0; k < n; k += test_stride()) {
                        uint64_t closes;
                        World w;

                        open_world(&w, ab, "2026-11-26 11:00:00", "11:00-12:00", NULL);
                        while (w.n_events < k && world_step(&w))
                                ;
                        set_clock(&w, "2026-11-26 11:59:30"); /* the engine hears of it within a minute */
                        closes = wall(&w) + 30 * USEC_PER_SEC;
                        w.silent = true; /* for so long, if there is something to fetch at all */
                        for (unsigned i = 0; i < 4000 && world_step(&w); i++) {
                                EngineStatus status;

                                engine_status(w.engine, &status);
                                w.silent &= wall(&w) < closes;
                                if (wall(&w) > closes + MINUTE && wall(&w) < closes + 23 * HOUR && w.fetching)
                                        world_fail(&w, "fetches outside the window, event %u", (unsigned)k);
                                if (status.update.state == UPDATE_STATE_SUSPENDED) {
                                        was_suspended = true;
                                        assert_string_equal(status.update.waiting,
                                                            "outside the download windows: until Fri 11:00");
                                }
                        }
                        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
                        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 1);
                        if (n == UINT64_MAX && wall(&w) < closes)
                                n = k; /* it was over before */
                        world_close(&w);
                }
                assert_true(was_suspended);
        }
}

static void test_waits_for_the_activation_window(void **state)
{
        for (int ab = 0; ab < 2; ab++) {
                UpdateStatus status;
                World w;

                open_world(&w, ab, "2026-11-26 11:00:00", NULL, "01:00-02:00");
                status = run_to_a_wait(&w);
                assert_int_equal(status.state, UPDATE_STATE_INSTALLED);
                assert_string_equal(status.waiting, "outside the activation windows: until Fri 01:00");
                assert_int_equal(w.n_calls[INSTALL_CALL_ACTIVATE], 0);
                /* A restart in between changes nothing. */
                world_kill_otad(&w);
                status = run_to_a_wait(&w);
                assert_int_equal(status.state, UPDATE_STATE_INSTALLED);
                assert_int_equal(w.n_calls[INSTALL_CALL_ACTIVATE], 0);
                world_settle(&w);
                check_ended(&w, JOB_STATUS_SUCCEEDED, "");
                assert_in_range(wall(&w) / USEC_PER_SEC % 86400, 3600, 3660);
                world_close(&w);
        }
}

/* Said "not now" to until the window closes, the reboot waits for the next one, and the hook's patience begins anew. */
static void test_reboot_misses_the_window(void **state)
{
        UpdateStatus status;
        World w;

        open_world(&w, true, "2026-11-26 01:00:00", NULL, "01:00-02:00");
        w.bad_call = INSTALL_CALL_REBOOT;
        w.bad_kind = LINK_ERROR_NOT_NOW;
        w.bad_reason = FAILURE_HOOK_NOT_NOW;
        w.n_bad = 61; /* an hour of it would be the end */
        (void)run_to_a_wait(&w);
        set_clock(&w, "2026-11-26 01:40:00");
        run_until(&w, wall(&w) + 30 * MINUTE);
        status = run_to_a_wait(&w);
        assert_int_equal(status.state, UPDATE_STATE_ACTIVATING);
        assert_string_equal(status.waiting, "outside the activation windows: until Fri 01:00");
        assert_in_range(w.n_calls[INSTALL_CALL_REBOOT], 20, 22);
        assert_true(w.connected);
        world_settle(&w);
        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
        assert_int_equal(w.device.n_boots, 1);
        world_close(&w);
}

static void test_clock_is_set_while_waiting(void **state)
{
        World w;

        open_world(&w, false, "2026-11-26 11:00:00", "12:00-13:00", NULL);
        (void)run_to_a_wait(&w);
        set_clock(&w, "2026-11-26 12:30:00");
        world_settle(&w);
        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
        assert_true(w.now_usec < 1000 * USEC_PER_SEC + 2 * MINUTE);
        world_close(&w);
}

static void test_clock_is_set_back_while_waiting(void **state)
{
        UpdateStatus status;
        World w;

        open_world(&w, false, "2026-11-26 11:58:00", "12:00-13:00", NULL);
        (void)run_to_a_wait(&w);
        set_clock(&w, "2026-11-24 12:00:00");
        set_clock(&w, "2026-11-25 09:00:00");
        run_until(&w, wall(&w) + 10 * MINUTE);
        status = run_to_a_wait(&w);
        assert_string_equal(status.waiting, "outside the download windows: until Wed 12:00");
        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 0);
        world_settle(&w);
        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
        world_close(&w);
}

static void test_clock_is_not_set(void **state)
{
        UpdateStatus status;
        World w;

        open_world(&w, true, "2026-11-26 11:00:00", "12:00-13:00", "12:00-13:00");
        w.wall_base_usec = USEC_INFINITY;
        status = run_to_a_wait(&w);
        assert_int_equal(status.state, UPDATE_STATE_ACCEPTED);
        assert_string_equal(status.waiting, "the clock is not set: it cannot tell the download windows");
        for (unsigned i = 0; i < 100; i++)
                assert_true(world_step(&w));
        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 0);
        set_clock(&w, "2026-11-26 12:10:00");
        world_settle(&w);
        check_ended(&w, JOB_STATUS_SUCCEEDED, "");
        world_close(&w);
}

/* -- who does not wait ------------------------------------------------------------------------------------------ */

static void test_cancelled_while_waiting(void **state)
{
        for (int local = 0; local < 2; local++)
                for (int installed = 0; installed < 2; installed++) {
                        World w;

                        open_world(&w, true, "2026-11-26 11:00:00", installed ? NULL : "12:00-13:00",
                                   installed ? "12:00-13:00" : NULL);
                        (void)run_to_a_wait(&w);
                        if (local)
                                assert_int_equal(engine_cancel(w.engine, "a person said so", w.now_usec), 0);
                        else
                                world_end_job(&w, "a", JOB_STATUS_CANCELED);
                        world_settle(&w);
                        check_ended(&w, local ? JOB_STATUS_FAILED : JOB_STATUS_CANCELED,
                                    local ? "cancelled-locally" : "");
                        assert_true(w.now_usec < 1000 * USEC_PER_SEC + MINUTE);
                        world_close(&w);
                }
}

/* Once the new software runs, no window keeps it from being committed, or thrown back. */
static void test_trial_knows_no_windows(void **state)
{
        for (int good = 0; good < 2; good++) {
                World w;

                open_world(&w, true, "2026-11-26 12:59:00", "12:00-13:00", "12:00-13:00");
                w.bad_call = INSTALL_CALL_SELF_TEST;
                w.bad_kind = LINK_ERROR_FAILED;
                w.bad_reason = FAILURE_SELFTEST_FAILED;
                w.n_bad = !good;
                while (w.device.n_boots == 0)
                        assert_true(world_step(&w));
                set_clock(&w, "2026-11-26 18:00:00");
                world_settle(&w);
                check_ended(&w, good ? JOB_STATUS_SUCCEEDED : JOB_STATUS_FAILED, good ? "" : "selftest-failed");
                assert_true(w.now_usec < 1000 * USEC_PER_SEC + MINUTE);
                world_close(&w);
        }
}

/* -- metered connections ---------------------------------------------------------------------------------------- */

static void test_metered(void **state)
{
        UpdateStatus status;
        World w;

        /* A job of 1000 bytes, at the bound and above it. */
        for (uint64_t bound = 999; bound <= 1000; bound++) {
                open_world(&w, false, "2026-11-26 11:00:00", NULL, NULL);
                w.metered_max_bytes = bound;
                world_kill_otad(&w);
                engine_on_metered(w.engine, true, w.now_usec);
                if (bound == 999) {
                        status = run_to_a_wait(&w);
                        assert_int_equal(status.state, UPDATE_STATE_ACCEPTED);
                        assert_string_equal(status.waiting,
                                            "the connection is metered: 1000 bytes are more than 999");
                        run_until(&w, wall(&w) + 3 * HOUR);
                        assert_string_equal(world_job(&w, "a")->waiting, status.waiting);
                        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 0);
                        engine_on_metered(w.engine, false, w.now_usec);
                }
                world_settle(&w);
                check_ended(&w, JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
}

/* It becomes metered at each point of an update, and is not any more an hour later. */
static void test_becomes_metered(void **state)
{
        bool was_suspended = false, over = false;

        for (uint64_t k = 0; !over; k++) {
                uint64_t ends;
                World w;

                open_world(&w, true, "2026-11-26 11:00:00", NULL, NULL);
                w.metered_max_bytes = 1;
                world_kill_otad(&w);
                while (w.n_events < k && world_step(&w))
                        ;
                engine_on_metered(w.engine, true, w.now_usec);
                ends = w.now_usec + HOUR;
                while (w.now_usec < ends && world_step(&w)) {
                        EngineStatus status;

                        engine_status(w.engine, &status);
                        was_suspended |= status.update.state == UPDATE_STATE_SUSPENDED;
                        if (w.fetching)
                                world_fail(&w, "fetches while the connection is metered, event %u", (unsigned)k);
                }
                over = w.now_usec < ends;
                engine_on_metered(w.engine, false, w.now_usec);
                world_settle(&w);
                check_ended(&w, JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
        assert_true(was_suspended);
}

/* -- the hook --------------------------------------------------------------------------------------------------- */

/* Asked again and again for five times as long as else, while the cloud hears why and the step timer is extended. */
static void test_hook_that_never_gives_up(void **state)
{
        static const InstallCall calls[] = {INSTALL_CALL_BEGIN, INSTALL_CALL_ACTIVATE, INSTALL_CALL_REBOOT};

        for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
                unsigned n_updates;
                World w;

                open_world(&w, true, "2026-11-26 11:00:00", NULL, NULL);
                w.hook_never_gives_up = true;
                world_kill_otad(&w);
                w.bad_call = calls[i];
                w.bad_kind = LINK_ERROR_NOT_NOW;
                w.bad_reason = FAILURE_HOOK_NOT_NOW;
                w.n_bad = 5 * 60;
                run_until(&w, wall(&w) + HOUR);
                assert_string_equal(world_job(&w, "a")->waiting, "the hook says not now: the installer says no");
                assert_int_equal(world_job(&w, "a")->status, JOB_STATUS_IN_PROGRESS);
                n_updates = world_job(&w, "a")->n_updates;
                run_until(&w, wall(&w) + 3 * HOUR);
                /* Asked for a reboot, otad says goodbye to the broker each time, and what is new after it. */
                assert_true(world_job(&w, "a")->n_updates - n_updates >= 3 * 4 - 1);
                if (calls[i] != INSTALL_CALL_REBOOT)
                        assert_true(world_job(&w, "a")->n_updates - n_updates <= 3 * 4 + 1);
                world_settle(&w);
                check_ended(&w, JOB_STATUS_SUCCEEDED, "");
                assert_int_equal(w.n_bad, 0);
                world_close(&w);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_waits_for_the_download_window),
                cmocka_unit_test(test_open_windows_hold_nobody_up),
                cmocka_unit_test(test_download_window_closes),
                cmocka_unit_test(test_waits_for_the_activation_window),
                cmocka_unit_test(test_reboot_misses_the_window),
                cmocka_unit_test(test_clock_is_set_while_waiting),
                cmocka_unit_test(test_clock_is_set_back_while_waiting),
                cmocka_unit_test(test_clock_is_not_set),
                cmocka_unit_test(test_cancelled_while_waiting),
                cmocka_unit_test(test_trial_knows_no_windows),
                cmocka_unit_test(test_metered),
                cmocka_unit_test(test_hook_that_never_gives_up),
                cmocka_unit_test(test_becomes_metered),
        };

        log_set_max_level(-1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
