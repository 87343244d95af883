#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-id128.h>

#include "base/log.h"
#include "base/time-util.h"
#include "link/peer-bus.h"

/* How long the listener rests when the process is out of descriptors, so that a full table is no busy loop.
 */
#define ACCEPT_REST_USEC (1 * USEC_PER_SEC)

enum {
        /* Messages that wait for a peer that does not read. sd-bus itself would keep hundreds of thousands. */
        UNREAD_MAX = 256,
        /* sd-bus takes every descriptor that comes with any part of a message, and keeps it till the message is whole.
         * One read brings 253 more at most (SCM_MAX_FD, unix(7)), so the usual limit of 1024 is never reached. */
        DESCRIPTORS_MAX = 512,
};

typedef struct Peer Peer;

struct Peer {
        PeerBus *listener;
        Peer *previous, *next;
        sd_bus *bus;
        sd_event_source *deadline;
        bool accepted;
};

struct PeerBus {
        sd_event *event;
        const char *name;
        int fd;
        char *own_path; /* NULL where the socket came from outside */
        dev_t own_dev;
        ino_t own_ino;
        uid_t peer_uid;
        bool any_user;
        unsigned max_peers;
        uint64_t auth_timeout_usec;
        sd_event_source *io;
        sd_event_source *rest;
        sd_event_source *watch;
        sd_event_source *exit;
        PeerBusConnectFn on_connect;
        PeerBusDisconnectFn on_disconnect;
        void *userdata;
        Peer *peers;
        unsigned n_peers;
};

bool peer_bus_uid_is_allowed(uid_t peer, uid_t own, uid_t configured)
{
        /* (uid_t) -1 is what the kernel says where it does not know; it must match nobody. */
        if (peer == PEER_BUS_NO_UID)
                return false;
        return peer == 0 || peer == own || peer == configured;
}

static Peer *peer_free(Peer *peer)
{
        PeerBus *l;

        if (!peer)
                return NULL;
        l = peer->listener;
        if (peer->previous)
                peer->previous->next = peer->next;
        else
                l->peers = peer->next;
        if (peer->next)
                peer->next->previous = peer->previous;
        l->n_peers--;

        sd_event_source_disable_unref(peer->deadline);
        if (peer->accepted && l->on_disconnect)
                l->on_disconnect(peer->bus, l->userdata);
        sd_bus_close_unref(peer->bus);
        free(peer);
        return NULL;
}

static int peer_on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        peer_free(userdata);
        return 0;
}

static int peer_on_deadline(sd_event_source *source, uint64_t usec, void *userdata)
{
        Peer *peer = userdata;

        /* One that is not open has left just now, and is about to be told of as disconnected. */
        if (sd_bus_is_ready(peer->bus) > 0 || sd_bus_is_open(peer->bus) <= 0) {
                peer->deadline = sd_event_source_disable_unref(peer->deadline);
                return 0;
        }
        log_warning("A client of the %s socket did not finish the authentication in time, dropping it",
                    peer->listener->name);
        peer_free(peer);
        return 0;
}

static int peer_start(Peer *peer, int fd)
{
        PeerBus *l = peer->listener;
        sd_id128_t id;
        int r;

        r = sd_bus_new(&peer->bus);
        if (r < 0) {
                close_fd(fd);
                return r;
        }
        r = sd_bus_set_fd(peer->bus, fd, fd);
        if (r < 0) {
                close_fd(fd);
                return r;
        }
        if ((r = sd_id128_randomize(&id)) < 0 || (r = sd_bus_set_server(peer->bus, true, id)) < 0 ||
            (r = sd_bus_set_anonymous(peer->bus, false)) < 0 || (r = sd_bus_set_trusted(peer->bus, true)) < 0 ||
            (r = sd_bus_negotiate_fds(peer->bus, true)) < 0 || (r = sd_bus_set_description(peer->bus, l->name)) < 0 ||
            (r = sd_bus_start(peer->bus)) < 0 ||
            (r = sd_bus_attach_event(peer->bus, l->event, SD_EVENT_PRIORITY_NORMAL)) < 0)
                return r;
        r = peer_bus_on_disconnected(peer->bus, peer_on_disconnected, peer);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(l->event, &peer->deadline, CLOCK_BOOTTIME, l->auth_timeout_usec, 0,
                                       peer_on_deadline, peer);
        if (r < 0)
                return r;
        return sd_event_source_set_description(peer->deadline, "peer-authentication");
}

/* Takes the descriptor. */
static void listener_add(PeerBus *l, int fd, uid_t uid)
{
        Peer *peer = calloc(1, sizeof(*peer));
        int r;

        if (!peer) {
                close_fd(fd);
                (void)log_warning_errno(-ENOMEM, "Cannot serve a client of the %s socket, dropping it: %m", l->name);
                return;
        }
        peer->listener = l;
        peer->next = l->peers;
        if (l->peers)
                l->peers->previous = peer;
        l->peers = peer;
        l->n_peers++;

        r = peer_start(peer, fd);
        if (r >= 0)
                r = l->on_connect(peer->bus, uid, l->userdata);
        if (r < 0) {
                (void)log_warning_errno(r, "Cannot serve a client of the %s socket, dropping it: %m", l->name);
                peer_free(peer);
                return;
        }
        peer->accepted = true;
}

