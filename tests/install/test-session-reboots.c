/* Every way to come up after a restart, and every deadline that is kept with nobody there to call. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/time-util.h"
#include "fixture.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static const char *last_hook(Device *d, const char *stage)
{
        const char *log = device_read(d, "hook.log"), *last = NULL;

        for (const char *at = log; (at = strstr(at, stage)); at++)
                last = at;
        return last;
}

/* A slot that was activated, a reboot that was asked for. */
static void activate_slot(Device *d)
{
        device_ask_for(d, "rootfs", NULL);
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_DONE);
        device_write(d, "version", "VERSION=1.1\n");
}

static void assert_undone(Device *d, FailureReason reason)
{
        device_wait_for(d, UPDATE_STATE_ROLLED_BACK);
        assert_string_equal(failure_reason_to_string(device_failure(d)), failure_reason_to_string(reason));
        assert_string_equal(device_read(d, "primary"), "A");
        assert_string_equal(device_read(d, "state.B"), "bad");
        assert_non_null(last_hook(d, "rollback "));
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
        assert_non_null(last_hook(d, "cleanup rootfs B result=rolled-back"));
}

/* (b) */
static void test_booted_old(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "A");
        assert_undone(d, FAILURE_BOOTED_OLD);
}

/* (b) The power fails before the boot loader has heard: nothing has been tried, and nothing has failed. */
static void on_never(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        assert_int_not_equal(outcome, INSTALL_OUTCOME_DONE);
}

static void test_power_cut_before_set_primary(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        device_install(d);
        device_write(d, "sleep.set-primary", "30");
        install_session_activate(d->session, on_never, d);
        device_wait_called(d, "boot.log", "set-primary B", 1);
        device_remove(d, "sleep.set-primary");
        device_reboot(d, "A");
        assert_int_equal(device_state(d), UPDATE_STATE_ACTIVATING);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_string_equal(device_read(d, "primary"), "B");
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_DONE);
        device_reboot(d, "A");
        assert_undone(d, FAILURE_BOOTED_OLD);
}

/* (c) */
static void test_restarted_without_reboot(void **state)
{
        Device *d = *state;
        InstallStatus status;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_stop(d);
        device_start(d);
        install_session_get_status(d->session, &status);
        assert_int_equal(status.state, UPDATE_STATE_ACTIVATING);
        assert_true(status.reboot_needed);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_DONE);

        /* The deadline for the reboot counts on across a restart of ours. */
        device_stop(d);
        d->params.reboot_timeout_usec = 300 * USEC_PER_MSEC;
        device_start(d);
        assert_undone(d, FAILURE_REBOOT_FAILED);
        assert_null(strstr(device_read(d, "hook.log"), "reboot rootfs B result=rolled-back"));
}

/* (d) */
static void test_boots_and_is_never_committed(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        for (unsigned i = 0; i < d->params.selftest_max_boots; i++) {
                device_reboot(d, "B");
                assert_int_equal(device_state(d), UPDATE_STATE_TESTING);
        }
        /* A restart of the installer alone is no boot. */
        device_stop(d);
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_TESTING);
        device_reboot(d, "B");
        device_wait_for(d, UPDATE_STATE_ROLLING_BACK);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back reason=selftest-failed", 1);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLING_BACK);
        device_reboot(d, "A");
        assert_undone(d, FAILURE_SELFTEST_FAILED);
}

/* (d) the self-test must pass again in each boot. */
static void test_tested_in_another_boot(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        device_stop(d);
        device_start(d);
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        device_stop(d);
        device_start(d);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_DONE);
}

/* (e) */
static void test_boot_loader_fell_back(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        device_reboot(d, "A");
        assert_undone(d, FAILURE_BOOTED_OLD);
}

