#include <errno.h>
#include <signal.h>

#include "folder.h"
#include "target/process.h"

typedef struct Run {
        bool done;
        unsigned n_calls;
        ProcessEnd end;
        int code;
        bool output_cut;
        size_t n_output;
        char output[4096];
        char last_line[PROCESS_LAST_LINE_MAX];
        uint64_t took_usec;
} Run;

static void on_done(Process *process _unused_, const ProcessResult *result, void *userdata)
{
        Run *run = userdata;

        run->done = true;
        run->n_calls++;
        run->end = result->end;
        run->code = result->code;
        run->output_cut = result->output_cut;
        run->n_output = result->n_output;
        (void)snprintf(run->output, sizeof(run->output), "%s", result->output);
        (void)snprintf(run->last_line, sizeof(run->last_line), "%s", result->last_line);
}

static Run run_program(const char *const *argv, const char *const *environment, uint64_t timeout_usec)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(process_freep) Process *process = NULL;
        uint64_t start = now_usec();
        Run run = {};

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(process_start(event,
                                       &(ProcessParams){.name = "test",
                                                        .argv = argv,
                                                        .environment = environment,
                                                        .max_output_bytes = 1024,
                                                        .timeout_usec = timeout_usec,
                                                        .grace_usec = 200 * USEC_PER_MSEC},
                                       on_done, &run, &process),
                         0);
        assert_false(run.done);
        run_until(event, &run.done);
        run.took_usec = now_usec() - start;
        /* Nothing comes after the end. */
        assert_true(sd_event_run(event, 0) >= 0);
        assert_int_equal(run.n_calls, 1);
        return run;
}

static Run run_script(const char *body, uint64_t timeout_usec)
{
        const char *path = put_script("script", body);

        return run_program((const char *[]){path, NULL}, NULL, timeout_usec);
}

static void test_status_and_output(void **state)
{
        Run run = run_script("echo out; echo first >&2; echo; echo 'the  reason ' >&2; echo >&2; exit 7",
                             USEC_PER_SEC * 5);

        assert_int_equal(run.end, PROCESS_EXITED);
        assert_int_equal(run.code, 7);
        assert_string_equal(run.output, "out\n\n");
        assert_false(run.output_cut);
        assert_string_equal(run.last_line, "the  reason");
}

static void test_output_is_bounded(void **state)
{
        Run run = run_script("head -c 300000 /dev/zero | tr '\\0' x", USEC_PER_SEC * 5);

        assert_int_equal(run.end, PROCESS_EXITED);
        assert_int_equal(run.n_output, 1024);
        assert_true(run.output_cut);
}

static void test_last_line(void **state)
{
        static const struct {
                const char *body, *line;
        } cases[] = {
                {"printf 'no end' >&2", "no end"},
                {"printf 'a\\nb\\r\\n\\n  \\n' >&2", "b"},
                {"printf 'x\\033[2J\\001\\377y\\n' >&2", "x\\x1b[2J\\x01\\xffy"},
                {"printf 'a\\000b\\n' >&2", "ab"},
                {":", ""},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Run run = run_script(cases[i].body, USEC_PER_SEC * 5);

                assert_string_equal(run.last_line, cases[i].line);
        }
}

static void test_long_line_is_cut(void **state)
{
        Run run = run_script("head -c 100000 /dev/zero | tr '\\0' z >&2", USEC_PER_SEC * 5);

        assert_int_equal(strlen(run.last_line), PROCESS_LAST_LINE_MAX - 1);
        assert_int_equal(strspn(run.last_line, "z"), PROCESS_LAST_LINE_MAX - 1);
}

static void test_flood(void **state)
{
        Run run = run_script("yes 'a line of the flood' | head -c 20000000 >&2; echo >&2; echo end >&2",
                             USEC_PER_SEC * 9);

        assert_int_equal(run.end, PROCESS_EXITED);
        assert_int_equal(run.code, 0);
        assert_string_equal(run.last_line, "end");
}

