#include <errno.h>
#include <openssl/ecdsa.h>

#include "certs.h"
#include "stride.h"
#include "trust/signature.h"
#include "trust/trust-store.h"
#include "vector.h"

static EVP_PKEY *rsa_2048; /* one for all, as making it takes time */

static int make_key(void **state)
{
        rsa_2048 = make_rsa_key(2048);
        return 0;
}

static int free_key(void **state)
{
        EVP_PKEY_freep(&rsa_2048);
        return 0;
}

static DigestValue hash(DigestAlgorithm algorithm, const void *data, size_t n_data)
{
        _cleanup_(digest_freep) Digest *digest = NULL;
        DigestValue value;

        assert_int_equal(digest_new(algorithm, &digest), 0);
        assert_int_equal(digest_update(digest, data, n_data), 0);
        assert_int_equal(digest_finish(digest, &value), 0);
        return value;
}

static X509 *read_pem(const char *text)
{
        BIO *bio = BIO_new_mem_buf(text, -1);
        X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

        BIO_free(bio);
        assert_non_null(certificate);
        return certificate;
}

static size_t sign(EVP_PKEY *key, const EVP_MD *md, const DigestValue *digest, uint8_t signature[static 1024])
{
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
        size_t n = 1024;

        assert_int_equal(EVP_PKEY_sign_init(context), 1);
        assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, md), 1);
        assert_int_equal(EVP_PKEY_sign(context, signature, &n, digest->bytes, digest->n_bytes), 1);
        EVP_PKEY_CTX_free(context);
        return n;
}

static void test_digests(void **state)
{
        _cleanup_(digest_freep) Digest *digest = NULL;
        char hex[DIGEST_HEX_MAX];
        DigestValue value = hash(DIGEST_SHA256, VECTOR_IMAGE, VECTOR_IMAGE_BYTES);

        assert_string_equal(digest_value_to_hex(&value, hex),
                            "eb9b58f4d24029e3d1272a60bdfe62aa25343585c02a1ec26d69b1f63535e6c1");
        value = hash(DIGEST_SHA1, "abc", 3); /* FIPS 180, appendix A.1 */
        assert_string_equal(digest_value_to_hex(&value, hex), "a9993e364706816aba3e25717850c26c9cd0d89d");

        assert_int_equal(digest_new(DIGEST_SHA256, &digest), 0);
        assert_int_equal(digest_update(digest, "x", 1), 0);
        assert_int_equal(digest_reset(digest), 0);
        for (size_t i = 0; i < VECTOR_IMAGE_BYTES; i++)
                assert_int_equal(digest_update(digest, &VECTOR_IMAGE[i], 1), 0);
        assert_int_equal(digest_finish(digest, &value), 0);
        assert_string_equal(digest_value_to_hex(&value, hex),
                            "eb9b58f4d24029e3d1272a60bdfe62aa25343585c02a1ec26d69b1f63535e6c1");
        assert_int_equal(digest_update(digest, "x", 1), -EINVAL);
        assert_int_equal(digest_finish(digest, &value), -EINVAL);
}

static void test_vector_and_every_bit_of_its_image(void **state)
{
        _cleanup_(certificate_freep) X509 *certificate = read_pem(vector_certificate);
        DigestValue digest = hash(DIGEST_SHA256, VECTOR_IMAGE, VECTOR_IMAGE_BYTES);
        Failure failure = {};

        assert_int_equal(signature_verify(SIGNATURE_ALGORITHM_SHA256_ECDSA, &digest, vector_signature,
                                          sizeof(vector_signature), certificate, &failure),
                         0);
        assert_false(failure_is_set(&failure));
        for (size_t bit = 0; bit < VECTOR_IMAGE_BYTES * 8; bit += test_stride()) {
                uint8_t image[VECTOR_IMAGE_BYTES];

                memcpy(image, VECTOR_IMAGE, sizeof(image));
                image[bit / 8] ^= (uint8_t)(1 << (bit % 8));
                digest = hash(DIGEST_SHA256, image, sizeof(image));
                failure.reason = FAILURE_NONE;
                assert_int_equal(signature_verify(SIGNATURE_ALGORITHM_SHA256_ECDSA, &digest, vector_signature,
                                                  sizeof(vector_signature), certificate, &failure),
                                 -EBADMSG);
                assert_int_equal(failure.reason, FAILURE_SIGNATURE_INVALID);
        }
}

