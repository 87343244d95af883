/*
 * proxy: the way through a proxy: who it is, what is said to it, and what its answers mean.
 *
 * A handshake is pure: bytes in, bytes out, no descriptor, no clock. After it the connection is a pipe to the
 * destination, which the proxy looks up itself; what then goes through is TLS from end to end.
 *
 * Sources: RFC 9110, section 9.3.6 (CONNECT); RFC 7617 (Basic); RFC 1928 (SOCKS5) and RFC 1929 (its passwords).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/proxy-url.h"

enum {
        PROXY_TEXT_MAX = 512,
        PROXY_REQUEST_MAX = 2048,
        PROXY_ANSWER_MAX = 8192, /* an answer's head beyond this is refused */
};

/* Borrowed. */
typedef struct ProxyParams {
        const char *url;              /* NULL or "none": no proxy */
        const char *credentials_file; /* NULL or "": none; read anew each time */
        gid_t group;                  /* whose members may read that file, too */
} ProxyParams;

/* Where it is, without its credentials. -EINVAL: the URL is none. */
_must_use_ int proxy_find(const ProxyParams *params, ProxyUrl *ret);
/* Whoever calls it wipes *ret, as it holds a password. Negative, with a `problem` in words, where the
 * credentials cannot be had or the URL is none. */
_must_use_ int proxy_load(const ProxyParams *params, ProxyUrl *ret, char problem[static PROXY_TEXT_MAX]);

typedef struct ProxyHandshake {
        ProxyKind kind;
        unsigned step;
        char destination[PROXY_HOST_MAX + 1];
        uint16_t port;
        char user[PROXY_CREDENTIAL_MAX + 1], password[PROXY_CREDENTIAL_MAX + 1];
        bool has_credentials;
        uint8_t out[PROXY_REQUEST_MAX]; /* to be sent now; whoever sends it lowers n_out */
        size_t n_out;
        uint8_t in[PROXY_ANSWER_MAX];
        size_t n_in;
} ProxyHandshake;

/* Fills `out` with the first words. */
void proxy_handshake_init(ProxyHandshake *handshake, const ProxyUrl *proxy, const char *host, uint16_t port);
/*
 * What came from the proxy. 1: the way is open. 0: go on, with what is in `out` if anything. Negative: `problem` says
 * why not, in words: -EACCES the proxy refused, -EPROTO it is none, or it said too much.
 */
_must_use_ int proxy_handshake_take(ProxyHandshake *handshake, const uint8_t *data, size_t n_data,
                                    char problem[static PROXY_TEXT_MAX]);
void proxy_handshake_wipe(ProxyHandshake *handshake);

/* "407: it wants a user name and password, ..."; what an HTTP status of a proxy's means for us. Static text. */
const char *proxy_status_to_words(int status);
