#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/time-util.h"
#include "ca-file.h"
#include "http-private.h"
#include "http-response.h"
#include "tls-suites.h"

enum {
        HEAD_BYTES_MAX = 64 * 1024,
        IGNORED_BODY_MAX = 64 * 1024, /* of a redirect; then the connection is given up */
        RESOLVE_TEXT_MAX = 1024,
};

/* --- what curl tells; all of it from inside curl --- */

static const char *fetch_header(HttpFetch *fetch, const char *name)
{
        struct curl_header *header;

        if (curl.easy_header(fetch->easy, name, 0, CURLH_HEADER, -1, &header) != CURLHE_OK)
                return NULL;
        return header->value;
}

/* The answer's head is whole. Negative: its body is not for us. */
static int fetch_on_head(HttpFetch *fetch)
{
        const HttpExpectation expected = {
                .first_byte = fetch->params.first_byte,
                .total_bytes = fetch->params.total_bytes,
                .if_match = fetch->params.if_match,
        };
        HttpHead head = {
                .content_range = fetch_header(fetch, "Content-Range"),
                .etag = fetch_header(fetch, "ETag"),
        };
        curl_off_t length = -1;
        long status = 0;

        (void)curl.easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl.easy_getinfo(fetch->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if (status < 200)
                return 0; /* 100 Continue and its like: the real one follows */
        fetch->status = head.status = (int)status;
        head.has_length = length >= 0;
        head.length = length >= 0 ? (uint64_t)length : 0;
        if (status >= 300)
                return 0; /* the body may say why */
        if (http_head_check(&expected, &head, &fetch->failure) < 0)
                return -1;
        fetch->head_good = true;
        if (fetch->callbacks.on_headers)
                fetch->callbacks.on_headers(fetch, http_etag_is_useful(head.etag) ? head.etag : NULL,
                                            fetch->userdata);
        return fetch->doomed ? -1 : 0;
}

/* Line by line; the empty one ends a head. Returning less than `n` makes curl end the transfer. */
static size_t on_curl_header(char *line, size_t size, size_t n_items, void *userdata)
{
        HttpFetch *fetch = userdata;
        size_t n = size * n_items;

        if (fetch->doomed)
                return 0;
        fetch->n_window += n;
        fetch->n_head += n;
        if (fetch->n_head > HEAD_BYTES_MAX) {
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED, "the answer's head has more than %d bytes",
                                HEAD_BYTES_MAX);
                return 0;
        }
        if (fetch->head_good || (!(n == 2 && memcmp(line, "\r\n", 2) == 0) && !(n == 1 && line[0] == '\n')))
                return n;
        return fetch_on_head(fetch) < 0 ? 0 : n;
}

static size_t fetch_take_other_body(HttpFetch *fetch, const char *data, size_t n)
{
        size_t room = sizeof(fetch->error_body) - fetch->n_error_body;

        if (http_status_is_redirect(fetch->status)) {
                fetch->n_ignored += n;
                return fetch->n_ignored <= IGNORED_BODY_MAX ? n : 0;
        }
        memcpy(fetch->error_body + fetch->n_error_body, data, MIN2(n, room));
        fetch->n_error_body += MIN2(n, room);
        return n <= room ? n : 0;
}

static size_t on_curl_data(char *data, size_t size, size_t n_items, void *userdata)
{
        HttpFetch *fetch = userdata;
        size_t n = size * n_items;
        Failure failure = {0};
        int r;

        if (fetch->doomed)
                return 0;
        if (!fetch->head_good) {
                fetch->n_window += n;
                return fetch_take_other_body(fetch, data, n);
        }
        if (n > http_fetch_wanted_bytes(fetch) - fetch->n_taken) {
                http_fetch_fail(fetch, FAILURE_RANGE_WRONG,
                                "the image has %" PRIu64 " bytes, but the server sent more after byte %" PRIu64,
                                fetch->params.total_bytes, fetch->params.first_byte + fetch->n_taken);
                return 0;
        }
        r = fetch->callbacks.on_data(fetch, (const uint8_t *)data, n, fetch->userdata, &failure);
        if (fetch->doomed)
                return 0;
        if (r == -EAGAIN) {
                fetch->paused = true;
                (void)sd_event_source_set_enabled(fetch->stall_source, SD_EVENT_OFF);
                return CURL_WRITEFUNC_PAUSE;
        }
        if (r < 0) {
                fetch->failure = failure;
                http_fetch_fail(fetch, FAILURE_INTERNAL, "the downloaded bytes could not be taken: %s", strerror(-r));
                return 0;
        }
        fetch->n_window += n;
        fetch->n_taken += n;
        return n;
}

