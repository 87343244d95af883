/* Which suites of TLS 1.3 are put forward, and what two ends agree upon then. */
#include "tls-suites.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "mqtt-tls.h"
#include "unit.h"

#define A128 "TLS_AES_128_GCM_SHA256"
#define A256 "TLS_AES_256_GCM_SHA384"
#define CHA  "TLS_CHACHA20_POLY1305_SHA256"
#define CCM  "TLS_AES_128_CCM_SHA256"

/* Of one version of TLS, or of all others. */
static void join_suites(const SSL_CTX *context, bool of_tls_1_3, char *text, size_t n_text)
{
        const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(context);
        size_t n = 0;

        text[0] = '\0';
        for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
                const SSL_CIPHER *suite = sk_SSL_CIPHER_value(all, i);

                if ((strcmp(SSL_CIPHER_get_version(suite), "TLSv1.3") == 0) != of_tls_1_3)
                        continue;
                n += (size_t)snprintf(text + n, n_text - n, "%s%s", n > 0 ? ":" : "", SSL_CIPHER_get_name(suite));
                assert_true(n < n_text);
        }
}

/* `suites`: NULL is what OpenSSL has by itself. */
static SSL_CTX *new_context(const SSL_METHOD *method, const char *suites)
{
        SSL_CTX *context = SSL_CTX_new(method);

        assert_non_null(context);
        if (suites)
                assert_int_equal(SSL_CTX_set_ciphersuites(context, suites), 1);
        return context;
}

static void test_orders(void **state _unused_)
{
        static const struct {
                const char *before;
                TlsSuitesAes aes;
                const char *after;
        } rows[] = {
                {NULL, TLS_SUITES_AES_BY_PROCESSOR, A128 ":" A256 ":" CHA},
                {NULL, TLS_SUITES_AES_BY_SOFTWARE, CHA ":" A128 ":" A256},
                {NULL, TLS_SUITES_AES_UNKNOWN, A256 ":" CHA ":" A128},
                /* One or two were taken away: none comes back. */
                {A256 ":" A128, TLS_SUITES_AES_BY_PROCESSOR, A128 ":" A256},
                {A256 ":" A128, TLS_SUITES_AES_BY_SOFTWARE, A128 ":" A256},
                {A256 ":" CHA, TLS_SUITES_AES_BY_PROCESSOR, A256 ":" CHA},
                {A256 ":" CHA, TLS_SUITES_AES_BY_SOFTWARE, CHA ":" A256},
                {CHA ":" A128, TLS_SUITES_AES_BY_PROCESSOR, A128 ":" CHA},
                {CHA ":" A128, TLS_SUITES_AES_BY_SOFTWARE, CHA ":" A128},
                {A256, TLS_SUITES_AES_BY_PROCESSOR, A256},
                {A256, TLS_SUITES_AES_BY_SOFTWARE, A256},
                {"", TLS_SUITES_AES_BY_PROCESSOR, ""},
                /* Somebody's own choice. */
                {A256 ":" A128 ":" CHA, TLS_SUITES_AES_BY_PROCESSOR, A256 ":" A128 ":" CHA},
                {A128 ":" A256, TLS_SUITES_AES_BY_SOFTWARE, A128 ":" A256},
                {A256 ":" CHA ":" A128 ":" CCM, TLS_SUITES_AES_BY_PROCESSOR, A256 ":" CHA ":" A128 ":" CCM},
                {CCM, TLS_SUITES_AES_BY_SOFTWARE, CCM},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                SSL_CTX *context = new_context(TLS_client_method(), rows[i].before);
                char before[8192], after[8192], text[256];

                join_suites(context, false, before, sizeof(before));
                tls_suites_order(context, rows[i].aes);
                join_suites(context, true, text, sizeof(text));
                assert_string_equal(text, rows[i].after);
                join_suites(context, false, after, sizeof(after));
                assert_string_equal(after, before);
                assert_true(strlen(before) > 0);
                SSL_CTX_free(context);
        }
}

