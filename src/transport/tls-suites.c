#include "tls-suites.h"

#include <openssl/err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#if defined(__aarch64__) || defined(__arm__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

enum { AES_256, CHACHA20, AES_128, N_SUITES }; /* in OpenSSL's own order */

static const char *const names[N_SUITES] = {
        [AES_256] = TLS1_3_RFC_AES_256_GCM_SHA384,
        [CHACHA20] = TLS1_3_RFC_CHACHA20_POLY1305_SHA256,
        [AES_128] = TLS1_3_RFC_AES_128_GCM_SHA256,
};

static const int orders[][N_SUITES] = {
        [TLS_SUITES_AES_BY_PROCESSOR] = {AES_128, AES_256, CHACHA20},
        [TLS_SUITES_AES_BY_SOFTWARE] = {CHACHA20, AES_128, AES_256},
};

/* Besides AES, GCM takes a multiplication without carry for each block: it is fast with instructions for both. */
#if defined(__x86_64__) || defined(__i386__)
TlsSuitesAes tls_suites_aes(void)
{
        return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") ? TLS_SUITES_AES_BY_PROCESSOR
                                                                                 : TLS_SUITES_AES_BY_SOFTWARE;
}
#elif defined(__aarch64__)
TlsSuitesAes tls_suites_aes(void)
{
        unsigned long can = getauxval(AT_HWCAP);

        return can & HWCAP_AES && can & HWCAP_PMULL ? TLS_SUITES_AES_BY_PROCESSOR : TLS_SUITES_AES_BY_SOFTWARE;
}
#elif defined(__arm__)
TlsSuitesAes tls_suites_aes(void)
{
        unsigned long can = getauxval(AT_HWCAP2);

        return can & HWCAP2_AES && can & HWCAP2_PMULL ? TLS_SUITES_AES_BY_PROCESSOR : TLS_SUITES_AES_BY_SOFTWARE;
}
#else
TlsSuitesAes tls_suites_aes(void)
{
        return TLS_SUITES_AES_UNKNOWN;
}
#endif

/* False: there are others, or these in another order than OpenSSL's. */
static bool get_offered(const SSL_CTX *context, bool offered[static N_SUITES])
{
        const STACK_OF(SSL_CIPHER) *all = SSL_CTX_get_ciphers(context);
        int next = 0;

        for (int i = 0; i < sk_SSL_CIPHER_num(all); i++) {
                const SSL_CIPHER *suite = sk_SSL_CIPHER_value(all, i);

                if (strcmp(SSL_CIPHER_get_version(suite), "TLSv1.3") != 0)
                        continue;
                while (next < N_SUITES && strcmp(SSL_CIPHER_get_name(suite), names[next]) != 0)
                        next++;
                if (next == N_SUITES)
                        return false;
                offered[next++] = true;
        }
        return true;
}

void tls_suites_order(SSL_CTX *context, TlsSuitesAes aes)
{
        bool offered[N_SUITES] = {0};
        char text[128] = "";
        size_t n = 0;

        if (aes == TLS_SUITES_AES_UNKNOWN || !get_offered(context, offered))
                return;
        for (size_t i = 0; i < N_SUITES; i++) {
                int suite = orders[aes][i];

                if (offered[suite])
                        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n > 0 ? ":" : "", names[suite]);
        }
        if (n > 0 && SSL_CTX_set_ciphersuites(context, text) != 1)
                ERR_clear_error();
}
