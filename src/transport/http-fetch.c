#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"
#include "http-private.h"
#include "http-response.h"

#define RETRY_AFTER_MAX_USEC (UINT64_C(86400) * USEC_PER_SEC)

void http_fetch_fail(HttpFetch *fetch, FailureReason reason, const char *format, ...)
{
        va_list args;

        if (failure_is_set(&fetch->failure))
                return;
        va_start(args, format);
        (void)fail_va(&fetch->failure, reason, EIO, format, args);
        va_end(args);
}

/* --- the end --- */

static void fetch_leave_curl(HttpFetch *fetch)
{
        if (fetch->in_multi)
                (void)curl.multi_remove_handle(fetch->client->multi, fetch->easy);
        fetch->in_multi = false;
        if (fetch->easy)
                curl.easy_cleanup(fetch->easy);
        fetch->easy = NULL;
        curl.slist_free_all(fetch->headers);
        curl.slist_free_all(fetch->addresses);
        fetch->headers = fetch->addresses = NULL;
}

/* Never inside curl; what it had to tell is in the fetch's fields. The news itself comes from the loop. */
static void fetch_finish(HttpFetch *fetch)
{
        assert(fetch->client->in_curl == 0);
        fetch->resolver = resolver_free(fetch->resolver);
        fetch_leave_curl(fetch);
        fetch->finished = true;
        fetch->paused = false;
        (void)sd_event_source_set_enabled(fetch->stall_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(fetch->step_source, SD_EVENT_ONESHOT);
}

/* --- one request --- */

static void fetch_arm_stall(HttpFetch *fetch)
{
        fetch->n_window = 0;
        (void)sd_event_source_set_time_relative(fetch->stall_source, fetch->params.stall_usec);
        (void)sd_event_source_set_enabled(fetch->stall_source, SD_EVENT_ONESHOT);
}

static void on_resolved(Resolver *resolver _unused_, int error, const char *problem, const ResolvedAddress *addresses,
                        size_t n_addresses, void *userdata)
{
        HttpFetch *fetch = userdata;

        if (error < 0) {
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED, "https://%s: name look-up%s%s: %s", fetch->host,
                                fetch->proxy.kind == PROXY_NONE ? "" : " of the proxy ", fetch->proxy.host, problem);
                fetch_finish(fetch);
                return;
        }
        if (http_fetch_make_request(fetch, addresses, n_addresses) < 0 ||
            curl.multi_add_handle(fetch->client->multi, fetch->easy) != CURLM_OK) {
                http_fetch_fail(fetch, FAILURE_RESOURCES, "https://%s: out of memory", fetch->host);
                fetch_finish(fetch);
                return;
        }
        fetch->in_multi = true;
        fetch->resolver = resolver_free(fetch->resolver);
        log_debug("Asking https://%s for bytes from %" PRIu64 " of %" PRIu64 ".", fetch->host,
                  fetch->params.first_byte, fetch->params.total_bytes);
        fetch_arm_stall(fetch);
}

static int fetch_ask(HttpFetch *fetch)
{
        const ResolverParams params = {
                .name = fetch->proxy.kind == PROXY_NONE ? fetch->host : fetch->proxy.host,
                .timeout_usec = fetch->params.connect_timeout_usec,
                .servers = fetch->params.dns_servers,
        };

        return resolver_start(fetch->client->event, &params, on_resolved, fetch, &fetch->resolver);
}

/* --- how a request ended --- */

/* True: asked again elsewhere. */
static bool fetch_follow(HttpFetch *fetch)
{
        _cleanup_free_ char *url = NULL;
        const char *target = NULL;
        int r;

        (void)curl.easy_getinfo(fetch->easy, CURLINFO_REDIRECT_URL, &target);
        if (!target) {
                http_fetch_fail(fetch, FAILURE_URL_REFUSED, "https://%s: HTTP status %d without a place to go",
                                fetch->host, fetch->status);
                return false;
        }
        if (!http_url_is_fit(target)) {
                http_fetch_fail(fetch, FAILURE_URL_REFUSED,
                                "https://%s: HTTP status %d leads to what is no plain https URL", fetch->host,
                                fetch->status);
                return false;
        }
        if (++fetch->n_redirects > HTTP_REDIRECTS_MAX) {
                http_fetch_fail(fetch, FAILURE_URL_REFUSED, "https://%s: more than %d redirects", fetch->host,
                                HTTP_REDIRECTS_MAX);
                return false;
        }
        url = strdup(target);
        fetch_leave_curl(fetch);
        fetch->connected = false;
        fetch->status = 0;
        fetch->n_head = fetch->n_ignored = 0;
        r = url ? http_fetch_set_url(fetch, url) : -ENOMEM;
        if (r == 0)
                r = fetch_ask(fetch);
        if (r < 0)
                http_fetch_fail(fetch, r == -ENOMEM ? FAILURE_RESOURCES : FAILURE_URL_REFUSED,
                                "https://%s: cannot follow the redirect: %s", fetch->host, strerror(-r));
        return r == 0;
}

