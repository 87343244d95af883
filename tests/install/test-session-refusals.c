/* What must not come in, and what must not come into force. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fixture.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static void assert_refused(Device *d, FailureReason reason)
{
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_FAILED);
        assert_string_equal(failure_reason_to_string(d->failure.reason), failure_reason_to_string(reason));
        assert_int_equal(device_state(d), UPDATE_STATE_IDLE);
        assert_false(device_has(d, "state/session"));
        assert_false(device_has(d, "hook.log"));
        assert_false(device_has(d, ".app.otad-new"));
        assert_string_equal(device_read(d, "state.B"), "good");
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
}

static void test_refused_before_a_byte(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        strcpy(d->request.files[0].target, "nothing");
        assert_refused(d, FAILURE_TARGET_UNKNOWN);
        device_ask_for(d, "app", "app");
        assert_refused(d, FAILURE_TARGET_REPEATED);
        device_ask_for(d, "rootfs", NULL);
        d->request.files[0].size_bytes = 0;
        assert_refused(d, FAILURE_IMAGE_EMPTY);
        device_ask_for(d, "rootfs", NULL);
        d->request.files[0].size_bytes = SLOT_BYTES + 1;
        assert_refused(d, FAILURE_IMAGE_TOO_LARGE);
        device_ask_for(d, "rootfs", NULL);
        d->request.files[0].algorithm = SIGNATURE_ALGORITHM_NONE;
        d->request.files[0].n_signature = 0;
        assert_refused(d, FAILURE_SIGNATURE_MISSING);
        device_ask_for(d, "rootfs", NULL);
        d->request.files[0].algorithm = SIGNATURE_ALGORITHM_SHA1_ECDSA;
        assert_refused(d, FAILURE_ALGORITHM_REFUSED);
        device_ask_for(d, "rootfs", NULL);
        strcpy(d->request.files[0].cert, "stranger.pem");
        assert_refused(d, FAILURE_CERTIFICATE_UNKNOWN);
        device_ask_for(d, "rootfs", NULL);
        memset(d->request.files[0].signature, 0xff, 70);
        assert_refused(d, FAILURE_SIGNATURE_MALFORMED);
        /* The second of two files: the first is not begun either. */
        device_ask_for(d, "app", "rootfs");
        d->request.files[1].size_bytes = SLOT_BYTES + 1;
        assert_refused(d, FAILURE_IMAGE_TOO_LARGE);
        d->params.keep_free.bytes = UINT64_C(1) << 60;
        device_ask_for(d, "rootfs", NULL);
        assert_refused(d, FAILURE_NO_SPACE);
        d->params.keep_free = (FreeSpaceRule){.bytes = 1};
        device_write(d, "fail.get-current", "");
        device_ask_for(d, "rootfs", NULL);
        assert_refused(d, FAILURE_BOOT_SCRIPT);
}

static void assert_not_installed(Device *d, FailureReason reason)
{
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_FAILED);
        assert_string_equal(failure_reason_to_string(d->failure.reason), failure_reason_to_string(reason));
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_failure(d), reason);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_string_equal(device_read(d, "primary"), "A");
        assert_string_equal(device_read(d, "app"), "old app");
        assert_false(device_has(d, ".app.otad-new"));
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_IDLE);
}

static void test_tampered_on_the_way(void **state)
{
        static const uint64_t places[] = {0, 777777, IMAGE_BYTES - 1};
        Device *d = *state;

        device_start(d);
        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                device_ask_for(d, i == 0 ? "app" : "rootfs", NULL);
                assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
                d->images[0][places[i]] ^= 0x80;
                device_send(d, 0, 0, IMAGE_BYTES);
                d->images[0][places[i]] ^= 0x80;
                assert_not_installed(d, FAILURE_SIGNATURE_INVALID);
        }
}

/* A signature over other bytes, and one by another key under the trusted name. */
static void test_signature_of_something_else(void **state)
{
        Device *d = *state;
        EVP_PKEY *other;
        char path[128];

        device_start(d);
        device_ask_for(d, "app", NULL);
        d->request.files[0].n_signature =
                signer_sign(d->key, d->images[0], IMAGE_BYTES - 1, d->request.files[0].signature);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, IMAGE_BYTES);
        assert_not_installed(d, FAILURE_SIGNATURE_INVALID);

        (void)snprintf(path, sizeof(path), "%s/other.pem", d->folder);
        other = signer_new(path);
        device_ask_for(d, "app", NULL);
        d->request.files[0].n_signature =
                signer_sign(other, d->images[0], IMAGE_BYTES, d->request.files[0].signature);
        signer_free(other);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, IMAGE_BYTES);
        assert_not_installed(d, FAILURE_SIGNATURE_INVALID);
}

