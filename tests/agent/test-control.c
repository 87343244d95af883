/*
 * The control interface as its clients see it: over its own socket, and over a bus daemon that the test starts.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "agent/control.h"
#include "base/time-util.h"
#include "certificate-watch.h"
#include "link/peer-bus.h"
#include "unit.h"

#define DEADLINE_USEC (10 * USEC_PER_SEC)

enum { NOBODY = 65534 };

typedef struct Fixture {
        char dir[64];
        sd_event *event;
        Control *control;
        pid_t daemon;
        char address[128];

        /* what the fake engine says, and was told */
        EngineStatus status;
        JobKey key;
        Failure failure;
        DownloadStats download;
        int answer;
        unsigned n_suspend, n_resume, n_cancel, n_history;
        char why[512];

        /* what a client heard */
        unsigned n_changed, n_completed;
        int32_t result;
        char operation[32];

        /* the fake polkit */
        bool allows_read, allows_manage;
        unsigned n_polkit;
} Fixture;

static void fake_status(EngineStatus *ret, void *userdata)
{
        Fixture *f = userdata;

        *ret = f->status;
}

static int fake_suspend(void *userdata)
{
        Fixture *f = userdata;

        f->n_suspend++;
        return f->answer;
}

static int fake_resume(void *userdata)
{
        Fixture *f = userdata;

        f->n_resume++;
        return f->answer;
}

static int fake_cancel(const char *why, void *userdata)
{
        Fixture *f = userdata;

        f->n_cancel++;
        snprintf(f->why, sizeof(f->why), "%s", why);
        return f->answer;
}

static void fake_totals(UpdateTotals *ret, void *userdata)
{
        *ret = (UpdateTotals){.n_received = 7, .n_bytes = 4096, .download_usec = 2 * USEC_PER_SEC};
}

static int fake_history(void *userdata)
{
        Fixture *f = userdata;

        f->n_history++;
        return f->answer;
}

static const CertificateWatch *fake_certificates(void *userdata)
{
        static const CertificateWatch none;

        return &none;
}

static const ControlOps ops = {
        .status = fake_status,
        .totals = fake_totals,
        .get_history = fake_history,
        .certificates = fake_certificates,
        .suspend = fake_suspend,
        .resume = fake_resume,
        .cancel = fake_cancel,
};

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
        return remove(path);
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        if (!f)
                return -1;
        strcpy(f->dir, "/tmp/otad-control-XXXXXX");
        if (!mkdtemp(f->dir) || chmod(f->dir, 0755) < 0 || sd_event_new(&f->event) < 0)
                return -1;
        f->status.connected = true;
        f->status.update =
                (UpdateStatus){.key = &f->key, .failure = &f->failure, .waiting = "", .retry_usec = USEC_INFINITY};
        *state = f;
        return 0;
}