static int listener_on_rested(sd_event_source *source, uint64_t usec, void *userdata)
{
        PeerBus *l = userdata;

        l->rest = sd_event_source_disable_unref(l->rest);
        (void)sd_event_source_set_enabled(l->io, SD_EVENT_ON);
        return 0;
}

static void listener_rest(PeerBus *l, int error)
{
        (void)log_warning_errno(error, "Cannot accept a client of the %s socket, trying again in a second: %m",
                                l->name);
        if (sd_event_add_time_relative(l->event, &l->rest, CLOCK_BOOTTIME, ACCEPT_REST_USEC, 0, listener_on_rested,
                                       l) >= 0)
                (void)sd_event_source_set_enabled(l->io, SD_EVENT_OFF);
}

static int listener_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        PeerBus *l = userdata;
        _cleanup_close_ int peer_fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct ucred cred = {.uid = PEER_BUS_NO_UID};
        socklen_t n_cred = sizeof(cred);

        if (peer_fd < 0) {
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                        listener_rest(l, -errno);
                return 0;
        }
        if (getsockopt(peer_fd, SOL_SOCKET, SO_PEERCRED, &cred, &n_cred) < 0 || n_cred != sizeof(cred)) {
                log_warning("A client of the %s socket has no credentials, dropping it", l->name);
                return 0;
        }
        if (!l->any_user && !peer_bus_uid_is_allowed(cred.uid, geteuid(), l->peer_uid)) {
                log_warning("A client of the %s socket is user %u, who may not use it, dropping it", l->name,
                            (unsigned)cred.uid);
                return 0;
        }
        if (l->n_peers >= l->max_peers) {
                log_warning("The %s socket has %u clients already, dropping one more", l->name, l->n_peers);
                return 0;
        }
        listener_add(l, TAKE_FD(peer_fd), cred.uid);
        return 0;
}

/* The lowest number that is free tells, about, how many descriptors are open. */
static bool descriptors_are_many(const PeerBus *l)
{
        int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);

        if (fd < 0)
                return false; /* all are taken, but not by peers: they are stopped long before */
        close_fd(fd);
        return fd > DESCRIPTORS_MAX;
}

/* After every turn of the loop, and from outside of any peer's own processing: what sd-bus would let a peer heap up. */
static int listener_on_turn(sd_event_source *source, void *userdata)
{
        PeerBus *l = userdata;

        for (Peer *peer = l->peers, *next; peer; peer = next) {
                uint64_t n_unread;

                next = peer->next;
                if (sd_bus_get_n_queued_write(peer->bus, &n_unread) < 0 || n_unread <= UNREAD_MAX)
                        continue;
                log_warning("A client of the %s socket does not read its answers, dropping it", l->name);
                peer_free(peer);
        }
        if (l->peers && descriptors_are_many(l)) {
                log_warning("The clients of the %s socket have filled it with descriptors, dropping them all",
                            l->name);
                while (l->peers)
                        peer_free(l->peers);
        }
        return 0;
}

/* sd-bus would wait at the end of the loop till each peer has read everything, and a peer that hangs never does. */
static int listener_on_exit(sd_event_source *source, void *userdata)
{
        PeerBus *l = userdata;

        for (Peer *peer = l->peers; peer; peer = peer->next)
                (void)sd_bus_detach_event(peer->bus);
        return 0;
}

static int address_fill(const char *path, struct sockaddr_un *ret, socklen_t *ret_length)
{
        size_t n = strlen(path);

        if (n == 0 || n >= sizeof(ret->sun_path))
                return -ENAMETOOLONG;
        *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
        memcpy(ret->sun_path, path, n + 1);
        *ret_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
        return 0;
}

/* 0: connected. Non-blocking, so that a peer with a full backlog answers -EAGAIN at once. */
static int connect_path(const char *path, int *ret)
{
        _cleanup_close_ int fd = -1;
        struct sockaddr_un address;
        socklen_t n_address;
        int r;

        r = address_fill(path, &address, &n_address);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *)&address, n_address) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

/* Makes room for our own socket: what is there is removed only when it is a socket nobody listens on. */
static int remove_stale(const char *path)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        if (lstat(path, &st) < 0)
                return errno == ENOENT ? 0 : -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;
        r = connect_path(path, &fd);
        if (r >= 0 || r == -EAGAIN)
                return -EADDRINUSE;
        if (r != -ECONNREFUSED)
                return r;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        return 0;
}

