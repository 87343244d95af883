/*
 * certs: keys and certificates made for a test, and a store to put them in.
 */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "unit.h"

static inline void EVP_PKEY_freep(EVP_PKEY **key)
{
        EVP_PKEY_free(*key);
}

typedef struct CertSpec {
        const char *name;              /* common name */
        const char *issuer;            /* NULL: itself */
        EVP_PKEY *key, *issuer_key;    /* issuer_key NULL: its own */
        const char *basic_constraints; /* extensions in the words of OpenSSL's x509v3_config; NULL: none */
        const char *key_usage;
        const char *extended_key_usage;
        long from_sec, to_sec; /* from now; both 0: a year around it */
} CertSpec;

static inline void set_name(X509_NAME *name, const char *text)
{
        assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)text, -1, -1, 0),
                         1);
}

static inline void add_extension(X509 *certificate, int nid, const char *value)
{
        X509_EXTENSION *extension;

        if (!value)
                return;
        extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
        X509_EXTENSION_free(extension);
}

static inline X509 *make_cert(const CertSpec *spec)
{
        static long serial = 1;
        bool has_dates = spec->from_sec != 0 || spec->to_sec != 0;
        X509 *certificate = X509_new();

        assert_non_null(certificate);
        assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
        assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++), 1);
        set_name(X509_get_subject_name(certificate), spec->name);
        set_name(X509_get_issuer_name(certificate), spec->issuer ? spec->issuer : spec->name);
        assert_non_null(
                X509_gmtime_adj(X509_getm_notBefore(certificate), has_dates ? spec->from_sec : -86400L * 180));
        assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), has_dates ? spec->to_sec : 86400L * 180));
        assert_int_equal(X509_set_pubkey(certificate, spec->key), 1);
        add_extension(certificate, NID_basic_constraints, spec->basic_constraints);
        add_extension(certificate, NID_key_usage, spec->key_usage);
        add_extension(certificate, NID_ext_key_usage, spec->extended_key_usage);
        assert_true(X509_sign(certificate, spec->issuer_key ? spec->issuer_key : spec->key, EVP_sha256()) > 0);
        return certificate;
}

static inline EVP_PKEY *make_ec_key(const char *curve)
{
        EVP_PKEY *key = EVP_EC_gen(curve);

        assert_non_null(key);
        return key;
}

static inline EVP_PKEY *make_rsa_key(unsigned bits)
{
        EVP_PKEY *key = EVP_RSA_gen(bits);

        assert_non_null(key);
        return key;
}

/* With all that a code signer needs. */
static inline X509 *make_signer(EVP_PKEY *key)
{
        return make_cert(&(CertSpec){.name = "signer",
                                     .key = key,
                                     .basic_constraints = "critical,CA:FALSE",
                                     .key_usage = "critical,digitalSignature",
                                     .extended_key_usage = "codeSigning"});
}