static void stop_daemon(Fixture *f)
{
        if (f->daemon > 0) {
                kill(f->daemon, SIGTERM);
                waitpid(f->daemon, NULL, 0);
        }
        f->daemon = 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;

        control_free(f->control);
        stop_daemon(f);
        sd_event_unref(f->event);
        nftw(f->dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        free(f);
        return 0;
}

static void start(Fixture *f, const char *bus)
{
        ControlParams params = {
                .thing_name = "thing", .runtime_dir = f->dir, .bus = bus, .bus_retry_usec = 100 * USEC_PER_MSEC};

        assert_int_equal(control_new(f->event, &params, &ops, f, &f->control), 0);
}

static void run_for(Fixture *f, uint64_t usec)
{
        uint64_t end = now_usec() + usec;

        while (now_usec() < end)
                assert_true(sd_event_run(f->event, end - now_usec() > 10000 ? 10000 : end - now_usec()) >= 0);
}

/* -- a client --------------------------------------------------------------------------------------------------- */

static sd_bus *connect_socket(Fixture *f)
{
        char path[128];
        sd_bus *bus;

        snprintf(path, sizeof(path), "%s/%s", f->dir, CONTROL_SOCKET_NAME);
        assert_int_equal(peer_bus_connect(f->event, path, "test", &bus), 0);
        return bus;
}

static int open_address(const char *address, sd_bus **ret)
{
        sd_bus *bus;

        if (sd_bus_new(&bus) < 0)
                return -1;
        if (sd_bus_set_address(bus, address) < 0 || sd_bus_set_bus_client(bus, true) < 0 || sd_bus_start(bus) < 0) {
                sd_bus_unref(bus);
                return -1;
        }
        *ret = bus;
        return 0;
}

static sd_bus *connect_bus(Fixture *f)
{
        sd_bus *bus = NULL;

        assert_int_equal(open_address(f->address, &bus), 0);
        assert_true(sd_bus_attach_event(bus, f->event, 0) >= 0);
        return bus;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        sd_bus_message **reply = userdata;

        *reply = sd_bus_message_ref(m);
        return 0;
}

/* Runs the loop, which serves the call, until the answer is there. The caller's. */
static sd_bus_message *finish(Fixture *f, sd_bus *bus, sd_bus_message *call)
{
        uint64_t end = now_usec() + DEADLINE_USEC;
        sd_bus_message *reply = NULL;
        sd_bus_slot *slot = NULL;

        assert_true(sd_bus_call_async(bus, &slot, call, on_reply, &reply, DEADLINE_USEC) >= 0);
        while (!reply && now_usec() < end)
                assert_true(sd_event_run(f->event, 10000) >= 0);
        sd_bus_slot_unref(slot);
        sd_bus_message_unref(call);
        assert_non_null(reply);
        return reply;
}

static sd_bus_message *call(Fixture *f, sd_bus *bus, const char *destination, const char *member, const char *why)
{
        sd_bus_message *m = NULL;

        assert_true(sd_bus_message_new_method_call(bus, &m, destination, CONTROL_PATH, CONTROL_INTERFACE, member) >=
                    0);
        if (why)
                assert_true(sd_bus_message_append(m, "s", why) >= 0);
        return finish(f, bus, m);
}

static void assert_error(sd_bus_message *reply, const char *name)
{
        assert_true(sd_bus_message_is_method_error(reply, name));
        sd_bus_message_unref(reply);
}

static void assert_ok(sd_bus_message *reply)
{
        assert_false(sd_bus_message_is_method_error(reply, NULL));
        sd_bus_message_unref(reply);
}

static sd_bus_message *get(Fixture *f, sd_bus *bus, const char *property)
{
        sd_bus_message *m = NULL, *reply;

        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, CONTROL_PATH, "org.freedesktop.DBus.Properties",
                                                   "Get") >= 0);
        assert_true(sd_bus_message_append(m, "ss", CONTROL_INTERFACE, property) >= 0);
        reply = finish(f, bus, m);
        assert_false(sd_bus_message_is_method_error(reply, NULL));
        return reply;
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Fixture *f = userdata;
        const char *name, *text;

        f->n_changed++;
        if (sd_bus_message_skip(m, "s") < 0 || sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
                return 0;
        while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
                if (sd_bus_message_read(m, "s", &name) >= 0 && strcmp(name, "Operation") == 0 &&
                    sd_bus_message_read(m, "v", "s", &text) >= 0)
                        snprintf(f->operation, sizeof(f->operation), "%s", text);
                else
                        (void)sd_bus_message_skip(m, "v");
                if (sd_bus_message_exit_container(m) < 0)
                        break;
        }
        return 0;
}

static int on_completed(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        Fixture *f = userdata;

        f->n_completed++;
        assert_true(sd_bus_message_read(m, "i", &f->result) >= 0);
        return 0;
}

