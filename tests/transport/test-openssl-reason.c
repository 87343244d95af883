/* What is said of OpenSSL's errors by a process that has left the words for them out, as otad does. */
#include <errno.h>
#include <openssl/asn1err.h>
#include <openssl/err.h>
#include <openssl/evperr.h>
#include <openssl/pemerr.h>
#include <openssl/ssl.h>
#include <string.h>

#include "openssl-reason.h"
#include "unit.h"

static void expect(int library, int reason, int r, const char *words)
{
        char text[OPENSSL_REASON_MAX];

        ERR_clear_error();
        if (library != 0)
                ERR_raise(library, reason);
        assert_int_equal(openssl_reason(text), r);
        assert_string_equal(text, words);
        ERR_clear_error();
}

static void test_nothing(void **state _unused_)
{
        expect(0, 0, -EBADMSG, "");
}

/* Of TLS there are words from the first context on, for libcurl and libmosquitto, too. */
static void test_tls(void **state _unused_)
{
        SSL_CTX *context = SSL_CTX_new(TLS_client_method());
        char text[OPENSSL_REASON_MAX];

        assert_non_null(context);
        SSL_CTX_free(context);
        ERR_clear_error();
        ERR_raise(ERR_LIB_SSL, SSL_R_NO_SHARED_CIPHER);
        ERR_error_string_n(ERR_get_error(), text, sizeof(text));
        assert_string_equal(text, "error:0A0000C1:SSL routines::no shared cipher");
        expect(ERR_LIB_SSL, SSL_R_WRONG_VERSION_NUMBER, -EBADMSG, "wrong version number");
}

/* Before one of these is asked for, none of them is there: so memory was saved. */
static void test_files(void **state _unused_)
{
        assert_null(ERR_reason_error_string(ERR_PACK(ERR_LIB_PEM, 0, PEM_R_NO_START_LINE)));
        expect(ERR_LIB_PEM, PEM_R_NO_START_LINE, -EBADMSG, "no start line");
        expect(ERR_LIB_ASN1, ASN1_R_WRONG_TAG, -EBADMSG, "wrong tag");
        expect(ERR_LIB_EVP, EVP_R_BAD_DECRYPT, -EBADMSG, "bad decrypt");
        expect(ERR_LIB_OSSL_DECODER, ERR_R_UNSUPPORTED, -EBADMSG, "unsupported");
}

static void test_system(void **state _unused_)
{
        expect(ERR_LIB_SYS, ENOENT, -ENOENT, "No such file or directory");
        expect(ERR_LIB_PEM, ERR_R_MALLOC_FAILURE, -ENOMEM, "malloc failure");
}

static void test_without_words(void **state _unused_)
{
        expect(ERR_LIB_PROV, 100, -EBADMSG, "error 1C800064 of OpenSSL ('openssl errstr 1C800064' says more)");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_nothing), cmocka_unit_test(test_tls),           cmocka_unit_test(test_files),
                cmocka_unit_test(test_system),  cmocka_unit_test(test_without_words),
        };

        if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CRYPTO_STRINGS, NULL) != 1)
                return 1;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
