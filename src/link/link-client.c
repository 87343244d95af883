#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/backoff.h"
#include "base/file-util.h"
#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "link/link-client.h"
#include "link/peer-bus.h"

#define BACKOFF_BASE_USEC (500 * USEC_PER_MSEC)
#define BACKOFF_CAP_USEC  (30 * USEC_PER_SEC)

typedef struct LinkCall LinkCall;

/* Reads the answer and calls back; `reply` is NULL where the call was lost. */
typedef void (*LinkFinishFn)(LinkCall *call, sd_bus_message *reply, const LinkError *error);

struct LinkCall {
        LinkClient *client;
        LinkCall *previous, *next;
        sd_bus_slot *slot;
        uint64_t sent_usec;
        LinkFinishFn finish;
        union {
                LinkDoneFn done;
                LinkStateFn state;
                LinkBeginFn begin;
                LinkWriteFn write;
                LinkActivateFn activate;
                LinkHistoryFn history;
        } fn;
        void *userdata;
};

struct LinkClient {
        sd_event *event;
        char *path;
        uint64_t silence_usec;
        uint64_t connect_timeout_usec;
        uint64_t rest_usec;
        Backoff backoff;
        const LinkClientOps *ops;
        void *userdata;
        sd_bus *bus;            /* NULL while resting or waiting to connect */
        sd_event_source *timer; /* connect again, or the deadline of what is awaited */
        sd_event_source *exit;
        bool up;
        bool known; /* the owner has heard on_up(), and no on_down() since */
        bool needed, resting;
        uint64_t unneeded_usec; /* since when */
        bool broken;            /* a call could not even be sent: the timer drops the connection at once */
        bool said_unreachable;  /* the log hears of it once, not at every try */
        uint64_t up_usec;
        uint64_t life_usec; /* last sign of life */
        LinkCall *calls;
};

static void client_connect(LinkClient *c);

static LinkCall *call_free(LinkCall *call)
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

static void client_set_timer(LinkClient *c, uint64_t usec)
{
        int r = sd_event_source_set_time(c->timer, usec);

        if (r >= 0)
                r = sd_event_source_set_enabled(c->timer, usec == USEC_INFINITY ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        if (r < 0)
                (void)log_error_errno(r, "Cannot set the link's timer: %m");
}

/* The moment at which silence means that the installer hangs. */
static uint64_t client_deadline(const LinkClient *c)
{
        uint64_t deadline = USEC_INFINITY;

        if (c->broken)
                return 0;
        if (!c->up)
                return usec_add(c->life_usec, c->connect_timeout_usec);
        if (!c->calls)
                return c->needed ? USEC_INFINITY : usec_add(c->unneeded_usec, c->rest_usec);
        for (const LinkCall *call = c->calls; call; call = call->next)
                deadline = MIN2(deadline, usec_add(MAX2(call->sent_usec, c->life_usec), c->silence_usec));
        return deadline;
}

/* The connection is of no use any more: ends every call, tells the owner, and tries again later. */
static void client_drop(LinkClient *c, const char *why)
{
        bool was_up = c->up;
        uint64_t now = now_usec(), wait;
        char text[DURATION_TEXT_MAX];
        LinkCall *calls;
        LinkError error;

        if (was_up && usec_sub(now, c->up_usec) > c->backoff.cap_usec)
                backoff_reset(&c->backoff);
        wait = backoff_next_usec(&c->backoff);
        error.kind = LINK_ERROR_LOST;
        (void)fail(&error.failure, FAILURE_INSTALLER, ECONNRESET, "the connection to the installer was lost: %s",
                   why);
        if (was_up || !c->said_unreachable)
                log_event(LOG_EVENT_INSTALLER_AWAY, &(LogFields){0},
                          "The installer at %s cannot be reached (%s), trying again in %s", c->path, why,
                          duration_format(text, wait));
        c->said_unreachable = true;

        c->up = c->broken = false;
        c->bus = sd_bus_close_unref(c->bus);
        client_set_timer(c, usec_add(now, wait));

        /* Their owners may ask for more at once, which -ENOTCONN answers; so this list only gets shorter. */
        calls = TAKE_PTR(c->calls);
        while (calls) {
                LinkCall *call = calls;

                calls = call->next;
                call->finish(call, NULL, &error);
                call_free(call);
        }
        if (c->known) {
                c->known = false;
                c->ops->on_down(&error.failure, c->userdata);
        }
}

static void client_rest(LinkClient *c)
{
        c->up = false;
        c->resting = true;
        c->bus = sd_bus_close_unref(c->bus);
        client_set_timer(c, USEC_INFINITY);
        c->ops->on_rest(c->userdata);
}

static int client_on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        LinkClient *c = userdata;
        uint64_t deadline;

        if (!c->bus) {
                client_connect(c);
                return 0;
        }
        deadline = client_deadline(c);
        if (c->broken)
                client_drop(c, "connection closed");
        else if (deadline > usec)
                client_set_timer(c, deadline);
        else if (c->up && !c->calls)
                client_rest(c);
        else
                client_drop(c, c->up ? "it gives no sign of life" : "it does not answer");
        return 0;
}