static void listen_to(Fixture *f, sd_bus *bus)
{
        assert_true(sd_bus_match_signal(bus, NULL, NULL, CONTROL_PATH, "org.freedesktop.DBus.Properties",
                                        "PropertiesChanged", on_changed, f) >= 0);
        assert_true(sd_bus_match_signal(bus, NULL, NULL, CONTROL_PATH, CONTROL_INTERFACE, "Completed", on_completed,
                                        f) >= 0);
}

/* -- the bus daemon --------------------------------------------------------------------------------------------- */

static bool start_daemon(Fixture *f)
{
        char config[128], path[128];
        struct stat st;
        FILE *file;

        snprintf(config, sizeof(config), "%s/bus.conf", f->dir);
        snprintf(path, sizeof(path), "%s/bus", f->dir);
        snprintf(f->address, sizeof(f->address), "unix:path=%s/bus", f->dir);
        file = fopen(config, "we");
        assert_non_null(file);
        fprintf(file,
                "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
                " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
                "<busconfig><listen>%s</listen><auth>EXTERNAL</auth><policy context=\"default\">"
                "<allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\" eavesdrop=\"true\"/>"
                "<allow receive_sender=\"*\"/></policy></busconfig>\n",
                f->address);
        assert_int_equal(fclose(file), 0);

        (void)unlink(path);
        f->daemon = fork();
        assert_true(f->daemon >= 0);
        if (f->daemon == 0) {
                execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", "--config-file", config,
                       (char *)NULL);
                _exit(127);
        }
        for (unsigned i = 0; i < 1000; i++) {
                int status;

                if (stat(path, &st) == 0)
                        return true;
                if (waitpid(f->daemon, &status, WNOHANG) == f->daemon) {
                        f->daemon = 0;
                        return false;
                }
                usleep(10000);
        }
        fail_msg("the bus daemon does not listen");
        return false;
}

/* Until org.otad1 answers there. */
static void wait_for_name(Fixture *f, sd_bus *bus)
{
        uint64_t end = now_usec() + DEADLINE_USEC;

        for (;;) {
                sd_bus_message *reply = call(f, bus, CONTROL_BUS_NAME, "GetStatus", NULL);
                bool is_error = sd_bus_message_is_method_error(reply, NULL);

                sd_bus_message_unref(reply);
                if (!is_error)
                        return;
                assert_true(now_usec() < end);
                run_for(f, 20000);
        }
}

/* -- tests ------------------------------------------------------------------------------------------------------ */

static void test_status(void **state)
{
        Fixture *f = *state;
        sd_bus_message *reply;
        const char *text;
        sd_bus *bus;

        start(f, "none");
        bus = connect_socket(f);
        reply = call(f, bus, NULL, "GetStatus", NULL);
        assert_true(sd_bus_message_read(reply, "s", &text) > 0);
        assert_non_null(strstr(text, "\"thing\":\"thing\",\"state\":\"idle\""));
        sd_bus_message_unref(reply);

        reply = get(f, bus, "Operation");
        assert_true(sd_bus_message_read(reply, "v", "s", &text) > 0);
        assert_string_equal(text, "idle");
        sd_bus_message_unref(reply);
        sd_bus_close_unref(bus);
}

static void test_socket_mode(void **state)
{
        Fixture *f = *state;
        char path[128];
        struct stat st;

        start(f, "none");
        snprintf(path, sizeof(path), "%s/%s", f->dir, CONTROL_SOCKET_NAME);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0666);
        f->control = control_free(f->control);
        assert_int_equal(stat(path, &st), -1);
}

static void test_second_otad(void **state)
{
        Fixture *f = *state;
        ControlParams params = {.thing_name = "thing", .runtime_dir = f->dir, .bus = "none"};
        Control *second;

        start(f, "none");
        assert_int_equal(control_new(f->event, &params, &ops, f, &second), -EADDRINUSE);
}

