/*
 * signature: does this signature over this digest come from this certificate's key?
 *
 * Algorithms: ECDSA on P-256 and P-384, signature in strict DER (SEQUENCE { r, s }); RSA of 2048 to 4096
 * bits, PKCS #1 v1.5, signature as long as the modulus. Whether the certificate is to be trusted is
 * trust-store's matter, which algorithms are allowed the caller's.
 *
 * Source: AWS IoT Core Developer Guide, "Create a code-signing certificate"; FreeRTOS OTA PAL (posix) for DER and
 * padding; RFC 5480 (curves), RFC 8017 section 8.2 (RSASSA-PKCS1-v1_5).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/failure.h"
#include "base/signature-algorithm.h"
#include "trust/digest.h"

typedef struct x509_st X509; /* OpenSSL's */

/* Of the algorithms that sign anything; NONE is our own bug. */
DigestAlgorithm signature_algorithm_digest(SignatureAlgorithm algorithm);

/*
 * All that can be told before a byte of the image is there: FAILURE_KEY_MISMATCH where the key is not of the
 * algorithm's kind or of a curve or size not accepted (-EKEYREJECTED), FAILURE_SIGNATURE_MALFORMED where the
 * signature is no strict DER or has the wrong length (-EBADMSG).
 */
_must_use_ int signature_check_form(SignatureAlgorithm algorithm, const uint8_t *signature, size_t n_signature,
                                    X509 *certificate, Failure *reterr);
/*
 * signature_check_form(), and then the signature itself: FAILURE_SIGNATURE_INVALID (-EBADMSG) where it does
 * not match. FAILURE_INTERNAL (-EINVAL) where the digest is of another algorithm than the signature wants.
 */
_must_use_ int signature_verify(SignatureAlgorithm algorithm, const DigestValue *digest, const uint8_t *signature,
                                size_t n_signature, X509 *certificate, Failure *reterr);