/* (f), with a reboot hook that fails first, and power cuts in between. */
static void test_rollback_goes_on(void **state)
{
        Device *d = *state;
        const char *log;
        unsigned n;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        device_write(d, "exit.reboot", "1");
        device_write(d, "exit.selftest", "1");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_SELFTEST_FAILED);
        device_stop(d);
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLING_BACK);
        /* It is tried more than once; the rollback hook runs once. */
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", 2);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLING_BACK);
        log = device_read(d, "hook.log");
        assert_null(strstr(strstr(log, "rollback ") + 1, "rollback "));
        device_remove(d, "exit.reboot");
        /* It comes up in the new slot once more before the old one. */
        device_stop(d);
        n = device_count_called(d, "hook.log", "reboot rootfs B result=rolled-back");
        device_reboot(d, "B");
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLING_BACK);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", n + 1);
        device_reboot(d, "A");
        assert_undone(d, FAILURE_SELFTEST_FAILED);
}

/* A boot loader that never comes back: ends, and says so. */
static void test_rollback_in_vain(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED_LOCALLY), INSTALL_OUTCOME_DONE);
        for (unsigned i = 0; i <= d->params.selftest_max_boots; i++) {
                assert_int_equal(device_state(d), UPDATE_STATE_ROLLING_BACK);
                device_reboot(d, "B");
        }
        assert_undone(d, FAILURE_ROLLBACK_FAILED);
}

/* In the new slot, whose boot script cannot switch back. */
static void roll_back_without_boot_script(Device *d)
{
        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        d->params.retry_usec = USEC_PER_MSEC;
        device_write(d, "fail.set-primary", "");
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
}

/* What cannot be switched back is left to the boot loader, which gives up a trial by itself. */
static void test_boot_script_broken_in_rollback(void **state)
{
        Device *d = *state;

        roll_back_without_boot_script(d);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", 1);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLING_BACK);
        assert_int_equal(device_count_called(d, "boot.log", "set-primary A"), 6);
        device_remove(d, "fail.set-primary");
        device_reboot(d, "A");
        assert_undone(d, FAILURE_CANCELLED);
}

static void test_boot_script_broken_and_no_reboot(void **state)
{
        Device *d = *state;
        InstallStatus status;

        roll_back_without_boot_script(d);
        device_write(d, "exit.reboot", "1");
        device_wait_for(d, UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_failure(d), FAILURE_ROLLBACK_FAILED);
        install_session_get_status(d->session, &status);
        assert_non_null(strstr(status.failure->detail, "set-primary"));
        assert_int_equal(device_count_called(d, "hook.log", "reboot rootfs B result=rolled-back"), 1);
}

/* Nor does the boot loader: that ends, too. */
static void test_boot_script_broken_and_the_loader_as_well(void **state)
{
        Device *d = *state;

        roll_back_without_boot_script(d);
        for (unsigned n_reboots = 1; n_reboots <= 11; n_reboots++) {
                device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", n_reboots);
                device_reboot(d, "B");
        }
        device_wait_for(d, UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_failure(d), FAILURE_ROLLBACK_FAILED);
}

/* The slot goes back though a file cannot, and what could not be undone is told. */
static void test_file_that_cannot_go_back(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "app", "rootfs");
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_reboot(d, "B");
        d->params.retry_usec = USEC_PER_MSEC;
        device_remove(d, ".app.otad-old");
        device_mkdir(d, ".app.otad-old");
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", 1);
        assert_string_equal(device_read(d, "primary"), "A");
        device_reboot(d, "A");
        device_wait_for(d, UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_failure(d), FAILURE_ROLLBACK_FAILED);
        assert_string_equal(device_read(d, "state.B"), "bad");
}

static void test_boot_script_broken_at_start(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        d->params.retry_usec = 5 * USEC_PER_MSEC;
        device_write(d, "fail.get-current", "");
        device_reboot(d, "B");
        device_wait_for(d, UPDATE_STATE_ROLLING_BACK);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back reason=boot-script", 1);
        assert_string_equal(device_read(d, "primary"), "A");
        device_remove(d, "fail.get-current");
        device_reboot(d, "A");
        assert_undone(d, FAILURE_BOOT_SCRIPT);
}

/* However long its other waits are, a start does not take longer than the service manager waits for it. */
static void test_start_is_judged_soon(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        device_stop(d);
        d->params.retry_usec = 3600 * USEC_PER_SEC;
        device_write(d, "boot-id", "33333333-3333-4333-8333-333333333333\n");
        device_write(d, "current", "B\n");
        device_write(d, "fail.get-current", "once");
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_TESTING);
}

