/*
 * link-client: the end of the link to otad-installer that otad and otactl hold.
 *
 * Connects to the installer's socket and connects again with backoff when the connection is lost; "up" means
 * connected and the first GetState() answered. Calls are asynchronous. A call's deadline counts from the last
 * sign of life: its start, a Progress or a StateChanged signal (the installer sends one at least every
 * LINK_HEARTBEAT_MSEC while a step is at work). A call that outlives it means the installer hangs: the
 * connection is dropped, all calls end with LINK_ERROR_LOST, and the client connects anew. Nothing is
 * repeated by itself: after on_up() the owner looks at the state and decides.
 *
 * While the owner has no need of the installer the connection rests, so that the installer may end; it is made again
 * as soon as there is a need.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "base/cleanup.h"
#include "base/data-pipe.h"
#include "link/link-message.h"

enum {
        LINK_HEARTBEAT_MSEC = 5000,
        LINK_SILENCE_MSEC = 60000,
        LINK_CONNECT_TIMEOUT_MSEC = 15000,
        LINK_REST_MSEC = 5000
};

typedef struct LinkClient LinkClient;

typedef struct LinkClientParams {
        const char *socket_path;       /* copied */
        uint64_t silence_usec;         /* 0: LINK_SILENCE_MSEC; a call without a sign of life for this long is lost */
        uint64_t connect_timeout_usec; /* 0: LINK_CONNECT_TIMEOUT_MSEC; from connect() to the first state */
        uint64_t rest_usec;            /* 0: LINK_REST_MSEC; without need for this long the connection rests */
        uint64_t backoff_base_usec;    /* 0: 500 ms */
        uint64_t backoff_cap_usec;     /* 0: 30 s */
} LinkClientParams;

/* All are called from the event loop, never from inside a function below. None may be NULL. They must not
 * free the client. */
typedef struct LinkClientOps {
        void (*on_up)(const LinkState *state, void *userdata);
        /* Not up any more, for want of need; on_up() follows a need, or on_down() where the installer is not reached then. */
        void (*on_rest)(void *userdata);
        /* After every outstanding call has ended with LINK_ERROR_LOST. Only after an on_up(), maybe with a rest between. */
        void (*on_down)(const Failure *failure, void *userdata);
        void (*on_progress)(const LinkProgress *progress, void *userdata);
        void (*on_state)(const LinkState *state, void *userdata);
} LinkClientOps;

/* `error` is NULL on success. Each is called exactly once, unless the client is freed first. */
typedef void (*LinkDoneFn)(const LinkError *error, void *userdata);
typedef void (*LinkStateFn)(const LinkError *error, const LinkState *state, void *userdata);
typedef void (*LinkBeginFn)(const LinkError *error, const LinkOffsets *offsets, void *userdata);
/* `pipe`: the writing end, the callee's from here on; NULL on error. */
typedef void (*LinkWriteFn)(const LinkError *error, DataPipe *pipe, void *userdata);
/* `entries`: borrowed for the callback. */
typedef void (*LinkHistoryFn)(const LinkError *error, const LinkHistoryEntry *entries, size_t n_entries,
                              void *userdata);
typedef void (*LinkActivateFn)(const LinkError *error, bool reboot_needed, void *userdata);

/* Starts to connect, from the loop. `ops` must outlive the client. -ENOMEM. */
_must_use_ int link_client_new(sd_event *event, const LinkClientParams *params, const LinkClientOps *ops,
                               void *userdata, LinkClient **ret);
LinkClient *link_client_free(LinkClient *client); /* outstanding calls are forgotten; NULL is fine; returns NULL */
DEFINE_CLEANUP(LinkClient *, link_client_free);

/* At first there is a need. May be called from inside an op. */
void link_client_need(LinkClient *client, bool needed);

/* Each: 0, the callback follows. -ENOTCONN: not up, no callback. -ENOMEM. */
_must_use_ int link_client_get_state(LinkClient *client, LinkStateFn done, void *userdata);
_must_use_ int link_client_begin(LinkClient *client, const LinkBegin *begin, LinkBeginFn done, void *userdata);
_must_use_ int link_client_write(LinkClient *client, unsigned file, uint64_t offset, LinkWriteFn done,
                                 void *userdata);
_must_use_ int link_client_verify(LinkClient *client, LinkDoneFn done, void *userdata);
_must_use_ int link_client_activate(LinkClient *client, LinkActivateFn done, void *userdata);
_must_use_ int link_client_reboot(LinkClient *client, LinkDoneFn done, void *userdata);
_must_use_ int link_client_self_test(LinkClient *client, LinkDoneFn done, void *userdata);
_must_use_ int link_client_commit(LinkClient *client, LinkDoneFn done, void *userdata);
/* `why` is what the session's failure will say, unless it has one already. */
_must_use_ int link_client_roll_back(LinkClient *client, const Failure *why, LinkDoneFn done, void *userdata);
_must_use_ int link_client_revert(LinkClient *client, const LinkRevert *revert, LinkDoneFn done, void *userdata);
_must_use_ int link_client_get_history(LinkClient *client, LinkHistoryFn done, void *userdata);
_must_use_ int link_client_release(LinkClient *client, LinkDoneFn done, void *userdata);
