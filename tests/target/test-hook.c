#include <errno.h>

#include "folder.h"
#include "target/hook.h"

typedef struct Run {
        bool done;
        HookOutcome outcome;
        char reason[1024];
        char detail[1024];
} Run;

static void on_done(Hook *hook _unused_, const HookResult *result, void *userdata)
{
        Run *run = userdata;

        assert_false(run->done);
        run->done = true;
        run->outcome = result->outcome;
        (void)snprintf(run->reason, sizeof(run->reason), "%s", result->reason);
        (void)snprintf(run->detail, sizeof(run->detail), "%s", result->detail);
}

static Run run_hook(const char *script, HookStage stage, const HookContext *context, uint64_t timeout_usec)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(hook_freep) Hook *hook = NULL;
        Run run = {};

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(hook_run(event, script, stage, context, timeout_usec, on_done, &run, &hook), 0);
        assert_false(run.done);
        run_until(event, &run.done);
        return run;
}

static void test_outcomes(void **state)
{
        static const struct {
                const char *body;
                HookOutcome outcome;
                const char *reason, *in_detail;
        } cases[] = {
                {"exit 0", HOOK_OUTCOME_DONE, "", "exited with status 0"},
                {"echo fine >&2", HOOK_OUTCOME_DONE, "fine", "fine"},
                {"echo pump runs >&2; exit 75", HOOK_OUTCOME_NOT_NOW, "pump runs",
                 "selftest exited with status 75: pump runs"},
                {"exit 75", HOOK_OUTCOME_NOT_NOW, "exited with status 75", "exited with status 75"},
                {"exit 77", HOOK_OUTCOME_SKIPPED, "", "exited with status 77"},
                {"echo no broker >&2; exit 1", HOOK_OUTCOME_FAILED, "no broker",
                 "selftest exited with status 1: no broker"},
                {"exit 1", HOOK_OUTCOME_FAILED, "exited with status 1", "selftest exited with status 1"},
                {"kill -KILL $$", HOOK_OUTCOME_FAILED, "was killed by signal 9 (Killed)", "signal 9"},
                {"echo stuck >&2; exec sleep 60", HOOK_OUTCOME_TIMED_OUT, "stuck", "took longer than allowed"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *path = put_script("hook", cases[i].body);
                bool is_slow = cases[i].outcome == HOOK_OUTCOME_TIMED_OUT;
                Run run = run_hook(path, HOOK_STAGE_SELFTEST, &(HookContext){},
                                   is_slow ? 300 * USEC_PER_MSEC : 9 * USEC_PER_SEC);

                assert_int_equal(run.outcome, cases[i].outcome);
                assert_string_equal(run.reason, cases[i].reason);
                assert_non_null(strstr(run.detail, cases[i].in_detail));
                assert_non_null(strstr(run.detail, path));
        }
}

static void test_no_script_is_skipped(void **state)
{
        assert_int_equal(run_hook("", HOOK_STAGE_COMMIT, &(HookContext){}, USEC_PER_SEC).outcome,
                         HOOK_OUTCOME_SKIPPED);
        assert_int_equal(run_hook(NULL, HOOK_STAGE_COMMIT, &(HookContext){}, USEC_PER_SEC).outcome,
                         HOOK_OUTCOME_SKIPPED);
}

static void test_configured_script_must_run(void **state)
{
        const char *path = put_file("plain", "#!/bin/sh\n", strlen("#!/bin/sh\n"), 0644);
        Run run;

        run = run_hook(path, HOOK_STAGE_COMMIT, &(HookContext){}, USEC_PER_SEC);
        assert_int_equal(run.outcome, HOOK_OUTCOME_FAILED);
        assert_non_null(strstr(run.detail, "Permission denied"));
        run = run_hook(in_folder("missing"), HOOK_STAGE_COMMIT, &(HookContext){}, USEC_PER_SEC);
        assert_int_equal(run.outcome, HOOK_OUTCOME_FAILED);
        assert_non_null(strstr(run.detail, "No such file"));
}

static const char *put_env_script(void)
{
        char body[256];

        (void)snprintf(body, sizeof(body), "{ echo \"$#\" \"$1\"; env | grep ^OTAD_ | sort; } >%s/env", folder);
        return put_script("hook", body);
}

static void test_all_variables(void **state)
{
        _cleanup_free_ char *text = NULL;
        const char *path = put_env_script();
        HookContext context = {
                .job_id = "AFR_OTA-1",
                .target = "rootfs",
                .type = "ab",
                .slot = "B",
                .device = "/dev/b",
                .path = "/opt/x",
                .version = "2.0",
                .previous_version = "1.0",
                .size_bytes = UINT64_MAX,
                .sha256 = "00ff",
                .attempt = 3,
                .result = "committed",
                .reason = "none",
        };

        assert_int_equal(run_hook(path, HOOK_STAGE_PRE_INSTALL, &context, 9 * USEC_PER_SEC).outcome,
                         HOOK_OUTCOME_DONE);
        text = get_file("env");
        assert_string_equal(
                text, "1 pre-install\nOTAD_ATTEMPT=3\nOTAD_DEVICE=/dev/b\nOTAD_JOB_ID=AFR_OTA-1\nOTAD_PATH=/opt/x\n"
                      "OTAD_PREVIOUS_VERSION=1.0\nOTAD_REASON=none\nOTAD_RESULT=committed\nOTAD_SHA256=00ff\n"
                      "OTAD_SIZE=18446744073709551615\nOTAD_SLOT=B\nOTAD_STAGE=pre-install\nOTAD_TARGET=rootfs\n"
                      "OTAD_TYPE=ab\nOTAD_VERSION=2.0\n");
}

static void test_unknown_is_empty(void **state)
{
        _cleanup_free_ char *text = NULL;
        const char *path = put_env_script();

        assert_int_equal(run_hook(path, HOOK_STAGE_CLEANUP, &(HookContext){}, 9 * USEC_PER_SEC).outcome,
                         HOOK_OUTCOME_DONE);
        text = get_file("env");
        assert_string_equal(
                text, "1 cleanup\nOTAD_ATTEMPT=\nOTAD_DEVICE=\nOTAD_JOB_ID=\nOTAD_PATH=\nOTAD_PREVIOUS_VERSION=\n"
                      "OTAD_REASON=\nOTAD_RESULT=\nOTAD_SHA256=\nOTAD_SIZE=\nOTAD_SLOT=\nOTAD_STAGE=cleanup\n"
                      "OTAD_TARGET=\nOTAD_TYPE=\nOTAD_VERSION=\n");
}

static void test_hostile_values_stay_one_line(void **state)
{
        _cleanup_free_ char *text = NULL;
        const char *path = put_env_script();
        HookContext context = {.job_id = "a\nLD_PRELOAD=/x\x1b[2J\xff", .version = "$(touch /tmp/never) `id` ; \"'"};

        assert_int_equal(run_hook(path, HOOK_STAGE_COMMIT, &context, 9 * USEC_PER_SEC).outcome, HOOK_OUTCOME_DONE);
        text = get_file("env");
        assert_non_null(strstr(text, "\nOTAD_JOB_ID=a\\x0aLD_PRELOAD=/x\\x1b[2J\\xff\n"));
        assert_non_null(strstr(text, "\nOTAD_VERSION=$(touch /tmp/never) `id` ; \"'\n"));
}

static void test_free_before_the_end(void **state)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        const char *path = put_script("hook", "sleep 60");
        Hook *hook = NULL;
        Run run = {};

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(
                hook_run(event, path, HOOK_STAGE_COMMIT, &(HookContext){}, USEC_PER_SEC, on_done, &run, &hook), 0);
        hook_free(hook);
        assert_int_equal(hook_run(event, "", HOOK_STAGE_COMMIT, &(HookContext){}, USEC_PER_SEC, on_done, &run, &hook),
                         0);
        hook_free(hook);
        assert_true(sd_event_run(event, 0) >= 0);
        assert_false(run.done);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_outcomes),
                cmocka_unit_test(test_no_script_is_skipped),
                cmocka_unit_test(test_configured_script_must_run),
                cmocka_unit_test(test_all_variables),
                cmocka_unit_test(test_unknown_is_empty),
                cmocka_unit_test(test_hostile_values_stay_one_line),
                cmocka_unit_test(test_free_before_the_end),
        };

        return cmocka_run_group_tests(tests, folder_set_up, folder_tear_down);
}
