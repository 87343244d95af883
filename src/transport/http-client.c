#include "transport/http-client.h"

#include <assert.h>
#include <errno.h>
#include <sys/epoll.h>

#include "base/time-util.h"
#include "http-private.h"

enum { IDLE_CONNECTIONS_MAX = 4 };

void http_client_enter(HttpClient *client)
{
        client->in_curl++;
}

void http_client_leave(HttpClient *client)
{
        HttpFetch *fetch;
        CURLMsg *message;
        int n_left;

        assert(client->in_curl > 0);
        if (--client->in_curl > 0)
                return;
        while (client->first_doomed)
                client->first_doomed = http_fetch_bury(client->first_doomed);
        while ((message = curl.multi_info_read(client->multi, &n_left))) {
                CURLcode code = message->data.result;

                if (message->msg != CURLMSG_DONE)
                        continue;
                /* The message is gone with the next call to curl. */
                (void)curl.easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&fetch);
                http_fetch_on_curl_done(fetch, code);
        }
}

static void client_act(HttpClient *client, curl_socket_t fd, int events)
{
        int n_running;

        http_client_enter(client);
        (void)curl.multi_socket_action(client->multi, fd, events, &n_running);
        http_client_leave(client);
}

static int on_socket(sd_event_source *source _unused_, int fd, uint32_t revents, void *userdata)
{
        int events = 0;

        if (revents & (EPOLLIN | EPOLLHUP))
                events |= CURL_CSELECT_IN;
        if (revents & EPOLLOUT)
                events |= CURL_CSELECT_OUT;
        if (revents & EPOLLERR)
                events |= CURL_CSELECT_ERR;
        client_act(userdata, fd, events);
        return 0;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        client_act(userdata, CURL_SOCKET_TIMEOUT, 0);
        return 0;
}

/* curl: watch this socket so. `socket_pointer` is what curl.multi_assign() stored, our event source. */
static int on_curl_socket(CURL *easy _unused_, curl_socket_t fd, int what, void *userdata, void *socket_pointer)
{
        sd_event_source *source = socket_pointer;
        HttpClient *client = userdata;
        uint32_t events = 0;

        if (what == CURL_POLL_REMOVE) {
                sd_event_source_disable_unref(source);
                (void)curl.multi_assign(client->multi, fd, NULL);
                return 0;
        }
        if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
                events |= EPOLLIN;
        if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
                events |= EPOLLOUT;
        if (source)
                return sd_event_source_set_io_events(source, events) < 0 ? -1 : 0;
        if (sd_event_add_io(client->event, &source, fd, events, on_socket, client) < 0)
                return -1;
        (void)sd_event_source_set_description(source, "http-socket");
        (void)curl.multi_assign(client->multi, fd, source);
        return 0;
}

/* curl: call me in so many milliseconds; -1: no need to. Zero means soon, but not from in here. */
static int on_curl_timer(CURLM *multi _unused_, long timeout_msec, void *userdata)
{
        HttpClient *client = userdata;

        if (timeout_msec < 0)
                return sd_event_source_set_enabled(client->timer_source, SD_EVENT_OFF) < 0 ? -1 : 0;
        if (sd_event_source_set_time_relative(client->timer_source, (uint64_t)timeout_msec * USEC_PER_MSEC) < 0 ||
            sd_event_source_set_enabled(client->timer_source, SD_EVENT_ONESHOT) < 0)
                return -1;
        return 0;
}

static int client_add_timer(HttpClient *client)
{
        int r;

        r = sd_event_add_time_relative(client->event, &client->timer_source, CLOCK_BOOTTIME, 0, USEC_PER_MSEC,
                                       on_timer, client);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(client->timer_source, "http-timer");
        return sd_event_source_set_enabled(client->timer_source, SD_EVENT_OFF);
}

int http_client_prepare(HttpClient *client)
{
        CURLM *multi;
        int r;

        if (client->multi)
                return 0;
        r = curl_library_load();
        if (r < 0)
                return r;
        multi = curl.multi_init();
        if (!multi || curl.multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket) != CURLM_OK ||
            curl.multi_setopt(multi, CURLMOPT_SOCKETDATA, client) != CURLM_OK ||
            curl.multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_curl_timer) != CURLM_OK ||
            curl.multi_setopt(multi, CURLMOPT_TIMERDATA, client) != CURLM_OK ||
            curl.multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)IDLE_CONNECTIONS_MAX) != CURLM_OK) {
                curl.multi_cleanup(multi);
                return -ENOMEM;
        }
        client->multi = multi;
        return 0;
}

int http_client_new(sd_event *event, HttpClient **ret)
{
        _cleanup_(http_client_freep) HttpClient *client = calloc(1, sizeof(*client));
        int r;

        if (!client)
                return -ENOMEM;
        client->event = sd_event_ref(event);
        r = client_add_timer(client);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(client);
        return 0;
}

HttpClient *http_client_free(HttpClient *client)
{
        if (!client)
                return NULL;
        assert(client->in_curl == 0);
        if (client->multi)
                curl.multi_cleanup(client->multi); /* closes idle connections, whose sources curl has us drop */
        sd_event_source_disable_unref(client->timer_source);
        sd_event_unref(client->event);
        free(client);
        return NULL;
}