static void test_every_bit_of_the_signature(void **state)
{
        _cleanup_(certificate_freep) X509 *certificate = read_pem(vector_certificate);
        DigestValue digest = hash(DIGEST_SHA256, VECTOR_IMAGE, VECTOR_IMAGE_BYTES);
        uint8_t signature[sizeof(vector_signature)];

        for (size_t bit = 0; bit < sizeof(signature) * 8; bit += test_stride()) {
                Failure failure = {};

                memcpy(signature, vector_signature, sizeof(signature));
                signature[bit / 8] ^= (uint8_t)(1 << (bit % 8));
                assert_int_equal(signature_verify(SIGNATURE_ALGORITHM_SHA256_ECDSA, &digest, signature,
                                                  sizeof(signature), certificate, &failure),
                                 -EBADMSG);
                assert_true(failure.reason == FAILURE_SIGNATURE_INVALID ||
                            failure.reason == FAILURE_SIGNATURE_MALFORMED);
        }
}

static void check_malformed(X509 *certificate, const uint8_t *signature, size_t n_signature)
{
        Failure failure = {};

        assert_int_equal(
                signature_check_form(SIGNATURE_ALGORITHM_SHA256_ECDSA, signature, n_signature, certificate, &failure),
                -EBADMSG);
        assert_int_equal(failure.reason, FAILURE_SIGNATURE_MALFORMED);
}

static void test_strict_der(void **state)
{
        _cleanup_(certificate_freep) X509 *certificate = read_pem(vector_certificate);
        static const uint8_t zero[] = {0x30, 6, 2, 1, 0, 2, 1, 1}, negative[] = {0x30, 6, 2, 1, 0x80, 2, 1, 1},
                             padded[] = {0x30, 7, 2, 2, 0, 1, 2, 1, 1}, one[] = {0x30, 3, 2, 1, 1},
                             indefinite[] = {0x30, 0x80, 2, 1, 1, 2, 1, 1, 0, 0},
                             long_length[] = {0x30, 0x81, 6, 2, 1, 1, 2, 1, 1},
                             three[] = {0x30, 9, 2, 1, 1, 2, 1, 1, 2, 1, 1};
        static const struct {
                const uint8_t *bytes;
                size_t n;
        } cases[] = {
                {zero, sizeof(zero)},
                {negative, sizeof(negative)},
                {padded, sizeof(padded)},
                {one, sizeof(one)},
                {indefinite, sizeof(indefinite)},
                {long_length, sizeof(long_length)},
                {three, sizeof(three)},
                {vector_signature, 0},
        };
        uint8_t longer[sizeof(vector_signature) + 1] = {}, huge[2 + 2 * (2 + 49)] = {0x30, 102, 2, 49, 1};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                check_malformed(certificate, cases[i].bytes, cases[i].n);
        for (size_t n = 1; n < sizeof(vector_signature); n++)
                check_malformed(certificate, vector_signature, n);
        memcpy(longer, vector_signature, sizeof(vector_signature));
        check_malformed(certificate, longer, sizeof(longer));
        huge[2 + 51] = 2, huge[2 + 52] = 49, huge[2 + 53] = 1;
        check_malformed(certificate, huge, sizeof(huge)); /* integers of 392 bits for a key of 256 */
        assert_int_equal(signature_check_form(SIGNATURE_ALGORITHM_SHA256_ECDSA, vector_signature,
                                              sizeof(vector_signature), certificate, NULL),
                         0);
}

static void check_round(EVP_PKEY *key, SignatureAlgorithm algorithm)
{
        _cleanup_(certificate_freep) X509 *certificate = make_signer(key);
        DigestAlgorithm digest_algorithm = signature_algorithm_digest(algorithm);
        DigestValue digest = hash(digest_algorithm, "image", 5), other = hash(digest_algorithm, "imagf", 5);
        uint8_t signature[1024];
        size_t n = sign(key, digest_algorithm == DIGEST_SHA1 ? EVP_sha1() : EVP_sha256(), &digest, signature);
        Failure failure = {};

        assert_int_equal(signature_verify(algorithm, &digest, signature, n, certificate, &failure), 0);
        assert_int_equal(signature_verify(algorithm, &other, signature, n, certificate, &failure), -EBADMSG);
        assert_int_equal(failure.reason, FAILURE_SIGNATURE_INVALID);
        assert_int_equal(signature_verify(algorithm, &digest, signature, n - 1, certificate, &failure), -EBADMSG);
        assert_int_equal(failure.reason, FAILURE_SIGNATURE_MALFORMED);
        signature[n - 1] ^= 1;
        assert_int_equal(signature_verify(algorithm, &digest, signature, n, certificate, &failure), -EBADMSG);
        assert_int_equal(failure.reason, FAILURE_SIGNATURE_INVALID);
        /* The digest must be the one of the algorithm. */
        other = hash(digest_algorithm == DIGEST_SHA1 ? DIGEST_SHA256 : DIGEST_SHA1, "image", 5);
        signature[n - 1] ^= 1;
        assert_int_equal(signature_verify(algorithm, &other, signature, n, certificate, &failure), -EINVAL);
}

