/* The good life of an update, and its interruptions that are no failures. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"
#include "install/history.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static void test_slot_life(void **state)
{
        Device *d = *state;
        _cleanup_free_ HistoryEntry *history = NULL;
        size_t n_history;
        InstallStatus status;

        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_IDLE);
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
        /* Bad before the first byte, and still not what would boot. */
        assert_string_equal(device_read(d, "state.B"), "bad");
        assert_string_equal(device_read(d, "primary"), "A");
        device_send(d, 0, 0, 100000);
        device_send(d, 0, 100000, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_INSTALLED);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_true(device_holds(d, "slot.B", 0));
        assert_false(device_holds(d, "slot.A", 0));

        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        install_session_get_status(d->session, &status);
        assert_true(status.reboot_needed);
        assert_string_equal(device_read(d, "primary"), "B");
        assert_string_equal(device_read(d, "state.B"), "bad");
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_OUT_OF_TURN);

        device_write(d, "version", "VERSION=1.1\n");
        device_reboot(d, "B");
        assert_int_equal(device_state(d), UPDATE_STATE_TESTING);
        install_session_get_status(d->session, &status);
        assert_string_equal(status.previous_version, "1.0");
        assert_string_equal(status.version, "1.1");
        assert_true(status.selftest_left_usec <= d->params.selftest_timeout_usec);
        assert_true(status.selftest_left_usec > d->params.selftest_timeout_usec / 2);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_COMMITTED);
        assert_string_equal(device_read(d, "state.B"), "good");
        assert_string_equal(device_read(d, "primary"), "B");
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_IDLE);
        assert_false(device_has(d, "state/session"));
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);

        assert_string_equal(device_read(d, "hook.log"), "pre-install rootfs B result= reason= previous=1.0\n"
                                                        "post-install rootfs B result= reason= previous=1.0\n"
                                                        "activate rootfs B result= reason= previous=1.0\n"
                                                        "reboot rootfs B result= reason= previous=1.0\n"
                                                        "selftest rootfs B result= reason= previous=1.0\n"
                                                        "commit rootfs B result=committed reason= previous=1.0\n"
                                                        "cleanup rootfs B result=committed reason= previous=1.0");
        assert_int_equal(history_load(d->params.state_dir_fd, &history, &n_history), 0);
        assert_int_equal(n_history, 1);
        assert_string_equal(history[0].session, "JOB-1#1");
        assert_string_equal(history[0].result, "committed");
        assert_string_equal(history[0].version, "1.1");
        assert_string_equal(history[0].targets, "rootfs");
}

static void test_file_life(void **state)
{
        Device *d = *state;
        InstallStatus status;

        device_start(d);
        device_ask_for(d, "app", NULL);
        device_install(d);
        assert_string_equal(device_read(d, "app"), "old app");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        install_session_get_status(d->session, &status);
        assert_false(status.reboot_needed);
        assert_int_equal(status.state, UPDATE_STATE_TESTING);
        assert_true(device_holds(d, "app", 0));
        assert_true(device_has(d, ".app.otad-old"));
        device_write(d, "app-version", "VERSION=2\n");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_DONE);
        assert_false(device_has(d, ".app.otad-old"));
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
        /* No boot script, no reboot for a file. */
        assert_false(device_has(d, "boot.log"));
        assert_null(strstr(device_read(d, "hook.log"), "reboot"));
}

static void test_file_and_slot(void **state)
{
        Device *d = *state;
        const char *log;

        device_start(d);
        device_ask_for(d, "rootfs", "app");
        device_install(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_true(device_holds(d, "app", 1));
        assert_string_equal(device_read(d, "primary"), "B");
        /* The file first, the slot last. */
        log = device_read(d, "hook.log");
        assert_non_null(strstr(log, "activate app"));
        assert_true(strstr(log, "activate app") < strstr(log, "activate rootfs"));
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_DONE);
        device_write(d, "version", "VERSION=1.1\n");
        device_write(d, "app-version", "VERSION=2\n");
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_DONE);
}

/* (g) downloading: the object is destroyed mid-download, as by SIGTERM, and once as by SIGKILL with a stale record. */
static void test_resume_download(void **state)
{
        Device *d = *state;
        InstallStatus status;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, 700001);
        device_stop(d);
        device_start(d);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
        /* Nothing is taken before Begin() has opened the target again. */
        assert_int_equal(device_open_pipe(d, 0, 700001), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        install_session_get_status(d->session, &status);
        assert_int_equal(status.files[0].written_bytes, 700001);
        assert_int_equal(status.files[0].durable_bytes, 700001);
        device_reboot(d, "A");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 700001, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
        /* pre-install ran once. */
        assert_null(strstr(strstr(device_read(d, "hook.log"), "pre-install") + 5, "pre-install"));
}

static void test_same_bytes_again(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "app", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, 500000);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_open_pipe(d, 0, 500001), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_open_pipe(d, 1, 0), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
        device_send(d, 0, 123456, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
}

