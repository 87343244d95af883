/* The whole engine in a world that is disturbed at every single point of an update. */
#include <errno.h>

#include "base/log.h"
#include "base/time-util.h"
#include "stride.h"
#include "transcript.h"
#include "world-sim.h"

/* Tens of thousands of updates end here, and none of them in a power cut: the disk is not waited for. */
int __wrap_fsync(int fd);

int __wrap_fsync(int fd)
{
        return 0;
}

static void check_ended(World *w, const char *id, JobStatus status, const char *error)
{
        const SimJob *job = world_job(w, id);

        if (job->status != status)
                world_fail(w, "job %s is %s instead of %s", id, job_status_to_string(job->status),
                           job_status_to_string(status));
        if (strcmp(job->error, error) != 0)
                world_fail(w, "job %s ended with '%s' instead of '%s'", id, job->error, error);
}

static const char *const variants[] = {"app", "rootfs.img app"};

static void open_world(World *w, size_t variant)
{
        world_open(w, variant == 1);
        world_add_job(w, "a", variants[variant]);
}

/* Events of an update that nobody disturbs. */
static unsigned count_events(size_t variant)
{
        unsigned n;
        World w;

        open_world(&w, variant);
        world_settle(&w);
        n = (unsigned)w.n_events;
        world_close(&w);
        return n;
}

static void run_events(World *w, uint64_t n)
{
        while (w->n_events < n && world_step(w))
                ;
}

/* -- undisturbed ------------------------------------------------------------------------------------------------ */

static void test_well(void **state)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++)
                for (int broker_first = 0; broker_first < 2; broker_first++) {
                        World w;

                        world_open(&w, variant == 1);
                        w.broker_first = broker_first;
                        world_settle(&w);
                        world_add_job(&w, "a", variants[variant]);
                        world_settle(&w);
                        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                        assert_string_equal(world_job(&w, "a")->phase, "committed");
                        assert_int_equal(world_job(&w, "a")->n_refused, 0);
                        assert_int_equal(w.n_out_of_turn, 0);
                        assert_int_equal(w.device.n_boots, variant);
                        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 1);
                        assert_int_equal(w.n_prepared, 1);
                        assert_int_equal(w.n_calls[INSTALL_CALL_WRITE], variant + 1);
                        assert_int_equal(w.n_calls[INSTALL_CALL_REBOOT], variant);
                        assert_int_equal(w.n_calls[INSTALL_CALL_RELEASE], 1);
                        assert_int_equal(w.n_calls[INSTALL_CALL_ROLL_BACK], 0);
                        world_close(&w);
                }
}

/* What runs is told when it is first seen, and what a job has brought with the next connection. */
static void test_version_is_told(void **state)
{
        World w;

        world_open(&w, false);
        world_settle(&w);
        while (w.first)
                (void)world_step(&w);
        assert_string_equal(w.reported, "1.0.0");
        world_add_job(&w, "a", "app");
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
        assert_string_not_equal(w.device.state.version, "1.0.0");
        assert_string_equal(w.reported, "1.0.0");
        world_lose_broker(&w);
        world_settle(&w);
        while (w.first)
                (void)world_step(&w);
        assert_string_equal(w.reported, w.device.state.version);
        world_close(&w);
}

static void test_foreign_jobs(void **state)
{
        for (int reject = 0; reject < 2; reject++) {
                World w;

                world_open(&w, false);
                w.reject_foreign = reject;
                world_kill_otad(&w); /* the config is read at the start */
                world_add_job(&w, "f", "");
                world_add_job(&w, "a", "app");
                world_settle(&w);
                check_ended(&w, "f", reject ? JOB_STATUS_REJECTED : JOB_STATUS_QUEUED,
                            reject ? "document-unsupported" : "");
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
}

/* What can never succeed here is refused before anything is claimed; from a job that runs, FAILED has to do. */
static void test_refused_at_once(void **state)
{
        World w;

        world_open(&w, false);
        world_add_job(&w, "a", "nobody-knows");
        world_add_job(&w, "b", "app app");
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_REJECTED, "target-unknown");
        check_ended(&w, "b", JOB_STATUS_REJECTED, "target-repeated");
        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 0);
        world_close(&w);

        world_open(&w, false);
        world_add_job(&w, "a", "nobody-knows");
        world_job(&w, "a")->status = JOB_STATUS_IN_PROGRESS; /* by an otad with another config */
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_FAILED, "target-unknown");
        world_close(&w);
}

