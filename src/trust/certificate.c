#include "certificate.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "trust/trust-store.h"

#define SEC_PER_DAY INT64_C(86400)

static void BIO_freep(BIO **bio)
{
        (void)BIO_free(*bio);
}

static void ASN1_TIME_freep(ASN1_TIME **time)
{
        ASN1_TIME_free(*time);
}

X509 *certificate_free(X509 *certificate)
{
        X509_free(certificate);
        return NULL;
}

const char *certificate_describe_key(X509 *certificate, char text[static CERTIFICATE_KEY_TEXT_MAX])
{
        EVP_PKEY *key = X509_get0_pubkey(certificate);
        char group[32] = "of unknown group";

        if (!key) {
                (void)snprintf(text, CERTIFICATE_KEY_TEXT_MAX, "unreadable");
        } else if (EVP_PKEY_get_base_id(key) == EVP_PKEY_EC) {
                (void)EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group), NULL);
                (void)snprintf(text, CERTIFICATE_KEY_TEXT_MAX, "EC %s", group);
        } else {
                const char *type = EVP_PKEY_get0_type_name(key);

                (void)snprintf(text, CERTIFICATE_KEY_TEXT_MAX, "%s %d", type ? type : "unknown",
                               EVP_PKEY_get_bits(key));
        }
        return text;
}

const char *certificate_describe_subject(X509 *certificate, char *text, size_t text_size)
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *data = NULL;
        long n_data;

        text[0] = 0;
        if (!bio || X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0,
                                       XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) < 0)
                return text;
        n_data = BIO_get_mem_data(bio, &data);
        if (n_data > 0)
                text_escape(text, text_size, data, (size_t)n_data, false);
        return text;
}

int64_t certificate_not_after(X509 *certificate)
{
        _cleanup_(ASN1_TIME_freep) ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
        int days, seconds;

        /* Certificates outlive a time_t of 32 bits. */
        if (!epoch || ASN1_TIME_diff(&days, &seconds, epoch, X509_get0_notAfter(certificate)) != 1)
                return 0;
        return (int64_t)days * SEC_PER_DAY + seconds;
}

int certificate_check_signer(X509 *certificate, const char *file, Failure *reterr)
{
        uint32_t flags = X509_get_extension_flags(certificate);

        if ((flags & EXFLAG_INVALID) != 0)
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED, "%s: an extension is malformed",
                            file);
        if ((flags & EXFLAG_CRITICAL) != 0)
                return fail(reterr, FAILURE_CERTIFICATE_UNTRUSTED, EKEYREJECTED,
                            "%s: a critical extension is not understood", file);
        if ((flags & EXFLAG_CA) != 0)
                return fail(reterr, FAILURE_CERTIFICATE_USAGE, EKEYREJECTED,
                            "%s: is a CA certificate, not a signer's (basicConstraints CA:TRUE)", file);
        if ((flags & EXFLAG_KUSAGE) == 0 || (X509_get_key_usage(certificate) & KU_DIGITAL_SIGNATURE) == 0)
                return fail(reterr, FAILURE_CERTIFICATE_USAGE, EKEYREJECTED, "%s: keyUsage %s digitalSignature", file,
                            (flags & EXFLAG_KUSAGE) == 0 ? "is missing, it must name" : "does not name");
        if ((flags & EXFLAG_XKUSAGE) == 0 || (X509_get_extended_key_usage(certificate) & XKU_CODE_SIGN) == 0)
                return fail(reterr, FAILURE_CERTIFICATE_USAGE, EKEYREJECTED, "%s: extendedKeyUsage %s codeSigning",
                            file, (flags & EXFLAG_XKUSAGE) == 0 ? "is missing, it must name" : "does not name");
        return 0;
}

/* "2049-12-31T23:59:59Z", from the certificate's own form. */
static const char *format_date(const ASN1_TIME *date, char *text, size_t text_size)
{
        struct tm tm;

        memset(&tm, 0, sizeof(tm));
        if (ASN1_TIME_to_tm(date, &tm) != 1 || strftime(text, text_size, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                (void)snprintf(text, text_size, "an unreadable date");
        return text;
}

int certificate_check_dates(X509 *certificate, const char *file, int64_t now, Failure *reterr)
{
        const ASN1_TIME *from = X509_get0_notBefore(certificate), *to = X509_get0_notAfter(certificate);
        time_t moment = (time_t)now;
        char text[32];
        int compared;

        /* X509_cmp_time(): 0 is an error, equal counts as earlier. */
        compared = X509_cmp_time(from, &moment);
        if (compared >= 0)
                return fail(reterr, FAILURE_CERTIFICATE_EXPIRED, EKEYEXPIRED, "%s: is not valid before %s", file,
                            format_date(from, text, sizeof(text)));
        compared = X509_cmp_time(to, &moment);
        if (compared <= 0)
                return fail(reterr, FAILURE_CERTIFICATE_EXPIRED, EKEYEXPIRED, "%s: expired on %s", file,
                            format_date(to, text, sizeof(text)));
        return 0;
}
