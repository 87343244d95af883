/*
 * signature-algorithm: the hash and key type of a code signature, in the words of job documents and of our
 * config.
 *
 * A job document names the algorithm in the member that carries the signature, "sig-" and the word.
 * Source: AWS IoT API reference, CustomCodeSigning (hashAlgorithm and signatureAlgorithm).
 */
#pragma once

typedef enum SignatureAlgorithm {
        SIGNATURE_ALGORITHM_NONE,         /* no signature at all */
        SIGNATURE_ALGORITHM_SHA256_ECDSA, /* signature: DER SEQUENCE { r, s } */
        SIGNATURE_ALGORITHM_SHA256_RSA,   /* signature: PKCS #1 v1.5, as long as the modulus */
        SIGNATURE_ALGORITHM_SHA1_ECDSA,
        SIGNATURE_ALGORITHM_SHA1_RSA,
        _SIGNATURE_ALGORITHM_MAX,
} SignatureAlgorithm;

/* As long as an RSA key of 8192 bits makes one: a bound for documents, the link and records. */
enum { SIGNATURE_MAX_BYTES = 1024 };

const char *signature_algorithm_to_string(SignatureAlgorithm algorithm); /* "sha256-ecdsa"; "none" */
/* The enum's value, 0 for "none"; -EINVAL where unknown (letters must be lower case). */
int signature_algorithm_from_string(const char *word);
