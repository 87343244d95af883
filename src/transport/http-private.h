/*
 * http-private: what http-client.c (curl's multi handle on the loop), http-fetch.c (one download's life) and
 * http-request.c (what curl is asked for it, and tells) share.
 */
#pragma once

#include "curl-library.h"
#include "transport/http-client.h"
#include "transport/resolver.h"

/* While curl is at work no easy handle may be removed from the multi handle, so fetches freed then are put aside. */
struct HttpClient {
        sd_event *event;
        CURLM *multi; /* NULL before the first fetch */
        sd_event_source *timer_source;
        unsigned in_curl;
        HttpFetch *first_doomed;
};

/* Every call that may run a fetch's curl callbacks stands between these two. The latter settles what has ended. */
void http_client_enter(HttpClient *client);
void http_client_leave(HttpClient *client);

/* curl is done with this fetch. From http_client_leave(), so outside of curl. */
void http_fetch_on_curl_done(HttpFetch *fetch, CURLcode code);
/* Takes the doomed fetch out of the list and ends it for good; the next one in the list. */
HttpFetch *http_fetch_bury(HttpFetch *doomed);

struct HttpFetch {
        HttpClient *client;
        HttpFetch *doomed_next;
        HttpFetchParams params; /* the strings are ours; url: not kept, see below */
        HttpFetchCallbacks callbacks;
        void *userdata;

        char *url; /* the one asked now: the given one, or where a redirect led */
        char *host, *port;
        unsigned n_redirects;

        ProxyUrl proxy; /* where it is; its credentials are not kept */
        Resolver *resolver;
        CURL *easy;
        bool in_multi;
        struct curl_slist *headers, *addresses;
        char curl_error[CURL_ERROR_SIZE];
        sd_event_source *step_source; /* the news that it is done, and going on after a pause */
        sd_event_source *stall_source;

        bool doomed; /* freed while curl was at work */
        bool finished;
        bool paused;
        bool connected; /* this request's connection stands, so the stall clock counts */
        bool head_good;
        int status;
        size_t n_head, n_ignored;
        uint64_t n_window; /* bytes since the stall clock was last looked at */
        uint64_t n_taken;
        char error_body[HTTP_ERROR_BODY_MAX];
        size_t n_error_body;
        Failure failure;
        uint64_t retry_after_usec;
};

/* The first failure counts. */
_printf_(3, 4) void http_fetch_fail(HttpFetch *fetch, FailureReason reason, const char *format, ...);
static inline uint64_t http_fetch_wanted_bytes(const HttpFetch *fetch)
{
        return fetch->params.total_bytes - fetch->params.first_byte;
}

/* https, no user name, no byte that does not belong into a URL. */
bool http_url_is_fit(const char *url);
/* Copies the URL, and what may be said of it in logs. -ENOMEM. */
int http_fetch_set_url(HttpFetch *fetch, const char *url);
/*
 * Makes the easy handle for the URL at these addresses, which are the proxy's where there is one; hands nothing to curl's
 * multi handle yet. Negative: out of memory, unless it has filled in why.
 */
int http_fetch_make_request(HttpFetch *fetch, const ResolvedAddress *addresses, size_t n_addresses);
