/*
 * proxy-url: where a proxy is, and who we are to it.
 *
 * Pure. Source: RFC 3986, section 3.2 (authority), 2.1 (percent-encoding); the schemes as curl names them.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

enum {
        PROXY_HOST_MAX = 253,
        PROXY_CREDENTIAL_MAX = 255, /* what a SOCKS message can hold (RFC 1929) */
};

#define PROXY_URL_ALLOWED                                                                           \
        "\"none\", or http://[USER:PASSWORD@]HOST:PORT, or the same with socks5:// or socks5h://; " \
        "%XX for what has another meaning"

typedef enum ProxyKind {
        PROXY_NONE,
        PROXY_HTTP,   /* CONNECT */
        PROXY_SOCKS5, /* names are looked up by the proxy */
} ProxyKind;

/* A plain value. */
typedef struct ProxyUrl {
        ProxyKind kind;
        char host[PROXY_HOST_MAX + 1]; /* a name or an IP address, without brackets */
        uint16_t port;
        bool has_credentials;
        char user[PROXY_CREDENTIAL_MAX + 1];
        char password[PROXY_CREDENTIAL_MAX + 1];
} ProxyUrl;

/* -EINVAL: not one; *ret is void then. */
_must_use_ int proxy_url_parse(const char *text, ProxyUrl *ret);
/* USER:PASSWORD as they are, up to the first line end. -EINVAL: no colon, too long, nothing before the colon. */
_must_use_ int proxy_url_set_credentials(ProxyUrl *url, const char *text);
