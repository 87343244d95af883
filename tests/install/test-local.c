/* Sessions that no job stands behind: what they do by themselves, when they end, and the way back after the commit. */
#include <errno.h>
#include <string.h>

#include "fixture.h"
#include "install/history.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static void ask_locally(Device *d, const char *session, const char *target)
{
        device_ask_for(d, target, NULL);
        strcpy(d->request.session, session);
        strcpy(d->request.job_id, "local");
}

static void assert_last(Device *d, const char *operation, const char *result, const char *reason)
{
        _cleanup_free_ HistoryEntry *history = NULL;
        size_t n = 0;

        assert_int_equal(history_load(d->params.state_dir_fd, &history, &n), 0);
        assert_true(n > 0);
        assert_string_equal(history[n - 1].session, d->request.session);
        assert_string_equal(history[n - 1].operation, operation);
        assert_string_equal(history[n - 1].result, result);
        assert_string_equal(history[n - 1].reason, reason);
}

static void install_slot_b(Device *d)
{
        device_start(d);
        ask_locally(d, "local#install-1", "rootfs");
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_write(d, "version", "VERSION=1.1\n");
        device_reboot(d, "B");
        device_wait_for(d, UPDATE_STATE_IDLE);
}

static void test_goes_on_alone(void **state)
{
        Device *d = *state;

        install_slot_b(d);
        assert_string_equal(device_read(d, "state.B"), "good");
        assert_last(d, "update", "committed", "");
        assert_false(device_has(d, "state/session"));
}

/* Its owner has time to give it up, or to ask for the reboot: nothing is done before the new software runs. */
static void test_waits_for_the_reboot(void **state)
{
        Device *d = *state;

        device_start(d);
        ask_locally(d, "local#install-1", "rootfs");
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        install_session_owner_gone(d->session);
        device_turn(d, 100);
        assert_int_equal(device_state(d), UPDATE_STATE_ACTIVATING);
        device_stop(d);
        device_start(d);
        device_turn(d, 100);
        assert_int_equal(device_state(d), UPDATE_STATE_ACTIVATING);
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED_LOCALLY), INSTALL_OUTCOME_DONE);
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_last(d, "update", "rolled-back", "cancelled-locally");
}

static void test_owner_gone(void **state)
{
        Device *d = *state;

        device_start(d);
        ask_locally(d, "local#install-1", "rootfs");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, 100000);
        install_session_owner_gone(d->session);
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_last(d, "update", "rolled-back", "cancelled-locally");
        assert_string_equal(device_read(d, "primary"), "A");

        /* A job's is nobody's but the job's. */
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        install_session_owner_gone(d->session);
        device_turn(d, 50);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
        device_stop(d);
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
}

/* Sealed or not: after a start of the installer there is nobody who could go on with it. */
static void test_started_anew_before_the_activation(void **state)
{
        Device *d = *state;

        for (int installed = 0; installed <= 1; installed++) {
                device_start(d);
                ask_locally(d, "local#install-1", "rootfs");
                if (installed)
                        device_install(d);
                else
                        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
                device_stop(d);
                device_start(d);
                assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_OUT_OF_TURN);
                device_wait_for(d, UPDATE_STATE_IDLE);
                assert_last(d, "update", "rolled-back", "cancelled-locally");
                assert_string_equal(device_read(d, "primary"), "A");
                device_stop(d);
        }
}

static void test_not_now(void **state)
{
        Device *d = *state;

        d->params.retry_usec = 50000;
        device_start(d);
        ask_locally(d, "local#install-1", "app");
        device_install(d);
        device_write(d, "app-version", "VERSION=9\n");
        device_write(d, "exit.selftest", "75");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_turn(d, 200);
        assert_int_equal(device_state(d), UPDATE_STATE_TESTING);
        device_remove(d, "exit.selftest");
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_last(d, "update", "committed", "");
}

static void on_reverted(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        Device *d = userdata;

        d->answered = true;
        d->outcome = outcome;
        d->failure = failure ? *failure : (Failure){0};
}

static InstallOutcome revert(Device *d, const char *target)
{
        memset(&d->request, 0, sizeof(d->request));
        d->request.attempt = d->request.n_files = 1;
        strcpy(d->request.session, "local#rollback-1");
        strcpy(d->request.job_id, "local");
        strcpy(d->request.files[0].target, target);
        d->answered = false;
        install_session_revert(d->session, &d->request, on_reverted, d);
        device_wait_answered(d);
        return d->outcome;
}

static void test_revert(void **state)
{
        Device *d = *state;

        install_slot_b(d);
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_INSTALLED);
        assert_string_equal(device_read(d, "state.A"), "good");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        /* On trial, so that the boot loader comes back should it not start. */
        assert_string_equal(device_read(d, "primary"), "A");
        assert_string_equal(device_read(d, "state.A"), "bad");
        device_write(d, "version", "VERSION=1.0\n");
        device_reboot(d, "A");
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_string_equal(device_read(d, "state.A"), "good");
        assert_last(d, "rollback", "committed", "");
}

static void test_revert_that_comes_up_in_the_new_slot(void **state)
{
        Device *d = *state;

        install_slot_b(d);
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_reboot(d, "B");
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_string_equal(device_read(d, "primary"), "B");
        assert_string_equal(device_read(d, "state.A"), "bad");
        assert_last(d, "rollback", "rolled-back", "booted-old-slot");
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_NOTHING);
}

static void test_revert_cancelled(void **state)
{
        Device *d = *state;

        install_slot_b(d);
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_DONE);
        install_session_owner_gone(d->session);
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_string_equal(device_read(d, "state.A"), "good");
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED_LOCALLY), INSTALL_OUTCOME_DONE);
        device_wait_for(d, UPDATE_STATE_IDLE);
        assert_string_equal(device_read(d, "state.A"), "good");
        assert_string_equal(device_read(d, "primary"), "B");
}

static void test_nothing_to_revert(void **state)
{
        Device *d = *state;

        device_start(d);
        device_write(d, "state.B", "bad\n");
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_NOTHING);
        assert_non_null(strstr(d->failure.detail, "slot B"));
        assert_int_equal(revert(d, "app"), INSTALL_OUTCOME_NOTHING);
        assert_int_equal(revert(d, "nobody"), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_TARGET_UNKNOWN);
        assert_int_equal(device_state(d), UPDATE_STATE_IDLE);
        /* Not while something is at hand, and nothing was left behind by what was refused. */
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(revert(d, "rootfs"), INSTALL_OUTCOME_BUSY);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
}

#define ON_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_set_up, device_tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ON_DEVICE(test_goes_on_alone),
                ON_DEVICE(test_waits_for_the_reboot),
                ON_DEVICE(test_owner_gone),
                ON_DEVICE(test_started_anew_before_the_activation),
                ON_DEVICE(test_not_now),
                ON_DEVICE(test_revert),
                ON_DEVICE(test_revert_that_comes_up_in_the_new_slot),
                ON_DEVICE(test_revert_cancelled),
                ON_DEVICE(test_nothing_to_revert),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
