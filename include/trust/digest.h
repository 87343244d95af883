/*
 * digest: an incremental hash of an image.
 *
 * Opaque on EVP; the algorithms are fetched once a process.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

typedef enum DigestAlgorithm {
        DIGEST_SHA256,
        DIGEST_SHA1, /* only for jobs that name it and configurations that allow it */
        _DIGEST_ALGORITHM_MAX,
} DigestAlgorithm;

enum {
        DIGEST_MAX_BYTES = 32,
        DIGEST_HEX_MAX = 2 * DIGEST_MAX_BYTES + 1, /* with NUL */
};

size_t digest_algorithm_size(DigestAlgorithm algorithm); /* 32, 20 */

/* A plain value: a finished digest. */
typedef struct DigestValue {
        DigestAlgorithm algorithm;
        size_t n_bytes;
        uint8_t bytes[DIGEST_MAX_BYTES];
} DigestValue;

/* Lower case. Returns `text`. */
const char *digest_value_to_hex(const DigestValue *value, char text[static DIGEST_HEX_MAX]);

typedef struct Digest Digest;

/* -EOPNOTSUPP: the crypto library's policy forbids the algorithm. -ENOMEM. */
_must_use_ int digest_new(DigestAlgorithm algorithm, Digest **ret);
Digest *digest_free(Digest *digest); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(Digest *, digest_free);

/* -EIO: the crypto library failed; the digest is of no use any more. */
_must_use_ int digest_update(Digest *digest, const void *data, size_t n_data);
/* Once; update after it is -EINVAL. */
_must_use_ int digest_finish(Digest *digest, DigestValue *ret);
/* Begins anew, with nothing hashed. */
_must_use_ int digest_reset(Digest *digest);
