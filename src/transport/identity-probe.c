#include "transport/identity-probe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/time-util.h"
#include "openssl-reason.h"

/* What the child writes; less than a pipe takes at once. */
typedef struct Finding {
        int error;
        char problem[IDENTITY_TEXT_MAX];
} Finding;

/* The child's command line; nothing in it is a secret. */
enum {
        ARGUMENT_WORD = 1,
        ARGUMENT_CERT,
        ARGUMENT_KEY,
        ARGUMENT_PIN_FILE,
        ARGUMENT_GROUP,
        ARGUMENT_COUNT,
};
static const char child_word[] = "--look-at-identity";
enum { CHILD_OUT = STDERR_FILENO + 1 };

struct IdentityProbe {
        sd_event *event;
        sd_event_source *pipe_source; /* owns our end */
        sd_event_source *deadline_source;
        sd_event_source *done_source;
        pid_t pid; /* 0: no child, or one that is reaped */
        uint64_t timeout_usec;
        IdentityProbeDoneFn on_done;
        void *userdata;
        Finding finding;

        char pin_path[IDENTITY_SOURCE_MAX + 1];
        struct stat pin_stat; /* of the PIN file as it was at the start */
        bool pin_refused;     /* by the token; `finding` says so */
};

bool identity_probe_is_needed(const IdentityParams *params)
{
        return identity_is_uri(params->cert) || identity_is_uri(params->key);
}

/* --- the child --- */

static int probe_sign(EVP_PKEY *key)
{
        static const unsigned char text[] = "otad";
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        unsigned char *signature = NULL;
        size_t n = 0;
        int ok;

        ok = context && EVP_DigestSignInit_ex(context, NULL, NULL, NULL, NULL, key, NULL) == 1 &&
             EVP_DigestSign(context, NULL, &n, text, sizeof(text)) == 1 && (signature = malloc(n)) &&
             EVP_DigestSign(context, signature, &n, text, sizeof(text)) == 1;
        free(signature);
        EVP_MD_CTX_free(context);
        return ok ? 0 : -EBADMSG;
}

static int probe_look(const IdentityParams *params, char problem[static IDENTITY_TEXT_MAX])
{
        _cleanup_(identity_certificates_freep) STACK_OF(X509) *certificates = NULL;
        _cleanup_(identity_key_freep) EVP_PKEY *key = NULL;
        char reason[OPENSSL_REASON_MAX];
        int r;

        r = identity_load_certificates(params, &certificates, problem);
        if (r == 0)
                r = identity_load_key(params, sk_X509_value(certificates, 0), &key, problem);
        if (r < 0 || probe_sign(key) == 0)
                return r;
        r = openssl_reason(reason);
        (void)snprintf(problem, IDENTITY_TEXT_MAX, "cannot use the key %.*s: it is there, but does not sign: %s",
                       (int)strcspn(params->key, "?"), params->key, reason[0] ? reason : "no reason given");
        return r == -ENOMEM ? r : -EBADMSG; /* -EPERM would be a PIN that the token has refused */
}

