/*
 * otactl against the control interface of a made-up otad, which lives in a child process and does what it is asked:
 * Resume() begins an update that downloads for a second and is committed, Cancel() rolls it back.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/control.h"
#include "base/time-util.h"
#include "certificate-watch.h"
#include "link/link-server.h"
#include "unit.h"

enum { OUTPUT_MAX = 32768, STEPS = 20 };

static const char *otactl;

/* -- the made-up otad ------------------------------------------------------------------------------------------- */

typedef struct FakeOtad {
        sd_event *event;
        Control *control;
        EngineStatus status;
        JobKey key;
        Failure failure;
        LinkState device;
        DownloadStats download;
        sd_event_source *step;
        int64_t attempt;
} FakeOtad;

static void fake_status(EngineStatus *ret, void *userdata)
{
        FakeOtad *o = userdata;

        *ret = o->status;
}

static void end_update(FakeOtad *o, UpdateState how)
{
        o->status.update.download = NULL;
        o->status.update.state = how;
        control_changed(o->control);
        o->status.update.state = UPDATE_STATE_IDLE;
        control_changed(o->control);
        o->key = (JobKey){0};
        o->failure = (Failure){0};
        (void)sd_event_source_set_enabled(o->step, SD_EVENT_OFF);
}

static int on_step(sd_event_source *source, uint64_t usec, void *userdata)
{
        FakeOtad *o = userdata;

        o->download.held_bytes =
                MIN2(o->download.held_bytes + o->download.total_bytes / STEPS, o->download.total_bytes);
        o->download.fetched_bytes = o->download.held_bytes;
        control_changed(o->control);
        if (o->download.held_bytes == o->download.total_bytes) {
                end_update(o, UPDATE_STATE_COMMITTED);
                return 0;
        }
        return sd_event_source_set_time_relative(source, 50 * USEC_PER_MSEC);
}

static int fake_suspend(void *userdata)
{
        FakeOtad *o = userdata;

        if (o->status.update.suspended_by_operator)
                return -EALREADY;
        o->status.update.suspended_by_operator = true;
        return 0;
}

static int fake_resume(void *userdata)
{
        FakeOtad *o = userdata;

        if (job_key_is_set(&o->key))
                return -EALREADY;
        o->status.update.suspended_by_operator = false;
        o->key = job_key_make("JOB", ++o->attempt);
        o->download = (DownloadStats){.total_bytes = 4 << 20};
        o->status.update.download = &o->download;
        o->status.update.state = UPDATE_STATE_DOWNLOADING;
        control_changed(o->control);
        (void)sd_event_source_set_enabled(o->step, SD_EVENT_ON);
        return sd_event_source_set_time_relative(o->step, 50 * USEC_PER_MSEC);
}

static int fake_cancel(const char *why, void *userdata)
{
        FakeOtad *o = userdata;

        if (!job_key_is_set(&o->key))
                return -ENOENT;
        failure_set(&o->failure, FAILURE_CANCELLED_LOCALLY, why);
        end_update(o, UPDATE_STATE_ROLLED_BACK);
        return 0;
}

static void fake_totals(UpdateTotals *ret, void *userdata)
{
        *ret = (UpdateTotals){.n_received = 12,
                              .n_queued = 11,
                              .n_processed = 10,
                              .n_dropped = 1,
                              .n_bytes = 2048,
                              .download_usec = 2 * USEC_PER_SEC};
}

/* As long as otad does not reach otad-installer. */
static int fake_history(void *userdata)
{
        return -ENOTCONN;
}

static const CertificateWatch *fake_certificates(void *userdata)
{
        static const CertificateWatch none;

        return &none;
}

