#include "transport/proxy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/file-util.h"

enum {
        STEP_METHOD, /* SOCKS5: how to authenticate */
        STEP_PASSWORD,
        STEP_CONNECT,
};

static _printf_(3, 4) int complain(char problem[static PROXY_TEXT_MAX], int error, const char *format, ...)
{
        va_list args;

        va_start(args, format);
        (void)vsnprintf(problem, PROXY_TEXT_MAX, format, args);
        va_end(args);
        return -error;
}

/* --- who it is --- */

static int read_credentials(const ProxyParams *params, ProxyUrl *url, char problem[static PROXY_TEXT_MAX])
{
        const char *path = params->credentials_file;
        char *text = NULL;
        size_t n_text = 0;
        int r;

        r = file_read_secret(path, 2 * PROXY_CREDENTIAL_MAX + 3, params->group, &text, &n_text);
        if (r == -EKEYREJECTED)
                return complain(
                        problem, EKEYREJECTED,
                        "cannot use the file %s: others than its owner and group may read or change it; chmod "
                        "0640, and chgrp it to the group of otad",
                        path);
        if (r < 0)
                return complain(problem, -r, "cannot use the file %s: %s", path,
                                r == -EINVAL ? "not a regular file" : strerror(-r));
        r = proxy_url_set_credentials(url, text);
        explicit_bzero(text, n_text);
        free(text);
        return r < 0 ? complain(problem, -r, "cannot use the file %s: it is not one line USER:PASSWORD", path) : 0;
}

int proxy_find(const ProxyParams *params, ProxyUrl *ret)
{
        int r = proxy_url_parse(params->url ?: "none", ret);

        ret->has_credentials = false;
        explicit_bzero(ret->user, sizeof(ret->user));
        explicit_bzero(ret->password, sizeof(ret->password));
        return r;
}

int proxy_load(const ProxyParams *params, ProxyUrl *ret, char problem[static PROXY_TEXT_MAX])
{
        if (proxy_url_parse(params->url ?: "none", ret) < 0)
                return complain(problem, EINVAL, "the URL is none of a proxy");
        if (ret->kind == PROXY_NONE || !params->credentials_file || !params->credentials_file[0])
                return 0;
        return read_credentials(params, ret, problem);
}

/* --- HTTP --- */

const char *proxy_status_to_words(int status)
{
        switch (status) {
        case 400:
                return "it does not understand CONNECT, or not to this host and port";
        case 401:
        case 407:
                return "it wants a user name and password, or other ones; set proxy.credentials-file";
        case 403:
                return "it does not allow this host and port; have its administrator allow them";
        case 404:
        case 502:
                return "it cannot reach the host; does its name exist, is there a way out of the proxy?";
        case 405:
        case 501:
                return "it knows no CONNECT; is it a proxy at all?";
        case 429:
        case 503:
                return "it is overloaded";
        case 504:
                return "the host did not answer it in time";
        default:
                return "no reason known";
        }
}

static void http_ask(ProxyHandshake *h)
{
        char credentials[2 * PROXY_CREDENTIAL_MAX + 2], encoded[4 * (sizeof(credentials) + 2) / 3 + 1] = "";
        const char *open = strchr(h->destination, ':') ? "[" : "", *close = open[0] ? "]" : "";
        int n;

        if (h->has_credentials) {
                n = snprintf(credentials, sizeof(credentials), "%s:%s", h->user, h->password);
                (void)EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)credentials, n);
        }
        n = snprintf((char *)h->out, sizeof(h->out), "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n%s%s%s\r\n",
                     open, h->destination, close, h->port, open, h->destination, close, h->port,
                     encoded[0] ? "Proxy-Authorization: Basic " : "", encoded, encoded[0] ? "\r\n" : "");
        assert(n > 0 && (size_t)n < sizeof(h->out));
        h->n_out = (size_t)n;
        explicit_bzero(credentials, sizeof(credentials));
        explicit_bzero(encoded, sizeof(encoded));
}

/* What follows a refusal's head is of no matter: the connection ends. */
static int http_take(ProxyHandshake *h, char problem[static PROXY_TEXT_MAX])
{
        static const char start[] = "HTTP/1.";
        size_t n_start = strlen(start);
        const uint8_t *end = memmem(h->in, h->n_in, "\r\n\r\n", 4);
        int status = 0;

        if (memcmp(h->in, start, h->n_in < n_start ? h->n_in : n_start) != 0)
                return complain(problem, EPROTO, "it answers, but not in HTTP; is it a proxy for CONNECT?");
        if (!end)
                return h->n_in < sizeof(h->in)
                               ? 0
                               : complain(problem, EPROTO, "its answer has a head of more than %d bytes",
                                          PROXY_ANSWER_MAX);
        /* "HTTP/1.x NNN" */
        for (size_t i = n_start + 2; i < n_start + 5; i++) {
                if (h->in[i] < '0' || h->in[i] > '9' || h->in[n_start + 1] != ' ')
                        return complain(problem, EPROTO, "its answer has no status");
                status = status * 10 + (h->in[i] - '0');
        }
        if (status < 200 || status > 299)
                return complain(problem, EACCES, "it refused the connection: HTTP status %d, %s", status,
                                proxy_status_to_words(status));
        if (end + 4 != h->in + h->n_in)
                return complain(problem, EPROTO, "it sent more than its answer, before we said a word");
        return 1;
}

/* --- SOCKS5 --- */

