#include "target/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/time-util.h"
#include "line-log.h"

#define DEFAULT_PATH       "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define DEFAULT_GRACE_USEC (5 * USEC_PER_SEC)
/* How long what outlives the program may still write to its pipes. */
#define DRAIN_USEC     (500 * USEC_PER_MSEC)
#define FREE_WAIT_MSEC 200

typedef enum Phase {
        PHASE_RUNNING,    /* timer: the time limit */
        PHASE_TERMINATED, /* SIGTERM sent; timer: the grace */
        PHASE_KILLED,     /* SIGKILL sent; timer: the grace again, for a process the kernel cannot end */
        PHASE_DRAINING,   /* ended, not yet reaped, so that its group cannot be anybody else's; timer: DRAIN_USEC */
        PHASE_ENDED,
} Phase;

struct Process {
        sd_event *event;
        char *name;
        Phase phase;
        bool timed_out;
        pid_t pid; /* 0: none, or reaped */
        int pid_fd;
        sd_event_source *exit_source, *stdout_source, *stderr_source, *timer, *defer;
        uint64_t grace_usec;

        LineLog stdout_log, stderr_log;
        char *output; /* NULL: stdout is logged */
        size_t n_output, max_output;
        char last_line[PROCESS_LAST_LINE_MAX];

        ProcessResult result;
        ProcessDoneFn on_done;
        void *userdata;
};

const char *process_end_format(char text[static PROCESS_END_TEXT_MAX], const ProcessResult *result)
{
        switch (result->end) {
        case PROCESS_EXITED:
                (void)snprintf(text, PROCESS_END_TEXT_MAX, "exited with status %d", result->code);
                break;
        case PROCESS_SIGNALED:
                (void)snprintf(text, PROCESS_END_TEXT_MAX, "was killed by signal %d (%s)", result->code,
                               strsignal(result->code));
                break;
        case PROCESS_TIMED_OUT:
                (void)snprintf(text, PROCESS_END_TEXT_MAX, "took longer than allowed and was ended");
                break;
        case PROCESS_NOT_STARTED:
                (void)snprintf(text, PROCESS_END_TEXT_MAX, "could not be executed: %s", strerror(result->code));
                break;
        }
        return text;
}

static void signal_group(Process *p, int signal_number)
{
        if (p->pid > 0)
                (void)kill(-p->pid, signal_number);
}