static int run_otad(const char *runtime_dir, int ready_fd)
{
        static const ControlOps ops = {.status = fake_status,
                                       .totals = fake_totals,
                                       .get_history = fake_history,
                                       .certificates = fake_certificates,
                                       .suspend = fake_suspend,
                                       .resume = fake_resume,
                                       .cancel = fake_cancel};
        ControlParams params = {.thing_name = "gw", .runtime_dir = runtime_dir, .bus = "none"};
        FakeOtad o = {.device = {.selftest_left_usec = USEC_INFINITY}};

        strcpy(o.device.version, "1.2");
        o.status.connected = true;
        o.status.update = (UpdateStatus){.key = &o.key,
                                         .failure = &o.failure,
                                         .device = &o.device,
                                         .waiting = "",
                                         .retry_usec = USEC_INFINITY};
        if (sd_event_new(&o.event) < 0 || sd_event_set_signal_exit(o.event, true) < 0 ||
            sd_event_add_time(o.event, &o.step, CLOCK_BOOTTIME, USEC_INFINITY, 1, on_step, &o) < 0 ||
            control_new(o.event, &params, &ops, &o, &o.control) < 0 || write(ready_fd, "", 1) != 1)
                return 1;
        (void)sd_event_loop(o.event);
        control_free(o.control);
        sd_event_source_disable_unref(o.step);
        sd_event_unref(o.event);
        return 0;
}

/* -- the made-up otad-installer ---------------------------------------------------------------------------------- */

static void installer_state(LinkState *ret, void *userdata)
{
        *ret = (LinkState){.state = UPDATE_STATE_TESTING,
                           .attempt = 1,
                           .reboot_needed = true,
                           .selftest_left_usec = USEC_PER_SEC,
                           .failure = {.reason = FAILURE_HOOK_FAILED, .detail = "says no"},
                           .n_files = 1,
                           .files = {{.size_bytes = 2048, .written_bytes = 1024}}};
        strcpy(ret->session, "JOB#1");
        strcpy(ret->job_id, "JOB");
        strcpy(ret->version, "1.2");
        strcpy(ret->files[0].target, "rootfs");
        strcpy(ret->files[0].slot, "B");
}

static void refuse(LinkReply *reply, void *userdata)
{
        link_reply_error(reply, LINK_ERROR_OUT_OF_TURN, FAILURE_INSTALLER, "only looks");
}

static void refuse_begin(LinkReply *reply, const LinkBegin *begin, void *userdata)
{
        refuse(reply, userdata);
}

static void refuse_write(LinkReply *reply, unsigned file, uint64_t offset, void *userdata)
{
        refuse(reply, userdata);
}

static void refuse_revert(LinkReply *reply, const LinkRevert *revert, void *userdata)
{
        refuse(reply, userdata);
}

static void no_history(LinkReply *reply, void *userdata)
{
        link_reply_history(reply, NULL, 0);
}

static void ignore_peer(const void *peer, void *userdata)
{
}

static void refuse_roll_back(LinkReply *reply, const Failure *why, void *userdata)
{
        refuse(reply, userdata);
}

static int run_installer(const char *runtime_dir, int ready_fd)
{
        static const LinkServerOps ops = {
                .get_state = installer_state,
                .begin = refuse_begin,
                .write = refuse_write,
                .verify = refuse,
                .activate = refuse,
                .reboot = refuse,
                .self_test = refuse,
                .commit = refuse,
                .roll_back = refuse_roll_back,
                .release = refuse,
                .revert = refuse_revert,
                .get_history = no_history,
                .peer_gone = ignore_peer,
        };
        PeerBusParams params = {.name = "installer", .mode = 0600, .listen_fd = -1, .peer_uid = PEER_BUS_NO_UID};
        LinkServer *server = NULL;
        sd_event *event = NULL;
        char path[128];

        snprintf(path, sizeof(path), "%s/installer.sock", runtime_dir);
        params.path = path;
        if (sd_event_new(&event) < 0 || sd_event_set_signal_exit(event, true) < 0 ||
            link_server_new(event, &params, &ops, NULL, &server) < 0 || write(ready_fd, "", 1) != 1)
                return 1;
        (void)sd_event_loop(event);
        link_server_free(server);
        sd_event_unref(event);
        return 0;
}

/* -- the fixture ------------------------------------------------------------------------------------------------ */

typedef struct Fixture {
        char dir[64];
        pid_t daemon;
        char output[OUTPUT_MAX];
        int code;
} Fixture;