static CURLcode on_curl_tls(CURL *easy _unused_, void *context, void *userdata)
{
        HttpFetch *fetch = userdata;
        int r = ca_file_trust(context, fetch->params.ca_file);

        if (r == -ENOMEM)
                return CURLE_OUT_OF_MEMORY;
        if (r < 0) {
                http_fetch_fail(fetch, FAILURE_TLS, "https://%s: cannot use the CA file %s: %s", fetch->host,
                                fetch->params.ca_file, r == -EBADMSG ? "no certificate in it" : strerror(-r));
                return CURLE_SSL_CACERT_BADFILE;
        }
        tls_suites_order(context, tls_suites_aes());
        return CURLE_OK;
}

static int on_curl_connected(void *userdata, char *address _unused_, char *local_address _unused_, int port _unused_,
                             int local_port _unused_)
{
        HttpFetch *fetch = userdata;

        fetch->connected = true;
        return CURL_PREREQFUNC_OK;
}

/* --- one request --- */

/* NULL where it does not parse. Only the parts that are no secret. */
static char *url_part(const char *url, CURLUPart part, unsigned flags)
{
        char *text = NULL, *copy = NULL;
        CURLU *parser = curl.url();

        if (parser &&
            curl.url_set(parser, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME | CURLU_PATH_AS_IS) == CURLUE_OK &&
            curl.url_get(parser, part, &text, flags) == CURLUE_OK)
                copy = strdup(text);
        curl.free(text);
        curl.url_cleanup(parser);
        return copy;
}

bool http_url_is_fit(const char *url)
{
        _cleanup_free_ char *scheme = url_part(url, CURLUPART_SCHEME, 0);
        _cleanup_free_ char *user = url_part(url, CURLUPART_USER, 0);
        size_t n = strlen(url);

        if (n > HTTP_URL_MAX || !scheme || strcmp(scheme, "https") != 0 || user)
                return false;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)url[i] <= 0x20 || (unsigned char)url[i] >= 0x7f)
                        return false;
        return true;
}

/* Takes the URL over, and what is said of it in logs. */
int http_fetch_set_url(HttpFetch *fetch, const char *url)
{
        _cleanup_free_ char *copy = strdup(url);
        _cleanup_free_ char *host = url_part(url, CURLUPART_HOST, 0);
        _cleanup_free_ char *port = url_part(url, CURLUPART_PORT, CURLU_DEFAULT_PORT);
        size_t n = host ? strlen(host) : 0;

        if (!copy || !host || !port)
                return -ENOMEM;
        if (host[0] == '[' && host[n - 1] == ']') { /* an IPv6 literal */
                memmove(host, host + 1, n - 2);
                host[n - 2] = '\0';
        }
        free(fetch->url);
        free(fetch->host);
        free(fetch->port);
        fetch->url = TAKE_PTR(copy);
        fetch->host = TAKE_PTR(host);
        fetch->port = TAKE_PTR(port);
        return 0;
}

/* The name was looked up by us, so that curl needs no thread for it: "+HOST:PORT:ADDRESS,ADDRESS". */
static int fetch_set_addresses(HttpFetch *fetch, const ResolvedAddress *addresses, size_t n_addresses)
{
        char text[RESOLVER_NAME_MAX + RESOLVE_TEXT_MAX];
        bool proxied = fetch->proxy.kind != PROXY_NONE;
        const char *host = proxied ? fetch->proxy.host : fetch->host;
        size_t n;

        if (strcmp(addresses[0].text, host) == 0)
                return 0; /* a literal */
        if (proxied)
                n = (size_t)snprintf(text, sizeof(text), "+%s:%u:", host, fetch->proxy.port);
        else
                n = (size_t)snprintf(text, sizeof(text), "+%s:%s:", host, fetch->port);
        for (size_t i = 0; i < n_addresses && n + sizeof(addresses[i].text) + 1 < sizeof(text); i++)
                n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? "," : "", addresses[i].text);
        fetch->addresses = curl.slist_append(NULL, text);
        return fetch->addresses ? 0 : -ENOMEM;
}

static int fetch_set_headers(HttpFetch *fetch)
{
        char line[HTTP_ETAG_MAX + 32];

        if (!fetch->params.if_match)
                return 0;
        (void)snprintf(line, sizeof(line), "If-Match: %s", fetch->params.if_match);
        fetch->headers = curl.slist_append(NULL, line);
        return fetch->headers ? 0 : -ENOMEM;
}