static bool code_is_trust(CURLcode code)
{
        return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE ||
               code == CURLE_SSL_ISSUER_ERROR || code == CURLE_SSL_CRL_BADFILE || code == CURLE_SSL_INVALIDCERTSTATUS;
}

/* A proxy that did not let us through is not the server, whatever status it gave. */
static void fetch_blame_proxy(HttpFetch *fetch, const char *error)
{
        long status = 0;

        (void)curl.easy_getinfo(fetch->easy, CURLINFO_HTTP_CONNECTCODE, &status);
        if (status >= 300)
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED,
                                "https://%s: the proxy %s port %u refused the connection: HTTP status %ld, %s",
                                fetch->host, fetch->proxy.host, fetch->proxy.port, status,
                                proxy_status_to_words((int)status));
        else
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED, "https://%s through the proxy %s port %u: %s",
                                fetch->host, fetch->proxy.host, fetch->proxy.port, error);
}

static void fetch_judge(HttpFetch *fetch, CURLcode code)
{
        const char *error = fetch->curl_error[0] ? fetch->curl_error : curl.easy_strerror(code);
        Failure failure;

        if (failure_is_set(&fetch->failure))
                return; /* said inside a callback, why else the transfer would go on */
        if (fetch->status >= 300) {
                (void)http_status_fail(fetch->status, fetch->error_body, fetch->n_error_body, &failure);
                http_fetch_fail(fetch, failure.reason, "https://%s: %s", fetch->host, failure.detail);
        } else if (code_is_trust(code)) {
                http_fetch_fail(fetch, FAILURE_TLS, "https://%s: %s", fetch->host, error);
        } else if (code == CURLE_OUT_OF_MEMORY) {
                http_fetch_fail(fetch, FAILURE_RESOURCES, "https://%s: out of memory", fetch->host);
        } else if (fetch->proxy.kind != PROXY_NONE && !fetch->connected) {
                fetch_blame_proxy(fetch, error);
        } else if (fetch->head_good && fetch->n_taken < http_fetch_wanted_bytes(fetch)) {
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED,
                                "https://%s: ended after %" PRIu64 " of %" PRIu64 " bytes%s%s", fetch->host,
                                fetch->params.first_byte + fetch->n_taken, fetch->params.total_bytes,
                                code == CURLE_OK ? "" : ": ", code == CURLE_OK ? "" : error);
        } else if (!fetch->head_good) {
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED, "https://%s: %s", fetch->host,
                                code == CURLE_OK ? "no answer" : error);
        }
        /* Else every byte was taken: an untidy end after the last one harms nobody. */
}

void http_fetch_on_curl_done(HttpFetch *fetch, CURLcode code)
{
        curl_off_t retry_after_sec = 0;

        if (!failure_is_set(&fetch->failure) && http_status_is_redirect(fetch->status) && fetch_follow(fetch))
                return;
        if (fetch->easy)
                (void)curl.easy_getinfo(fetch->easy, CURLINFO_RETRY_AFTER, &retry_after_sec);
        if (retry_after_sec > 0)
                fetch->retry_after_usec =
                        MIN2((uint64_t)retry_after_sec, RETRY_AFTER_MAX_USEC / USEC_PER_SEC) * USEC_PER_SEC;
        fetch_judge(fetch, code);
        fetch_finish(fetch);
}

static int on_stall(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata)
{
        HttpFetch *fetch = userdata;
        uint64_t needed =
                MAX2(fetch->params.low_speed_bytes * (fetch->params.stall_usec / USEC_PER_SEC), UINT64_C(1));
        char text[DURATION_TEXT_MAX];

        /* Name look-up and connection have deadlines of their own. */
        if (!fetch->connected || fetch->n_window >= needed) {
                fetch_arm_stall(fetch);
                return 0;
        }
        http_fetch_fail(fetch, FAILURE_DOWNLOAD_STALLED,
                        "https://%s: %" PRIu64 " bytes in the last %s, at byte %" PRIu64 " of %" PRIu64, fetch->host,
                        fetch->n_window, duration_format(text, fetch->params.stall_usec),
                        fetch->params.first_byte + fetch->n_taken, fetch->params.total_bytes);
        fetch_finish(fetch);
        return 0;
}

static void fetch_tell(HttpFetch *fetch)
{
        const HttpFetchOutcome outcome = {
                .failure = failure_is_set(&fetch->failure) ? &fetch->failure : NULL,
                .http_status = fetch->status,
                .next_byte = fetch->params.first_byte + fetch->n_taken,
                .retry_after_usec = fetch->retry_after_usec,
        };

        fetch->callbacks.on_done(fetch, &outcome, fetch->userdata);
}

static int on_step(sd_event_source *source _unused_, void *userdata)
{
        HttpFetch *fetch = userdata;
        HttpClient *client = fetch->client;
        CURLcode code;
        bool doomed;

        if (fetch->finished) {
                fetch_tell(fetch);
                return 0;
        }
        if (!fetch->paused)
                return 0;
        fetch->paused = false;
        fetch_arm_stall(fetch);
        http_client_enter(client);
        code = curl.easy_pause(fetch->easy, CURLPAUSE_CONT);
        doomed = fetch->doomed;
        http_client_leave(client);
        /* What a callback refused in there comes back as a code and not as a message. */
        if (code != CURLE_OK && !doomed && !fetch->finished)
                http_fetch_on_curl_done(fetch, code);
        return 0;
}