static void test_acts_and_errors(void **state)
{
        static const struct {
                int answer;
                const char *error;
        } rows[] = {
                {0, NULL},
                {-EALREADY, CONTROL_ERROR_ALREADY},
                {-ENOENT, CONTROL_ERROR_NO_UPDATE},
                {-EPERM, CONTROL_ERROR_TOO_LATE},
                {-EIO, CONTROL_ERROR_FAILED},
        };
        char longest[CONTROL_WHY_MAX + 2];
        Fixture *f = *state;
        sd_bus *bus;

        start(f, "none");
        bus = connect_socket(f);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                static const char *const members[] = {"Suspend", "Resume", "Cancel"};

                f->answer = rows[i].answer;
                for (size_t k = 0; k < ELEMENTSOF(members); k++) {
                        sd_bus_message *reply = call(f, bus, NULL, members[k], k == 2 ? "bad idea" : NULL);

                        if (rows[i].error)
                                assert_error(reply, rows[i].error);
                        else
                                assert_ok(reply);
                }
        }
        assert_int_equal(f->n_suspend, ELEMENTSOF(rows));
        assert_int_equal(f->n_resume, ELEMENTSOF(rows));
        assert_int_equal(f->n_cancel, ELEMENTSOF(rows));
        assert_string_equal(f->why, "cancelled by an operator: bad idea");

        f->answer = 0;
        assert_ok(call(f, bus, NULL, "Cancel", ""));
        assert_string_equal(f->why, "cancelled by an operator");
        memset(longest, 'x', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = 0;
        assert_error(call(f, bus, NULL, "Cancel", longest), SD_BUS_ERROR_INVALID_ARGS);
        assert_int_equal(f->n_cancel, ELEMENTSOF(rows) + 1);
        longest[CONTROL_WHY_MAX] = 0;
        assert_ok(call(f, bus, NULL, "Cancel", longest));
        sd_bus_close_unref(bus);
}

static void test_update_seen_to_its_end(void **state)
{
        Fixture *f = *state;
        sd_bus_message *reply;
        int32_t percent, depth;
        const char *text;
        sd_bus *bus;

        start(f, "none");
        bus = connect_socket(f);
        listen_to(f, bus);
        assert_ok(call(f, bus, NULL, "GetStatus", NULL));

        f->key = job_key_make("job", 1);
        f->download = (DownloadStats){.total_bytes = 100, .held_bytes = 50};
        f->status.update.download = &f->download;
        f->status.update.state = UPDATE_STATE_DOWNLOADING;
        control_changed(f->control);
        run_for(f, 400000);
        assert_int_equal(f->n_changed, 1);
        assert_string_equal(f->operation, "installing");
        reply = get(f, bus, "Progress");
        assert_true(sd_bus_message_read(reply, "v", "(isi)", &percent, &text, &depth) > 0);
        assert_int_equal(percent, 45);
        assert_string_equal(text, "job downloading");
        assert_int_equal(depth, 1);
        sd_bus_message_unref(reply);

        /* Rolled back and forgotten within one event. */
        f->status.update.download = NULL;
        f->status.update.state = UPDATE_STATE_ROLLED_BACK;
        failure_set(&f->failure, FAILURE_SIGNATURE_INVALID, "does not match");
        control_changed(f->control);
        f->status.update.state = UPDATE_STATE_IDLE;
        control_changed(f->control);
        f->key = (JobKey){0};
        f->failure = (Failure){0};
        run_for(f, 400000);
        assert_int_equal(f->n_completed, 1);
        assert_int_equal(f->result, 1);
        assert_string_equal(f->operation, "idle");
        reply = get(f, bus, "LastError");
        assert_true(sd_bus_message_read(reply, "v", "s", &text) > 0);
        assert_string_equal(text, "signature-invalid: does not match");
        sd_bus_message_unref(reply);
        reply = call(f, bus, NULL, "GetStatus", NULL);
        assert_true(sd_bus_message_read(reply, "s", &text) > 0);
        assert_non_null(strstr(text, "\"last\":{\"job\":\"job\",\"attempt\":1,\"status\":\"failed\","
                                     "\"error\":\"signature-invalid\""));
        sd_bus_message_unref(reply);

        /* The next one goes well. */
        f->key = job_key_make("job", 2);
        f->status.update.state = UPDATE_STATE_COMMITTED;
        control_changed(f->control);
        f->status.update.state = UPDATE_STATE_IDLE;
        control_changed(f->control);
        run_for(f, 400000);
        assert_int_equal(f->n_completed, 2);
        assert_int_equal(f->result, 0);
        reply = get(f, bus, "LastError");
        assert_true(sd_bus_message_read(reply, "v", "s", &text) > 0);
        assert_string_equal(text, "");
        sd_bus_message_unref(reply);
        sd_bus_close_unref(bus);
}

