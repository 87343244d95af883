#include "installer-private.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include "base/file-util.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/time-util.h"

/* ---- session -> link ---- */

static void on_state(void *userdata)
{
        Installer *i = userdata;
        LinkState state;

        installer_copy_state(i, &state);
        (void)sd_notifyf(false, "STATUS=%s%s%s", state.session, state.session[0] ? ": " : "",
                         update_state_to_string(state.state));
        if (i->server)
                link_server_emit_state(i->server, &state);
}

static void on_progress(unsigned file, void *userdata)
{
        Installer *i = userdata;
        InstallStatus status;
        LinkProgress progress = {.file = file};

        if (!i->server)
                return;
        install_session_get_status(i->session, &status);
        progress.written_bytes = status.files[file].written_bytes;
        progress.durable_bytes = status.files[file].durable_bytes;
        progress.verified_bytes = status.files[file].verified_bytes;
        link_server_emit_progress(i->server, &progress);
}

/* ---- the socket ---- */

static uid_t peer_uid(const Config *config)
{
        const struct passwd *user = getpwnam(config->installer.peer_user);

        if (user)
                return user->pw_uid;
        log_warning("There is no user %s (installer.peer-user), so only root and ourselves may connect",
                    config->installer.peer_user);
        return PEER_BUS_NO_UID;
}

static int serve(Installer *i)
{
        _cleanup_free_ char *path = NULL;
        PeerBusParams params = {
                .name = "installer",
                .mode = 0666, /* who may use it is judged by uid */
                .listen_fd = i->listen_fd,
                .peer_uid = peer_uid(i->config),
        };
        int r;

        i->listen_fd = -1; /* the listener's from here on */
        if (asprintf(&path, "%s/installer.sock", i->config->paths.runtime) < 0) {
                path = NULL;
                close_fd(params.listen_fd);
                return -ENOMEM;
        }
        params.path = path;
        if (params.listen_fd < 0) {
                r = directory_make(i->config->paths.runtime, 0755);
                if (r < 0)
                        return log_error_errno(r, "Cannot make %s for the socket: %m", i->config->paths.runtime);
        }
        r = link_server_new(i->event, &params, &installer_server_ops, i, &i->server);
        if (r < 0)
                return log_error_errno(r, "Cannot serve the socket %s: %m", path);
        return 0;
}

static void on_ready(void *userdata)
{
        Installer *i = userdata;
        int r;

        r = serve(i);
        if (r < 0) {
                (void)sd_event_exit(i->event, r);
                return;
        }
        (void)sd_notify(false, "READY=1");
        on_state(i);
        memory_give_back(); /* the start is over */
}

static const InstallOps session_ops = {.on_ready = on_ready, .on_state = on_state, .on_progress = on_progress};

/* ---- life ---- */

/* With nothing on disk that needs us, systemd starts us again with the next connection. */
static int on_idle(sd_event_source *source, uint64_t usec, void *userdata)
{
        Installer *i = userdata;
        InstallStatus status;
        uint64_t now = now_usec(), limit = i->config->installer.idle_exit_usec;

        install_session_get_status(i->session, &status);
        if (status.state != UPDATE_STATE_IDLE || install_session_is_working(i->session) || !i->server ||
            link_server_n_peers(i->server) > 0)
                i->idle_since_usec = now;
        if (usec_sub(now, i->idle_since_usec) >= limit) {
                log_info("Nothing to do, leaving until the next connection");
                return sd_event_exit(i->event, 0);
        }
        if (sd_event_source_set_time_relative(i->idle, limit) < 0 ||
            sd_event_source_set_enabled(i->idle, SD_EVENT_ONESHOT) < 0)
                log_warning("Cannot set the timer for installer.idle-exit-sec, staying");
        return 0;
}

/* Two installers with one record would undo each other's work. One that was killed may leave a child behind which
 * holds the lock until its exec, and may itself be waiting for a write to end. */
static int lock_state(int fd)
{
        enum { TRIES = 40 };
        const struct timespec pause = {.tv_nsec = 50L * 1000 * 1000};

        for (int n = 1; flock(fd, LOCK_EX | LOCK_NB) < 0; n++) {
                if (errno != EWOULDBLOCK || n == TRIES)
                        return errno == EWOULDBLOCK ? -EBUSY : -errno;
                (void)nanosleep(&pause, NULL);
        }
        return 0;
}

static int open_state(Installer *i)
{
        const char *path = i->config->paths.installer_state;
        int r;

        r = directory_make(path, 0700);
        if (r < 0)
                return log_error_errno(r, "Cannot make the state directory %s: %m", path);
        i->state_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (i->state_fd < 0)
                return log_error_errno(-errno, "Cannot open the state directory %s: %m", path);
        r = lock_state(i->state_fd);
        if (r < 0)
                return log_error_errno(r, "Cannot lock the state directory %s, is another installer running? %m",
                                       path);
        return 0;
}

int installer_new(sd_event *event, const Config *config, int listen_fd, Installer **ret)
{
        _cleanup_(installer_freep) Installer *i = calloc(1, sizeof(*i));
        bool is_activated;
        int r;

        if (!i) {
                close_fd(listen_fd);
                return -ENOMEM;
        }
        i->state_fd = -1;
        i->listen_fd = listen_fd;
        is_activated = listen_fd >= 0;
        i->event = sd_event_ref(event);
        i->config = config;
        r = settings_init(&i->settings, config);
        if (r < 0)
                return r;
        r = open_state(i);
        if (r < 0)
                return r;
        i->settings.params.state_dir_fd = i->state_fd;
        r = install_session_new(event, &i->settings.params, &session_ops, i, &i->session);
        if (r < 0)
                return r;
        if (is_activated && config->installer.idle_exit_usec > 0) {
                i->idle_since_usec = now_usec();
                r = sd_event_add_time_relative(event, &i->idle, CLOCK_BOOTTIME, config->installer.idle_exit_usec, 0,
                                               on_idle, i);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(i);
        return 0;
}

Installer *installer_free(Installer *i)
{
        if (!i)
                return NULL;
        /* The session first: it answers whom it owes while the socket is still there. */
        i->session = install_session_free(i->session);
        sd_event_source_disable_unref(i->idle);
        link_server_free(i->server);
        close_fd(i->listen_fd);
        settings_done(&i->settings);
        close_fd(i->state_fd);
        sd_event_unref(i->event);
        free(i);
        return NULL;
}

int installer_check_targets(const Config *config)
{
        Settings settings = {.params = {.state_dir_fd = -1}};
        Failure failure;
        int result = 0;

        result = settings_init(&settings, config);
        for (size_t t = 0; t < config->n_targets && settings.owned[t]; t++)
                if (target_check(settings.owned[t], &failure) < 0) {
                        (void)fprintf(stderr, "target %s: %s\n", config->targets[t].name, failure.detail);
                        result = -EINVAL;
                }
        settings_done(&settings);
        return result;
}
