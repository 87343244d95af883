#include "trust/signature.h"

#include <assert.h>
#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>

#include "certificate.h"

enum {
        RSA_MIN_BITS = 2048,
        RSA_MAX_BITS = 4096,
};

static void ECDSA_SIG_freep(ECDSA_SIG **signature)
{
        ECDSA_SIG_free(*signature);
}

static void OPENSSL_freep(void *pointer)
{
        OPENSSL_free(*(void **)pointer);
}

static void EVP_PKEY_CTX_freep(EVP_PKEY_CTX **context)
{
        EVP_PKEY_CTX_free(*context);
}

static bool is_ecdsa(SignatureAlgorithm algorithm)
{
        return algorithm == SIGNATURE_ALGORITHM_SHA256_ECDSA || algorithm == SIGNATURE_ALGORITHM_SHA1_ECDSA;
}

DigestAlgorithm signature_algorithm_digest(SignatureAlgorithm algorithm)
{
        assert(algorithm > SIGNATURE_ALGORITHM_NONE && algorithm < _SIGNATURE_ALGORITHM_MAX);
        return algorithm == SIGNATURE_ALGORITHM_SHA1_ECDSA || algorithm == SIGNATURE_ALGORITHM_SHA1_RSA
                       ? DIGEST_SHA1
                       : DIGEST_SHA256;
}

static int check_key(SignatureAlgorithm algorithm, X509 *certificate, EVP_PKEY **ret, Failure *reterr)
{
        static const char *const curves[] = {"EC prime256v1", "EC secp384r1"};
        const char *word = signature_algorithm_to_string(algorithm);
        EVP_PKEY *key = X509_get0_pubkey(certificate);
        char text[CERTIFICATE_KEY_TEXT_MAX];
        bool fits = false;

        certificate_describe_key(certificate, text);
        if (key && is_ecdsa(algorithm)) {
                for (size_t i = 0; i < ELEMENTSOF(curves); i++)
                        fits = fits || strcmp(text, curves[i]) == 0;
                if (!fits)
                        return fail(reterr, FAILURE_KEY_MISMATCH, EKEYREJECTED,
                                    "%s needs a key on P-256 or P-384, the certificate's is %s", word, text);
        } else {
                fits = key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= RSA_MIN_BITS &&
                       EVP_PKEY_get_bits(key) <= RSA_MAX_BITS;
                if (!fits)
                        return fail(reterr, FAILURE_KEY_MISMATCH, EKEYREJECTED,
                                    "%s needs an RSA key of %d to %d bits, the certificate's is %s", word,
                                    RSA_MIN_BITS, RSA_MAX_BITS, text);
        }
        *ret = key;
        return 0;
}

/* One encoding only: what is parsed and encoded again must be the same bytes, to the last. */
static int check_der(EVP_PKEY *key, const uint8_t *signature, size_t n_signature, Failure *reterr)
{
        _cleanup_(ECDSA_SIG_freep) ECDSA_SIG *parsed = NULL;
        _cleanup_(OPENSSL_freep) uint8_t *encoded = NULL;
        const uint8_t *at = signature;
        int n_encoded, n_bits = EVP_PKEY_get_bits(key);
        const BIGNUM *r, *s;

        parsed = d2i_ECDSA_SIG(NULL, &at, (long)n_signature);
        n_encoded = parsed ? i2d_ECDSA_SIG(parsed, &encoded) : -1;
        if (n_encoded < 0 || (size_t)n_encoded != n_signature || memcmp(encoded, signature, n_signature) != 0)
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG,
                            "the signature (%zu bytes) is no DER sequence of two integers", n_signature);
        ECDSA_SIG_get0(parsed, &r, &s);
        if (BN_is_negative(r) || BN_is_negative(s) || BN_is_zero(r) || BN_is_zero(s) || BN_num_bits(r) > n_bits ||
            BN_num_bits(s) > n_bits)
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG,
                            "the signature's integers are out of range for a key of %d bits", n_bits);
        return 0;
}

static int check_form(SignatureAlgorithm algorithm, const uint8_t *signature, size_t n_signature, X509 *certificate,
                      EVP_PKEY **ret, Failure *reterr)
{
        EVP_PKEY *key = NULL;
        int r;

        if (algorithm <= SIGNATURE_ALGORITHM_NONE || algorithm >= _SIGNATURE_ALGORITHM_MAX)
                return fail(reterr, FAILURE_INTERNAL, EINVAL, "no algorithm that signs anything");
        r = check_key(algorithm, certificate, &key, reterr);
        if (r < 0)
                return r;
        if (n_signature == 0 || n_signature > SIGNATURE_MAX_BYTES)
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG, "a signature of %zu bytes", n_signature);
        if (is_ecdsa(algorithm)) {
                r = check_der(key, signature, n_signature, reterr);
                if (r < 0)
                        return r;
        } else if (n_signature != (size_t)EVP_PKEY_get_size(key)) {
                return fail(reterr, FAILURE_SIGNATURE_MALFORMED, EBADMSG,
                            "a signature of %zu bytes, where the key makes %d", n_signature, EVP_PKEY_get_size(key));
        }
        *ret = key;
        return 0;
}

int signature_check_form(SignatureAlgorithm algorithm, const uint8_t *signature, size_t n_signature,
                         X509 *certificate, Failure *reterr)
{
        EVP_PKEY *key;
        int r;

        r = check_form(algorithm, signature, n_signature, certificate, &key, reterr);
        /* What it left behind must not be taken for somebody else's error later. */
        ERR_clear_error();
        return r;
}

static int verify(SignatureAlgorithm algorithm, EVP_PKEY *key, const DigestValue *digest, const uint8_t *signature,
                  size_t n_signature, Failure *reterr)
{
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        const EVP_MD *md = digest->algorithm == DIGEST_SHA1 ? EVP_sha1() : EVP_sha256();

        if (!context || EVP_PKEY_verify_init(context) != 1 ||
            (!is_ecdsa(algorithm) && EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING) != 1) ||
            EVP_PKEY_CTX_set_signature_md(context, md) != 1)
                return fail(reterr, FAILURE_ALGORITHM_REFUSED, EOPNOTSUPP, "the crypto library refuses %s",
                            signature_algorithm_to_string(algorithm));
        /* 1 is the one good answer; 0 and negative ones are not. */
        if (EVP_PKEY_verify(context, signature, n_signature, digest->bytes, digest->n_bytes) != 1)
                return fail(reterr, FAILURE_SIGNATURE_INVALID, EBADMSG,
                            "the %s signature does not match the image and the certificate's key",
                            signature_algorithm_to_string(algorithm));
        return 0;
}

int signature_verify(SignatureAlgorithm algorithm, const DigestValue *digest, const uint8_t *signature,
                     size_t n_signature, X509 *certificate, Failure *reterr)
{
        EVP_PKEY *key = NULL;
        int r;

        r = check_form(algorithm, signature, n_signature, certificate, &key, reterr);
        if (r == 0 && (digest->algorithm != signature_algorithm_digest(algorithm) ||
                       digest->n_bytes != digest_algorithm_size(digest->algorithm)))
                r = fail(reterr, FAILURE_INTERNAL, EINVAL, "a digest of another algorithm than the signature's");
        if (r == 0)
                r = verify(algorithm, key, digest, signature, n_signature, reterr);
        ERR_clear_error();
        return r;
}