/* A hundred changes in a second are a few signals, and the last of them is not lost. */
static void test_throttle(void **state)
{
        Fixture *f = *state;
        sd_bus *bus;

        start(f, "none");
        bus = connect_socket(f);
        listen_to(f, bus);
        assert_ok(call(f, bus, NULL, "GetStatus", NULL));
        f->key = job_key_make("job", 1);
        f->download.total_bytes = 10000;
        f->status.update.download = &f->download;
        f->status.update.state = UPDATE_STATE_DOWNLOADING;
        for (unsigned i = 1; i <= 100; i++) {
                f->download.held_bytes = i * 100;
                control_changed(f->control);
                run_for(f, 10000);
        }
        run_for(f, 400000);
        assert_in_range(f->n_changed, 3, 7);
        f->n_changed = 0;
        control_changed(f->control);
        run_for(f, 400000);
        assert_int_equal(f->n_changed, 0);
        sd_bus_close_unref(bus);
}

static void test_no_bus_then_one(void **state)
{
        Fixture *f = *state;
        sd_bus *bus, *socket;

        snprintf(f->address, sizeof(f->address), "unix:path=%s/bus", f->dir);
        start(f, f->address);
        /* The socket is served while the bus is absent. */
        socket = connect_socket(f);
        assert_ok(call(f, socket, NULL, "GetStatus", NULL));
        run_for(f, 250000);
        if (!start_daemon(f)) {
                sd_bus_close_unref(socket);
                skip();
        }
        bus = connect_bus(f);
        listen_to(f, bus);
        wait_for_name(f, bus);
        assert_ok(call(f, bus, CONTROL_BUS_NAME, "Suspend", NULL));
        assert_ok(call(f, bus, CONTROL_BUS_NAME, "Cancel", "x"));
        assert_int_equal(f->n_suspend, 1);
        assert_int_equal(f->n_cancel, 1);
        f->key = job_key_make("job", 1);
        f->status.update.state = UPDATE_STATE_VERIFYING;
        control_changed(f->control);
        run_for(f, 400000);
        assert_int_equal(f->n_changed, 1);
        assert_string_equal(f->operation, "installing");
        sd_bus_close_unref(bus);

        /* It goes away and comes back. */
        stop_daemon(f);
        run_for(f, 250000);
        assert_ok(call(f, socket, NULL, "GetStatus", NULL));
        assert_true(start_daemon(f));
        bus = connect_bus(f);
        wait_for_name(f, bus);
        sd_bus_close_unref(bus);
        sd_bus_close_unref(socket);
}

static void test_name_taken(void **state)
{
        Fixture *f = *state;
        sd_bus_message *m = NULL;
        sd_bus *other, *bus;

        if (!start_daemon(f))
                skip();
        other = connect_bus(f);
        assert_true(sd_bus_message_new_method_call(other, &m, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                                   "org.freedesktop.DBus", "RequestName") >= 0);
        assert_true(sd_bus_message_append(m, "su", CONTROL_BUS_NAME, 0u) >= 0);
        assert_ok(finish(f, other, m));
        start(f, f->address);
        run_for(f, 250000);
        sd_bus_close_unref(other);
        bus = connect_bus(f);
        wait_for_name(f, bus);
        sd_bus_close_unref(bus);
}