static void test_permanent_failure_at_begin(void **state)
{
        World w;

        open_world(&w, 0);
        w.bad_call = INSTALL_CALL_BEGIN;
        w.bad_kind = LINK_ERROR_FAILED;
        w.bad_reason = FAILURE_IMAGE_TOO_LARGE;
        w.n_bad = 1;
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_FAILED, "image-too-large");
        assert_int_equal(world_job(&w, "a")->n_refused, 1); /* REJECTED was tried */
        world_close(&w);
}

static void test_url_expires(void **state)
{
        unsigned n = count_events(0);

        for (unsigned k = 0; k < n; k++) {
                World w;

                open_world(&w, 0);
                run_events(&w, k);
                w.expired = true;
                world_settle(&w);
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
}

/* -- disturbed at every point ----------------------------------------------------------------------------------- */

typedef void (*Disturbance)(World *w);

static void run_disturbed(Disturbance disturb, unsigned n_times)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                unsigned n = count_events(variant);

                /* At each event once; where it happens again and again, at each third. */
                for (size_t k = 0; k <= n; k += n_times * test_stride())
                        for (int broker_first = 0; broker_first < 2; broker_first++) {
                                World w;

                                open_world(&w, variant);
                                w.broker_first = broker_first;
                                for (unsigned i = 0; i < n_times; i++) {
                                        run_events(&w, k + i * 7);
                                        disturb(&w);
                                }
                                world_settle(&w);
                                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                                assert_int_equal(w.n_calls[INSTALL_CALL_ROLL_BACK], 0);
                                world_close(&w);
                        }
        }
}

static void test_otad_is_killed(void **state)
{
        run_disturbed(world_kill_otad, 1);
        run_disturbed(world_kill_otad, 3);
}

static void test_broker_is_lost(void **state)
{
        run_disturbed(world_lose_broker, 1);
        run_disturbed(world_lose_broker, 3);
}

static void test_installer_is_lost(void **state)
{
        run_disturbed(world_lose_installer, 1);
        run_disturbed(world_lose_installer, 3);
}

static void lose_both(World *w)
{
        world_lose_installer(w);
        world_lose_broker(w);
}

static void test_both_are_lost(void **state)
{
        run_disturbed(lose_both, 1);
}

static void suspend_for_an_hour(World *w)
{
        int r;

        assert_int_equal(engine_suspend(w->engine, w->now_usec), 0);
        assert_int_equal(engine_suspend(w->engine, w->now_usec), -EALREADY);
        while (w->first)
                (void)world_step(w);
        w->now_usec += 3600 * USEC_PER_SEC;
        r = engine_resume(w->engine, w->now_usec);
        assert_true(r == 0 || r == -EALREADY); /* where a reboot came in between */
        assert_int_equal(engine_resume(w->engine, w->now_usec), -EALREADY);
}

static void test_suspended_by_the_operator(void **state)
{
        run_disturbed(suspend_for_an_hour, 1);
}

static void test_every_message_lost_or_twice(void **state)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                uint64_t n;
                World w;

                open_world(&w, variant);
                w.twice = true;
                world_settle(&w);
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                n = w.n_messages;
                world_close(&w);
                for (uint64_t k = 1; k <= n; k++) {
                        world_open(&w, variant == 1);
                        w.lose_message = k;
                        world_add_job(&w, "a", variants[variant]);
                        world_settle(&w);
                        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                        world_close(&w);
                }
        }
}

/* While the disk is full nothing is released; afterwards all ends well. */
static void test_disk_is_full(void **state)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                World w;

                open_world(&w, variant);
                folder_set_full(&w.folder, true);
                while (w.device.state.state != UPDATE_STATE_COMMITTED)
                        assert_true(world_step(&w));
                world_lose_broker(&w); /* or the cloud would know, and the disk would not matter */
                w.connection++;        /* it does not come back */
                for (unsigned i = 0; i < 20; i++)
                        (void)world_step(&w);
                assert_int_equal(w.device.state.state, UPDATE_STATE_COMMITTED);
                folder_set_full(&w.folder, false);
                while (w.device.state.state != UPDATE_STATE_IDLE)
                        assert_true(world_step(&w));
                world_kill_otad(&w); /* the status is on disk */
                world_settle(&w);
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
}