static int client_on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        client_drop(userdata, "connection closed");
        return 0;
}

static int client_on_progress(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkClient *c = userdata;
        LinkProgress progress;

        if (!c->up)
                return 0;
        if (link_progress_read(m, &progress) < 0) {
                log_warning("The installer sent progress that cannot be read, ignoring it");
                return 0;
        }
        c->life_usec = now_usec();
        c->ops->on_progress(&progress, c->userdata);
        return 0;
}

static int client_on_state(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkClient *c = userdata;
        LinkState state;

        if (!c->up)
                return 0;
        if (link_state_read(m, &state) < 0) {
                log_warning("The installer sent a state that cannot be read, ignoring it");
                return 0;
        }
        c->life_usec = now_usec();
        c->ops->on_state(&state, c->userdata);
        return 0;
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
                client_drop(c, "connection closed");
                return 0;
        }
        c->life_usec = now_usec();
        if (wire)
                link_error_parse(wire, &error);
        call->finish(call, m, wire ? &error : NULL);
        call_free(call);
        if (c->up)
                client_set_timer(c, client_deadline(c));
        return 0;
}

/* Takes `m`, which may be NULL where building it failed with `r`. On success the client holds *ret until its
 * answer. */
static int client_call(LinkClient *c, sd_bus_message *m, int r, LinkFinishFn finish, void *userdata, LinkCall **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = m;
        LinkCall *call;

        if (r < 0)
                return r;
        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;
        call->client = c;
        call->finish = finish;
        call->userdata = userdata;
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
        client_set_timer(c, client_deadline(c));
        *ret = call;
        return 0;
}

static int client_message(LinkClient *c, const char *member, sd_bus_message **ret)
{
        if (!c->up)
                return -ENOTCONN;
        return sd_bus_message_new_method_call(c->bus, ret, NULL, LINK_PATH, LINK_INTERFACE, member);
}

static void set_unreadable(LinkError *error)
{
        link_error_set(error, LINK_ERROR_FAILED, FAILURE_INSTALLER, "the installer's answer cannot be read");
}

static void finish_done(LinkCall *call, sd_bus_message *reply, const LinkError *error)
{
        call->fn.done(error, call->userdata);
}

static void finish_state(LinkCall *call, sd_bus_message *reply, const LinkError *error)
{
        LinkError unreadable;
        LinkState state;

        if (!error && link_state_read(reply, &state) < 0) {
                set_unreadable(&unreadable);
                error = &unreadable;
        }
        call->fn.state(error, error ? NULL : &state, call->userdata);
}

static void finish_begin(LinkCall *call, sd_bus_message *reply, const LinkError *error)
{
        LinkError unreadable;
        LinkOffsets offsets;

        if (!error && link_offsets_read(reply, &offsets) < 0) {
                set_unreadable(&unreadable);
                error = &unreadable;
        }
        call->fn.begin(error, error ? NULL : &offsets, call->userdata);
}

/* A pipe and nothing else, so that writing to it can only mean what we think it means. */
static int read_pipe(sd_bus_message *m)
{
        _cleanup_close_ int fd = -1;
        struct stat st;
        int borrowed, r;

        if (sd_bus_message_read_basic(m, 'h', &borrowed) <= 0)
                return -EBADMSG;
        fd = fcntl(borrowed, F_DUPFD_CLOEXEC, 3);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISFIFO(st.st_mode))
                return -EBADMSG;
        r = fd_set_nonblocking(fd);
        return r < 0 ? r : TAKE_FD(fd);
}

