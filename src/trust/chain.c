#include "chain.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <time.h>

#include "certificate.h"

enum {
        DEPTH_MAX = 8,
        /* 112 bits: no RSA below 2048, no SHA-1. SSL_CTX_set_security_level(3). */
        SECURITY_LEVEL = 2,
};

static void X509_STORE_freep(X509_STORE **store)
{
        X509_STORE_free(*store);
}

static void X509_STORE_CTX_freep(X509_STORE_CTX **context)
{
        X509_STORE_CTX_free(*context);
}

int chain_check_anchor(X509 *certificate, const char *file, Failure *reterr)
{
        /* 1 is CA:TRUE, and keyCertSign where there is a keyUsage; more are guesses for certificates of old. */
        if (X509_check_ca(certificate) != 1)
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED,
                            "%s: is no CA certificate (CA:TRUE, keyCertSign)", file);
        if ((X509_get_extension_flags(certificate) & EXFLAG_SS) == 0)
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED, "%s: is not self-signed", file);
        return 0;
}

/* What X509_verify_cert() leaves to a purpose, and no purpose of this library is code signing. */
static int check_authorities(const STACK_OF(X509) * chain, const char *file, Failure *reterr)
{
        for (int i = 1; i < sk_X509_num(chain); i++) {
                X509 *authority = sk_X509_value(chain, i);
                uint32_t flags = X509_get_extension_flags(authority);
                char subject[128];

                certificate_describe_subject(authority, subject, sizeof(subject));
                if (X509_check_ca(authority) != 1)
                        return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED,
                                    "%s: %s, above it, is no CA certificate", file, subject);
                if ((flags & EXFLAG_XKUSAGE) != 0 &&
                    (X509_get_extended_key_usage(authority) & (XKU_CODE_SIGN | XKU_ANYEKU)) == 0)
                        return fail(reterr, FAILURE_CERTIFICATE_USAGE, EKEYREJECTED,
                                    "%s: the CA %s, above it, is not for code signing (extendedKeyUsage)", file,
                                    subject);
        }
        return 0;
}

static int fail_chain(X509_STORE_CTX *context, const char *file, Failure *reterr)
{
        int error = X509_STORE_CTX_get_error(context);
        X509 *at = X509_STORE_CTX_get_current_cert(context);
        bool is_date = error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID;
        char subject[128] = "";

        if (at)
                certificate_describe_subject(at, subject, sizeof(subject));
        return fail(reterr, is_date ? FAILURE_CERTIFICATE_EXPIRED : FAILURE_CERTIFICATE_UNTRUSTED,
                    is_date ? EKEYEXPIRED : EKEYREJECTED, "%s: %s (at %s, %d above it)", file,
                    X509_verify_cert_error_string(error), subject, X509_STORE_CTX_get_error_depth(context));
}

static X509_STORE *make_store(STACK_OF(X509) * anchors)
{
        _cleanup_(X509_STORE_freep) X509_STORE *store = X509_STORE_new();

        if (!store)
                return NULL;
        for (int i = 0; i < sk_X509_num(anchors); i++)
                if (X509_STORE_add_cert(store, sk_X509_value(anchors, i)) != 1)
                        return NULL;
        return TAKE_PTR(store);
}

int chain_verify(STACK_OF(X509) * certificates, STACK_OF(X509) * anchors, const int64_t *now, const char *file,
                 Failure *reterr)
{
        _cleanup_(X509_STORE_freep) X509_STORE *store = make_store(anchors);
        _cleanup_(X509_STORE_CTX_freep) X509_STORE_CTX *context = X509_STORE_CTX_new();
        X509_VERIFY_PARAM *param;
        int r;

        if (!store || !context ||
            X509_STORE_CTX_init(context, store, sk_X509_value(certificates, 0), certificates) != 1)
                return -ENOMEM;
        param = X509_STORE_CTX_get0_param(context);
        X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
        X509_VERIFY_PARAM_set_auth_level(param, SECURITY_LEVEL);
        if (now)
                X509_VERIFY_PARAM_set_time(param, (time_t)*now);
        else if (X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_NO_CHECK_TIME) != 1)
                return -ENOMEM;

        if (X509_verify_cert(context) == 1)
                r = check_authorities(X509_STORE_CTX_get0_chain(context), file, reterr);
        else
                r = fail_chain(context, file, reterr);
        ERR_clear_error();
        return r;
}
