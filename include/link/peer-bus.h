/*
 * peer-bus: a listening unix socket whose connections become sd-bus peers, no bus daemon between.
 *
 * Used by otad-installer for the link and by otad for its control socket. Who connects is judged by the
 * kernel's word (SO_PEERCRED, unix(7)) before a byte is read: uid 0, our own effective uid, and one more uid.
 * A peer that has not finished the D-Bus authentication by a deadline is dropped, so is one above the limit, one
 * that does not read what it asked for, and all of them where they send more descriptors than this process can hold.
 * Which methods there are is the caller's: it adds its vtables to each bus it is given.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"

#define PEER_BUS_NO_UID ((uid_t)-1)

enum { PEER_BUS_AUTH_TIMEOUT_MSEC = 5000, PEER_BUS_PEERS_MAX = 16 };

typedef struct PeerBus PeerBus;

/*
 * A peer has connected; its bus is attached to the event loop and borrowed: valid until on_disconnect() for
 * it has returned (whoever keeps it longer takes a reference). A negative return drops the peer at once;
 * on_disconnect() is not called for it then.
 */
typedef int (*PeerBusConnectFn)(sd_bus *bus, uid_t peer_uid, void *userdata);
/* Called exactly once for each accepted peer, also for those left when the listener is freed. NULL is fine.
 */
typedef void (*PeerBusDisconnectFn)(sd_bus *bus, void *userdata);

typedef struct PeerBusParams {
        const char *name;           /* for log lines and sources, "installer"; must outlive the listener */
        const char *path;           /* own socket; used where listen_fd is below 0 */
        mode_t mode;                /* of the own socket; who may connect is judged by uid in any case */
        int listen_fd;              /* a listening socket from sd_listen_fds(), ours from here on; or -1 */
        uid_t peer_uid;             /* allowed beside 0 and our own; or PEER_BUS_NO_UID */
        bool any_user;              /* everyone may connect; who may do what is the caller's to judge */
        unsigned max_peers;         /* 0: PEER_BUS_PEERS_MAX */
        uint64_t auth_timeout_usec; /* 0: PEER_BUS_AUTH_TIMEOUT_MSEC */
} PeerBusParams;

/*
 * Listens. A socket file that nobody listens on is replaced; the own socket file is removed by
 * peer_bus_free(). -EADDRINUSE: another process listens on it. -EEXIST: something that is not a socket is
 * there. -ENAMETOOLONG: the path does not fit a socket address. -EINVAL: the descriptor is no listening unix
 * stream socket. -ENOMEM, other errno. The listener owns `params->listen_fd` in any case, also on failure.
 */
_must_use_ int peer_bus_new(sd_event *event, const PeerBusParams *params, PeerBusConnectFn on_connect,
                            PeerBusDisconnectFn on_disconnect, void *userdata, PeerBus **ret);
PeerBus *peer_bus_free(PeerBus *listener); /* drops all peers; NULL is fine; returns NULL */
DEFINE_CLEANUP(PeerBus *, peer_bus_free);

unsigned peer_bus_n_peers(const PeerBus *listener);
/* Calls `fn` for each peer that has finished authentication, e.g. to send each a signal. `fn` must not free
 * the listener. */
void peer_bus_for_each(PeerBus *listener, void (*fn)(sd_bus *bus, void *userdata), void *userdata);

/* The rule by itself, for tests. */
bool peer_bus_uid_is_allowed(uid_t peer, uid_t own, uid_t configured);

/*
 * The client's side: connects, starts the bus and attaches it to the event loop; calls may be queued at once.
 * *ret is the caller's: sd_bus_close_unref(). Who it talks to is judged by the path: its directory must be
 * writable only for whom we trust. -ENOENT, -ECONNREFUSED: nobody there. -ENAMETOOLONG, -EACCES, -EAGAIN
 * (backlog full), other errno.
 */
_must_use_ int peer_bus_connect(sd_event *event, const char *path, const char *description, sd_bus **ret);
/*
 * Calls `fn` when the loop ends, before sd-bus does what it does then to every bus that is attached: wait till all is
 * sent, for as long as the peer likes. `fn` detaches what must not be waited for.
 */
_must_use_ int peer_bus_add_exit(sd_event *event, sd_event_handler_t fn, void *userdata, sd_event_source **ret);
/* Calls `fn` once when the peer is gone, however that comes about, but for our own sd_bus_close(). Owned by
 * the bus. */
_must_use_ int peer_bus_on_disconnected(sd_bus *bus, sd_bus_message_handler_t fn, void *userdata);
