/*
 * link-server: otad-installer's end of the link: calls in, answers out, perhaps much later.
 *
 * Knows the wire and nothing of updates. A call that breaks a bound is answered here and never reaches the
 * owner. While answers are owed the owner calls link_server_emit_* as a sign of life (LINK_HEARTBEAT_MSEC,
 * link-client.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "link/link-message.h"
#include "link/peer-bus.h"

typedef struct LinkServer LinkServer;
/*
 * An answer owed to a caller. Whoever holds it calls exactly one link_reply_*(), which frees it; the caller
 * may have gone meanwhile, then that does nothing else.
 */
typedef struct LinkReply LinkReply;

/* Called from the loop; none may be NULL. Each may answer before it returns. What is pointed to is borrowed
 * for the call. */
typedef struct LinkServerOps {
        void (*get_state)(LinkState *ret, void *userdata); /* *ret is zeroed before */
        void (*begin)(LinkReply *reply, const LinkBegin *begin, void *userdata);
        void (*write)(LinkReply *reply, unsigned file, uint64_t offset, void *userdata);
        void (*verify)(LinkReply *reply, void *userdata);
        void (*activate)(LinkReply *reply, void *userdata);
        void (*reboot)(LinkReply *reply, void *userdata);
        void (*self_test)(LinkReply *reply, void *userdata);
        void (*commit)(LinkReply *reply, void *userdata);
        void (*roll_back)(LinkReply *reply, const Failure *why, void *userdata);
        void (*release)(LinkReply *reply, void *userdata);
        void (*revert)(LinkReply *reply, const LinkRevert *revert, void *userdata);
        void (*get_history)(LinkReply *reply, void *userdata);
        /* A connection has ended, as link_reply_peer() names it. */
        void (*peer_gone)(const void *peer, void *userdata);
} LinkServerOps;

/* Listens as `params` says, see peer_bus_new() for the errors. `ops` must outlive the server. */
_must_use_ int link_server_new(sd_event *event, const PeerBusParams *params, const LinkServerOps *ops, void *userdata,
                               LinkServer **ret);
/* Answers still owed stay with their holders. */
LinkServer *link_server_free(LinkServer *server);
DEFINE_CLEANUP(LinkServer *, link_server_free);

unsigned link_server_n_peers(const LinkServer *server);

/* Which connection the call came from: a name to compare by, nothing else. */
const void *link_reply_peer(const LinkReply *reply);
/* Whose it is, by the kernel's word. */
uid_t link_reply_uid(const LinkReply *reply);
/* False once peer_gone() has named it, and for NULL. */
bool link_server_has_peer(const LinkServer *server, const void *peer);

void link_reply_ok(LinkReply *reply);
void link_reply_offsets(LinkReply *reply, const LinkOffsets *offsets);
/* The descriptor is sent as a duplicate; `fd` stays the caller's. */
void link_reply_fd(LinkReply *reply, int fd);
void link_reply_reboot_needed(LinkReply *reply, bool reboot_needed);
void link_reply_history(LinkReply *reply, const LinkHistoryEntry *entries, size_t n_entries);
void link_reply_error(LinkReply *reply, LinkErrorKind kind, FailureReason reason, const char *detail);

/* To every peer; what cannot be sent is dropped. */
void link_server_emit_progress(LinkServer *server, const LinkProgress *progress);
void link_server_emit_state(LinkServer *server, const LinkState *state);