void http_fetch_resume(HttpFetch *fetch)
{
        if (fetch->paused && !fetch->doomed)
                (void)sd_event_source_set_enabled(fetch->step_source, SD_EVENT_ONESHOT);
}

/* --- its life --- */

static HttpFetch *fetch_destroy(HttpFetch *fetch)
{
        resolver_free(fetch->resolver);
        fetch_leave_curl(fetch);
        sd_event_source_disable_unref(fetch->step_source);
        sd_event_source_disable_unref(fetch->stall_source);
        free(fetch->url);
        free(fetch->host);
        free(fetch->port);
        free((char *)(uintptr_t)fetch->params.if_match);
        free((char *)(uintptr_t)fetch->params.ca_file);
        free((char *)(uintptr_t)fetch->params.user_agent);
        free((char *)(uintptr_t)fetch->params.dns_servers);
        free((char *)(uintptr_t)fetch->params.proxy.url);
        free((char *)(uintptr_t)fetch->params.proxy.credentials_file);
        free(fetch);
        return NULL;
}

HttpFetch *http_fetch_bury(HttpFetch *doomed)
{
        HttpFetch *next = doomed->doomed_next;

        fetch_destroy(doomed);
        return next;
}

HttpFetch *http_fetch_free(HttpFetch *fetch)
{
        if (!fetch)
                return NULL;
        if (fetch->client->in_curl == 0)
                return fetch_destroy(fetch);
        assert(!fetch->doomed);
        fetch->doomed = true;
        fetch->doomed_next = fetch->client->first_doomed;
        fetch->client->first_doomed = fetch;
        fetch->resolver = resolver_free(fetch->resolver);
        (void)sd_event_source_set_enabled(fetch->step_source, SD_EVENT_OFF);
        (void)sd_event_source_set_enabled(fetch->stall_source, SD_EVENT_OFF);
        return NULL;
}

static int own_string(const char **text)
{
        if (!*text)
                return 0;
        *text = strdup(*text);
        return *text ? 0 : -ENOMEM;
}

static int fetch_set_params(HttpFetch *fetch, const HttpFetchParams *params)
{
        int r = 0;

        fetch->params = *params;
        fetch->params.url = NULL;
        if (own_string(&fetch->params.if_match) < 0)
                r = -ENOMEM;
        if (own_string(&fetch->params.ca_file) < 0)
                r = -ENOMEM;
        if (own_string(&fetch->params.user_agent) < 0)
                r = -ENOMEM;
        if (own_string(&fetch->params.dns_servers) < 0)
                r = -ENOMEM;
        if (own_string(&fetch->params.proxy.url) < 0)
                r = -ENOMEM;
        if (own_string(&fetch->params.proxy.credentials_file) < 0)
                r = -ENOMEM;
        return r < 0 ? r : http_fetch_set_url(fetch, params->url);
}

static int fetch_add_sources(HttpFetch *fetch)
{
        sd_event *event = fetch->client->event;
        int r;

        r = sd_event_add_defer(event, &fetch->step_source, on_step, fetch);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(fetch->step_source, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_time_relative(event, &fetch->stall_source, CLOCK_BOOTTIME, 0, 100 * USEC_PER_MSEC, on_stall,
                                       fetch);
        if (r < 0)
                return r;
        (void)sd_event_source_set_description(fetch->step_source, "http-step");
        (void)sd_event_source_set_description(fetch->stall_source, "http-stall");
        return sd_event_source_set_enabled(fetch->stall_source, SD_EVENT_OFF);
}

int http_fetch_start(HttpClient *client, const HttpFetchParams *params, const HttpFetchCallbacks *callbacks,
                     void *userdata, HttpFetch **ret)
{
        _cleanup_(http_fetch_freep) HttpFetch *fetch = NULL;
        int r;

        assert(callbacks->on_data && callbacks->on_done);
        r = http_client_prepare(client);
        if (r < 0)
                return r;
        if (!params->url || !http_url_is_fit(params->url) || params->first_byte >= params->total_bytes ||
            !params->ca_file || params->connect_timeout_usec == 0 || params->stall_usec == 0 ||
            params->low_speed_bytes > UINT32_MAX || (params->if_match && !http_etag_is_useful(params->if_match)))
                return -EINVAL;
        fetch = calloc(1, sizeof(*fetch));
        if (!fetch)
                return -ENOMEM;
        fetch->client = client;
        fetch->callbacks = *callbacks;
        fetch->userdata = userdata;
        r = proxy_find(&params->proxy, &fetch->proxy);
        if (r < 0)
                return r;
        r = fetch_set_params(fetch, params);
        if (r < 0)
                return r;
        r = fetch_add_sources(fetch);
        if (r < 0)
                return r;
        r = fetch_ask(fetch);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(fetch);
        return 0;
}
