#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file-util.h"
#include "base/log.h"
#include "base/time-util.h"

/* last: it has a macro called fail */
#include <cmocka.h>

static const char *path_of(Device *d, const char *name)
{
        static char paths[4][256];
        static unsigned next;
        char *path = paths[next++ % ELEMENTSOF(paths)];

        (void)snprintf(path, sizeof(paths[0]), "%s/%s", d->folder, name);
        return path;
}

void device_write(Device *d, const char *name, const char *text)
{
        FILE *file = fopen(path_of(d, name), "w");

        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

const char *device_read(Device *d, const char *name)
{
        static char texts[4][8192];
        static unsigned next;
        char *text = texts[next++ % ELEMENTSOF(texts)];
        FILE *file = fopen(path_of(d, name), "r");
        size_t n;

        if (!file)
                return "";
        n = fread(text, 1, sizeof(texts[0]) - 1, file);
        (void)fclose(file);
        while (n > 0 && text[n - 1] == '\n')
                n--;
        text[n] = '\0';
        return text;
}

bool device_has(Device *d, const char *name)
{
        return access(path_of(d, name), F_OK) == 0;
}

void device_mkdir(Device *d, const char *name)
{
        assert_int_equal(mkdir(path_of(d, name), 0700), 0);
}

void device_remove(Device *d, const char *name)
{
        (void)unlink(path_of(d, name));
}

void device_flip(Device *d, const char *name, long offset)
{
        FILE *file = fopen(path_of(d, name), "r+");
        int byte;

        assert_non_null(file);
        assert_int_equal(fseek(file, offset, SEEK_SET), 0);
        byte = fgetc(file);
        assert_true(byte >= 0);
        assert_int_equal(fseek(file, offset, SEEK_SET), 0);
        assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
        assert_int_equal(fclose(file), 0);
}

static void copy_script(Device *d, const char *from, const char *to)
{
        _cleanup_free_ char *text = NULL;
        size_t n;

        assert_int_equal(file_read(AT_FDCWD, from, 65536, &text, &n), 0);
        device_write(d, to, text);
        assert_int_equal(chmod(path_of(d, to), 0755), 0);
}

static const char *keep_path(Device *d, unsigned i, const char *name)
{
        (void)snprintf(d->paths[i], sizeof(d->paths[i]), "%s/%s", d->folder, name);
        return d->paths[i];
}

static void make_targets(Device *d)
{
        TargetParams rootfs = {
                .name = "rootfs",
                .type = TARGET_TYPE_AB,
                .slots = {{.name = "A", .device = path_of(d, "slot.A")},
                          {.name = "B", .device = path_of(d, "slot.B")}},
                .boot_script = path_of(d, "boot"),
                .boot_timeout_usec = DEVICE_DEADLINE_USEC,
        };
        TargetParams app = {.name = "app", .type = TARGET_TYPE_FILE, .path = path_of(d, "app"), .mode = 0755};

        assert_int_equal(target_new(&rootfs, &d->targets[0]), 0);
        app.path = path_of(d, "app");
        assert_int_equal(target_new(&app, &d->targets[1]), 0);
        d->install_targets[0] = (InstallTarget){d->targets[0], keep_path(d, 0, "version"), "VERSION"};
        d->install_targets[1] = (InstallTarget){d->targets[1], keep_path(d, 1, "app-version"), "VERSION"};
}

int device_set_up(void **state)
{
        Device *d = calloc(1, sizeof(*d));

        (void)signal(SIGPIPE, SIG_IGN);
        log_set_max_level(getenv("TEST_LOG") ? LOG_DEBUG : LOG_EMERG);
        assert_non_null(d);
        strcpy(d->folder, "/tmp/otad-install-XXXXXX");
        assert_non_null(mkdtemp(d->folder));
        assert_int_equal(mkdir(path_of(d, "state"), 0700), 0);
        assert_int_equal(mkdir(path_of(d, "trust"), 0755), 0);
        copy_script(d, SCRIPTS "/boot.sh", "boot");
        copy_script(d, SCRIPTS "/hook.sh", "hook");
        device_write(d, "slot.A", "old");
        device_write(d, "slot.B", "older");
        assert_int_equal(truncate(path_of(d, "slot.A"), SLOT_BYTES), 0);
        assert_int_equal(truncate(path_of(d, "slot.B"), SLOT_BYTES), 0);
        device_write(d, "app", "old app");
        device_write(d, "version", "VERSION=1.0\n");
        device_write(d, "app-version", "VERSION=1\n");
        device_write(d, "primary", "A\n");
        device_write(d, "current", "A\n");
        device_write(d, "state.A", "good\n");
        device_write(d, "state.B", "good\n");
        device_write(d, "boot-id", "11111111-1111-4111-8111-111111111111\n");
        d->key = signer_new(path_of(d, "trust/signer.pem"));
        assert_true(sd_event_new(&d->event) >= 0);
        make_targets(d);
        for (size_t i = 0; i < 2; i++) {
                d->images[i] = malloc(IMAGE_BYTES);
                for (size_t j = 0; j < IMAGE_BYTES; j++)
                        d->images[i][j] = (uint8_t)(j * 31 + (j >> 9) + i * 7);
        }
        d->params = (InstallParams){
                .state_dir_fd = open(path_of(d, "state"), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                .boot_id_path = keep_path(d, 2, "boot-id"),
                .targets = d->install_targets,
                .n_targets = 2,
                .signing_required = true,
                .algorithms = {SIGNATURE_ALGORITHM_SHA256_ECDSA},
                .n_algorithms = 1,
                .trust_store = keep_path(d, 3, "trust"),
                .hook_script = keep_path(d, 4, "hook"),
                .hook_timeout_usec = DEVICE_DEADLINE_USEC,
                .retry_usec = 30 * USEC_PER_MSEC,
                .selftest_timeout_usec = 60 * USEC_PER_SEC,
                .selftest_max_boots = 3,
                .reboot_timeout_usec = 60 * USEC_PER_SEC,
                .checkpoint_bytes = 256 * 1024,
        };
        assert_true(d->params.state_dir_fd >= 0);
        *state = d;
        return 0;
}

int device_tear_down(void **state)
{
        Device *d = *state;
        char command[128];

        device_stop(d);
        for (size_t i = 0; i < 2; i++) {
                target_free(d->targets[i]);
                free(d->images[i]);
        }
        signer_free(d->key);
        sd_event_unref(d->event);
        close_fd(d->params.state_dir_fd);
        (void)snprintf(command, sizeof(command), "rm -rf '%s'", d->folder);
        assert_int_equal(system(command), 0);
        free(d);
        return 0;
}

static void on_ready(void *userdata)
{
        assert_false(((Device *)userdata)->ready);
        ((Device *)userdata)->ready = true;
}

static void on_state(void *userdata)
{
        assert_true(((Device *)userdata)->ready);
        ((Device *)userdata)->n_states++;
}

static void on_progress(unsigned file, void *userdata)
{
        ((Device *)userdata)->n_progress++;
}

static void turn_until(Device *d, const bool *flag)
{
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC;

        while (!*flag && now_usec() < deadline)
                assert_true(sd_event_run(d->event, 100000) >= 0);
        assert_true(*flag);
}

void device_wait_answered(Device *d)
{
        turn_until(d, &d->answered);
}

void device_start(Device *d)
{
        static const InstallOps ops = {.on_ready = on_ready, .on_state = on_state, .on_progress = on_progress};

        d->ready = false;
        assert_int_equal(install_session_new(d->event, &d->params, &ops, d, &d->session), 0);
        turn_until(d, &d->ready);
}

void device_stop(Device *d)
{
        d->session = install_session_free(d->session);
}

void device_reboot(Device *d, const char *current)
{
        static unsigned n = 0;
        char id[64];

        device_stop(d);
        (void)snprintf(id, sizeof(id), "22222222-2222-4222-8222-%012u\n", ++n);
        device_write(d, "boot-id", id);
        device_write(d, "current", current);
        device_start(d);
}

void device_sign(Device *d, size_t file)
{
        InstallFile *f = &d->request.files[file];

        f->algorithm = SIGNATURE_ALGORITHM_SHA256_ECDSA;
        f->n_signature = signer_sign(d->key, d->images[file], f->size_bytes, f->signature);
}

void device_ask_for(Device *d, const char *first, const char *second)
{
        const char *names[] = {first, second};

        memset(&d->request, 0, sizeof(d->request));
        strcpy(d->request.session, "JOB-1#1");
        strcpy(d->request.job_id, "JOB-1");
        d->request.attempt = 1;
        for (size_t i = 0; i < 2 && names[i]; i++) {
                strcpy(d->request.files[i].target, names[i]);
                strcpy(d->request.files[i].cert, "signer.pem");
                d->request.files[i].size_bytes = IMAGE_BYTES;
                d->request.n_files++;
                device_sign(d, i);
        }
}

static void on_done(InstallOutcome outcome, const Failure *failure, void *userdata)
{
        Device *d = userdata;

        assert_false(d->answered);
        d->answered = true;
        d->outcome = outcome;
        failure_set(&d->failure, failure ? failure->reason : FAILURE_NONE, failure ? failure->detail : "");
        assert_int_equal(outcome == INSTALL_OUTCOME_DONE, failure == NULL);
}

static void on_write(InstallOutcome outcome, const Failure *failure, int fd, void *userdata)
{
        Device *d = userdata;

        on_done(outcome, failure, userdata);
        if (outcome == INSTALL_OUTCOME_DONE)
                assert_int_equal(data_pipe_open(fcntl(fd, F_DUPFD_CLOEXEC, 3), &d->pipe), 0);
}

InstallOutcome device_begin(Device *d)
{
        d->answered = false;
        install_session_begin(d->session, &d->request, on_done, d);
        device_wait_answered(d);
        return d->outcome;
}

InstallOutcome device_call(Device *d, void (*call)(InstallSession *s, InstallDoneFn done, void *userdata))
{
        d->answered = false;
        call(d->session, on_done, d);
        device_wait_answered(d);
        return d->outcome;
}

InstallOutcome device_roll_back(Device *d, FailureReason reason)
{
        Failure why;

        failure_set(&why, reason, "the test said so");
        d->answered = false;
        install_session_roll_back(d->session, &why, on_done, d);
        device_wait_answered(d);
        return d->outcome;
}

InstallOutcome device_open_pipe(Device *d, unsigned file, uint64_t offset)
{
        d->answered = false;
        install_session_write(d->session, file, offset, on_write, d);
        device_wait_answered(d);
        return d->outcome;
}

void device_send(Device *d, unsigned file, uint64_t from, uint64_t to)
{
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC;
        InstallStatus status;
        uint64_t at = from;

        assert_int_equal(device_open_pipe(d, file, from), INSTALL_OUTCOME_DONE);
        while (at < to && now_usec() < deadline) {
                ssize_t n = data_pipe_write(d->pipe, d->images[file] + at, to - at);

                if (n > 0)
                        at += (uint64_t)n;
                else
                        assert_int_equal(n, -EAGAIN);
                assert_true(sd_event_run(d->event, 1000) >= 0);
        }
        d->pipe = data_pipe_free(d->pipe);
        do {
                assert_true(sd_event_run(d->event, 10000) >= 0);
                install_session_get_status(d->session, &status);
        } while (status.files[file].durable_bytes < to && now_usec() < deadline);
        assert_int_equal(status.files[file].written_bytes, to);
        assert_int_equal(status.files[file].durable_bytes, to);
}

void device_install(Device *d)
{
        assert_int_equal(device_begin(d), INSTALL_OUTCOME_DONE);
        for (unsigned i = 0; i < d->request.n_files; i++)
                device_send(d, i, 0, d->request.files[i].size_bytes);
        assert_int_equal(device_call(d, install_session_verify), INSTALL_OUTCOME_DONE);
        assert_int_equal(device_state(d), UPDATE_STATE_INSTALLED);
}

void device_turn(Device *d, unsigned msec)
{
        uint64_t end = now_usec() + msec * USEC_PER_MSEC;

        while (now_usec() < end)
                assert_true(sd_event_run(d->event, 10000) >= 0);
}

void device_wait_for(Device *d, UpdateState state)
{
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC;

        while (device_state(d) != state && now_usec() < deadline)
                assert_true(sd_event_run(d->event, 100000) >= 0);
        assert_string_equal(update_state_to_string(device_state(d)), update_state_to_string(state));
}

unsigned device_count_called(Device *d, const char *log, const char *text)
{
        unsigned n = 0;

        for (const char *at = device_read(d, log); (at = strstr(at, text)); at++)
                n++;
        return n;
}

void device_wait_called(Device *d, const char *log, const char *text, unsigned n)
{
        uint64_t deadline = now_usec() + DEVICE_DEADLINE_USEC;
        unsigned seen;

        while ((seen = device_count_called(d, log, text)) < n && now_usec() < deadline)
                device_turn(d, 10);
        if (seen < n)
                fail_msg("%s has '%s' %u times, not %u", log, text, seen, n);
}

UpdateState device_state(Device *d)
{
        InstallStatus status;

        install_session_get_status(d->session, &status);
        return status.state;
}

FailureReason device_failure(Device *d)
{
        InstallStatus status;

        install_session_get_status(d->session, &status);
        return status.failure->reason;
}

bool device_holds(Device *d, const char *name, unsigned file)
{
        _cleanup_free_ uint8_t *bytes = malloc(IMAGE_BYTES);
        FILE *f = fopen(path_of(d, name), "r");
        bool same;

        assert_non_null(bytes);
        if (!f)
                return false;
        same = fread(bytes, 1, IMAGE_BYTES, f) == IMAGE_BYTES && memcmp(bytes, d->images[file], IMAGE_BYTES) == 0;
        (void)fclose(f);
        return same;
}