static void start(Fixture *f, int (*daemon)(const char *runtime_dir, int ready_fd))
{
        int fds[2];
        char byte;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        f->daemon = fork();
        assert_true(f->daemon >= 0);
        if (f->daemon == 0)
                _exit(daemon(f->dir, fds[1]));
        close(fds[1]);
        assert_int_equal(read(fds[0], &byte, 1), 1);
        close(fds[0]);
}

static void stop(Fixture *f)
{
        int status;

        if (f->daemon <= 0)
                return;
        kill(f->daemon, SIGTERM);
        assert_int_equal(waitpid(f->daemon, &status, 0), f->daemon);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        f->daemon = 0;
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        char path[128];
        FILE *file;

        if (!f)
                return -1;
        strcpy(f->dir, "/tmp/otactl-XXXXXX");
        if (!mkdtemp(f->dir))
                return -1;
        snprintf(path, sizeof(path), "%s/otad.conf", f->dir);
        file = fopen(path, "we");
        if (!file)
                return -1;
        fprintf(file,
                "thing-name = \"gw\"; broker: { endpoint = \"localhost\"; };\n"
                "targets = ( { name = \"app\"; type = \"file\"; match = \"app\"; path = \"%1$s/app\"; mode = "
                "\"0755\"; } );\n"
                "paths: { runtime = \"%1$s\"; }; control: { bus = \"none\"; };\n",
                f->dir);
        *state = f;
        return fclose(file);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
        return remove(path);
}