static const char *socks_reply_to_words(int reply)
{
        switch (reply) {
        case 1:
                return "general failure";
        case 2:
                return "its rules do not allow this host and port; have its administrator allow them";
        case 3:
                return "the network cannot be reached from there";
        case 4:
                return "it cannot reach the host; does its name exist?";
        case 5:
                return "the host refused the connection";
        case 6:
                return "the host did not answer it in time";
        case 7:
                return "it knows no CONNECT";
        case 8:
                return "it does not take this kind of address";
        default:
                return "no reason known";
        }
}

static void out_add(ProxyHandshake *h, const void *data, size_t n_data)
{
        assert(n_data <= sizeof(h->out) - h->n_out);
        memcpy(h->out + h->n_out, data, n_data);
        h->n_out += n_data;
}

static void out_add_byte(ProxyHandshake *h, size_t byte)
{
        uint8_t value = (uint8_t)byte;

        out_add(h, &value, 1);
}

static void socks_ask_method(ProxyHandshake *h)
{
        out_add(h, h->has_credentials ? "\x05\x02\x00\x02" : "\x05\x01\x00", h->has_credentials ? 4 : 3);
}

static void socks_ask_password(ProxyHandshake *h)
{
        out_add_byte(h, 1);
        out_add_byte(h, strlen(h->user));
        out_add(h, h->user, strlen(h->user));
        out_add_byte(h, strlen(h->password));
        out_add(h, h->password, strlen(h->password));
        h->step = STEP_PASSWORD;
}

static void socks_ask_connect(ProxyHandshake *h)
{
        struct in6_addr v6;
        struct in_addr v4;
        uint16_t port = htons(h->port);

        out_add(h, "\x05\x01\x00", 3);
        if (inet_pton(AF_INET, h->destination, &v4) == 1) {
                out_add_byte(h, 1);
                out_add(h, &v4, sizeof(v4));
        } else if (inet_pton(AF_INET6, h->destination, &v6) == 1) {
                out_add_byte(h, 4);
                out_add(h, &v6, sizeof(v6));
        } else {
                out_add_byte(h, 3);
                out_add_byte(h, strlen(h->destination));
                out_add(h, h->destination, strlen(h->destination));
        }
        out_add(h, &port, sizeof(port));
        h->step = STEP_CONNECT;
}

/* The length of the answer to CONNECT; 0: not yet known. */
static size_t socks_answer_bytes(const ProxyHandshake *h)
{
        if (h->n_in < 5)
                return 0;
        return h->in[3] == 1 ? 10 : h->in[3] == 4 ? 22 : h->in[3] == 3 ? 7U + h->in[4] : 5;
}

static int socks_take(ProxyHandshake *h, char problem[static PROXY_TEXT_MAX])
{
        size_t n = h->step == STEP_CONNECT ? socks_answer_bytes(h) : 2;

        if (h->in[0] != (h->step == STEP_PASSWORD ? 1 : 5))
                return complain(problem, EPROTO, "it answers, but not in SOCKS5");
        if (h->step == STEP_CONNECT && h->n_in >= 2 && h->in[1] != 0)
                return complain(problem, EACCES, "it refused the connection: SOCKS reply %u, %s", h->in[1],
                                socks_reply_to_words(h->in[1]));
        if (n == 0 || h->n_in < n)
                return 0;
        if (h->n_in > n)
                return complain(problem, EPROTO, "it sent more than its answer, before we said a word");
        h->n_in = 0;
        if (h->step == STEP_CONNECT)
                return 1;
        if (h->step == STEP_PASSWORD && h->in[1] != 0)
                return complain(problem, EACCES, "it refused user name and password; set proxy.credentials-file");
        if (h->step == STEP_METHOD && h->in[1] != 0 && !(h->in[1] == 2 && h->has_credentials))
                return complain(problem, EACCES,
                                "it wants a user name and password, or another way to log in; set "
                                "proxy.credentials-file");
        if (h->step == STEP_METHOD && h->in[1] == 2)
                socks_ask_password(h);
        else
                socks_ask_connect(h);
        return 0;
}

/* --- both --- */

void proxy_handshake_init(ProxyHandshake *h, const ProxyUrl *proxy, const char *host, uint16_t port)
{
        assert(proxy->kind != PROXY_NONE && strlen(host) <= PROXY_HOST_MAX);
        *h = (ProxyHandshake){.kind = proxy->kind, .port = port, .has_credentials = proxy->has_credentials};
        memcpy(h->user, proxy->user, sizeof(h->user));
        memcpy(h->password, proxy->password, sizeof(h->password));
        (void)strcpy(h->destination, host);
        if (h->kind == PROXY_HTTP)
                http_ask(h);
        else
                socks_ask_method(h);
}

int proxy_handshake_take(ProxyHandshake *h, const uint8_t *data, size_t n_data, char problem[static PROXY_TEXT_MAX])
{
        size_t n = sizeof(h->in) - h->n_in;

        if (n_data > n)
                return complain(problem, EPROTO, "it sent more than an answer has");
        memcpy(h->in + h->n_in, data, n_data);
        h->n_in += n_data;
        if (h->n_in == 0)
                return 0;
        return h->kind == PROXY_HTTP ? http_take(h, problem) : socks_take(h, problem);
}

void proxy_handshake_wipe(ProxyHandshake *h)
{
        explicit_bzero(h, sizeof(*h));
}
