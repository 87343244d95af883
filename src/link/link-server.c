#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "link/link-server.h"

typedef struct Peer {
        sd_bus *bus; /* NULL: free */
        uid_t uid;
} Peer;

struct LinkServer {
        PeerBus *listener;
        Peer peers[PEER_BUS_PEERS_MAX];
        const LinkServerOps *ops;
        void *userdata;
};

struct LinkReply {
        sd_bus_message *call; /* holds its bus as well */
        uid_t uid;
};

static Peer *find_peer(LinkServer *s, const sd_bus *bus)
{
        for (size_t i = 0; i < ELEMENTSOF(s->peers); i++)
                if (s->peers[i].bus == bus)
                        return &s->peers[i];
        return NULL;
}

bool link_server_has_peer(const LinkServer *s, const void *peer)
{
        for (size_t i = 0; peer && i < ELEMENTSOF(s->peers); i++)
                if (s->peers[i].bus == peer)
                        return true;
        return false;
}

static LinkReply *link_reply_new(LinkServer *s, sd_bus_message *call)
{
        const Peer *peer = find_peer(s, sd_bus_message_get_bus(call));
        LinkReply *reply = calloc(1, sizeof(*reply));

        if (!reply)
                return NULL;
        reply->call = sd_bus_message_ref(call);
        reply->uid = peer ? peer->uid : PEER_BUS_NO_UID;
        return reply;
}

const void *link_reply_peer(const LinkReply *reply)
{
        return sd_bus_message_get_bus(reply->call);
}

uid_t link_reply_uid(const LinkReply *reply)
{
        return reply->uid;
}

/* Sends `answer`, or says in the log why that did not work, and frees both: the caller has gone, or will time
 * out. */
static void reply_send(LinkReply *reply, sd_bus_message *answer, int r)
{
        if (r >= 0)
                r = sd_bus_message_send(answer);
        if (r < 0)
                log_debug("Cannot answer %s(): %s", sd_bus_message_get_member(reply->call), strerror(-r));
        sd_bus_message_unref(answer);
        sd_bus_message_unref(reply->call);
        free(reply);
}

void link_reply_ok(LinkReply *reply)
{
        sd_bus_message *answer = NULL;
        int r = sd_bus_message_new_method_return(reply->call, &answer);

        reply_send(reply, answer, r);
}

void link_reply_offsets(LinkReply *reply, const LinkOffsets *offsets)
{
        sd_bus_message *answer = NULL;
        int r = sd_bus_message_new_method_return(reply->call, &answer);

        if (r >= 0)
                r = link_offsets_append(answer, offsets);
        reply_send(reply, answer, r);
}

void link_reply_fd(LinkReply *reply, int fd)
{
        sd_bus_message *answer = NULL;
        int r = sd_bus_message_new_method_return(reply->call, &answer);

        if (r >= 0)
                r = sd_bus_message_append_basic(answer, 'h', &fd);
        reply_send(reply, answer, r);
}

void link_reply_reboot_needed(LinkReply *reply, bool reboot_needed)
{
        sd_bus_message *answer = NULL;
        int b = reboot_needed, r = sd_bus_message_new_method_return(reply->call, &answer);

        if (r >= 0)
                r = sd_bus_message_append_basic(answer, 'b', &b);
        reply_send(reply, answer, r);
}

void link_reply_history(LinkReply *reply, const LinkHistoryEntry *entries, size_t n_entries)
{
        sd_bus_message *answer = NULL;
        int r = sd_bus_message_new_method_return(reply->call, &answer);

        if (r >= 0)
                r = link_history_append(answer, entries, n_entries);
        reply_send(reply, answer, r);
}

void link_reply_error(LinkReply *reply, LinkErrorKind kind, FailureReason reason, const char *detail)
{
        _cleanup_(sd_bus_error_free) sd_bus_error wire = SD_BUS_ERROR_NULL;
        sd_bus_message *answer = NULL;
        LinkError error;
        int r;

        link_error_set(&error, kind, reason, detail);
        link_error_format(&error, &wire);
        r = sd_bus_message_new_method_error(reply->call, &answer, &wire);
        reply_send(reply, answer, r);
}

static int refuse(sd_bus_message *m, sd_bus_error *reterr)
{
        log_warning("%s() breaks a bound of the link, refusing it", sd_bus_message_get_member(m));
        return sd_bus_error_setf(reterr, SD_BUS_ERROR_INVALID_ARGS, "%s(): an argument is out of bounds",
                                 sd_bus_message_get_member(m));
}

static int on_get_state(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkServer *s = userdata;
        sd_bus_message *answer = NULL;
        LinkState state = {0};
        LinkReply *reply;
        int r;

        reply = link_reply_new(s, m);
        if (!reply)
                return -ENOMEM;
        s->ops->get_state(&state, s->userdata);
        r = sd_bus_message_new_method_return(m, &answer);
        if (r >= 0)
                r = link_state_append(answer, &state);
        reply_send(reply, answer, r);
        return 1;
}

static int on_begin(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkServer *s = userdata;
        LinkBegin begin;
        LinkReply *reply;

        if (link_begin_read(m, &begin) < 0)
                return refuse(m, reterr);
        reply = link_reply_new(s, m);
        if (!reply)
                return -ENOMEM;
        s->ops->begin(reply, &begin, s->userdata);
        return 1;
}