static int teardown(void **state)
{
        Fixture *f = *state;

        stop(f);
        nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static void command(const Fixture *f, const char *words, char text[static 512])
{
        snprintf(text, 512, "'%s' --config '%s/otad.conf' %s", otactl, f->dir, words);
}

static void run(Fixture *f, const char *words)
{
        char text[512];
        size_t n;
        FILE *pipe;

        command(f, words, text);
        strcat(text, " 2>&1");
        pipe = popen(text, "re");
        assert_non_null(pipe);
        n = fread(f->output, 1, sizeof(f->output) - 1, pipe);
        f->output[n] = 0;
        f->code = WEXITSTATUS(pclose(pipe));
}

static void assert_answer(const Fixture *f, const char *words, int code, const char *part)
{
        if (f->code != code || !strstr(f->output, part))
                fail_msg("otactl %s: exit %d, expected %d and '%s' in:\n%s", words, f->code, code, part, f->output);
}

static void assert_run(Fixture *f, const char *words, int code, const char *part)
{
        run(f, words);
        assert_answer(f, words, code, part);
}

static unsigned count(const char *text, const char *part)
{
        unsigned n = 0;

        for (const char *found = text; (found = strstr(found, part)); found++)
                n++;
        return n;
}

/* -- tests ------------------------------------------------------------------------------------------------------ */

static void test_usage(void **state)
{
        Fixture *f = *state;

        assert_run(f, "--help", 0, "cancel [REASON]");
        assert_run(f, "--version", 0, "otactl " OTAD_VERSION);
        assert_run(f, "", 3, "Commands:");
        assert_run(f, "frobnicate", 3, "no such command: frobnicate");
        assert_run(f, "verify", 3, "a file is needed for: verify");
        assert_run(f, "install x --signature y --cert z", 3, "--target is needed for: install");
        assert_run(f, "verify x --cert z", 3, "--cert wants a --signature");
        assert_run(f, "suspend --json", 3, "--json is not for: suspend");
        assert_run(f, "status --until-done", 3, "--until-done is not for: status");
        assert_run(f, "status more", 3, "too many arguments");
        assert_run(f, "--nonsense", 3, "nonsense");
        assert_run(f, "--config /nonexistent status", 3, "/nonexistent");
}

static void test_status_and_acts(void **state)
{
        Fixture *f = *state;
        char words[256];

        start(f, run_otad);
        assert_run(f, "status", 0, "State     idle\n");
        assert_non_null(strstr(f->output, "Version   1.2\n"));
        assert_string_equal(strrchr(f->output, 'N'), "Next      Waits for jobs from the cloud.\n");
        assert_run(f, "status --json", 0, "{\"schema\":1,");
        assert_run(f, "stats", 0, "Packets   12 received, 11 queued, 10 processed, 1 dropped\n");
        assert_non_null(strstr(f->output, "Fetched   2.0 KiB in 2s, 1.0 KiB/s\n"));
        assert_run(f, "stats --json", 0, "\"packets\":{\"received\":12,");
        assert_run(f, "history", 1, "Neither otad nor otad-installer can be asked");
        assert_run(f, "suspend", 0, "Updates are suspended");
        assert_run(f, "suspend", 2, "suspended already");
        assert_run(f, "status", 0, "idle, suspended by an operator");
        assert_run(f, "cancel", 2, "no update to cancel");
        snprintf(words, sizeof(words), "--socket '%s/control.sock' status", f->dir);
        assert_run(f, words, 0, "idle");
        assert_run(f, "--socket /nonexistent/control.sock status", 1, "otad is not running");

        assert_run(f, "resume", 0, "Updates go on.");
        assert_run(f, "status", 0, "Job       JOB (attempt 1)\n");
        assert_non_null(strstr(f->output, "Download  https, "));
        assert_run(f, "cancel 'wrong image'", 0, "cancelled");
        assert_run(f, "status", 0, "JOB (attempt 1) failed at ");
        assert_non_null(strstr(f->output, "cancelled-locally: cancelled by an operator: wrong image\n"));
}

static void test_no_otad(void **state)
{
        Fixture *f = *state;

        assert_run(f, "status", 1, "otad is not running");
        assert_non_null(strstr(f->output, "otad-installer cannot be asked either: No such file"));
        assert_non_null(strstr(f->output, "Next      Nothing, until otad runs.\n"));
        assert_run(f, "status --json", 1, "otad is not running");
        assert_null(strchr(f->output, '{'));
        assert_run(f, "suspend", 1, "otad is not running");
        assert_run(f, "watch", 1, "otad is not running");
}

/* Something is on the socket that never answers. */
static void test_silent_otad(void **state)
{
        Fixture *f = *state;
        uint64_t begin = now_usec();

        start(f, run_otad);
        assert_int_equal(kill(f->daemon, SIGSTOP), 0);
        run(f, "status");
        assert_int_equal(kill(f->daemon, SIGCONT), 0);
        assert_answer(f, "status", 1, "otad cannot be asked");
        assert_in_range(now_usec() - begin, 1, 20 * USEC_PER_SEC);
}

/* Until otad is back, what lies on the device is otad-installer's to tell. */
static void test_installer_alone(void **state)
{
        Fixture *f = *state;

        start(f, run_installer);
        assert_run(f, "status", 1, "otad is not running");
        assert_non_null(strstr(f->output, "Installer testing, job JOB, a reboot is needed\n"
                                          "Target    rootfs (slot B), 1.0 KiB of 2.0 KiB written\n"
                                          "Version   1.2\n"
                                          "Failure   hook-failed: says no\n"
                                          "Next      Rolls back, unless otad comes up"));
        assert_run(f, "history", 0, "There was no update yet.");
        assert_run(f, "history --json", 0, "{\"schema\":1,\"entries\":[]}");
}

static void test_watch_lines(void **state)
{
        Fixture *f = *state;

        start(f, run_otad);
        assert_run(f, "resume", 0, "go on");
        assert_run(f, "watch --until-done", 0, "JOB downloading\n");
        assert_non_null(strstr(f->output, "JOB succeeded\n"));
        assert_non_null(strstr(f->output, "connected to the broker\n"));
        /* A line for every ten percent that was seen, none twice. */
        assert_in_range(count(f->output, " MiB of 4.0 MiB"), 2, 11);
        assert_int_equal(count(f->output, "\r"), 0);
        assert_int_equal(count(f->output, "\x1b"), 0);
}

static void test_watch_failure(void **state)
{
        Fixture *f = *state;
        char text[512], line[512] = "";
        FILE *pipe;

        start(f, run_otad);
        assert_run(f, "resume", 0, "go on");
        command(f, "watch --until-done", text);
        pipe = popen(text, "re");
        assert_non_null(pipe);
        assert_non_null(fgets(line, sizeof(line), pipe));
        assert_run(f, "cancel enough", 0, "cancelled");
        while (fgets(line, sizeof(line), pipe) && !strstr(line, "JOB failed"))
                ;
        assert_non_null(strstr(line, "JOB failed: cancelled-locally: cancelled by an operator: enough"));
        assert_int_equal(WEXITSTATUS(pclose(pipe)), 1);
}

/* On a terminal: one line that is drawn again and again, no wider than it. */
static void test_watch_terminal(void **state)
{
        struct winsize size = {.ws_row = 24, .ws_col = 70};
        Fixture *f = *state;
        char config[128];
        size_t n_output = 0;
        int master, slave, status;
        ssize_t n;
        pid_t child;

        start(f, run_otad);
        assert_run(f, "resume", 0, "go on");
        snprintf(config, sizeof(config), "%s/otad.conf", f->dir);
        master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (master < 0)
                skip();
        assert_int_equal(grantpt(master), 0);
        assert_int_equal(unlockpt(master), 0);
        slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(slave >= 0);
        assert_int_equal(ioctl(slave, TIOCSWINSZ, &size), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
                dup2(slave, STDOUT_FILENO);
                execl(otactl, otactl, "--config", config, "watch", "--until-done", (char *)NULL);
                _exit(127);
        }
        close(slave);
        while (n_output < sizeof(f->output) - 1 &&
               (n = read(master, f->output + n_output, sizeof(f->output) - 1 - n_output)) > 0)
                n_output += (size_t)n;
        f->output[n_output] = 0;
        close(master);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_true(count(f->output, "\r\x1b[K") >= 3);
        assert_true(count(f->output, "downloading  [") >= 2);
        assert_non_null(strstr(f->output, "JOB succeeded"));
        for (const char *line = f->output; line && *line; line = strpbrk(line + 1, "\r\n"))
                assert_true(strcspn(line + 1, "\r\n") <= size.ws_col + strlen("\x1b[K"));
}

/* ^C ends it well, but for who waits for the result. */
static void test_watch_interrupted(void **state)
{
        static const struct {
                const char *option;
                int code;
        } rows[] = {{NULL, 0}, {"--until-done", 1}};
        Fixture *f = *state;
        char config[128];

        start(f, run_otad);
        snprintf(config, sizeof(config), "%s/otad.conf", f->dir);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int fds[2], status;
                char byte;
                pid_t child;

                assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
                child = fork();
                assert_true(child >= 0);
                if (child == 0) {
                        dup2(fds[1], STDOUT_FILENO);
                        execl(otactl, otactl, "--config", config, "watch", rows[i].option, (char *)NULL);
                        _exit(127);
                }
                close(fds[1]);
                assert_int_equal(read(fds[0], &byte, 1), 1);
                assert_int_equal(kill(child, SIGINT), 0);
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_true(WIFEXITED(status));
                assert_int_equal(WEXITSTATUS(status), rows[i].code);
                close(fds[0]);
        }
}