/* -- the installer says no -------------------------------------------------------------------------------------- */

static void run_bad(InstallCall call, LinkErrorKind kind, FailureReason reason, unsigned n_bad, JobStatus status,
                    const char *error)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                World w;

                if (call == INSTALL_CALL_REBOOT && variant == 0)
                        continue;
                open_world(&w, variant);
                w.bad_call = call;
                w.bad_kind = kind;
                w.bad_reason = reason;
                w.n_bad = n_bad;
                world_settle(&w);
                check_ended(&w, "a", status, error);
                assert_int_equal(w.n_bad, 0);
                world_close(&w);
        }
}

/* With a hook, so that they may be put off. */
static const InstallCall steps[] = {INSTALL_CALL_BEGIN,  INSTALL_CALL_VERIFY,    INSTALL_CALL_ACTIVATE,
                                    INSTALL_CALL_REBOOT, INSTALL_CALL_SELF_TEST, INSTALL_CALL_COMMIT};

static void test_not_now(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                run_bad(steps[i], LINK_ERROR_NOT_NOW, FAILURE_HOOK_NOT_NOW, 1, JOB_STATUS_SUCCEEDED, "");
                run_bad(steps[i], LINK_ERROR_NOT_NOW, FAILURE_HOOK_NOT_NOW, 5, JOB_STATUS_SUCCEEDED, "");
                /* For longer than an hour: 61 times, for it is asked every minute. */
                run_bad(steps[i], LINK_ERROR_NOT_NOW, FAILURE_HOOK_NOT_NOW, 61, JOB_STATUS_FAILED, "hook-not-now");
        }
}

static void test_failed(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                run_bad(steps[i], LINK_ERROR_FAILED, FAILURE_TARGET_IO, 1, JOB_STATUS_FAILED, "target-io");
        run_bad(INSTALL_CALL_WRITE, LINK_ERROR_FAILED, FAILURE_TARGET_IO, 1, JOB_STATUS_FAILED, "target-io");
}

static void test_busy(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                run_bad(steps[i], LINK_ERROR_BUSY, FAILURE_INSTALLER, 3, JOB_STATUS_SUCCEEDED, "");
                run_bad(steps[i], LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER, 3, JOB_STATUS_SUCCEEDED, "");
        }
        for (size_t i = 0; i < ELEMENTSOF(steps); i++)
                run_bad(steps[i], LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER, 31, JOB_STATUS_FAILED, "installer");
        run_bad(INSTALL_CALL_WRITE, LINK_ERROR_BUSY, FAILURE_INSTALLER, 5, JOB_STATUS_SUCCEEDED, "");
        run_bad(INSTALL_CALL_WRITE, LINK_ERROR_BUSY, FAILURE_INSTALLER, 6, JOB_STATUS_FAILED, "installer");
        run_bad(INSTALL_CALL_WRITE, LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER, 6, JOB_STATUS_FAILED, "installer");
}

/* A hook of many minutes, begun by a call over a link that is no more: nothing healthy is rolled back for that. */
static void test_busy_for_long(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                const unsigned n_busy = 100;
                uint64_t began;
                World w;

                open_world(&w, 1);
                w.bad_call = steps[i];
                w.bad_kind = LINK_ERROR_BUSY;
                w.bad_reason = FAILURE_INSTALLER;
                w.n_bad = n_busy;
                while (w.n_bad == n_busy)
                        assert_true(world_step(&w));
                began = w.now_usec;
                while (w.n_bad > 0)
                        assert_true(world_step(&w));
                /* Asked at growing intervals, and told meanwhile, if the broker is not just told goodbye. */
                assert_in_range(w.now_usec - began, 300 * USEC_PER_SEC, 3000 * USEC_PER_SEC);
                if (steps[i] != INSTALL_CALL_REBOOT)
                        assert_string_equal(world_job(&w, "a")->waiting,
                                            "otad-installer is busy: the installer says no");
                world_settle(&w);
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                assert_int_equal(w.n_calls[INSTALL_CALL_ROLL_BACK], 0);
                world_close(&w);
        }
}