static void finish_write(LinkCall *call, sd_bus_message *reply, const LinkError *error)
{
        LinkError unreadable;
        int fd = -1;

        if (!error) {
                fd = read_pipe(reply);
                if (fd < 0) {
                        set_unreadable(&unreadable);
                        error = &unreadable;
                }
        }
        call->fn.write(error, error ? -1 : fd, call->userdata);
}

static void finish_activate(LinkCall *call, sd_bus_message *reply, const LinkError *error)
{
        LinkError unreadable;
        int reboot_needed = 0;

        if (!error && sd_bus_message_read_basic(reply, 'b', &reboot_needed) <= 0) {
                set_unreadable(&unreadable);
                error = &unreadable;
        }
        call->fn.activate(error, reboot_needed, call->userdata);
}

static void finish_history(LinkCall *call, sd_bus_message *reply, const LinkError *error)
{
        _cleanup_free_ LinkHistoryEntry *entries = NULL;
        LinkError unreadable;
        size_t n = 0;

        if (!error && link_history_read(reply, &entries, &n) < 0) {
                set_unreadable(&unreadable);
                error = &unreadable;
        }
        call->fn.history(error, entries, n, call->userdata);
}

static int client_call_plain(LinkClient *c, const char *member, LinkDoneFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, member, &m);
        r = client_call(c, m, r, finish_done, userdata, &call);
        if (r < 0)
                return r;
        call->fn.done = done;
        return 0;
}

int link_client_get_state(LinkClient *c, LinkStateFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "GetState", &m);
        r = client_call(c, m, r, finish_state, userdata, &call);
        if (r < 0)
                return r;
        call->fn.state = done;
        return 0;
}

int link_client_begin(LinkClient *c, const LinkBegin *begin, LinkBeginFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "Begin", &m);
        if (r >= 0)
                r = link_begin_append(m, begin);
        r = client_call(c, m, r, finish_begin, userdata, &call);
        if (r < 0)
                return r;
        call->fn.begin = done;
        return 0;
}

int link_client_write(LinkClient *c, unsigned file, uint64_t offset, LinkWriteFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "Write", &m);
        if (r >= 0)
                r = link_write_append(m, file, offset);
        r = client_call(c, m, r, finish_write, userdata, &call);
        if (r < 0)
                return r;
        call->fn.write = done;
        return 0;
}

int link_client_activate(LinkClient *c, LinkActivateFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "Activate", &m);
        r = client_call(c, m, r, finish_activate, userdata, &call);
        if (r < 0)
                return r;
        call->fn.activate = done;
        return 0;
}

int link_client_roll_back(LinkClient *c, const Failure *why, LinkDoneFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "RollBack", &m);
        if (r >= 0)
                r = link_roll_back_append(m, why);
        r = client_call(c, m, r, finish_done, userdata, &call);
        if (r < 0)
                return r;
        call->fn.done = done;
        return 0;
}

int link_client_revert(LinkClient *c, const LinkRevert *revert, LinkDoneFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "Revert", &m);
        if (r >= 0)
                r = link_revert_append(m, revert);
        r = client_call(c, m, r, finish_done, userdata, &call);
        if (r < 0)
                return r;
        call->fn.done = done;
        return 0;
}

int link_client_get_history(LinkClient *c, LinkHistoryFn done, void *userdata)
{
        sd_bus_message *m = NULL;
        LinkCall *call;
        int r;

        r = client_message(c, "GetHistory", &m);
        r = client_call(c, m, r, finish_history, userdata, &call);
        if (r < 0)
                return r;
        call->fn.history = done;
        return 0;
}

int link_client_verify(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return client_call_plain(c, "Verify", done, userdata);
}

int link_client_reboot(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return client_call_plain(c, "Reboot", done, userdata);
}

int link_client_self_test(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return client_call_plain(c, "SelfTest", done, userdata);
}

int link_client_commit(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return client_call_plain(c, "Commit", done, userdata);
}

