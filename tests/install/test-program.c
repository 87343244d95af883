/*
 * otad-installer itself, through its socket: a file's whole life, kill -9 in the middle of a download, a second
 * installer on the same state, SIGTERM. argv[1] is the program.
 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time-util.h"
#include "fixture.h"
#include "link/link-client.h"

/* last: it has a macro called fail */
#include <cmocka.h>

enum { SENT_BYTES = 1300 * 1000, CHECKPOINT_BYTES = 1024 * 1024 };

static const char *program;
static pid_t last_pid; /* killed where a test ends early */

typedef struct Program {
        Device *d;
        char config[128];
        pid_t pid;
        LinkClient *client;
        LinkBegin begin;
        LinkState state;
        bool up, down, answered, ok, reboot_needed;
        LinkError error;
        LinkOffsets offsets;
        DataPipe *pipe;
} Program;

static void on_up(const LinkState *state, void *userdata)
{
        ((Program *)userdata)->up = true;
        ((Program *)userdata)->state = *state;
}

static void on_down(const Failure *failure, void *userdata)
{
        ((Program *)userdata)->up = false;
}

static void on_progress(const LinkProgress *progress, void *userdata)
{
}

static void on_state(const LinkState *state, void *userdata)
{
        ((Program *)userdata)->state = *state;
}

static const LinkClientOps client_ops = {
        .on_up = on_up, .on_down = on_down, .on_progress = on_progress, .on_state = on_state};

static void on_done(const LinkError *error, void *userdata)
{
        Program *p = userdata;

        p->answered = true;
        p->ok = !error;
        if (error)
                p->error = *error;
}

static void on_begin(const LinkError *error, const LinkOffsets *offsets, void *userdata)
{
        on_done(error, userdata);
        if (offsets)
                ((Program *)userdata)->offsets = *offsets;
}

static void on_write(const LinkError *error, DataPipe *pipe, void *userdata)
{
        on_done(error, userdata);
        ((Program *)userdata)->pipe = pipe;
}

static void on_activate(const LinkError *error, bool reboot_needed, void *userdata)
{
        on_done(error, userdata);
        ((Program *)userdata)->reboot_needed = reboot_needed;
}

static void turn_until(Program *p, const bool *flag, bool value)
{
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC;

        while (*flag != value && now_usec() < deadline)
                assert_true(sd_event_run(p->d->event, 100000) >= 0);
        assert_int_equal(*flag, value);
}

static pid_t spawn(Program *p)
{
        char *argv[] = {(char *)program,
                        (char *)"--config",
                        p->config,
                        (char *)"--log-level",
                        (char *)(getenv("TEST_LOG") ? "debug" : "error"),
                        NULL};
        pid_t pid;

        assert_int_equal(posix_spawn(&pid, program, NULL, NULL, argv, environ), 0);
        last_pid = pid;
        return pid;
}