/* A long flush, or a machine that slept: the pipe is full for a minute and more, and then all goes on. */
static void test_takes_no_byte_for_a_while(void **state)
{
        World w;

        open_world(&w, 0);
        w.takes_nothing = true;
        while (w.n_calls[INSTALL_CALL_BEGIN] < 5)
                assert_true(world_step(&w));
        w.takes_nothing = false;
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
        assert_int_equal(w.n_calls[INSTALL_CALL_ROLL_BACK], 0);
        world_close(&w);
}

/* It answers, and never takes a byte: that ends. */
static void test_takes_no_byte_at_all(void **state)
{
        uint64_t began;
        World w;

        open_world(&w, 0);
        w.takes_nothing = true;
        began = w.now_usec;
        while (w.n_calls[INSTALL_CALL_ROLL_BACK] == 0)
                assert_true(world_step(&w));
        assert_in_range(w.now_usec - began, 360 * USEC_PER_SEC, 420 * USEC_PER_SEC);
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_FAILED, "installer");
        world_close(&w);
}

static void test_state_or_release_fails(void **state)
{
        run_bad(INSTALL_CALL_GET_STATE, LINK_ERROR_FAILED, FAILURE_INSTALLER, 5, JOB_STATUS_SUCCEEDED, "");
        run_bad(INSTALL_CALL_RELEASE, LINK_ERROR_FAILED, FAILURE_TARGET_IO, 5, JOB_STATUS_SUCCEEDED, "");
        run_bad(INSTALL_CALL_GET_STATE, LINK_ERROR_LOST, FAILURE_INSTALLER, 1, JOB_STATUS_SUCCEEDED, "");
}

/* -- reboots ---------------------------------------------------------------------------------------------------- */

static void test_reboot_never_comes(void **state)
{
        World w;

        open_world(&w, 1);
        w.reboot_never_comes = true;
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_FAILED, "reboot-failed");
        assert_int_equal(w.device.n_boots, 0);
        world_close(&w);
}

static void test_boots_the_old_slot(void **state)
{
        World w;

        open_world(&w, 1);
        w.boots_old = true;
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_FAILED, "booted-old-slot");
        world_close(&w);
}

/* -- ended from outside, at every point ------------------------------------------------------------------------- */

static void run_ended(void (*end)(World *w, const char *id))
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                unsigned n = count_events(variant);

                for (size_t k = 0; k <= n; k += test_stride()) {
                        World w;

                        open_world(&w, variant);
                        run_events(&w, k);
                        end(&w, "a");
                        world_add_job(&w, "z", "app"); /* the next one is carried out */
                        world_settle(&w);
                        check_ended(&w, "z", JOB_STATUS_SUCCEEDED, "");
                        if (w.device.n_boots == 0)
                                assert_int_equal(w.n_calls[INSTALL_CALL_REBOOT], 0);
                        world_close(&w);
                }
        }
}

static void cancel_in_the_cloud(World *w, const char *id)
{
        world_end_job(w, id, JOB_STATUS_CANCELED);
}

static void cancel_offline(World *w, const char *id)
{
        world_lose_broker(w);
        world_end_job(w, id, JOB_STATUS_CANCELED);
}

static void cancel_and_kill(World *w, const char *id)
{
        world_end_job(w, id, JOB_STATUS_CANCELED);
        world_kill_otad(w);
}

static void test_cancelled_in_the_cloud(void **state)
{
        run_ended(cancel_in_the_cloud);
        run_ended(cancel_offline);
        run_ended(cancel_and_kill);
}

static void test_deleted(void **state)
{
        run_ended(world_delete_job);
}

static void test_a_new_attempt(void **state)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                unsigned n = count_events(variant);

                for (size_t k = 0; k <= n; k += test_stride()) {
                        bool was_over;
                        World w;

                        open_world(&w, variant);
                        run_events(&w, k);
                        was_over = job_status_is_terminal(world_job(&w, "a")->status);
                        world_retry_job(&w, "a");
                        world_settle(&w);
                        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                        assert_int_equal(world_job(&w, "a")->execution, 2);
                        assert_int_equal(w.jobs[0].status, was_over ? JOB_STATUS_SUCCEEDED : JOB_STATUS_TIMED_OUT);
                        world_close(&w);
                }
        }
}