static int on_write(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkServer *s = userdata;
        LinkReply *reply;
        uint64_t offset;
        unsigned file;

        if (link_write_read(m, &file, &offset) < 0)
                return refuse(m, reterr);
        reply = link_reply_new(s, m);
        if (!reply)
                return -ENOMEM;
        s->ops->write(reply, file, offset, s->userdata);
        return 1;
}

static int on_roll_back(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkServer *s = userdata;
        LinkReply *reply;
        Failure why;

        if (link_roll_back_read(m, &why) < 0)
                return refuse(m, reterr);
        reply = link_reply_new(s, m);
        if (!reply)
                return -ENOMEM;
        s->ops->roll_back(reply, &why, s->userdata);
        return 1;
}

static int on_revert(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkServer *s = userdata;
        LinkRevert revert;
        LinkReply *reply;

        if (link_revert_read(m, &revert) < 0)
                return refuse(m, reterr);
        reply = link_reply_new(s, m);
        if (!reply)
                return -ENOMEM;
        s->ops->revert(reply, &revert, s->userdata);
        return 1;
}

/* The calls without arguments. */
static int on_plain(sd_bus_message *m, LinkServer *s, void (*op)(LinkReply *reply, void *userdata))
{
        LinkReply *reply = link_reply_new(s, m);

        if (!reply)
                return -ENOMEM;
        op(reply, s->userdata);
        return 1;
}

static int on_verify(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->verify);
}

static int on_activate(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->activate);
}

static int on_reboot(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->reboot);
}

static int on_self_test(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->self_test);
}

static int on_commit(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->commit);
}

static int on_release(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->release);
}

static int on_get_history(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        return on_plain(m, userdata, ((LinkServer *)userdata)->ops->get_history);
}

#define STATE_SIGNATURE "sstsssbbssta(sstttt)"

/* clang-format off */
static const sd_bus_vtable installer_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("GetState", "", STATE_SIGNATURE, on_get_state, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Begin", "ssta(stsays)", "at", on_begin, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Write", "ut", "h", on_write, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Verify", "", "", on_verify, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Activate", "", "b", on_activate, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Reboot", "", "", on_reboot, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("SelfTest", "", "", on_self_test, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Commit", "", "", on_commit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("RollBack", "ss", "", on_roll_back, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Release", "", "", on_release, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Revert", "sas", "", on_revert, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("GetHistory", "", "a" LINK_HISTORY_SIGNATURE, on_get_history, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("Progress", "uttt", 0),
        SD_BUS_SIGNAL("StateChanged", STATE_SIGNATURE, 0),
        SD_BUS_VTABLE_END,
};
/* clang-format on */

static int server_on_connect(sd_bus *bus, uid_t peer_uid, void *userdata)
{
        LinkServer *s = userdata;
        Peer *peer = find_peer(s, NULL);
        int r;

        log_debug("User %u has connected to the installer", (unsigned)peer_uid);
        if (!peer)
                return -EUSERS;
        r = sd_bus_add_object_vtable(bus, NULL, LINK_PATH, LINK_INTERFACE, installer_vtable, s);
        if (r >= 0)
                *peer = (Peer){.bus = bus, .uid = peer_uid};
        return r;
}

static void server_on_disconnect(sd_bus *bus, void *userdata)
{
        LinkServer *s = userdata;
        Peer *peer = find_peer(s, bus);

        if (!peer)
                return;
        *peer = (Peer){.bus = NULL};
        s->ops->peer_gone(bus, s->userdata);
}

int link_server_new(sd_event *event, const PeerBusParams *params, const LinkServerOps *ops, void *userdata,
                    LinkServer **ret)
{
        _cleanup_(link_server_freep) LinkServer *s = calloc(1, sizeof(*s));
        int r;

        if (!s) {
                close_fd(params->listen_fd);
                return -ENOMEM;
        }
        s->ops = ops;
        s->userdata = userdata;
        r = peer_bus_new(event, params, server_on_connect, server_on_disconnect, s, &s->listener);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

LinkServer *link_server_free(LinkServer *s)
{
        if (!s)
                return NULL;
        peer_bus_free(s->listener);
        free(s);
        return NULL;
}

unsigned link_server_n_peers(const LinkServer *s)
{
        return peer_bus_n_peers(s->listener);
}

/* A peer that does not read its signals fills its own queue (sd-bus bounds it) and hurts nobody else. */
static void send_signal(sd_bus *bus, const char *member, int (*append)(sd_bus_message *m, const void *value),
                        const void *value)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = sd_bus_message_new_signal(bus, &m, LINK_PATH, LINK_INTERFACE, member);

        if (r >= 0)
                r = append(m, value);
        if (r >= 0)
                r = sd_bus_message_send(m);
        if (r < 0)
                log_debug("Cannot send %s to a client: %s", member, strerror(-r));
}

static int append_progress(sd_bus_message *m, const void *value)
{
        return link_progress_append(m, value);
}

static int append_state(sd_bus_message *m, const void *value)
{
        return link_state_append(m, value);
}

static void send_progress(sd_bus *bus, void *progress)
{
        send_signal(bus, "Progress", append_progress, progress);
}

static void send_state(sd_bus *bus, void *state)
{
        send_signal(bus, "StateChanged", append_state, state);
}

void link_server_emit_progress(LinkServer *s, const LinkProgress *progress)
{
        LinkProgress copy = *progress;

        peer_bus_for_each(s->listener, send_progress, &copy);
}

void link_server_emit_state(LinkServer *s, const LinkState *state)
{
        LinkState copy = *state;

        peer_bus_for_each(s->listener, send_state, &copy);
}