int link_client_release(LinkClient *c, LinkDoneFn done, void *userdata)
{
        return client_call_plain(c, "Release", done, userdata);
}

static int client_on_first_state(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkClient *c = userdata;
        LinkState state;

        if (sd_bus_message_is_method_error(m, NULL) || link_state_read(m, &state) < 0) {
                client_drop(c, "its state cannot be read");
                return 0;
        }
        if (c->said_unreachable)
                log_info("The installer at %s can be reached again", c->path);
        c->said_unreachable = false;
        c->up = c->known = true;
        c->up_usec = c->life_usec = c->unneeded_usec = now_usec();
        client_set_timer(c, client_deadline(c));
        c->ops->on_up(&state, c->userdata);
        return 0;
}

static void client_connect(LinkClient *c)
{
        int r;

        c->life_usec = now_usec();
        if ((r = peer_bus_connect(c->event, c->path, "installer", &c->bus)) < 0 ||
            (r = peer_bus_on_disconnected(c->bus, client_on_disconnected, c)) < 0 ||
            (r = sd_bus_match_signal(c->bus, NULL, NULL, LINK_PATH, LINK_INTERFACE, "Progress", client_on_progress,
                                     c)) < 0 ||
            (r = sd_bus_match_signal(c->bus, NULL, NULL, LINK_PATH, LINK_INTERFACE, "StateChanged", client_on_state,
                                     c)) < 0 ||
            (r = sd_bus_call_method_async(c->bus, NULL, NULL, LINK_PATH, LINK_INTERFACE, "GetState",
                                          client_on_first_state, c, NULL)) < 0) {
                client_drop(c, strerror(-r));
                return;
        }
        client_set_timer(c, client_deadline(c));
}

/* Without this sd-bus would wait for an installer that hangs. */
static int client_on_exit(sd_event_source *source, void *userdata)
{
        LinkClient *c = userdata;

        if (c->bus)
                (void)sd_bus_detach_event(c->bus);
        return 0;
}

int link_client_new(sd_event *event, const LinkClientParams *params, const LinkClientOps *ops, void *userdata,
                    LinkClient **ret)
{
        _cleanup_(link_client_freep) LinkClient *c = calloc(1, sizeof(*c));
        int r;

        if (!c)
                return -ENOMEM;
        c->event = sd_event_ref(event);
        c->path = strdup(params->socket_path);
        if (!c->path)
                return -ENOMEM;
        c->silence_usec = params->silence_usec ?: LINK_SILENCE_MSEC * USEC_PER_MSEC;
        c->connect_timeout_usec = params->connect_timeout_usec ?: LINK_CONNECT_TIMEOUT_MSEC * USEC_PER_MSEC;
        c->rest_usec = params->rest_usec ?: LINK_REST_MSEC * USEC_PER_MSEC;
        c->needed = true;
        c->backoff.base_usec = params->backoff_base_usec ?: BACKOFF_BASE_USEC;
        c->backoff.cap_usec = params->backoff_cap_usec ?: BACKOFF_CAP_USEC;
        c->ops = ops;
        c->userdata = userdata;
        r = sd_event_add_time(event, &c->timer, CLOCK_BOOTTIME, now_usec(), 10 * USEC_PER_MSEC, client_on_timer, c);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(c->timer, "link-client");
        r = peer_bus_add_exit(event, client_on_exit, c, &c->exit);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

LinkClient *link_client_free(LinkClient *c)
{
        if (!c)
                return NULL;
        while (c->calls)
                call_free(c->calls);
        sd_bus_close_unref(c->bus);
        sd_event_source_disable_unref(c->timer);
        sd_event_source_disable_unref(c->exit);
        free(c->path);
        sd_event_unref(c->event);
        free(c);
        return NULL;
}

bool link_client_is_up(const LinkClient *c)
{
        return c->up;
}

void link_client_need(LinkClient *c, bool needed)
{
        if (c->needed == needed)
                return;
        c->needed = needed;
        c->unneeded_usec = now_usec();
        if (c->resting)
                client_set_timer(c, c->unneeded_usec); /* connects, from the loop */
        else if (c->up)
                client_set_timer(c, client_deadline(c));
        c->resting = false;
}