static void test_cancelled_by_the_operator(void **state)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                unsigned n = count_events(variant), n_failed = 0;

                for (unsigned k = 0; k <= n; k++) {
                        World w;
                        int r;

                        open_world(&w, variant);
                        run_events(&w, k);
                        r = engine_cancel(w.engine, "a person said so", w.now_usec);
                        world_settle(&w);
                        if (r >= 0 && world_job(&w, "a")->status == JOB_STATUS_FAILED)
                                check_ended(&w, "a", JOB_STATUS_FAILED, "cancelled-locally");
                        else
                                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                        n_failed += world_job(&w, "a")->status == JOB_STATUS_FAILED;
                        assert_true(r == 0 || r == -ENOENT || r == -EPERM);
                        world_close(&w);
                }
                assert_true(n_failed > n / 2);
        }
}

static void test_two_jobs(void **state)
{
        for (size_t variant = 0; variant < ELEMENTSOF(variants); variant++) {
                unsigned n = count_events(variant);

                for (size_t k = 0; k <= n; k += test_stride()) {
                        World w;

                        open_world(&w, variant);
                        run_events(&w, k);
                        world_add_job(&w, "b", "app");
                        world_settle(&w);
                        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                        check_ended(&w, "b", JOB_STATUS_SUCCEEDED, "");
                        assert_int_equal(w.n_calls[INSTALL_CALL_BEGIN], 2);
                        world_close(&w);
                }
        }
}

/* The document is another one the next time it is asked for. */
static void test_document_changes(void **state)
{
        unsigned n = count_events(0), n_failed = 0;

        for (unsigned k = 0; k <= n; k++) {
                char *size;
                World w;

                open_world(&w, 0);
                run_events(&w, k);
                size = strstr(world_job(&w, "a")->document, "filesize\":1000");
                assert_non_null(size);
                memcpy(size, "filesize\":1001", 14);
                world_lose_broker(&w); /* so that it is asked for */
                world_settle(&w);
                if (world_job(&w, "a")->status == JOB_STATUS_FAILED) {
                        check_ended(&w, "a", JOB_STATUS_FAILED, "document-invalid");
                        n_failed++;
                } else {
                        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                }
                world_close(&w);
        }
        assert_in_range(n_failed, n / 4, n);
}

/* -- what is found at the start --------------------------------------------------------------------------------- */

static void put_session(World *w, const char *session, UpdateState state)
{
        LinkState *s = &w->device.state;

        snprintf(s->session, sizeof(s->session), "%s", session);
        memset(s->job_id, 0, sizeof(s->job_id));
        memcpy(s->job_id, session, strcspn(session, "#"));
        s->attempt = strchr(session, '#') ? strtoul(strchr(session, '#') + 1, NULL, 10) : 0;
        s->state = state;
        s->n_files = 1;
        s->files[0].size_bytes = 1000;
        s->files[0].written_bytes = state == UPDATE_STATE_DOWNLOADING ? 400 : 1000;
        s->reboot_needed = state == UPDATE_STATE_ACTIVATING && w->device.ab;
        if (state == UPDATE_STATE_ROLLED_BACK || state == UPDATE_STATE_ROLLING_BACK)
                s->failure = (Failure){.reason = FAILURE_SELFTEST_FAILED, .detail = "it did not start"};
}

static const UpdateState found[] = {UPDATE_STATE_DOWNLOADING, UPDATE_STATE_VERIFYING, UPDATE_STATE_INSTALLED,
                                    UPDATE_STATE_ACTIVATING,  UPDATE_STATE_TESTING,   UPDATE_STATE_COMMITTED,
                                    UPDATE_STATE_ROLLED_BACK};

static void test_found_at_the_start(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(found); i++)
                for (int broker_first = 0; broker_first < 2; broker_first++) {
                        bool failed = found[i] == UPDATE_STATE_ROLLED_BACK;
                        World w;

                        open_world(&w, 0);
                        w.broker_first = broker_first;
                        world_job(&w, "a")->status = JOB_STATUS_IN_PROGRESS;
                        w.device.ab = found[i] == UPDATE_STATE_ACTIVATING;
                        put_session(&w, "a#1", found[i]);
                        world_kill_otad(&w);
                        world_settle(&w);
                        check_ended(&w, "a", failed ? JOB_STATUS_FAILED : JOB_STATUS_SUCCEEDED,
                                    failed ? "selftest-failed" : "");
                        world_close(&w);
                }
}