static void test_binary_flood(void **state)
{
        Run run = run_script("head -c 2000000 /dev/urandom >&2; echo >&2; echo end >&2", USEC_PER_SEC * 9);

        assert_int_equal(run.end, PROCESS_EXITED);
        assert_string_equal(run.last_line, "end");
}

static void test_signal(void **state)
{
        Run run = run_script("kill -SEGV $$", USEC_PER_SEC * 5);
        char text[PROCESS_END_TEXT_MAX];

        assert_int_equal(run.end, PROCESS_SIGNALED);
        assert_int_equal(run.code, SIGSEGV);
        process_end_format(text, &(ProcessResult){.end = run.end, .code = run.code});
        assert_non_null(strstr(text, "signal 11"));
}

static void test_time_limit(void **state)
{
        Run run = run_script("echo waiting >&2; sleep 60", 200 * USEC_PER_MSEC);

        assert_int_equal(run.end, PROCESS_TIMED_OUT);
        assert_string_equal(run.last_line, "waiting");
        assert_true(run.took_usec >= 200 * USEC_PER_MSEC && run.took_usec < 3 * USEC_PER_SEC);
}

static void test_deaf_to_sigterm(void **state)
{
        Run run = run_script("trap '' TERM; sleep 60", 200 * USEC_PER_MSEC);

        assert_int_equal(run.end, PROCESS_TIMED_OUT);
        assert_true(run.took_usec >= 400 * USEC_PER_MSEC && run.took_usec < 4 * USEC_PER_SEC);
}

/* The status of a program that was told to end does not make a success of it. */
static void test_ends_well_after_sigterm(void **state)
{
        Run run = run_script("trap 'exit 0' TERM; sleep 60 & wait", 200 * USEC_PER_MSEC);

        assert_int_equal(run.end, PROCESS_TIMED_OUT);
}

static void test_rest_of_group_is_killed(void **state)
{
        _cleanup_free_ char *text = NULL;
        char body[256];
        Run run;

        (void)snprintf(body, sizeof(body), "sleep 60 >/dev/null 2>&1 & echo $! >%s/pid", folder);
        run = run_script(body, USEC_PER_SEC * 5);
        assert_int_equal(run.end, PROCESS_EXITED);
        text = get_file("pid");
        assert_non_null(text);
        /* Killed, but perhaps not yet reaped by its new parent. */
        for (unsigned i = 0; i < 100 && kill(atoi(text), 0) == 0; i++) {
                char path[64], word[64] = "";
                FILE *file;

                (void)snprintf(path, sizeof(path), "/proc/%d/stat", atoi(text));
                file = fopen(path, "re");
                if (!file)
                        return;
                (void)!fscanf(file, "%*d %*s %63s", word);
                (void)fclose(file);
                if (word[0] == 'Z')
                        return;
                (void)usleep(20000);
        }
        assert_int_equal(kill(atoi(text), 0), -1);
}

static void test_daemon_cannot_delay_the_end(void **state)
{
        _cleanup_free_ char *text = NULL;
        char body[256];
        Run run;

        (void)snprintf(body, sizeof(body), "setsid sh -c 'echo $$ >%s/pid; exec sleep 60' & sleep 0.2; echo kept >&2",
                       folder);
        run = run_script(body, USEC_PER_SEC * 5);
        assert_int_equal(run.end, PROCESS_EXITED);
        assert_int_equal(run.code, 0);
        assert_string_equal(run.last_line, "kept");
        assert_true(run.took_usec < 3 * USEC_PER_SEC);
        text = get_file("pid");
        assert_non_null(text);
        assert_int_equal(kill(atoi(text), SIGKILL), 0); /* it lived on */
}

