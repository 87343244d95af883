#include <errno.h>

#include "folder.h"
#include "target/boot.h"

typedef struct Run {
        bool done;
        int answer;
        Failure failure;
} Run;

typedef enum Call {
        GET_PRIMARY,
        GET_CURRENT,
        GET_STATE,
        SET_PRIMARY,
        SET_GOOD,
        SET_BAD,
} Call;

static void on_done(BootCall *call _unused_, int answer, const Failure *failure, void *userdata)
{
        Run *run = userdata;

        assert_false(run->done);
        run->done = true;
        run->answer = answer;
        if (failure)
                run->failure = *failure;
}

static int start(sd_event *event, const BootScript *script, Call call, int slot, Run *run, BootCall **ret)
{
        switch (call) {
        case GET_PRIMARY:
                return boot_get_primary(event, script, on_done, run, ret);
        case GET_CURRENT:
                return boot_get_current(event, script, on_done, run, ret);
        case GET_STATE:
                return boot_get_state(event, script, slot, on_done, run, ret);
        case SET_PRIMARY:
                return boot_set_primary(event, script, slot, on_done, run, ret);
        case SET_GOOD:
        case SET_BAD:
                return boot_set_state(event, script, slot, call == SET_GOOD, on_done, run, ret);
        }
        return -EINVAL;
}

static Run run_call(const char *path, Call call, int slot)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(boot_call_freep) BootCall *boot_call = NULL;
        BootScript script = {.path = path, .slots = {"A", "system-b"}, .timeout_usec = USEC_PER_SEC};
        Run run = {};

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(start(event, &script, call, slot, &run, &boot_call), 0);
        run_until(event, &run.done);
        return run;
}

/* Keeps the primary slot and the states in files, and its arguments in a log. */
static const char *put_boot_script(void)
{
        char body[1024];

        (void)snprintf(body, sizeof(body),
                       "cd %s; echo \"$@\" >>calls\n"
                       "case \"$1\" in\n"
                       "get-primary) cat primary ;;\n"
                       "set-primary) echo \"$2\" >primary ;;\n"
                       "get-state) cat state-\"$2\" ;;\n"
                       "set-state) echo \"$3\" >state-\"$2\" ;;\n"
                       "get-current) echo A ;;\n"
                       "*) exit 1 ;;\n"
                       "esac",
                       folder);
        return put_script("boot", body);
}

static void test_calls(void **state)
{
        _cleanup_free_ char *calls = NULL;
        const char *path = put_boot_script();
        Run run;

        run = run_call(path, SET_PRIMARY, 1);
        assert_int_equal(run.answer, 1);
        run = run_call(path, GET_PRIMARY, 0);
        assert_int_equal(run.answer, 1);
        run = run_call(path, SET_BAD, 1);
        assert_int_equal(run.answer, 0);
        assert_false(failure_is_set(&run.failure));
        run = run_call(path, SET_GOOD, 0);
        assert_int_equal(run.answer, 1);
        run = run_call(path, GET_STATE, 1);
        assert_int_equal(run.answer, 0);
        run = run_call(path, GET_CURRENT, 0);
        assert_int_equal(run.answer, 0);
        calls = get_file("calls");
        assert_string_equal(calls,
                            "set-primary system-b\nget-primary\nget-primary\nset-state system-b bad\n"
                            "get-state system-b\nset-state A good\nget-state A\nget-state system-b\nget-current\n");
}

static void test_failures(void **state)
{
        static const struct {
                const char *body;
                Call call;
                const char *in_detail;
        } cases[] = {
                {"echo C", GET_PRIMARY, "get-primary printed \"C\", expected \"A\" or \"system-b\""},
                {"echo", GET_PRIMARY, "printed \"\""},
                {"echo A system-b", GET_PRIMARY, "printed \"A system-b\""},
                {"printf 'A\\nA\\n'", GET_CURRENT, "printed \"A\\x0aA\""},
                {"printf 'A\\000x\\n'", GET_CURRENT, "printed \"A\""},
                {"yes A", GET_CURRENT, "get-current"},
                {"yes A | head -c 1000", GET_CURRENT, "printed"},
                {"echo good enough", GET_STATE,
                 "get-state system-b printed \"good enough\", expected \"bad\" or \"good\""},
                {"echo GOOD", GET_STATE, "printed \"GOOD\""},
                {"echo broken >&2; exit 3", GET_STATE, "get-state system-b exited with status 3: broken"},
                {"kill -9 $$", GET_STATE, "was killed by signal 9"},
                {"exec sleep 60", GET_STATE, "took longer than allowed"},
                {"exit 4", SET_PRIMARY, "set-primary system-b exited with status 4"},
                {"exit 4", SET_BAD, "set-state system-b bad exited with status 4"},
                {"echo A", SET_PRIMARY, "get-primary says \"A\" after it was set to \"system-b\""},
                {"echo good", SET_BAD, "get-state system-b says \"good\" after it was set to \"bad\""},
                {"echo bad", SET_GOOD, "get-state system-b says \"bad\" after it was set to \"good\""},
                {"case $1 in get-*) exit 5 ;; esac", SET_GOOD, "get-state system-b exited with status 5"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Run run = run_call(put_script("boot", cases[i].body), cases[i].call, 1);

                assert_true(run.answer < 0);
                assert_int_equal(run.failure.reason, FAILURE_BOOT_SCRIPT);
                if (!strstr(run.failure.detail, cases[i].in_detail))
                        assert_string_equal(run.failure.detail, cases[i].in_detail);
        }
}

static void test_missing_script(void **state)
{
        Run run;

        run = run_call(in_folder("missing"), SET_PRIMARY, 0);
        assert_int_equal(run.failure.reason, FAILURE_BOOT_SCRIPT);
        assert_non_null(strstr(run.failure.detail, "No such file"));
}

static void test_bad_params(void **state)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        BootScript script = {.path = "/bin/true", .slots = {"A", "B"}, .timeout_usec = USEC_PER_SEC};
        BootCall *call = NULL;

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(boot_get_state(event, &script, 2, on_done, NULL, &call), -EINVAL);
        assert_int_equal(boot_get_state(event, &script, -1, on_done, NULL, &call), -EINVAL);
        script.path = "";
        assert_int_equal(boot_get_primary(event, &script, on_done, NULL, &call), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_calls),
                cmocka_unit_test(test_failures),
                cmocka_unit_test(test_missing_script),
                cmocka_unit_test(test_bad_params),
        };

        return cmocka_run_group_tests(tests, folder_set_up, folder_tear_down);
}
