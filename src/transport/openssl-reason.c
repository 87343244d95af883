#include "openssl-reason.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

/* Those that files with keys and certificates bring. OpenSSL has no other way to them once they were left out. */
static void fetch_words(void)
{
#ifndef OPENSSL_NO_DEPRECATED_3_0
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
        (void)(ERR_load_ASN1_strings() && ERR_load_BIO_strings() && ERR_load_EC_strings() && ERR_load_EVP_strings() &&
               ERR_load_PEM_strings() && ERR_load_RSA_strings() && ERR_load_X509_strings());
#pragma GCC diagnostic pop
#endif
}

int openssl_reason(char text[static OPENSSL_REASON_MAX])
{
        unsigned long error = ERR_peek_error();
        const char *words;

        text[0] = '\0';
        if (ERR_SYSTEM_ERROR(error)) {
                (void)snprintf(text, OPENSSL_REASON_MAX, "%s", strerror(ERR_GET_REASON(error)));
                return -ERR_GET_REASON(error);
        }
        if (error == 0)
                return -EBADMSG;
        words = ERR_reason_error_string(error);
        if (!words) {
                fetch_words();
                words = ERR_reason_error_string(error);
        }
        if (words)
                (void)snprintf(text, OPENSSL_REASON_MAX, "%s", words);
        else
                (void)snprintf(text, OPENSSL_REASON_MAX, "error %08lX of OpenSSL ('openssl errstr %08lX' says more)",
                               error, error);
        return ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE ? -ENOMEM : -EBADMSG;
}
