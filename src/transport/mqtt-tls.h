/*
 * mqtt-tls: the TLS side of a broker connection, as an SSL_CTX for libmosquitto.
 *
 * Verifies chain, dates and host name; offers client certificate, SNI and ALPN. Made anew for each try, so that files
 * are read anew. Source: RFC 6066 section 3 (SNI), RFC 7301 (ALPN), RFC 9525 (host names in certificates).
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "read-budget.h"
#include "transport/identity.h"

enum { MQTT_TLS_TEXT_MAX = IDENTITY_TEXT_MAX };

typedef struct MqttTlsParams {
        const char *host;
        const char *alpn; /* NULL: none */
        const char *ca_file;
        IdentityParams identity;
} MqttTlsParams;

/* What OpenSSL tells on the way and forgets with the SSL. Zeroed by the caller; must outlive the context. */
typedef struct MqttTlsReport {
        ReadBudget budget; /* under the SSL from its first byte on, so nothing is read before it is set */
        bool budget_attached;
        const char *sni;                        /* sent as server name; NULL: none */
        char verify_problem[MQTT_TLS_TEXT_MAX]; /* why the broker's certificate was refused, "" so far not */
        char alert[MQTT_TLS_TEXT_MAX];          /* the fatal alert the broker sent, "" so far none */
} MqttTlsReport;

static inline SSL_CTX *ssl_ctx_free(SSL_CTX *context)
{
        SSL_CTX_free(context);
        return NULL;
}
DEFINE_CLEANUP(SSL_CTX *, ssl_ctx_free);

/*
 * params->host is borrowed as long as the context. On failure `problem` says in words what could not be used and why; the
 * errors are those of transport/identity.h.
 */
_must_use_ int mqtt_tls_context_new(const MqttTlsParams *params, MqttTlsReport *report, SSL_CTX **ret,
                                    char problem[static MQTT_TLS_TEXT_MAX]);