/* Gone meanwhile, in another attempt meanwhile, or never a job at all: rolled back, and the next one begins. */
static void test_found_but_not_wanted(void **state)
{
        static const char *const sessions[] = {"a#1", "gone#1", "no job", "a#0", "unknown#0"};

        for (size_t k = 0; k < ELEMENTSOF(sessions); k++)
                for (size_t i = 0; i < ELEMENTSOF(found); i++)
                        for (int broker_first = 0; broker_first < 2; broker_first++) {
                                World w;

                                open_world(&w, 0);
                                w.broker_first = broker_first;
                                if (k == 0)
                                        world_retry_job(&w, "a");
                                put_session(&w, sessions[k], found[i]);
                                world_kill_otad(&w);
                                world_settle(&w);
                                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                                assert_int_equal(world_job(&w, "a")->execution, k == 0 ? 2 : 1);
                                assert_int_equal(w.n_calls[INSTALL_CALL_ROLL_BACK],
                                                 found[i] < UPDATE_STATE_COMMITTED ? 1 : 0);
                                world_close(&w);
                        }
}

/* Somebody else begins a session while a job waits: it is not lost for that. */
static void test_another_session_comes_between(void **state)
{
        unsigned n = count_events(0);

        for (unsigned k = 0; k <= n; k++) {
                World w;

                open_world(&w, 0);
                run_events(&w, k);
                if (w.device.state.session[0] || w.device.rests) { /* resting, it is found with the next job */
                        world_close(&w);
                        continue;
                }
                put_session(&w, "other#1", UPDATE_STATE_DOWNLOADING);
                world_lose_installer(&w);
                world_settle(&w);
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
}

/* The installer starts with nothing, its record being damaged. */
static void test_record_lost(void **state)
{
        unsigned n = count_events(1), n_failed = 0;

        for (unsigned k = 0; k <= n; k++) {
                UpdateState before;
                World w;

                open_world(&w, 1);
                run_events(&w, k);
                before = w.device.state.state;
                memset(&w.device.state.session, 0, sizeof(w.device.state.session));
                w.device.state.state = UPDATE_STATE_IDLE;
                w.device.state.reboot_needed = false;
                world_lose_installer(&w);
                world_settle(&w);
                if (world_job(&w, "a")->status == JOB_STATUS_FAILED) {
                        check_ended(&w, "a", JOB_STATUS_FAILED, "record-damaged");
                        assert_true(before >= UPDATE_STATE_ACTIVATING);
                        n_failed++;
                } else {
                        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                }
                world_close(&w);
        }
        assert_true(n_failed > 3);
}

/* -- what is shown ---------------------------------------------------------------------------------------------- */

static void test_status(void **state)
{
        Failure lost = {.reason = FAILURE_INSTALLER, .detail = "it is gone"};
        EngineStatus status;
        World w;

        world_open(&w, false);
        engine_status(w.engine, &status);
        assert_null(status.update.device);
        assert_false(job_key_is_set(status.update.key));
        /* What is not known yet is not told to be idle and well; and what is over is not told any more. */
        assert_string_equal(status.update.waiting, "otad-installer is not reached");
        assert_int_equal(engine_cancel(w.engine, "x", w.now_usec), -ENOENT);
        assert_int_equal(engine_resume(w.engine, w.now_usec), -EALREADY);
        world_settle(&w);
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "");
        engine_on_device_down(w.engine, &lost, w.now_usec);
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "otad-installer is not reached");
        engine_on_device_up(w.engine, &w.device.state, w.now_usec);
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "");
        engine_on_device_rest(w.engine, w.now_usec);
        world_add_job(&w, "a", "app");
        do {
                assert_true(world_step(&w));
                engine_status(w.engine, &status);
        } while (status.update.state != UPDATE_STATE_DOWNLOADING);
        /* How much is on the target is known all the while, not only when the device's state changes. */
        do {
                assert_true(world_step(&w));
                engine_status(w.engine, &status);
                assert_int_equal(status.update.state, UPDATE_STATE_DOWNLOADING);
        } while (status.update.device->files[0].written_bytes == 0);
        assert_int_equal(engine_suspend(w.engine, w.now_usec), 0);
        while (w.first)
                (void)world_step(&w);
        engine_status(w.engine, &status);
        assert_int_equal(status.update.state, UPDATE_STATE_SUSPENDED);
        assert_string_equal(status.update.waiting, "suspended by the operator");
        assert_true(status.update.suspended_by_operator);
        assert_int_equal(engine_resume(w.engine, w.now_usec), 0);
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "");
        world_lose_broker(&w);
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "the broker is not reached");
        world_lose_installer(&w);
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "otad-installer is not reached");
        while (w.device.state.state != UPDATE_STATE_TESTING)
                assert_true(world_step(&w));
        engine_status(w.engine, &status);
        assert_string_equal(status.update.waiting, "");
        world_settle(&w);
        check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
        world_close(&w);
}