/* Nobody calls: neither otad nor a person. */
static void test_selftest_deadline(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        d->params.selftest_timeout_usec = 300 * USEC_PER_MSEC;
        device_reboot(d, "B");
        assert_int_equal(device_state(d), UPDATE_STATE_TESTING);
        device_wait_for(d, UPDATE_STATE_ROLLING_BACK);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back reason=selftest-timeout", 1);
        device_reboot(d, "A");
        assert_undone(d, FAILURE_SELFTEST_TIMEOUT);
}

/* The deadline counts from the first start in a boot, not from the last of ours. */
static void test_selftest_deadline_across_restart(void **state)
{
        Device *d = *state;
        InstallStatus status;
        uint64_t left;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        device_turn(d, 200);
        install_session_get_status(d->session, &status);
        left = status.selftest_left_usec;
        device_stop(d);
        device_start(d);
        install_session_get_status(d->session, &status);
        assert_true(status.selftest_left_usec < left);
}

static void test_file_rolled_back_by_deadline(void **state)
{
        Device *d = *state;

        d->params.selftest_timeout_usec = 200 * USEC_PER_MSEC;
        device_start(d);
        device_ask_for(d, "app", NULL);
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_true(device_holds(d, "app", 0));
        device_wait_for(d, UPDATE_STATE_ROLLED_BACK);
        assert_string_equal(device_read(d, "app"), "old app");
        assert_int_equal(device_failure(d), FAILURE_SELFTEST_TIMEOUT);
}

/* All or nothing: the slot's hook fails when the file has been switched already. */
static void test_activation_fails_half_way(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "app", "rootfs");
        device_install(d);
        device_write(d, "fail.set-primary", "");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_BOOT_SCRIPT);
        device_remove(d, "fail.set-primary");
        device_wait_for(d, UPDATE_STATE_ROLLED_BACK);
        assert_string_equal(device_read(d, "app"), "old app");
        assert_string_equal(device_read(d, "primary"), "A");
        assert_null(strstr(device_read(d, "hook.log"), "reboot"));
}

/* A power cut before the boot loader was told: activation is simply asked for again. */
static void test_cut_before_switch(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        device_install(d);
        device_write(d, "exit.activate", "75");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_NOT_NOW);
        device_reboot(d, "A");
        assert_int_equal(device_state(d), UPDATE_STATE_ACTIVATING);
        /* Booted by somebody else, before its time: that is no trial. */
        device_reboot(d, "B");
        assert_int_equal(device_state(d), UPDATE_STATE_ACTIVATING);
        device_remove(d, "exit.activate");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_string_equal(device_read(d, "primary"), "B");
}

static void fail_version(Device *d, const char *version, FailureReason reason)
{
        device_start(d);
        activate_slot(d);
        device_write(d, "version", version);
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, reason);
        assert_null(strstr(device_read(d, "hook.log"), "selftest"));
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", 1);
        device_reboot(d, "A");
        assert_undone(d, reason);
}

static void test_same_version(void **state)
{
        fail_version(*state, "VERSION=1.0\n", FAILURE_VERSION_SAME);
}

static void test_older_version(void **state)
{
        fail_version(*state, "VERSION=0.9\n", FAILURE_VERSION_OLDER);
}

static void test_no_version(void **state)
{
        fail_version(*state, "NOTHING=1\n", FAILURE_SELFTEST_FAILED);
}

static void test_older_version_where_allowed(void **state)
{
        Device *d = *state;

        d->params.allow_downgrade = true;
        device_start(d);
        activate_slot(d);
        device_write(d, "version", "VERSION=0.9\n");
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
}

static void test_commit_fails(void **state)
{
        Device *d = *state;

        device_start(d);
        activate_slot(d);
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        device_write(d, "exit.commit", "75");
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_COMMIT_FAILED);
        device_wait_called(d, "hook.log", "reboot rootfs B result=rolled-back", 1);
        device_reboot(d, "A");
        assert_undone(d, FAILURE_COMMIT_FAILED);
}