static void test_keys_accepted(void **state)
{
        static const char *const curves[] = {"P-256", "P-384"};
        static const unsigned bits[] = {3072, 4096};

        for (size_t i = 0; i < ELEMENTSOF(curves); i++) {
                _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = make_ec_key(curves[i]);

                check_round(key, SIGNATURE_ALGORITHM_SHA256_ECDSA);
                check_round(key, SIGNATURE_ALGORITHM_SHA1_ECDSA);
        }
        check_round(rsa_2048, SIGNATURE_ALGORITHM_SHA256_RSA);
        check_round(rsa_2048, SIGNATURE_ALGORITHM_SHA1_RSA);
        /* An emulator takes minutes to make them. */
        for (size_t i = 0; i < ELEMENTSOF(bits) && test_stride() == 1; i++) {
                _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = make_rsa_key(bits[i]);

                check_round(key, SIGNATURE_ALGORITHM_SHA256_RSA);
                check_round(key, SIGNATURE_ALGORITHM_SHA1_RSA);
        }
}

static void check_mismatch(EVP_PKEY *key, SignatureAlgorithm algorithm)
{
        _cleanup_(certificate_freep) X509 *certificate = make_signer(key);
        Failure failure = {};

        assert_int_equal(
                signature_check_form(algorithm, vector_signature, sizeof(vector_signature), certificate, &failure),
                -EKEYREJECTED);
        assert_int_equal(failure.reason, FAILURE_KEY_MISMATCH);
}

static void test_keys_refused(void **state)
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *ec = make_ec_key("P-256"), *koblitz = make_ec_key("secp256k1"),
                                           *small_curve = make_ec_key("P-224"), *small = make_rsa_key(1024),
                                           *pss = NULL;
        EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA-PSS", NULL);
        OSSL_PARAM *numbers;

        /* The same numbers, for another use. */
        assert_int_equal(EVP_PKEY_todata(rsa_2048, EVP_PKEY_KEYPAIR, &numbers), 1);
        assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
        assert_int_equal(EVP_PKEY_fromdata(context, &pss, EVP_PKEY_KEYPAIR, numbers), 1);
        assert_true(EVP_PKEY_is_a(pss, "RSA-PSS"));
        OSSL_PARAM_free(numbers);
        EVP_PKEY_CTX_free(context);
        check_mismatch(ec, SIGNATURE_ALGORITHM_SHA256_RSA);
        check_mismatch(rsa_2048, SIGNATURE_ALGORITHM_SHA256_ECDSA);
        check_mismatch(koblitz, SIGNATURE_ALGORITHM_SHA256_ECDSA);
        check_mismatch(small_curve, SIGNATURE_ALGORITHM_SHA256_ECDSA);
        check_mismatch(small, SIGNATURE_ALGORITHM_SHA256_RSA);
        check_mismatch(pss, SIGNATURE_ALGORITHM_SHA256_RSA);
}

static void test_no_algorithm(void **state)
{
        _cleanup_(certificate_freep) X509 *certificate = make_signer(rsa_2048);
        DigestValue digest = hash(DIGEST_SHA256, "image", 5);
        uint8_t signature[1024];
        size_t n = sign(rsa_2048, EVP_sha256(), &digest, signature);

        assert_int_equal(signature_verify(SIGNATURE_ALGORITHM_NONE, &digest, signature, n, certificate, NULL),
                         -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_digests),
                cmocka_unit_test(test_vector_and_every_bit_of_its_image),
                cmocka_unit_test(test_every_bit_of_the_signature),
                cmocka_unit_test(test_strict_der),
                cmocka_unit_test(test_keys_accepted),
                cmocka_unit_test(test_keys_refused),
                cmocka_unit_test(test_no_algorithm),
        };

        return cmocka_run_group_tests(tests, make_key, free_key);
}
