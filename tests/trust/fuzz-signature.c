/*
 * First byte: which key and algorithm; the rest: a signature, as a job brings it. No input may be taken for a signature of
 * the fixed digest, but for the one in the corpus.
 */
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "trust/signature.h"
#include "trust/trust-store.h"
#include "vector.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

static X509 *certificate_of(EVP_PKEY *key)
{
        X509 *certificate = X509_new();

        if (!key || !certificate || X509_set_pubkey(certificate, key) != 1)
                abort();
        EVP_PKEY_free(key);
        return certificate;
}

static X509 *get_certificate(unsigned which)
{
        static X509 *certificates[3];
        BIO *bio;

        if (!certificates[0]) {
                bio = BIO_new_mem_buf(vector_certificate, -1);
                certificates[0] = PEM_read_bio_X509(bio, NULL, NULL, NULL);
                BIO_free(bio);
                if (!certificates[0])
                        abort();
                certificates[1] = certificate_of(EVP_EC_gen("P-384"));
                certificates[2] = certificate_of(EVP_RSA_gen(2048));
        }
        return certificates[which];
}

static void hash_vector(DigestValue *ret)
{
        _cleanup_(digest_freep) Digest *digest = NULL;

        if (digest_new(DIGEST_SHA256, &digest) < 0 || digest_update(digest, VECTOR_IMAGE, VECTOR_IMAGE_BYTES) < 0 ||
            digest_finish(digest, ret) < 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
        DigestValue digest;
        unsigned which;

        if (n_data == 0)
                return 0;
        which = data[0] % 3;
        hash_vector(&digest);
        if (signature_verify(which == 2 ? SIGNATURE_ALGORITHM_SHA256_RSA : SIGNATURE_ALGORITHM_SHA256_ECDSA, &digest,
                             data + 1, n_data - 1, get_certificate(which), NULL) == 0 &&
            (which != 0 || n_data - 1 != sizeof(vector_signature) ||
             memcmp(data + 1, vector_signature, sizeof(vector_signature)) != 0))
                abort();
        return 0;
}