static int listener_bind(PeerBus *l, const char *path, mode_t mode)
{
        struct sockaddr_un address;
        struct stat st;
        socklen_t n_address;
        mode_t old;
        int r;

        r = address_fill(path, &address, &n_address);
        if (r < 0)
                return r;
        r = remove_stale(path);
        if (r < 0)
                return r;
        l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (l->fd < 0)
                return -errno;
        /* By umask rather than chmod: there is no moment with other rights. */
        old = umask(~mode & 0777);
        r = bind(l->fd, (struct sockaddr *)&address, n_address) < 0 ? -errno : 0;
        (void)umask(old);
        if (r < 0)
                return r;
        l->own_path = strdup(path);
        if (!l->own_path || stat(path, &st) < 0) {
                (void)unlink(path);
                return l->own_path ? -errno : -ENOMEM;
        }
        l->own_dev = st.st_dev;
        l->own_ino = st.st_ino;
        return listen(l->fd, SOMAXCONN) < 0 ? -errno : 0;
}

int peer_bus_new(sd_event *event, const PeerBusParams *params, PeerBusConnectFn on_connect,
                 PeerBusDisconnectFn on_disconnect, void *userdata, PeerBus **ret)
{
        _cleanup_(peer_bus_freep) PeerBus *l = calloc(1, sizeof(*l));
        int r;

        if (!l) {
                close_fd(params->listen_fd);
                return -ENOMEM;
        }
        l->fd = params->listen_fd;
        l->event = sd_event_ref(event);
        l->name = params->name;
        l->peer_uid = params->peer_uid;
        l->any_user = params->any_user;
        l->max_peers = params->max_peers ?: PEER_BUS_PEERS_MAX;
        l->auth_timeout_usec = params->auth_timeout_usec ?: PEER_BUS_AUTH_TIMEOUT_MSEC * USEC_PER_MSEC;
        l->on_connect = on_connect;
        l->on_disconnect = on_disconnect;
        l->userdata = userdata;

        if (l->fd >= 0) {
                if (sd_is_socket_unix(l->fd, SOCK_STREAM, 1, NULL, 0) <= 0)
                        return -EINVAL;
                if (fcntl(l->fd, F_SETFL, O_NONBLOCK) < 0)
                        return -errno;
        } else {
                r = listener_bind(l, params->path, params->mode);
                if (r < 0)
                        return r;
        }
        r = sd_event_add_io(event, &l->io, l->fd, EPOLLIN, listener_on_io, l);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(l->io, "peer-listener");
        r = sd_event_add_post(event, &l->watch, listener_on_turn, l);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(l->watch, "peer-watch");
        r = peer_bus_add_exit(event, listener_on_exit, l, &l->exit);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

PeerBus *peer_bus_free(PeerBus *l)
{
        struct stat st;

        if (!l)
                return NULL;
        while (l->peers)
                peer_free(l->peers);
        sd_event_source_disable_unref(l->exit);
        sd_event_source_disable_unref(l->watch);
        sd_event_source_disable_unref(l->rest);
        sd_event_source_disable_unref(l->io);
        /* Another process may have put its socket there since. */
        if (l->own_path && l->own_ino != 0 && lstat(l->own_path, &st) == 0 && st.st_dev == l->own_dev &&
            st.st_ino == l->own_ino)
                (void)unlink(l->own_path);
        free(l->own_path);
        close_fd(l->fd);
        sd_event_unref(l->event);
        free(l);
        return NULL;
}

unsigned peer_bus_n_peers(const PeerBus *l)
{
        return l->n_peers;
}

void peer_bus_for_each(PeerBus *l, void (*fn)(sd_bus *bus, void *userdata), void *userdata)
{
        for (Peer *peer = l->peers; peer; peer = peer->next)
                if (peer->accepted && sd_bus_is_ready(peer->bus) > 0)
                        fn(peer->bus, userdata);
}

int peer_bus_connect(sd_event *event, const char *path, const char *description, sd_bus **ret)
{
        _cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        r = connect_path(path, &fd);
        if (r < 0)
                return r;
        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_fd(bus, fd, fd);
        if (r < 0)
                return r;
        fd = -1; /* the bus closes it now */
        if ((r = sd_bus_set_trusted(bus, true)) < 0 || (r = sd_bus_negotiate_fds(bus, true)) < 0 ||
            (r = sd_bus_set_description(bus, description)) < 0 || (r = sd_bus_start(bus)) < 0 ||
            (r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL)) < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

int peer_bus_add_exit(sd_event *event, sd_event_handler_t fn, void *userdata, sd_event_source **ret)
{
        int r;

        r = sd_event_add_exit(event, ret, fn, userdata);
        return r < 0 ? r : sd_event_source_set_priority(*ret, SD_EVENT_PRIORITY_IMPORTANT);
}

int peer_bus_on_disconnected(sd_bus *bus, sd_bus_message_handler_t fn, void *userdata)
{
        /* sd-bus makes up this signal itself when the connection ends, see sd_bus_set_exit_on_disconnect(3).
         */
        return sd_bus_match_signal(bus, NULL, NULL, "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
                                   "Disconnected", fn, userdata);
}