/* The bytes were good when they came, and are others on the target. */
static void test_swapped_on_the_target(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", "app");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, IMAGE_BYTES);
        device_send(d, 1, 0, 800000);
        device_stop(d);
        device_flip(d, ".app.otad-new", 5);
        device_start(d);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 1, 800000, IMAGE_BYTES);
        assert_not_installed(d, FAILURE_SIGNATURE_INVALID);
}

/* The certificate was taken out of the store while the download ran. */
static void test_trust_withdrawn(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "app", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, IMAGE_BYTES);
        device_remove(d, "trust/signer.pem");
        assert_not_installed(d, FAILURE_CERTIFICATE_UNKNOWN);
}

static void test_running_slot(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, 100000);
        /* Somebody booted the half-written slot. */
        device_reboot(d, "B");
        assert_int_equal(device_state(d), UPDATE_STATE_DOWNLOADING);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_TARGET_BUSY);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
}

static void test_hook_says_no(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", "app");
        device_write(d, "exit.pre-install", "1");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_HOOK_FAILED);
        assert_non_null(strstr(d->failure.detail, "told to end with 1"));
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        assert_false(device_has(d, ".app.otad-new"));
        /* The slot was not touched. */
        assert_string_equal(device_read(d, "state.B"), "good");
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);

        device_remove(d, "exit.pre-install");
        device_write(d, "exit.post-install", "3");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        device_send(d, 0, 0, IMAGE_BYTES);
        device_send(d, 1, 0, IMAGE_BYTES);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_FAILED);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);

        device_remove(d, "exit.post-install");
        device_write(d, "sleep.pre-install", "30");
        d->params.hook_timeout_usec = 200 * 1000;
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_FAILED);
        assert_int_equal(d->failure.reason, FAILURE_HOOK_TIMEOUT);
}

static void test_one_session_at_a_time(void **state)
{
        Device *d = *state;

        device_start(d);
        device_ask_for(d, "rootfs", NULL);
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        strcpy(d->request.session, "JOB-2#1");
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_BUSY);
        strcpy(d->request.session, "JOB-1#1");
        d->request.files[0].size_bytes--;
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_OUT_OF_TURN); /* waiting would not help */
        d->request.files[0].size_bytes++;
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_activate), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_reboot), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_self_test), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_commit), INSTALL_OUTCOME_OUT_OF_TURN);
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_OUT_OF_TURN);
}

/* Cancelled while a hook is at work and while bytes come in; both answers come, the hook is killed. */
static unsigned n_late;

static void on_late(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        assert_int_equal(outcome, INSTALL_OUTCOME_FAILED);
        assert_int_equal(failure->reason, FAILURE_CANCELLED);
        n_late++;
}

static void test_cancelled(void **state)
{
        Device *d = *state;

        device_start(d);
        device_write(d, "sleep.pre-install", "30");
        device_ask_for(d, "app", NULL);
        n_late = 0;
        install_session_begin(d->session, &d->request, on_late, d);
        install_session_begin(d->session, &d->request, on_late, d);
        device_wait_called(d, "hook.log", "pre-install app", 1);
        assert_int_equal(n_late, 0);
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
        assert_int_equal(n_late, 2);
        assert_int_equal(device_state(d), UPDATE_STATE_ROLLED_BACK);
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_call(d, install_session_release), INSTALL_OUTCOME_DONE);
        device_remove(d, "sleep.pre-install");

        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_open_pipe(d, 0, 0), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_roll_back(d, FAILURE_CANCELLED), INSTALL_OUTCOME_DONE);
        assert_false(data_pipe_on_bell(d->pipe));
        assert_int_equal(data_pipe_write(d->pipe, "x", 1), -EPIPE);
        d->pipe = data_pipe_free(d->pipe);
        assert_false(device_has(d, ".app.otad-new"));
        assert_string_equal(device_read(d, "app"), "old app");
}

#define ON_DEVICE(test) cmocka_unit_test_setup_teardown(test, device_set_up, device_tear_down)

int main(void)
{
        const struct CMUnitTest tests[] = {
                ON_DEVICE(test_refused_before_a_byte),
                ON_DEVICE(test_tampered_on_the_way),
                ON_DEVICE(test_signature_of_something_else),
                ON_DEVICE(test_swapped_on_the_target),
                ON_DEVICE(test_trust_withdrawn),
                ON_DEVICE(test_running_slot),
                ON_DEVICE(test_hook_says_no),
                ON_DEVICE(test_one_session_at_a_time),
                ON_DEVICE(test_cancelled),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