/* The kernel's word for it. Skipped where there is none, or only that of a computer which emulates this one. */
static void test_processor(void **state _unused_)
{
#if defined(__aarch64__) || defined(__arm__)
        static const char title[] = "Features", aes_word[] = "aes", multiply_word[] = "pmull";
#else
        static const char title[] = "flags", aes_word[] = "aes", multiply_word[] = "pclmulqdq";
#endif
        FILE *file = fopen("/proc/cpuinfo", "re");
        bool told = false, aes = false, multiply = false;
        char line[8192], *rest;

        assert_non_null(file);
        while (!told && fgets(line, sizeof(line), file)) {
                told = strncmp(line, title, strlen(title)) == 0;
                for (char *word = strtok_r(line, " \t\n", &rest); told && word;
                     word = strtok_r(NULL, " \t\n", &rest)) {
                        aes |= strcmp(word, aes_word) == 0;
                        multiply |= strcmp(word, multiply_word) == 0;
                }
        }
        (void)fclose(file);
        if (!told || tls_suites_aes() == TLS_SUITES_AES_UNKNOWN)
                skip();
        assert_int_equal(tls_suites_aes(),
                         aes && multiply ? TLS_SUITES_AES_BY_PROCESSOR : TLS_SUITES_AES_BY_SOFTWARE);
}

static SSL_CTX *new_server(const char *suites)
{
        SSL_CTX *context = new_context(TLS_server_method(), suites);
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *cert = X509_new();

        assert_true(key && cert);
        assert_true(X509_gmtime_adj(X509_getm_notBefore(cert), 0) && X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
        assert_int_equal(X509_set_pubkey(cert, key), 1);
        assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
        assert_int_equal(SSL_CTX_use_cert_and_key(context, cert, key, NULL, 1), 1);
        X509_free(cert);
        EVP_PKEY_free(key);
        return context;
}

/* What both ends have agreed upon. */
static const char *shake_hands(SSL_CTX *client_context, SSL_CTX *server_context)
{
        SSL *client = SSL_new(client_context), *server = SSL_new(server_context);
        const char *name; /* it is static */
        BIO *a, *b;

        assert_true(client && server);
        assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
        SSL_set_bio(client, a, a);
        SSL_set_bio(server, b, b);
        SSL_set_connect_state(client);
        SSL_set_accept_state(server);
        for (unsigned i = 0; i < 10 && !(SSL_is_init_finished(client) && SSL_is_init_finished(server)); i++) {
                (void)SSL_do_handshake(client);
                (void)SSL_do_handshake(server);
        }
        assert_true(SSL_is_init_finished(client) && SSL_is_init_finished(server));
        name = SSL_get_cipher_name(client);
        assert_string_equal(SSL_get_cipher_name(server), name);
        SSL_free(client);
        SSL_free(server);
        return name;
}

static void test_handshakes(void **state _unused_)
{
        static const struct {
                const char *server;
                const char *agreed[3]; /* by TlsSuitesAes */
        } rows[] = {
                {NULL, {A256, A128, CHA}}, {A128, {A128, A128, A128}},          {A256, {A256, A256, A256}},
                {CHA, {CHA, CHA, CHA}},    {A128 ":" A256, {A256, A128, A128}},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (TlsSuitesAes aes = TLS_SUITES_AES_UNKNOWN; aes <= TLS_SUITES_AES_BY_SOFTWARE; aes++) {
                        SSL_CTX *client = new_context(TLS_client_method(), NULL);
                        SSL_CTX *server = new_server(rows[i].server);

                        tls_suites_order(client, aes);
                        assert_string_equal(shake_hands(client, server), rows[i].agreed[aes]);
                        SSL_CTX_free(client);
                        SSL_CTX_free(server);
                }
}

/* The broker is offered them in that order, too; of the store, see test-http-client.c. */
static void test_broker(void **state _unused_)
{
        static const char *const orders[] = {
                [TLS_SUITES_AES_UNKNOWN] = A256 ":" CHA ":" A128,
                [TLS_SUITES_AES_BY_PROCESSOR] = A128 ":" A256 ":" CHA,
                [TLS_SUITES_AES_BY_SOFTWARE] = CHA ":" A128 ":" A256,
        };
        const MqttTlsParams params = {
                .host = "localhost",
                .ca_file = "ca.pem",
                .identity = {.cert = "client.pem", .key = "client.key", .group = getegid()},
        };
        MqttTlsReport report = {0};
        char problem[MQTT_TLS_TEXT_MAX], text[256];
        SSL_CTX *context;

        harness_enter();
        assert_int_equal(mqtt_tls_context_new(&params, &report, &context, problem), 0);
        join_suites(context, true, text, sizeof(text));
        assert_string_equal(text, orders[tls_suites_aes()]);
        SSL_CTX_free(context);
        harness_leave();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_orders),
                cmocka_unit_test(test_processor),
                cmocka_unit_test(test_handshakes),
                cmocka_unit_test(test_broker),
        };

        /* Not as this computer's administrator would have it. */
        if (OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
