#include "mqtt-tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "openssl-reason.h"
#include "tls-suites.h"

static bool host_is_address(const char *host)
{
        struct in6_addr v6;
        struct in_addr v4;

        return inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1;
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
        SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
        MqttTlsReport *report = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
        X509 *cert = X509_STORE_CTX_get_current_cert(store);
        char subject[128] = "no certificate";

        if (ok)
                return 1;
        if (cert)
                X509_NAME_oneline(X509_get_subject_name(cert), subject, sizeof(subject));
        (void)snprintf(report->verify_problem, sizeof(report->verify_problem),
                       "certificate verify failed: %s (certificate %d: %s)",
                       X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)),
                       X509_STORE_CTX_get_error_depth(store), subject);
        return 0;
}

/*
 * libmosquitto is given a numeric address and would send that as server name. Here, just before the ClientHello is
 * made, it is put right: the name to the letter, or none, for addresses are not allowed there. The handshake begins
 * inside the call that connects, and would go on in there if the broker is quick: the empty budget stops it.
 */
static void on_info(const SSL *ssl, int where, int value)
{
        MqttTlsReport *report = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

        if (where & SSL_CB_HANDSHAKE_START) {
                if (!report->budget_attached)
                        report->budget_attached = read_budget_attach(&report->budget, (SSL *)(uintptr_t)ssl) == 0;
                SSL_set_tlsext_host_name((SSL *)(uintptr_t)ssl, report->sni);
        } else if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value >> 8) == SSL3_AL_FATAL) {
                (void)snprintf(report->alert, sizeof(report->alert), "the broker sent the TLS alert \"%s\" (%d)",
                               SSL_alert_desc_string_long(value), value & 0xff);
        }
}

static int tls_problem(char problem[static MQTT_TLS_TEXT_MAX], const char *what, const char *file)
{
        char reason[OPENSSL_REASON_MAX];
        int r = openssl_reason(reason);

        if (!reason[0])
                (void)snprintf(reason, sizeof(reason), "unknown error");
        if (file)
                (void)snprintf(problem, MQTT_TLS_TEXT_MAX, "cannot use the %s %s: %s", what, file, reason);
        else
                (void)snprintf(problem, MQTT_TLS_TEXT_MAX, "%s: %s", what, reason);
        ERR_clear_error();
        return r;
}

static int tls_load(SSL_CTX *context, const MqttTlsParams *params, char problem[static MQTT_TLS_TEXT_MAX])
{
        _cleanup_(identity_certificates_freep) STACK_OF(X509) *certificates = NULL;
        _cleanup_(identity_key_freep) EVP_PKEY *key = NULL;
        X509 *own;
        int r;

        if (SSL_CTX_load_verify_file(context, params->ca_file) != 1)
                return tls_problem(problem, "CA file", params->ca_file);
        r = identity_load_certificates(&params->identity, &certificates, problem);
        if (r < 0)
                return r;
        own = sk_X509_shift(certificates);
        r = identity_load_key(&params->identity, own, &key, problem);
        if (r == 0 && SSL_CTX_use_cert_and_key(context, own, key, certificates, 1) != 1)
                r = tls_problem(problem, "cannot present the device's certificate", NULL);
        X509_free(own);
        return r;
}

static int tls_set_names(SSL_CTX *context, const MqttTlsParams *params, MqttTlsReport *report,
                         char problem[static MQTT_TLS_TEXT_MAX])
{
        X509_VERIFY_PARAM *verify = SSL_CTX_get0_param(context);
        unsigned char wire[256];
        size_t n_alpn;
        bool is_address = host_is_address(params->host);

        X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        if (is_address ? X509_VERIFY_PARAM_set1_ip_asc(verify, params->host) != 1
                       : X509_VERIFY_PARAM_set1_host(verify, params->host, 0) != 1)
                return tls_problem(problem, "cannot check the broker's host name", NULL);
        report->sni = is_address ? NULL : params->host;

        if (!params->alpn)
                return 0;
        n_alpn = strlen(params->alpn);
        if (n_alpn == 0 || n_alpn > 255) {
                (void)snprintf(problem, MQTT_TLS_TEXT_MAX, "an ALPN name has 1 to 255 bytes, not %zu", n_alpn);
                return -EINVAL;
        }
        wire[0] = (unsigned char)n_alpn;
        memcpy(wire + 1, params->alpn, n_alpn);
        if (SSL_CTX_set_alpn_protos(context, wire, (unsigned)n_alpn + 1) != 0) /* 0 is success here */
                return tls_problem(problem, "cannot offer ALPN", NULL);
        return 0;
}

int mqtt_tls_context_new(const MqttTlsParams *params, MqttTlsReport *report, SSL_CTX **ret,
                         char problem[static MQTT_TLS_TEXT_MAX])
{
        _cleanup_(ssl_ctx_freep) SSL_CTX *context = NULL;
        int r;

        ERR_clear_error();
        context = SSL_CTX_new(TLS_client_method());
        if (!context)
                return tls_problem(problem, "cannot set up TLS", NULL);
        SSL_CTX_set_app_data(context, report);
        SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
        /*
         * An end without close_notify is how brokers often leave; MQTT packets carry their length, so nothing cut off
         * is taken for whole. Ticket and session caches would be of no use to a context made for one connection.
         */
        SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_COMPRESSION |
                                             SSL_OP_NO_TICKET);
        SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
        SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, on_verify);
        SSL_CTX_set_info_callback(context, on_info);
        tls_suites_order(context, tls_suites_aes());

        r = tls_load(context, params, problem);
        if (r < 0)
                return r;
        r = tls_set_names(context, params, report, problem);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(context);
        return 0;
}
