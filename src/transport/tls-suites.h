/*
 * tls-suites: puts that TLS 1.3 suite forward which costs this processor least, as browsers do.
 *
 * OpenSSL puts AES-256 forward everywhere. With AES instructions AES-128 is faster, without them ChaCha20 is. Servers that
 * take the client's choice take the first that they have, too. Suites of TLS 1.2 stay as they are.
 */
#pragma once

#include <openssl/ssl.h>

typedef enum TlsSuitesAes {
        TLS_SUITES_AES_UNKNOWN, /* so OpenSSL's own order stands */
        TLS_SUITES_AES_BY_PROCESSOR,
        TLS_SUITES_AES_BY_SOFTWARE,
} TlsSuitesAes;

/* How AES-GCM is done on the processor that this runs on. */
TlsSuitesAes tls_suites_aes(void);

/*
 * For connections made from `context` from now on. What it offers stays the same, only the order changes; and not even that
 * where it is not OpenSSL's own, for then the administrator has chosen it (openssl.cnf), nor where there is no memory.
 */
void tls_suites_order(SSL_CTX *context, TlsSuitesAes aes);