static void test_cannot_start(void **state)
{
        static const struct {
                const char *name, *content;
                mode_t mode;
                int error;
        } cases[] = {
                {"missing", NULL, 0, ENOENT},
                {"not-executable", "#!/bin/sh\n", 0644, EACCES},
                {"no-interpreter", "#!/no/such/interpreter\n", 0755, ENOENT},
                {"no-format", "garbage", 0755, ENOEXEC},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *path = cases[i].content ? put_file(cases[i].name, cases[i].content,
                                                               strlen(cases[i].content), cases[i].mode)
                                                    : in_folder(cases[i].name);
                Run run = run_program((const char *[]){path, NULL}, NULL, USEC_PER_SEC);

                assert_int_equal(run.end, PROCESS_NOT_STARTED);
                assert_int_equal(run.code, cases[i].error);
        }
}

static void test_clean_surroundings(void **state)
{
        Run run;
        int leak;

        assert_int_equal(setenv("OTAD_TEST_LEAK", "1", 1), 0);
        leak = open("/dev/null", O_RDONLY); /* without close-on-exec, as a library might */
        assert_true(leak > 2);
        (void)signal(SIGPIPE, SIG_IGN);
        const char *path = put_script(
                "script",
                "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort; ls /proc/self/fd | wc -w;"
                "pwd; echo $((0x$(sed -n s/SigIgn:.//p /proc/self/status) & 0x7fffffff)); readlink /proc/self/fd/0");
        run = run_program((const char *[]){path, NULL}, (const char *[]){"A=1", NULL}, 5 * USEC_PER_SEC);
        (void)signal(SIGPIPE, SIG_DFL);
        close_fd(leak);
        assert_string_equal(run.output, "A=1\n"
                                        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
                                        "4\n" /* three, and the one ls reads the folder by */
                                        "/\n"
                                        "0\n" /* ignored signals; beyond 31 are the C library's own */
                                        "/dev/null\n");
}

static void test_free_kills(void **state)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_free_ char *text = NULL;
        Process *process = NULL;
        const char *path;
        char body[128];
        Run run = {};

        (void)snprintf(body, sizeof(body), "echo $$ >%s/own-pid; exec sleep 60", folder);
        path = put_script("script", body);
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(process_start(event,
                                       &(ProcessParams){.name = "test",
                                                        .argv = (const char *[]){path, NULL},
                                                        .timeout_usec = 60 * USEC_PER_SEC},
                                       on_done, &run, &process),
                         0);
        for (unsigned i = 0; i < 200 && (!text || !text[0]); i++) {
                free(text);
                text = get_file("own-pid");
                (void)usleep(10000);
        }
        assert_non_null(text);
        process = process_free(process);
        assert_int_equal(kill(atoi(text), 0), -1); /* dead and reaped */
        assert_int_equal(errno, ESRCH);
        assert_false(run.done);
}

static void test_refuses_no_limit(void **state)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        Process *process = NULL;

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(process_start(event,
                                       &(ProcessParams){.name = "test",
                                                        .argv = (const char *[]){"/bin/true", NULL},
                                                        .timeout_usec = USEC_INFINITY},
                                       on_done, NULL, &process),
                         -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_status_and_output),
                cmocka_unit_test(test_output_is_bounded),
                cmocka_unit_test(test_last_line),
                cmocka_unit_test(test_long_line_is_cut),
                cmocka_unit_test(test_flood),
                cmocka_unit_test(test_binary_flood),
                cmocka_unit_test(test_signal),
                cmocka_unit_test(test_time_limit),
                cmocka_unit_test(test_deaf_to_sigterm),
                cmocka_unit_test(test_ends_well_after_sigterm),
                cmocka_unit_test(test_rest_of_group_is_killed),
                cmocka_unit_test(test_daemon_cannot_delay_the_end),
                cmocka_unit_test(test_cannot_start),
                cmocka_unit_test(test_clean_surroundings),
                cmocka_unit_test(test_free_kills),
                cmocka_unit_test(test_refuses_no_limit),
        };

        return cmocka_run_group_tests(tests, folder_set_up, folder_tear_down);
}