/* In the child: what another user hears; 0: the status, but nothing more. */
static int be_somebody_else(const char *address)
{
        static const char *const members[] = {"Suspend", "Resume"};
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus *bus;
        int r = 0;

        if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0 || open_address(address, &bus) < 0)
                return 10;
        if (sd_bus_call_method(bus, CONTROL_BUS_NAME, CONTROL_PATH, CONTROL_INTERFACE, "GetStatus", NULL, NULL, "") <
            0)
                r = 11;
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                if (sd_bus_call_method(bus, CONTROL_BUS_NAME, CONTROL_PATH, CONTROL_INTERFACE, members[i], &error,
                                       NULL, "") >= 0 ||
                    !sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED))
                        r = 12;
                sd_bus_error_free(&error);
        }
        if (sd_bus_call_method(bus, CONTROL_BUS_NAME, CONTROL_PATH, CONTROL_INTERFACE, "Cancel", &error, NULL, "s",
                               "x") >= 0 ||
            !sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED))
                r = 13;
        sd_bus_error_free(&error);
        sd_bus_close_unref(bus);
        return r;
}

static void test_others_only_look(void **state)
{
        uint64_t end = now_usec() + DEADLINE_USEC;
        Fixture *f = *state;
        int status = -1;
        sd_bus *bus;
        pid_t child;

        if (geteuid() != 0 || !start_daemon(f))
                skip();
        start(f, f->address);
        bus = connect_bus(f);
        wait_for_name(f, bus);
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
                _exit(be_somebody_else(f->address));
        while (waitpid(child, &status, WNOHANG) == 0) {
                if (now_usec() > end)
                        kill(child, SIGKILL);
                assert_true(sd_event_run(f->event, 10000) >= 0);
        }
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(f->n_suspend + f->n_resume + f->n_cancel, 0);
        sd_bus_close_unref(bus);
}

/* -- polkit ----------------------------------------------------------------------------------------------------- */

static int on_check(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        const char *kind, *key, *name, *action;
        Fixture *f = userdata;
        uint32_t flags = 1;
        bool allowed;

        f->n_polkit++;
        assert_true(sd_bus_message_read(m, "(sa{sv})s", &kind, 1, &key, "s", &name, &action) > 0);
        assert_true(sd_bus_message_skip(m, "a{ss}") >= 0 && sd_bus_message_read(m, "u", &flags) > 0);
        assert_string_equal(kind, "system-bus-name");
        assert_string_equal(key, "name");
        assert_int_equal(name[0], ':');
        assert_int_equal(flags, 0);
        if (strcmp(action, CONTROL_POLKIT_READ) == 0) {
                allowed = f->allows_read;
        } else {
                assert_string_equal(action, CONTROL_POLKIT_MANAGE);
                allowed = f->allows_manage;
        }
        return sd_bus_reply_method_return(m, "(bba{ss})", (int)allowed, 0, 0);
}

static const sd_bus_vtable polkit_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", on_check, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

/* In the child: another user calls each of these; the exit code has a bit for each that was allowed. */
static int try_all(const char *address)
{
        static const char *const members[] = {"GetStatus", "GetStats", "GetHistory", "Suspend", "Resume"};
        sd_bus *bus;
        int r = 0;

        if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0 || open_address(address, &bus) < 0)
                return 100;
        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                sd_bus_error error = SD_BUS_ERROR_NULL;

                if (sd_bus_call_method(bus, CONTROL_BUS_NAME, CONTROL_PATH, CONTROL_INTERFACE, members[i], &error,
                                       NULL, "") >= 0)
                        r |= 1 << i;
                else if (!sd_bus_error_has_name(&error, SD_BUS_ERROR_ACCESS_DENIED))
                        r |= 64;
                sd_bus_error_free(&error);
        }
        sd_bus_close_unref(bus);
        return r;
}