/* otad goes away in the middle and comes back without a memory. */
static void test_watch_restart(void **state)
{
        Fixture *f = *state;
        char text[512], line[512] = "";
        FILE *pipe;

        start(f, run_otad);
        assert_run(f, "resume", 0, "go on");
        command(f, "watch --until-done", text);
        pipe = popen(text, "re");
        assert_non_null(pipe);
        assert_non_null(fgets(line, sizeof(line), pipe));
        stop(f);
        while (fgets(line, sizeof(line), pipe) && !strstr(line, "not reached any more"))
                ;
        assert_non_null(strstr(line, "not reached any more"));
        start(f, run_otad);
        while (fgets(line, sizeof(line), pipe) && !strstr(line, "was not seen"))
                ;
        assert_non_null(strstr(line, "was not seen"));
        assert_int_equal(WEXITSTATUS(pclose(pipe)), 1);
}

int main(int argc, char *argv[])
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
                cmocka_unit_test_setup_teardown(test_status_and_acts, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_otad, setup, teardown),
                cmocka_unit_test_setup_teardown(test_silent_otad, setup, teardown),
                cmocka_unit_test_setup_teardown(test_installer_alone, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_lines, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_failure, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_terminal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_interrupted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_watch_restart, setup, teardown),
        };

        if (argc != 2)
                return 1;
        otactl = argv[1];
        return cmocka_run_group_tests(tests, NULL, NULL);
}