int identity_probe_main(int argc, char *argv[])
{
        Finding finding = {0};
        IdentityParams params;
        ssize_t n;

        if (argc != ARGUMENT_COUNT || strcmp(argv[ARGUMENT_WORD], child_word) != 0)
                return -1;
        params = (IdentityParams){
                .cert = argv[ARGUMENT_CERT],
                .key = argv[ARGUMENT_KEY],
                .pin_file = argv[ARGUMENT_PIN_FILE],
                .group = (gid_t)strtoul(argv[ARGUMENT_GROUP], NULL, 10),
        };
        finding.error = probe_look(&params, finding.problem);
        n = write(CHILD_OUT, &finding, sizeof(finding));
        /* Nothing is tidied up: what hangs or fails in there would count as a fault of the key. */
        _exit(n == sizeof(finding) ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* After fork(): it goes with its parent, and has none of its descriptors. */
static _Noreturn void probe_exec(const IdentityParams *params, int out)
{
        char group[24];
        const char *const arguments[ARGUMENT_COUNT + 1] = {
                [0] = program_invocation_short_name,
                [ARGUMENT_WORD] = child_word,
                [ARGUMENT_CERT] = params->cert,
                [ARGUMENT_KEY] = params->key,
                [ARGUMENT_PIN_FILE] = params->pin_file ?: "",
                [ARGUMENT_GROUP] = group,
        };
        sigset_t none;

        (void)snprintf(group, sizeof(group), "%u", (unsigned)params->group);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* A dup2() onto itself would leave it to be closed by execv(). */
        if (dup2(out, CHILD_OUT) == CHILD_OUT && fcntl(CHILD_OUT, F_SETFD, 0) == 0 &&
            close_range(CHILD_OUT + 1, ~0U, 0) == 0)
                (void)execv("/proc/self/exe", (char *const *)(uintptr_t)arguments);
        _exit(EXIT_FAILURE);
}

/* --- how it ends --- */

static void probe_finish(IdentityProbe *probe)
{
        probe->pipe_source = sd_event_source_disable_unref(probe->pipe_source);
        (void)sd_event_source_set_enabled(probe->deadline_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(probe->done_source, SD_EVENT_ONESHOT);
}

/* A child that hangs in the kernel cannot be reaped yet: that is tried again before the next look. */
static void probe_kill(IdentityProbe *probe)
{
        if (probe->pid == 0)
                return;
        (void)kill(probe->pid, SIGKILL);
        if (waitpid(probe->pid, NULL, WNOHANG) != 0)
                probe->pid = 0;
}

static _printf_(3, 4) void probe_set_finding(IdentityProbe *probe, int error, const char *format, ...)
{
        va_list args;

        probe->finding.error = error;
        va_start(args, format);
        (void)vsnprintf(probe->finding.problem, sizeof(probe->finding.problem), format, args);
        va_end(args);
}

static int on_pipe(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata)
{
        IdentityProbe *probe = userdata;
        Finding finding;
        ssize_t n = read(fd, &finding, sizeof(finding));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n == sizeof(finding)) {
                finding.problem[sizeof(finding.problem) - 1] = '\0';
                probe->finding = finding;
                return 0; /* its end follows */
        }
        /* It has closed its end, and so is on its way out: no wait worth the name. */
        (void)waitpid(probe->pid, NULL, 0);
        probe->pid = 0;
        probe->pin_refused = probe->finding.error == -EPERM;
        probe_finish(probe);
        return 0;
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        IdentityProbe *probe = userdata;
        char text[DURATION_TEXT_MAX];

        probe_kill(probe);
        probe_set_finding(probe, -ETIMEDOUT,
                          "cannot use the key: the token did not answer within %s; is it plugged in, and does its "
                          "service run?",
                          duration_format(text, probe->timeout_usec));
        probe_finish(probe);
        return 0;
}

static int on_done_event(sd_event_source *source _unused_, void *userdata)
{
        IdentityProbe *probe = userdata;
        const Finding finding = probe->finding;

        probe->on_done(finding.error, finding.error < 0 ? finding.problem : NULL, probe->userdata);
        return 0;
}

/* --- the start --- */

static bool pin_is_as_refused(const IdentityProbe *probe, const char *path, const struct stat *st)
{
        const struct stat *old = &probe->pin_stat;

        return probe->pin_refused && strcmp(path, probe->pin_path) == 0 && st->st_dev == old->st_dev &&
               st->st_ino == old->st_ino && st->st_size == old->st_size &&
               st->st_mtim.tv_sec == old->st_mtim.tv_sec && st->st_mtim.tv_nsec == old->st_mtim.tv_nsec;
}

static int probe_fork(IdentityProbe *probe, const IdentityParams *params)
{
        _cleanup_close_ int theirs = -1;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        theirs = fds[1];
        r = sd_event_add_io(probe->event, &probe->pipe_source, fds[0], EPOLLIN, on_pipe, probe);
        if (r < 0) {
                close_fd(fds[0]);
                return r;
        }
        (void)sd_event_source_set_io_fd_own(probe->pipe_source, 1);
        (void)sd_event_source_set_description(probe->pipe_source, "identity-probe");
        probe->pid = fork();
        if (probe->pid == 0)
                probe_exec(params, theirs);
        if (probe->pid < 0) {
                r = -errno;
                probe->pid = 0;
                probe->pipe_source = sd_event_source_disable_unref(probe->pipe_source);
                return r;
        }
        return 0;
}

int identity_probe_start(IdentityProbe *probe, const IdentityParams *params, uint64_t timeout_usec,
                         IdentityProbeDoneFn on_done, void *userdata)
{
        char pin_path[IDENTITY_SOURCE_MAX + 1];
        struct stat st = {0};
        int r;

        identity_probe_cancel(probe);
        probe->on_done = on_done;
        probe->userdata = userdata;
        probe->timeout_usec = timeout_usec;
        identity_pin_path(params, pin_path);
        if (pin_path[0] && stat(pin_path, &st) < 0)
                st = (struct stat){0};
        if (pin_is_as_refused(probe, pin_path, &st)) {
                probe_finish(probe);
                return 0;
        }
        memcpy(probe->pin_path, pin_path, sizeof(pin_path));
        probe->pin_stat = st;
        probe->pin_refused = false;
        if (probe->pid != 0) {
                probe_set_finding(probe, -EBUSY, "cannot use the key: the token still hangs since the last try");
                probe_finish(probe);
                return 0;
        }
        probe_set_finding(probe, -EIO,
                          "cannot use the key: the token's module has ended the process it was tried in");
        r = probe_fork(probe, params);
        if (r < 0)
                return r;
        (void)sd_event_source_set_time_relative(probe->deadline_source, timeout_usec);
        (void)sd_event_source_set_enabled(probe->deadline_source, SD_EVENT_ONESHOT);
        return 0;
}

void identity_probe_cancel(IdentityProbe *probe)
{
        probe_kill(probe);
        probe->pipe_source = sd_event_source_disable_unref(probe->pipe_source);
        (void)sd_event_source_set_enabled(probe->deadline_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(probe->done_source, SD_EVENT_OFF);
}

int identity_probe_new(sd_event *event, IdentityProbe **ret)
{
        _cleanup_(identity_probe_freep) IdentityProbe *probe = calloc(1, sizeof(*probe));
        int r;

        if (!probe)
                return -ENOMEM;
        probe->event = sd_event_ref(event);
        r = sd_event_add_defer(event, &probe->done_source, on_done_event, probe);
        if (r >= 0)
                r = sd_event_source_set_enabled(probe->done_source, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(event, &probe->deadline_source, CLOCK_BOOTTIME, USEC_INFINITY,
                                      10 * USEC_PER_MSEC, on_deadline, probe);
        if (r >= 0)
                r = sd_event_source_set_enabled(probe->deadline_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(probe);
        return 0;
}

IdentityProbe *identity_probe_free(IdentityProbe *probe)
{
        if (!probe)
                return NULL;
        probe_kill(probe);
        sd_event_source_disable_unref(probe->pipe_source);
        sd_event_source_disable_unref(probe->deadline_source);
        sd_event_source_disable_unref(probe->done_source);
        sd_event_unref(probe->event);
        free(probe);
        return NULL;
}