/* Serves the child, and answers whoever asks for the history. */
static int allowed_to_another(Fixture *f)
{
        uint64_t end = now_usec() + DEADLINE_USEC;
        unsigned n_answered = f->n_history;
        pid_t child = fork();
        int status = -1;

        assert_true(child >= 0);
        if (child == 0)
                _exit(try_all(f->address));
        while (waitpid(child, &status, WNOHANG) == 0) {
                if (now_usec() > end)
                        kill(child, SIGKILL);
                assert_true(sd_event_run(f->event, 10000) >= 0);
                if (f->n_history > n_answered) {
                        n_answered = f->n_history;
                        control_on_history(f->control, NULL, NULL, 0);
                }
        }
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void test_polkit_decides(void **state)
{
        enum { LOOKS = 1 | 2 | 4, ACTS = 8 | 16 };
        Fixture *f = *state;
        sd_bus *bus, *polkit;

        if (geteuid() != 0 || !start_daemon(f))
                skip();
        start(f, f->address);
        bus = connect_bus(f);
        wait_for_name(f, bus);
        assert_int_equal(allowed_to_another(f), LOOKS); /* there is none */
        polkit = connect_bus(f);
        assert_true(sd_bus_add_object_vtable(polkit, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                             "org.freedesktop.PolicyKit1.Authority", polkit_vtable, f) >= 0);
        assert_true(sd_bus_request_name_async(polkit, NULL, "org.freedesktop.PolicyKit1", 0, NULL, NULL) >= 0);
        run_for(f, 200000);
        assert_int_equal(allowed_to_another(f), 0);
        f->allows_read = true;
        assert_int_equal(allowed_to_another(f), LOOKS);
        f->allows_manage = true;
        assert_int_equal(allowed_to_another(f), LOOKS | ACTS);
        assert_int_equal(f->n_polkit, 15);
        assert_int_equal(f->n_suspend, 1);
        /* About root nobody is asked. */
        assert_ok(call(f, bus, CONTROL_BUS_NAME, "Suspend", NULL));
        assert_int_equal(f->n_polkit, 15);
        sd_bus_close_unref(polkit);
        sd_bus_close_unref(bus);
}

static void test_history_and_stats(void **state)
{
        LinkHistoryEntry entry = {.attempt = 2}, *entries = NULL;
        sd_bus_message *replies[2] = {NULL, NULL};
        Failure failure;
        const char *text;
        Fixture *f = *state;
        sd_bus_message *reply;
        size_t n = 0;
        sd_bus *bus;

        start(f, "none");
        bus = connect_socket(f);
        reply = call(f, bus, NULL, "GetStats", NULL);
        assert_true(sd_bus_message_read(reply, "s", &text) > 0);
        assert_non_null(strstr(text, "\"packets\":{\"received\":7,\"queued\":0,"));
        assert_non_null(
                strstr(text, "\"bytes\":4096,\"retries\":0,\"download_seconds\":2,\"bytes_per_second\":2048}"));
        sd_bus_message_unref(reply);

        /* Two who ask at a time are answered by one look. */
        strcpy(entry.session, "JOB#2");
        strcpy(entry.job_id, "JOB");
        strcpy(entry.operation, "update");
        strcpy(entry.targets, "app");
        strcpy(entry.result, "committed");
        for (size_t i = 0; i < 2; i++)
                assert_true(sd_bus_call_method_async(bus, NULL, NULL, CONTROL_PATH, CONTROL_INTERFACE, "GetHistory",
                                                     on_reply, &replies[i], "") >= 0);
        run_for(f, 100000);
        assert_int_equal(f->n_history, 1);
        control_on_history(f->control, NULL, &entry, 1);
        run_for(f, 100000);
        for (size_t i = 0; i < 2; i++) {
                assert_non_null(replies[i]);
                assert_int_equal(link_history_read(replies[i], &entries, &n), 0);
                assert_int_equal(n, 1);
                assert_memory_equal(entries, &entry, sizeof(entry));
                free(entries);
                sd_bus_message_unref(replies[i]);
        }

        /* Refused at once, refused later, and never heard by one who has gone. */
        f->answer = -ENOTCONN;
        assert_error(call(f, bus, NULL, "GetHistory", NULL), CONTROL_ERROR_FAILED);
        f->answer = 0;
        replies[0] = NULL;
        assert_true(sd_bus_call_method_async(bus, NULL, NULL, CONTROL_PATH, CONTROL_INTERFACE, "GetHistory", on_reply,
                                             &replies[0], "") >= 0);
        run_for(f, 100000);
        (void)fail(&failure, FAILURE_INSTALLER, EIO, "it is gone");
        control_on_history(f->control, &failure, NULL, 0);
        run_for(f, 100000);
        assert_non_null(replies[0]);
        assert_error(replies[0], CONTROL_ERROR_FAILED);
        assert_true(sd_bus_call_method_async(bus, NULL, NULL, CONTROL_PATH, CONTROL_INTERFACE, "GetHistory", on_reply,
                                             &replies[0], "") >= 0);
        run_for(f, 100000);
        sd_bus_close_unref(bus);
        run_for(f, 100000);
        control_on_history(f->control, NULL, &entry, 1);
}

/* A call waits for the bus daemon's word, which does not come, when the bus or the control goes away. */
static void gone_in_the_middle(Fixture *f, bool bus_first)
{
        sd_bus_message *m = NULL;
        sd_bus *bus;

        if (!start_daemon(f))
                skip();
        start(f, f->address);
        bus = connect_bus(f);
        wait_for_name(f, bus);
        assert_true(sd_bus_message_new_method_call(bus, &m, CONTROL_BUS_NAME, CONTROL_PATH, CONTROL_INTERFACE,
                                                   "Suspend") >= 0);
        assert_true(sd_bus_send(bus, m, NULL) >= 0);
        sd_bus_message_unref(m);
        /* The daemon passes the call on, then falls silent; only then does the loop read it. */
        usleep(300000);
        assert_int_equal(kill(f->daemon, SIGSTOP), 0);
        run_for(f, 100000);
        if (bus_first) {
                assert_int_equal(kill(f->daemon, SIGKILL), 0);
                stop_daemon(f);
                run_for(f, 100000);
        }
        f->control = control_free(f->control);
        if (!bus_first)
                assert_int_equal(kill(f->daemon, SIGCONT), 0);
        run_for(f, 100000);
        assert_int_equal(f->n_suspend, 0);
        sd_bus_close_unref(bus);
}

static void test_bus_gone_in_the_middle(void **state)
{
        gone_in_the_middle(*state, true);
}

static void test_control_gone_in_the_middle(void **state)
{
        gone_in_the_middle(*state, false);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_status, setup, teardown),
                cmocka_unit_test_setup_teardown(test_socket_mode, setup, teardown),
                cmocka_unit_test_setup_teardown(test_second_otad, setup, teardown),
                cmocka_unit_test_setup_teardown(test_acts_and_errors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_update_seen_to_its_end, setup, teardown),
                cmocka_unit_test_setup_teardown(test_throttle, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_bus_then_one, setup, teardown),
                cmocka_unit_test_setup_teardown(test_name_taken, setup, teardown),
                cmocka_unit_test_setup_teardown(test_others_only_look, setup, teardown),
                cmocka_unit_test_setup_teardown(test_polkit_decides, setup, teardown),
                cmocka_unit_test_setup_teardown(test_history_and_stats, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bus_gone_in_the_middle, setup, teardown),
                cmocka_unit_test_setup_teardown(test_control_gone_in_the_middle, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
