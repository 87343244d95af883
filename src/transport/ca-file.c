#include "ca-file.h"

#include <errno.h>
#include <openssl/asn1.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdbool.h>

DEFINE_CLEANUP(BIO *, BIO_free);
DEFINE_CLEANUP(X509 *, X509_free);
DEFINE_CLEANUP(X509_STORE *, X509_STORE_free);

DEFINE_CLEANUP(X509_NAME *, X509_NAME_free);

typedef struct Element {
        const unsigned char *begin, *end; /* of its content */
} Element;

/* The next element at *at, which is moved behind it. */
static bool take_element(const unsigned char **at, const unsigned char *end, Element *ret)
{
        const unsigned char *p = *at;
        long length;
        int tag, class;

        if (ASN1_get_object(&p, &length, &tag, &class, end - p) & 0x80)
                return false;
        *ret = (Element){p, p + length};
        *at = ret->end;
        return true;
}

/* Without the rest of the certificate, which takes OpenSSL ten times as long. RFC 5280, 4.1: a certificate begins with what
 * is signed, and that with [0] version, if there is one, then serial number, algorithm, issuer, validity, and subject. */
static X509_NAME *subject_of(const unsigned char *der, long n_der)
{
        const unsigned char *at = der;
        Element whole, signed_part, skipped;

        if (!take_element(&at, der + n_der, &whole))
                return NULL;
        at = whole.begin;
        if (!take_element(&at, whole.end, &signed_part))
                return NULL;
        at = signed_part.begin;
        if (at < signed_part.end && *at == (V_ASN1_CONTEXT_SPECIFIC | V_ASN1_CONSTRUCTED) &&
            !take_element(&at, signed_part.end, &skipped))
                return NULL;
        for (int i = 0; i < 4; i++)
                if (!take_element(&at, signed_part.end, &skipped))
                        return NULL;
        return d2i_X509_NAME(NULL, &at, signed_part.end - at);
}

/* The next certificate of that name, or of any. */
static X509 *next_certificate(BIO *file, const X509_NAME *name)
{
        unsigned char *der = NULL;
        X509 *cert = NULL;
        long n_der;

        while (!cert && PEM_bytes_read_bio(&der, &n_der, NULL, PEM_STRING_X509, file, NULL, NULL)) {
                _cleanup_(X509_NAME_freep) X509_NAME *subject = name ? subject_of(der, n_der) : NULL;

                if (!name || (subject && X509_NAME_cmp(subject, name) == 0))
                        cert = d2i_X509(NULL, &(const unsigned char *){der}, n_der);
                OPENSSL_free(der);
                der = NULL;
        }
        ERR_clear_error(); /* the end of the file is one */
        return cert;
}

static void lookup_free(X509_LOOKUP *lookup)
{
        OPENSSL_free(X509_LOOKUP_get_method_data(lookup));
}

/* OpenSSL takes a reference of its own to what is found, so *ret borrows from the store, as in OpenSSL's own look-ups. */
static bool borrow(X509_OBJECT *ret, X509 *cert)
{
        if (X509_OBJECT_set1_X509(ret, cert) != 1)
                return false;
        X509_free(cert);
        return true;
}

/* Every one of that name goes into the store, which looks there for the one that fits; *ret is the first. */
static int lookup_by_subject(X509_LOOKUP *lookup, X509_LOOKUP_TYPE type, const X509_NAME *name, X509_OBJECT *ret)
{
        _cleanup_(BIO_freep) BIO *file = NULL;
        X509 *cert;
        int n = 0;

        if (type != X509_LU_X509)
                return 0;
        file = BIO_new_file(X509_LOOKUP_get_method_data(lookup), "r");
        while (file && (cert = next_certificate(file, name))) {
                if (X509_STORE_add_cert(X509_LOOKUP_get_store(lookup), cert) == 1 && (n > 0 || borrow(ret, cert)))
                        n++;
                X509_free(cert);
        }
        ERR_clear_error();
        return n > 0;
}

static X509_LOOKUP_METHOD *lookup_method(void)
{
        static X509_LOOKUP_METHOD *method;

        if (method)
                return method;
        method = X509_LOOKUP_meth_new("certificates of a file, as they are asked for");
        if (method && (X509_LOOKUP_meth_set_free(method, lookup_free) != 1 ||
                       X509_LOOKUP_meth_set_get_by_subject(method, lookup_by_subject) != 1)) {
                X509_LOOKUP_meth_free(method);
                method = NULL;
        }
        return method;
}

static int check_file(const char *path)
{
        _cleanup_(BIO_freep) BIO *file = NULL;
        _cleanup_(X509_freep) X509 *cert = NULL;

        errno = 0;
        file = BIO_new_file(path, "r");
        if (!file) {
                ERR_clear_error();
                return errno > 0 ? -errno : -ENOMEM;
        }
        cert = next_certificate(file, NULL);
        return cert ? 0 : -EBADMSG;
}

int ca_file_trust(SSL_CTX *context, const char *path)
{
        _cleanup_(X509_STORE_freep) X509_STORE *store = NULL;
        X509_LOOKUP_METHOD *method = lookup_method();
        X509_LOOKUP *lookup;
        char *copy;
        int r;

        r = check_file(path);
        if (r < 0)
                return r;
        store = X509_STORE_new();
        lookup = store && method ? X509_STORE_add_lookup(store, method) : NULL;
        copy = lookup ? OPENSSL_strdup(path) : NULL;
        if (!copy)
                return -ENOMEM;
        (void)X509_LOOKUP_set_method_data(lookup, copy);
        /* As curl has it for a bundle: what is trusted comes first, and need not be a root. */
        if (X509_STORE_set_flags(store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) != 1)
                return -ENOMEM;
        /* Not SSL_CTX_set_cert_store(): that one curl fills, caches and shares between connections as it likes. */
        if (SSL_CTX_set0_verify_cert_store(context, store) != 1)
                return -ENOMEM;
        store = NULL;
        return 0;
}