static int wait_for(pid_t pid)
{
        int status;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (pid == last_pid)
                last_pid = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void write_config(Program *p)
{
        const char *f = p->d->folder;
        char text[2048];

        (void)snprintf(p->config, sizeof(p->config), "%s/otad.conf", f);
        (void)snprintf(text, sizeof(text),
                       "thing-name = \"test\";\n"
                       "broker: { endpoint = \"localhost\"; };\n"
                       "signing: { trust-store = \"%s/trust\"; };\n"
                       "version: { file = \"%s/version\"; key = \"VERSION\"; };\n"
                       "targets = ( { name = \"app\"; type = \"file\"; match = \"app\"; path = \"%s/app\"; mode = "
                       "\"0755\"; } );\n"
                       "hook: { script = \"%s/hook\"; };\n"
                       "download: { checkpoint-bytes = 1048576; };\n"
                       "paths: { state = \"%s/otad\"; installer-state = \"%s/installer\"; runtime = \"%s/run\";\n"
                       "         boot-id = \"%s/boot-id\"; };\n",
                       f, f, f, f, f, f, f, f);
        device_write(p->d, "otad.conf", text);
}

static void send_bytes(Program *p, uint64_t from, uint64_t to)
{
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC;

        p->answered = false;
        assert_int_equal(link_client_write(p->client, 0, from, on_write, p), 0);
        turn_until(p, &p->answered, true);
        assert_true(p->ok);
        while (from < to && now_usec() < deadline) {
                ssize_t n = data_pipe_write(p->pipe, p->d->images[0] + from, to - from);

                if (n > 0)
                        from += (uint64_t)n;
                else
                        assert_int_equal(n, -EAGAIN);
        }
        assert_int_equal(from, to);
}

/* Until the record says that at least so much of the file is durable. */
static void wait_durable(Program *p, uint64_t bytes)
{
        static const char field[] = "file0.durable=";
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC, durable = 0;

        while (durable < bytes && now_usec() < deadline) {
                const char *at = strstr(device_read(p->d, "installer/session"), field);

                durable = at ? strtoull(at + strlen(field), NULL, 10) : 0;
                assert_true(sd_event_run(p->d->event, 10000) >= 0);
        }
        assert_true(durable >= bytes);
}

static void begin(Program *p)
{
        p->answered = false;
        assert_int_equal(link_client_begin(p->client, &p->begin, on_begin, p), 0);
        turn_until(p, &p->answered, true);
        assert_true(p->ok);
}

static void call(Program *p, int (*fn)(LinkClient *client, LinkDoneFn done, void *userdata))
{
        p->answered = false;
        assert_int_equal(fn(p->client, on_done, p), 0);
        turn_until(p, &p->answered, true);
        if (!p->ok)
                fail_msg("%s", p->error.failure.detail);
}

static void ask_for_app(Program *p)
{
        LinkBegin *b = &p->begin;

        device_ask_for(p->d, "app", NULL);
        strcpy(b->session, "JOB-1#1");
        strcpy(b->job_id, "JOB-1");
        b->attempt = 1;
        b->n_files = 1;
        strcpy(b->files[0].target, "app");
        strcpy(b->files[0].cert, "signer.pem");
        b->files[0].size_bytes = IMAGE_BYTES;
        b->files[0].algorithm = SIGNATURE_ALGORITHM_SHA256_ECDSA;
        b->files[0].n_signature = p->d->request.files[0].n_signature;
        memcpy(b->files[0].signature, p->d->request.files[0].signature, b->files[0].n_signature);
}

static void test_life(void **state)
{
        static Program program_state;
        Program *p = &program_state;
        LinkClientParams params = {.backoff_base_usec = 50 * USEC_PER_MSEC, .backoff_cap_usec = 200 * USEC_PER_MSEC};
        char path[128];

        p->d = *state;
        write_config(p);
        (void)snprintf(path, sizeof(path), "%s/run/installer.sock", p->d->folder);
        params.socket_path = path;
        p->pid = spawn(p);
        assert_int_equal(link_client_new(p->d->event, &params, &client_ops, p, &p->client), 0);
        turn_until(p, &p->up, true);
        assert_int_equal(p->state.state, UPDATE_STATE_IDLE);
        assert_string_equal(p->state.version, "1.0");
        /* One installer for one state directory. */
        assert_int_equal(wait_for(spawn(p)), 1);
        last_pid = p->pid;

        ask_for_app(p);
        begin(p);
        assert_int_equal(p->offsets.resume_bytes[0], 0);
        send_bytes(p, 0, SENT_BYTES);
        wait_durable(p, SENT_BYTES - CHECKPOINT_BYTES);
        assert_int_equal(kill(p->pid, SIGKILL), 0);
        assert_int_equal(wait_for(p->pid), -SIGKILL);
        p->pipe = data_pipe_free(p->pipe);
        turn_until(p, &p->up, false);

        p->pid = spawn(p);
        turn_until(p, &p->up, true);
        assert_int_equal(p->state.state, UPDATE_STATE_DOWNLOADING);
        begin(p);
        assert_in_range(p->offsets.resume_bytes[0], SENT_BYTES - CHECKPOINT_BYTES, SENT_BYTES);
        send_bytes(p, p->offsets.resume_bytes[0], IMAGE_BYTES);
        p->pipe = data_pipe_free(p->pipe);
        call(p, link_client_verify);
        p->answered = false;
        assert_int_equal(link_client_activate(p->client, on_activate, p), 0);
        turn_until(p, &p->answered, true);
        assert_true(p->ok && !p->reboot_needed);
        assert_true(device_holds(p->d, "app", 0));
        call(p, link_client_self_test);
        call(p, link_client_commit);
        call(p, link_client_release);
        assert_int_equal(p->state.state, UPDATE_STATE_IDLE);

        link_client_free(p->client);
        assert_int_equal(kill(p->pid, SIGTERM), 0);
        assert_int_equal(wait_for(p->pid), 0);
        assert_false(device_has(p->d, "run/installer.sock"));
        assert_true(device_has(p->d, "installer/history"));
}

static void test_bad_config(void **state)
{
        static Program program_state;
        Program *p = &program_state;

        p->d = *state;
        write_config(p);
        device_write(p->d, "otad.conf", "nonsense = 1;\n");
        assert_int_equal(wait_for(spawn(p)), 3);
}

static int tear_down(void **state)
{
        if (last_pid > 0) {
                (void)kill(last_pid, SIGKILL);
                (void)wait_for(last_pid);
        }
        return device_tear_down(state);
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_life, device_set_up, tear_down),
                cmocka_unit_test_setup_teardown(test_bad_config, device_set_up, tear_down),
        };

        program = argc > 1 ? argv[1] : "otad-installer";
        return cmocka_run_group_tests(tests, NULL, NULL);
}