static void test_hostile_messages(void **state)
{
        static const char *const topics[] = {
                "$aws/things/thing/jobs/notify",
                "$aws/things/thing/jobs/notify-next",
                "$aws/things/thing/jobs/get/accepted",
                "$aws/things/thing/jobs/get/rejected",
                "$aws/things/thing/jobs/a/get/accepted",
                "$aws/things/thing/jobs/a/get/rejected",
                "$aws/things/thing/jobs/a/update/accepted",
                "$aws/things/thing/jobs/a/update/rejected",
                "$aws/things/thing/streams/s/data/cbor",
                "$aws/things/thing/streams/s/rejected/cbor",
                "$aws/things/thing/streams/s/description/cbor",
                "$aws/things/other/jobs/notify",
                "$aws/things/thing/jobs/start-next/accepted",
                "\x1b[2J",
                "",
        };
        static const char *const payloads[] = {"",
                                               "{",
                                               "{}",
                                               "[]",
                                               "\xbf\xff",
                                               "{\"jobs\":3}",
                                               "{\"execution\":[]}",
                                               "{\"code\":1}",
                                               "{\"clientToken\":\"d-1\"}"};
        unsigned n = count_events(0);

        for (unsigned k = 0; k < n; k += 5) {
                World w;

                open_world(&w, 0);
                run_events(&w, k);
                for (size_t i = 0; i < ELEMENTSOF(topics); i++)
                        for (size_t j = 0; j < ELEMENTSOF(payloads); j++) {
                                w.n_acts = 0;
                                engine_on_message(w.engine, topics[i], payloads[j], strlen(payloads[j]), w.now_usec);
                        }
                world_settle(&w);
                check_ended(&w, "a", JOB_STATUS_SUCCEEDED, "");
                world_close(&w);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_well),
                cmocka_unit_test(test_version_is_told),
                cmocka_unit_test(test_foreign_jobs),
                cmocka_unit_test(test_refused_at_once),
                cmocka_unit_test(test_permanent_failure_at_begin),
                cmocka_unit_test(test_url_expires),
                cmocka_unit_test(test_otad_is_killed),
                cmocka_unit_test(test_broker_is_lost),
                cmocka_unit_test(test_installer_is_lost),
                cmocka_unit_test(test_both_are_lost),
                cmocka_unit_test(test_suspended_by_the_operator),
                cmocka_unit_test(test_every_message_lost_or_twice),
                cmocka_unit_test(test_disk_is_full),
                cmocka_unit_test(test_not_now),
                cmocka_unit_test(test_failed),
                cmocka_unit_test(test_busy),
                cmocka_unit_test(test_busy_for_long),
                cmocka_unit_test(test_takes_no_byte_for_a_while),
                cmocka_unit_test(test_takes_no_byte_at_all),
                cmocka_unit_test(test_state_or_release_fails),
                cmocka_unit_test(test_reboot_never_comes),
                cmocka_unit_test(test_boots_the_old_slot),
                cmocka_unit_test(test_cancelled_in_the_cloud),
                cmocka_unit_test(test_deleted),
                cmocka_unit_test(test_a_new_attempt),
                cmocka_unit_test(test_cancelled_by_the_operator),
                cmocka_unit_test(test_two_jobs),
                cmocka_unit_test(test_document_changes),
                cmocka_unit_test(test_found_at_the_start),
                cmocka_unit_test(test_found_but_not_wanted),
                cmocka_unit_test(test_another_session_comes_between),
                cmocka_unit_test(test_record_lost),
                cmocka_unit_test(test_status),
                cmocka_unit_test(test_hostile_messages),
        };

        log_set_max_level(-1); /* thousands of updates */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