/* "" is not even one from the environment, which would look names up itself. curl copies the strings. */
static int fetch_set_proxy(HttpFetch *fetch)
{
        char url[PROXY_HOST_MAX + 32] = "", problem[PROXY_TEXT_MAX];
        CURL *easy = fetch->easy;
        ProxyUrl proxy;
        bool good;

        if (proxy_load(&fetch->params.proxy, &proxy, problem) < 0) {
                http_fetch_fail(fetch, FAILURE_DOWNLOAD_FAILED, "https://%s: proxy: %s", fetch->host, problem);
                explicit_bzero(&proxy, sizeof(proxy));
                return -EINVAL;
        }
        if (proxy.kind != PROXY_NONE)
                (void)snprintf(url, sizeof(url), strchr(proxy.host, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
                               proxy.kind == PROXY_HTTP ? "http" : "socks5h", proxy.host, proxy.port);
        good = curl.easy_setopt(easy, CURLOPT_PROXY, url) == CURLE_OK &&
               curl.easy_setopt(easy, CURLOPT_NOPROXY, "") == CURLE_OK &&
               curl.easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L) == CURLE_OK &&
               curl.easy_setopt(easy, CURLOPT_PROXYAUTH, (long)CURLAUTH_BASIC) == CURLE_OK &&
               curl.easy_setopt(easy, CURLOPT_SOCKS5_AUTH, (long)CURLAUTH_BASIC) == CURLE_OK;
        if (good && proxy.has_credentials)
                good = curl.easy_setopt(easy, CURLOPT_PROXYUSERNAME, proxy.user) == CURLE_OK &&
                       curl.easy_setopt(easy, CURLOPT_PROXYPASSWORD, proxy.password) == CURLE_OK;
        explicit_bzero(&proxy, sizeof(proxy));
        return good ? 0 : -ENOMEM;
}

static int fetch_set_options(HttpFetch *fetch)
{
        const HttpFetchParams *p = &fetch->params;
        CURL *easy = fetch->easy;
        CURLcode code = CURLE_OK;
        char range[32];

#define SET(option, value)                                            \
        do {                                                          \
                if (code == CURLE_OK)                                 \
                        code = curl.easy_setopt(easy, option, value); \
        } while (0)
        SET(CURLOPT_PRIVATE, fetch);
        SET(CURLOPT_ERRORBUFFER, fetch->curl_error);
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_URL, fetch->url);
        SET(CURLOPT_PROTOCOLS_STR, "https");
        SET(CURLOPT_PATH_AS_IS, 1L);
        SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
        SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
        SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        SET(CURLOPT_CAINFO, NULL); /* what is trusted is set by on_curl_tls() alone */
        SET(CURLOPT_CAPATH, NULL);
        SET(CURLOPT_SSL_CTX_FUNCTION, on_curl_tls);
        SET(CURLOPT_SSL_CTX_DATA, fetch);
        SET(CURLOPT_CONNECTTIMEOUT_MS, (long)MIN2(p->connect_timeout_usec / USEC_PER_MSEC + 1, UINT64_C(3600000)));
        SET(CURLOPT_HEADERFUNCTION, on_curl_header);
        SET(CURLOPT_HEADERDATA, fetch);
        SET(CURLOPT_WRITEFUNCTION, on_curl_data);
        SET(CURLOPT_WRITEDATA, fetch);
        SET(CURLOPT_PREREQFUNCTION, on_curl_connected);
        SET(CURLOPT_PREREQDATA, fetch);
        if (p->user_agent)
                SET(CURLOPT_USERAGENT, p->user_agent);
        if (p->first_byte > 0) {
                (void)snprintf(range, sizeof(range), "%" PRIu64 "-", p->first_byte);
                SET(CURLOPT_RANGE, range);
        }
        if (fetch->headers)
                SET(CURLOPT_HTTPHEADER, fetch->headers);
        if (fetch->addresses)
                SET(CURLOPT_RESOLVE, fetch->addresses);
#undef SET
        return code == CURLE_OK ? 0 : -ENOMEM;
}

int http_fetch_make_request(HttpFetch *fetch, const ResolvedAddress *addresses, size_t n_addresses)
{
        fetch->easy = curl.easy_init();
        if (!fetch->easy || fetch_set_addresses(fetch, addresses, n_addresses) < 0 || fetch_set_headers(fetch) < 0 ||
            fetch_set_options(fetch) < 0 || fetch_set_proxy(fetch) < 0)
                return -ENOMEM;
        return 0;
}
