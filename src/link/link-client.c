#include "link-client-private.h"

#include <errno.h>
#include <string.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "link/peer-bus.h"

#define BACKOFF_BASE_USEC (500 * USEC_PER_MSEC)
#define BACKOFF_CAP_USEC  (30 * USEC_PER_SEC)

static void client_connect(LinkClient *c);

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

void link_client_arm(LinkClient *c)
{
        client_set_timer(c, client_deadline(c));
}

void link_client_drop(LinkClient *c, const char *why)
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
                call->answer.finish(&call->answer, NULL, &error);
                link_call_free(call);
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
                link_client_drop(c, "connection closed");
        else if (deadline > usec)
                client_set_timer(c, deadline);
        else if (c->up && !c->calls)
                client_rest(c);
        else
                link_client_drop(c, c->up ? "it gives no sign of life" : "it does not answer");
        return 0;
}

static int client_on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        link_client_drop(userdata, "connection closed");
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

static int client_on_first_state(sd_bus_message *m, void *userdata, sd_bus_error *reterr)
{
        LinkClient *c = userdata;
        LinkState state;

        if (sd_bus_message_is_method_error(m, NULL) || link_state_read(m, &state) < 0) {
                link_client_drop(c, "its state cannot be read");
                return 0;
        }
        if (c->said_unreachable)
                log_info("The installer at %s can be reached again", c->path);
        c->said_unreachable = false;
        c->up = c->known = true;
        c->up_usec = c->life_usec = c->unneeded_usec = now_usec();
        link_client_arm(c);
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
                link_client_drop(c, strerror(-r));
                return;
        }
        link_client_arm(c);
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
                link_call_free(c->calls);
        sd_bus_close_unref(c->bus);
        sd_event_source_disable_unref(c->timer);
        sd_event_source_disable_unref(c->exit);
        free(c->path);
        sd_event_unref(c->event);
        free(c);
        return NULL;
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
                link_client_arm(c);
        c->resting = false;
}
