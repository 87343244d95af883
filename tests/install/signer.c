#include "signer.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static void extend(X509 *certificate, int nid, const char *value)
{
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

        if (!extension || !X509_add_ext(certificate, extension, -1))
                abort();
        X509_EXTENSION_free(extension);
}

EVP_PKEY *signer_new(const char *path)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *certificate = X509_new();
        X509_NAME *name = X509_NAME_new();
        FILE *file = fopen(path, "w");

        if (!key || !certificate || !name || !file ||
            !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test signer", -1, -1, 0) ||
            !X509_set_version(certificate, 2) || !ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1) ||
            !X509_set_subject_name(certificate, name) || !X509_set_issuer_name(certificate, name) ||
            !X509_gmtime_adj(X509_getm_notBefore(certificate), -86400) ||
            !X509_gmtime_adj(X509_getm_notAfter(certificate), 86400) || !X509_set_pubkey(certificate, key))
                abort();
        extend(certificate, NID_basic_constraints, "critical,CA:FALSE");
        extend(certificate, NID_key_usage, "critical,digitalSignature");
        extend(certificate, NID_ext_key_usage, "codeSigning");
        if (!X509_sign(certificate, key, EVP_sha256()) || !PEM_write_X509(file, certificate) || fclose(file) != 0 ||
            chmod(path, 0644) < 0)
                abort();
        X509_NAME_free(name);
        X509_free(certificate);
        return key;
}

void signer_free(EVP_PKEY *key)
{
        EVP_PKEY_free(key);
}

size_t signer_sign(EVP_PKEY *key, const uint8_t *data, size_t n_data, uint8_t *signature)
{
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        size_t n = 128;

        if (!context || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) <= 0 ||
            EVP_DigestSign(context, signature, &n, data, n_data) <= 0)
                abort();
        EVP_MD_CTX_free(context);
        return n;
}
