#include "link-client-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base/time-util.h"

LinkCall *link_call_free(LinkCall *call)
{
        LinkClient *c = call->client;

        if (call->previous)
                call->previous->next = call->next;
        else if (c->calls == call)
                c->calls = call->next;
        if (call->next)
                call->next->previous = call->previous;
        sd_bus_slot_unref(call->slot);
        free(call);
        return NULL;
}

static int call_on_reply(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkCall *call = userdata;
        LinkClient *c = call->client;
        const sd_bus_error *wire = sd_bus_message_get_error(m);
        LinkError error;

        /* sd-bus makes these up itself when the connection ends; a call is then lost, not failed. */
        if (wire && (sd_bus_error_has_name(wire, SD_BUS_ERROR_NO_REPLY) ||
                     sd_bus_error_has_name(wire, SD_BUS_ERROR_DISCONNECTED))) {
                link_client_drop(c, "connection closed");
                return 0;
        }
        c->life_usec = now_usec();
        if (wire)
                link_error_parse(wire, &error);
        call->answer.finish(&call->answer, m, wire ? &error : NULL);
        link_call_free(call);
        if (c->up)
                link_client_arm(c);
        return 0;
}

/* Takes `m`, which may be NULL where building it failed with `r`. */
static int client_call(LinkClient *c, sd_bus_message *m, int r, LinkAnswer answer)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = m;
        LinkCall *call;

        if (r < 0)
                return r;
        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        call->client = c;
        call->answer = answer;
        call->sent_usec = now_usec();
        /* Deadlines are ours: sd-bus would count from the start of the call. */
        r = sd_bus_call_async(c->bus, &call->slot, owned, call_on_reply, call, USEC_INFINITY);
        if (r == -ENOMEM) {
                free(call);
                return r;
        }
        /* The installer has just gone, and sd-bus has not told yet. This call is lost like those before it, and like
         * theirs its answer comes before on_down(): an owner who heard -ENOTCONN from a link that is up would try again
         * and again, and keep the event loop from ever finding out. */
        c->broken |= r < 0;
        call->next = c->calls;
        if (c->calls)
                c->calls->previous = call;
        c->calls = call;
        link_client_arm(c);
        return 0;
}

static int client_message(LinkClient *c, const char *member, sd_bus_message **ret)
{
        if (!c->up)
                return -ENOTCONN;
        return sd_bus_message_new_method_call(c->bus, ret, NULL, LINK_PATH, LINK_INTERFACE, member);
}

static const LinkError *unreadable(LinkError *error)
{
        link_error_set(error, LINK_ERROR_FAILED, FAILURE_INSTALLER, "the installer's answer cannot be read");
        return error;
}

static void finish_done(const LinkAnswer *answer, sd_bus_message *reply, const LinkError *error)
{
        answer->done(error, answer->userdata);
}

static void finish_state(const LinkAnswer *answer, sd_bus_message *reply, const LinkError *error)
{
        LinkError own;
        LinkState state;

        if (!error && link_state_read(reply, &state) < 0)
                error = unreadable(&own);
        answer->state(error, error ? NULL : &state, answer->userdata);
}

static void finish_begin(const LinkAnswer *answer, sd_bus_message *reply, const LinkError *error)
{
        LinkError own;
        LinkOffsets offsets;

        if (!error && link_offsets_read(reply, &offsets) < 0)
                error = unreadable(&own);
        answer->begin(error, error ? NULL : &offsets, answer->userdata);
}

/* A data pipe and nothing else, so that writing to it can only mean what we think it means. */
static int read_pipe(sd_bus_message *m, DataPipe **ret)
{
        int borrowed, fd;

        if (sd_bus_message_read_basic(m, 'h', &borrowed) <= 0)
                return -EBADMSG;
        fd = fcntl(borrowed, F_DUPFD_CLOEXEC, 3);
        return fd < 0 ? -errno : data_pipe_open(fd, ret);
}

static void finish_write(const LinkAnswer *answer, sd_bus_message *reply, const LinkError *error)
{
        DataPipe *pipe = NULL;
        LinkError own;

        if (!error && read_pipe(reply, &pipe) < 0)
                error = unreadable(&own);
        answer->write(error, pipe, answer->userdata);
}

static void finish_activate(const LinkAnswer *answer, sd_bus_message *reply, const LinkError *error)
{
        LinkError own;
        int reboot_needed = 0;

        if (!error && sd_bus_message_read_basic(reply, 'b', &reboot_needed) <= 0)
                error = unreadable(&own);
        answer->activate(error, reboot_needed, answer->userdata);
}

static void finish_history(const LinkAnswer *answer, sd_bus_message *reply, const LinkError *error)
{
        _cleanup_free_ LinkHistoryEntry *entries = NULL;
        LinkError own;
        size_t n = 0;

        if (!error && link_history_read(reply, &entries, &n) < 0)
                error = unreadable(&own);
        answer->history(error, entries, n, answer->userdata);
}

static int call_plain(LinkClient *c, const char *member, LinkAnswer answer)
{
        sd_bus_message *m = NULL;
        int r;

        r = client_message(c, member, &m);
        return client_call(c, m, r, answer);
}

int link_client_get_state(LinkClient *c, LinkStateFn done, void *userdata)
{
        return call_plain(c, "GetState", (LinkAnswer){finish_state, userdata, .state = done});
}

int link_client_begin(LinkClient *c, const LinkBegin *begin, LinkBeginFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        int r;

        r = client_message(c, "Begin", &m);
        if (r >= 0)
                r = link_begin_append(m, begin);
        return client_call(c, m, r, (LinkAnswer){finish_begin, userdata, .begin = done});
}

int link_client_write(LinkClient *c, unsigned file, uint64_t offset, LinkWriteFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        int r;

        r = client_message(c, "Write", &m);
        if (r >= 0)
                r = link_write_append(m, file, offset);
        return client_call(c, m, r, (LinkAnswer){finish_write, userdata, .write = done});
}

int link_client_activate(LinkClient *c, LinkActivateFn done, void *userdata)
{
        return call_plain(c, "Activate", (LinkAnswer){finish_activate, userdata, .activate = done});
}

int link_client_roll_back(LinkClient *c, const Failure *why, LinkDoneFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        int r;

        r = client_message(c, "RollBack", &m);
        if (r >= 0)
                r = link_roll_back_append(m, why);
        return client_call(c, m, r, (LinkAnswer){finish_done, userdata, .done = done});
}

int link_client_revert(LinkClient *c, const LinkRevert *revert, LinkDoneFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        int r;

        r = client_message(c, "Revert", &m);
        if (r >= 0)
                r = link_revert_append(m, revert);
        return client_call(c, m, r, (LinkAnswer){finish_done, userdata, .done = done});
}

int link_client_get_history(LinkClient *c, LinkHistoryFn done, void *userdata)
{
        return call_plain(c, "GetHistory", (LinkAnswer){finish_history, userdata, .history = done});
}

int link_client_verify(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return call_plain(c, "Verify", (LinkAnswer){finish_done, userdata, .done = done});
}

int link_client_reboot(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return call_plain(c, "Reboot", (LinkAnswer){finish_done, userdata, .done = done});
}

int link_client_self_test(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return call_plain(c, "SelfTest", (LinkAnswer){finish_done, userdata, .done = done});
}

int link_client_commit(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return call_plain(c, "Commit", (LinkAnswer){finish_done, userdata, .done = done});
}

int link_client_release(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return call_plain(c, "Release", (LinkAnswer){finish_done, userdata, .done = done});
}