/* Never waits: a process that cannot be reaped yet stays a zombie, which ends with us. */
static bool reap(Process *p)
{
        siginfo_t info = {};

        if (p->pid <= 0 || waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
                return false;
        p->pid = 0;
        p->result.end = info.si_code == CLD_EXITED ? PROCESS_EXITED : PROCESS_SIGNALED;
        p->result.code = info.si_status;
        return true;
}

static void drop_sources(Process *p)
{
        p->exit_source = sd_event_source_disable_unref(p->exit_source);
        p->stdout_source = sd_event_source_disable_unref(p->stdout_source);
        p->stderr_source = sd_event_source_disable_unref(p->stderr_source);
        p->timer = sd_event_source_disable_unref(p->timer);
        p->defer = sd_event_source_disable_unref(p->defer);
}

/* The one exit; calls back last, and the callback may free `p`. */
static void end(Process *p)
{
        char text[PROCESS_END_TEXT_MAX];

        assert(p->phase != PHASE_ENDED);
        p->phase = PHASE_ENDED;
        drop_sources(p);
        signal_group(p, SIGKILL);
        (void)reap(p);
        if (p->timed_out) {
                p->result.end = PROCESS_TIMED_OUT;
                p->result.code = 0;
        }

        line_log_finish(&p->stdout_log);
        line_log_finish(&p->stderr_log);
        p->result.last_line = line_log_last(&p->stderr_log, p->last_line, sizeof(p->last_line));
        p->result.output = p->output ? p->output : "";
        p->result.n_output = p->n_output;
        log_debug("%s %s", p->name, process_end_format(text, &p->result));
        p->on_done(p, &p->result, p->userdata);
}

static int arm_timer(Process *p, uint64_t usec)
{
        int r;

        r = sd_event_source_set_time_relative(p->timer, usec);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(p->timer, SD_EVENT_ONESHOT);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        Process *p = userdata;

        switch (p->phase) {
        case PHASE_RUNNING:
                log_debug("%s: time limit reached, sending SIGTERM", p->name);
                p->phase = PHASE_TERMINATED;
                p->timed_out = true;
                signal_group(p, SIGTERM);
                signal_group(p, SIGCONT); /* a stopped process would not see it */
                break;
        case PHASE_TERMINATED:
                log_debug("%s: still there after SIGTERM, sending SIGKILL", p->name);
                p->phase = PHASE_KILLED;
                signal_group(p, SIGKILL);
                break;
        case PHASE_KILLED:
                log_warning("%s: process %d does not even die of SIGKILL, going on without it", p->name, p->pid);
                end(p);
                return 0;
        case PHASE_DRAINING:
                end(p);
                return 0;
        case PHASE_ENDED:
                return 0;
        }
        if (arm_timer(p, p->grace_usec) < 0)
                end(p);
        return 0;
}

static int on_exit_of_process(sd_event_source *source, int fd _unused_, uint32_t events _unused_, void *userdata)
{
        Process *p = userdata;

        /* The descriptor stays readable; reaping comes last. */
        (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
        p->phase = PHASE_DRAINING;
        if ((!p->stdout_source && !p->stderr_source) || arm_timer(p, DRAIN_USEC) < 0)
                end(p);
        return 0;
}

static void keep_output(Process *p, const char *data, size_t n_data)
{
        size_t n = MIN2(n_data, p->max_output - p->n_output);

        memcpy(p->output + p->n_output, data, n);
        p->n_output += n;
        p->output[p->n_output] = 0;
        p->result.output_cut = p->result.output_cut || n < n_data;
}

static int on_pipe(sd_event_source *source, int fd, uint32_t events _unused_, void *userdata)
{
        Process *p = userdata;
        bool is_stdout = source == p->stdout_source;
        char data[4096]; /* a larger stack would stay with the process */
        ssize_t n = read(fd, data, sizeof(data));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n > 0) {
                if (is_stdout && p->output)
                        keep_output(p, data, (size_t)n);
                else
                        line_log_feed(is_stdout ? &p->stdout_log : &p->stderr_log, data, (size_t)n);
                return 0;
        }

        if (is_stdout)
                p->stdout_source = sd_event_source_disable_unref(p->stdout_source);
        else
                p->stderr_source = sd_event_source_disable_unref(p->stderr_source);
        if (p->phase == PHASE_DRAINING && !p->stdout_source && !p->stderr_source)
                end(p);
        return 0;
}

static int on_not_started(sd_event_source *source _unused_, void *userdata)
{
        end(userdata);
        return 0;
}

/* Returns the write end, for the child; the read end is owned by the source. */
static int open_pipe(Process *p, sd_event_source **ret)
{
        _cleanup_close_ int read_end = -1, write_end = -1;
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_end = fds[0];
        write_end = fds[1];
        if (fcntl(read_end, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        r = sd_event_add_io(p->event, ret, read_end, EPOLLIN, on_pipe, p);
        if (r < 0)
                return r;
        r = sd_event_source_set_io_fd_own(*ret, true);
        if (r < 0)
                return r;
        TAKE_FD(read_end);
        (void)sd_event_source_set_description(*ret, "process-output");
        return TAKE_FD(write_end);
}

/* Adds PATH to what the caller gives. The array is the caller's to free, the texts in it are not. */
static const char **make_environment(const char *const *environment)
{
        const char **all;
        bool has_path = false;
        size_t n = 0, n_given = 0;

        while (environment && environment[n_given])
                n_given++;
        all = calloc(n_given + 2, sizeof(*all));
        if (!all)
                return NULL;
        for (; n < n_given; n++) {
                all[n] = environment[n];
                has_path = has_path || strncmp(all[n], "PATH=", strlen("PATH=")) == 0;
        }
        if (!has_path)
                all[n] = DEFAULT_PATH;
        return all;
}

static int set_actions(posix_spawn_file_actions_t *actions, int stdout_fd, int stderr_fd)
{
        int r;

        r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, stdout_fd, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, stderr_fd, STDERR_FILENO);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
        if (r == 0)
                r = posix_spawn_file_actions_addchdir_np(actions, "/");
        return -r;
}

static int set_attributes(posix_spawnattr_t *attributes)
{
        sigset_t none, all;
        int r;

        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        r = posix_spawnattr_setsigmask(attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attributes, &all);
        if (r == 0)
                r = posix_spawnattr_setflags(attributes,
                                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        return -r;
}

/* posix_spawn() tells an exec that failed by its return value, and does without copying our memory. */
static int spawn(const ProcessParams *params, int stdout_fd, int stderr_fd, pid_t *ret)
{
        _cleanup_free_ const char **environment = make_environment(params->environment);
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int r;

        if (!environment)
                return -ENOMEM;
        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                return r;
        r = -posix_spawnattr_init(&attributes);
        if (r < 0)
                goto free_actions;
        r = set_actions(&actions, stdout_fd, stderr_fd);
        if (r == 0)
                r = set_attributes(&attributes);
        if (r == 0)
                r = -posix_spawn(ret, params->argv[0], &actions, &attributes, (char *const *)params->argv,
                                 (char *const *)environment);
        (void)posix_spawnattr_destroy(&attributes);
free_actions:
        (void)posix_spawn_file_actions_destroy(&actions);
        return r;
}

static int start(Process *p, const ProcessParams *params)
{
        _cleanup_close_ int stdout_fd = -1, stderr_fd = -1;
        int r;

        stdout_fd = open_pipe(p, &p->stdout_source);
        if (stdout_fd < 0)
                return stdout_fd;
        stderr_fd = open_pipe(p, &p->stderr_source);
        if (stderr_fd < 0)
                return stderr_fd;
        r = sd_event_add_time_relative(p->event, &p->timer, CLOCK_BOOTTIME, params->timeout_usec, USEC_PER_MSEC,
                                       on_timer, p);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(p->timer, "process-timer");

        r = spawn(params, stdout_fd, stderr_fd, &p->pid);
        if (r < 0) {
                drop_sources(p);
                p->pid = 0;
                p->result.end = PROCESS_NOT_STARTED;
                p->result.code = -r;
                return sd_event_add_defer(p->event, &p->defer, on_not_started, p);
        }
        /* From here on process_free() ends what was started. */
        p->pid_fd = pidfd_open(p->pid, 0);
        if (p->pid_fd < 0)
                return -errno;
        r = sd_event_add_io(p->event, &p->exit_source, p->pid_fd, EPOLLIN, on_exit_of_process, p);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(p->exit_source, "process-exit");
        return 0;
}

int process_start(sd_event *event, const ProcessParams *params, ProcessDoneFn on_done, void *userdata, Process **ret)
{
        _cleanup_(process_freep) Process *p = NULL;
        int r;

        if (!params->argv || !params->argv[0] || params->timeout_usec == USEC_INFINITY)
                return -EINVAL;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->pid_fd = -1;
        p->event = sd_event_ref(event);
        p->on_done = on_done;
        p->userdata = userdata;
        p->grace_usec = params->grace_usec > 0 ? params->grace_usec : DEFAULT_GRACE_USEC;
        p->max_output = params->max_output_bytes;
        p->name = strdup(params->name);
        if (!p->name)
                return -ENOMEM;
        p->stdout_log.name = p->stderr_log.name = p->name;
        if (p->max_output > 0) {
                p->output = calloc(1, p->max_output + 1);
                if (!p->output)
                        return -ENOMEM;
        }

        r = start(p, params);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}

Process *process_free(Process *p)
{
        if (!p)
                return NULL;
        drop_sources(p);
        if (p->pid > 0) {
                signal_group(p, SIGKILL);
                if (p->pid_fd >= 0)
                        (void)poll(&(struct pollfd){.fd = p->pid_fd, .events = POLLIN}, 1, FREE_WAIT_MSEC);
                (void)reap(p);
        }
        close_fd(p->pid_fd);
        sd_event_unref(p->event);
        free(p->output);
        free(p->name);
        free(p);
        return NULL;
}
