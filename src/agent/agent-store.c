#include "agent-private.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/time-util.h"

static void on_http_headers(HttpFetch *fetch, const char *etag, void *userdata)
{
        Agent *a = userdata;

        engine_on_http_headers(a->engine, etag);
        /* Over is the TLS handshake, by far the most of what libcurl and OpenSSL do for a download. */
        memory_give_back();
}

static int on_http_data(HttpFetch *fetch, const uint8_t *data, size_t n_data, void *userdata, Failure *reterr)
{
        Agent *a = userdata;
        int r = engine_on_http_data(a->engine, data, n_data, now_usec());

        if (r < 0 && r != -EAGAIN)
                (void)fail(reterr, FAILURE_INSTALLER, EPIPE, "otad-installer takes no more bytes");
        agent_defer(a); /* once for all that curl has brought this time */
        return r;
}

static void on_http_done(HttpFetch *fetch, const HttpFetchOutcome *outcome, void *userdata)
{
        Agent *a = userdata;

        engine_on_http_done(a->engine, outcome->failure, outcome->retry_after_usec, now_usec());
        /* Unless the engine has started the next one already. */
        if (a->fetch == fetch)
                a->fetch = NULL;
        http_fetch_free(fetch);
        agent_after_event(a);
}

static const HttpFetchCallbacks http_callbacks = {
        .on_headers = on_http_headers,
        .on_data = on_http_data,
        .on_done = on_http_done,
};

void agent_op_http_prepare(void *userdata)
{
        Agent *a = userdata;

        if (http_client_prepare(a->http) < 0)
                return; /* and the fetch will say so */
}

void agent_op_http_start(const char *url, uint64_t first_byte, uint64_t total_bytes, const char *etag, void *userdata)
{
        Agent *a = userdata;
        const Config *c = a->config;
        HttpFetchParams params = {
                .url = url,
                .first_byte = first_byte,
                .total_bytes = total_bytes,
                .if_match = etag,
                .ca_file = c->download.https_ca,
                .proxy = agent_proxy(a),
                .user_agent = "otad/" OTAD_VERSION,
                .connect_timeout_usec = c->broker.connect_timeout_usec,
                .stall_usec = c->download.stall_usec,
                .low_speed_bytes = c->download.low_speed_bytes,
        };
        int r;

        a->fetch = NULL;
        r = http_fetch_start(a->http, &params, &http_callbacks, a, &a->fetch);
        if (r < 0) {
                (void)fail(&a->deferred_http, r == -EINVAL ? FAILURE_URL_REFUSED : FAILURE_RESOURCES, -r,
                           "cannot start the download: %s", strerror(-r));
                agent_defer(a);
        }
}

void agent_op_http_resume(void *userdata)
{
        Agent *a = userdata;

        if (a->fetch)
                http_fetch_resume(a->fetch);
}

void agent_op_http_cancel(void *userdata)
{
        Agent *a = userdata;

        a->fetch = http_fetch_free(a->fetch);
        a->deferred_http = (Failure){0};
}