/* The record cannot be read: what runs is what boots next, a switched file is put back, and it is said. */
static void test_damaged_record(void **state)
{
        Device *d = *state;
        InstallStatus status;

        device_start(d);
        device_ask_for(d, "app", "rootfs");
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_string_equal(device_read(d, "primary"), "B");
        device_stop(d);
        device_flip(d, "state/session", 20);
        device_start(d);
        install_session_get_status(d->session, &status);
        assert_int_equal(status.state, UPDATE_STATE_IDLE);
        assert_null(status.record);
        assert_int_equal(status.failure->reason, FAILURE_RECORD_DAMAGED);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_string_equal(device_read(d, "app"), "old app");
        assert_false(device_has(d, ".app.otad-old"));
        assert_true(device_has(d, "state/session.damaged"));
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_failure(d), FAILURE_NONE);
}

/* It cannot be put aside either: the same, at each start, until a new session replaces it. */
static void test_damaged_record_that_stays(void **state)
{
        Device *d = *state;
        InstallStatus status;

        device_start(d);
        device_ask_for(d, "app", "rootfs");
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_stop(d);
        device_flip(d, "state/session", 20);
        device_mkdir(d, "state/session.damaged");
        for (unsigned i = 0; i < 2; i++) {
                device_start(d);
                install_session_get_status(d->session, &status);
                assert_int_equal(status.state, UPDATE_STATE_IDLE);
                assert_int_equal(status.failure->reason, FAILURE_RECORD_DAMAGED);
                assert_string_equal(device_read(d, "primary"), "A");
                assert_string_equal(device_read(d, "app"), "old app");
                assert_true(device_has(d, "state/session"));
                device_stop(d);
        }
        device_start(d);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_stop(d);
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
}

static void test_target_no_longer_configured(void **state)
{
        Device *d = *state;
        InstallSession *session;

        device_start(d);
        device_ask_for(d, "app", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_stop(d);
        d->params.n_targets = 1;
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_failure(d), FAILURE_TARGET_UNKNOWN);
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);

        /* Once it is activated that is not to be forgotten. */
        d->params.n_targets = 2;
        device_stop(d);
        device_start(d);
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        device_stop(d);
        d->params.n_targets = 1;
        assert_int_equal(install_session_new(d->event, &d->params, NULL, d, &session), -ENOENT);
        assert_true(device_has(d, "state/session"));
}

#define ON_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_set_up, device_tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ON_DEVICE(test_booted_old),
                ON_DEVICE(test_power_cut_before_set_primary),
                ON_DEVICE(test_restarted_without_reboot),
                ON_DEVICE(test_boots_and_is_never_committed),
                ON_DEVICE(test_tested_in_another_boot),
                ON_DEVICE(test_boot_loader_fell_back),
                ON_DEVICE(test_rollback_goes_on),
                ON_DEVICE(test_rollback_in_vain),
                ON_DEVICE(test_boot_script_broken_in_rollback),
                ON_DEVICE(test_boot_script_broken_and_no_reboot),
                ON_DEVICE(test_boot_script_broken_and_the_loader_as_well),
                ON_DEVICE(test_file_that_cannot_go_back),
                ON_DEVICE(test_start_is_judged_soon),
                ON_DEVICE(test_boot_script_broken_at_start),
                ON_DEVICE(test_selftest_deadline),
                ON_DEVICE(test_selftest_deadline_across_restart),
                ON_DEVICE(test_file_rolled_back_by_deadline),
                ON_DEVICE(test_activation_fails_half_way),
                ON_DEVICE(test_cut_before_switch),
                ON_DEVICE(test_same_version),
                ON_DEVICE(test_older_version),
                ON_DEVICE(test_no_version),
                ON_DEVICE(test_older_version_where_allowed),
                ON_DEVICE(test_commit_fails),
                ON_DEVICE(test_damaged_record),
                ON_DEVICE(test_damaged_record_that_stays),
                ON_DEVICE(test_target_no_longer_configured),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