/* The object in the store was replaced: what was written, and hashed already, is written again. */
static void rewrite_from(Device *d, const char *target, uint64_t offset)
{
        device_start(d);
        device_ask_for(d, target, NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        d->images[0][offset + 5] ^= 1;
        device_send(d, 0, 0, 700000);
        d->images[0][offset + 5] ^= 1;
        device_send(d, 0, offset, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
}

static void test_slot_is_written_again(void **state)
{
        rewrite_from(*state, "rootfs", 0);
}

static void test_slot_is_written_again_in_part(void **state)
{
        rewrite_from(*state, "rootfs", 300000);
}

static void test_file_is_written_again(void **state)
{
        rewrite_from(*state, "app", 0);
}

static void test_write_waits_for_the_pipe_before(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "app", "rootfs");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_open_pipe(d, 0, 0), INSTALL_OUTCOME_DONE);
        assert_int_equal(data_pipe_write(d->pipe, d->images[0], 30000), 30000);
        d->pipe = data_pipe_free(d->pipe);
        /* Nothing was read from the first pipe yet. */
        assert_int_equal(device_open_pipe(d, 0, 30000), INSTALL_OUTCOME_DONE);
        d->pipe = data_pipe_free(d->pipe);
        device_send(d, 0, 30000, IMAGE_BYTES);
        device_send(d, 1, 0, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
}

/* (g) installed: what lies there is read again before it is activated. */
static void test_installed_and_restarted(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", "app");
        device_install(d);
        device_reboot(d, "A");
        assert_int_equal(device_state(d), UPDATE_STATE_INSTALLED);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_true(device_holds(d, "app", 1));
        assert_string_equal(device_read(d, "primary"), "B");
        assert_null(strstr(strstr(device_read(d, "hook.log"), "post-install app") + 5, "post-install app"));
}

static void test_installed_and_tampered(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        device_install(d);
        device_stop(d);
        device_flip(d, "slot.B", 1234567);
        device_start(d);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_SIGNATURE_INVALID);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_string_equal(device_read(d, "state.B"), "bad");
}

static void test_not_now(void **state)
{
        static const char *const stages[] = {"pre-install", "post-install", "activate", "reboot", "selftest"};
        Device *d = *state;
        char name[64];

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        for (size_t i = 0; i < ELEMENTSOF(stages); i++) {
                (void)snprintf(name, sizeof(name), "exit.%s", stages[i]);
                device_write(d, name, "75");
        }
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_NOT_NOW);
        assert_int_equal(d->failure.reason, FAILURE_HOOK_NOT_NOW);
        assert_string_equal(d->failure.detail, "told to end with 75");
        assert_int_equal(device_open_pipe(d, 0, 0), INSTALL_OUTCOME_OUT_OF_TURN);
        device_remove(d, "exit.pre-install");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_NOT_NOW);
        device_remove(d, "exit.post-install");
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_NOT_NOW);
        assert_string_equal(device_read(d, "primary"), "A");
        device_remove(d, "exit.activate");
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_NOT_NOW);
        device_remove(d, "exit.reboot");
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_DONE);
        device_write(d, "version", "VERSION=1.1\n");
        device_reboot(d, "B");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_NOT_NOW);
        device_remove(d, "exit.selftest");
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_DONE);
}

/* Left over from an update that ended badly: the slot that runs is bad, or on trial. It is the only one from now on. */
static void test_what_runs_is_confirmed(void **state)
{
        Device *d = *state;

        device_write(d, "state.A", "bad\n");
        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_string_equal(device_read(d, "state.A"), "good");
        assert_string_equal(device_read(d, "state.B"), "bad");
}

/* A power cut between the record of an update's end and the history, which is written then. */
static void test_history_is_made_up_for(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        device_install(d);
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        device_stop(d);
        device_remove(d, "state/history");
        device_start(d);
        assert_non_null(strstr(device_read(d, "state/history"), "reason=cancelled"));
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
}

/* A slot that would be overwritten must not be what boots next. */
static void test_primary_is_not_current(void **state)
{
        Device *d = *state;

        device_write(d, "primary", "B\n");
        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_string_equal(device_read(d, "state.B"), "bad");
}

static void test_without_signature_where_allowed(void **state)
{
        Device *d = *state;
        InstallStatus status;

        d->params.signing_required = false;
        device_start(d);
        device_ask_for(d, "app", NULL);
        d->request.files[0].algorithm = SIGNATURE_ALGORITHM_NONE;
        d->request.files[0].n_signature = 0;
        device_install(d);
        install_session_get_status(d->session, &status);
        assert_true(status.without_signature);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_DONE);
}

#define ON_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_set_up, device_tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ON_DEVICE(test_slot_life),
                ON_DEVICE(test_file_life),
                ON_DEVICE(test_file_and_slot),
                ON_DEVICE(test_resume_download),
                ON_DEVICE(test_same_bytes_again),
                ON_DEVICE(test_slot_is_written_again),
                ON_DEVICE(test_slot_is_written_again_in_part),
                ON_DEVICE(test_file_is_written_again),
                ON_DEVICE(test_write_waits_for_the_pipe_before),
                ON_DEVICE(test_installed_and_restarted),
                ON_DEVICE(test_installed_and_tampered),
                ON_DEVICE(test_not_now),
                ON_DEVICE(test_primary_is_not_current),
                ON_DEVICE(test_what_runs_is_confirmed),
                ON_DEVICE(test_history_is_made_up_for),
                ON_DEVICE(test_without_signature_where_allowed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
