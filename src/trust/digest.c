#include "trust/digest.h"

#include <assert.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>

static const struct {
        const char *openssl_name;
        size_t n_bytes;
} algorithms[] = {
        [DIGEST_SHA256] = {"SHA2-256", 32},
        [DIGEST_SHA1] = {"SHA1", 20},
};
_Static_assert(ELEMENTSOF(algorithms) == _DIGEST_ALGORITHM_MAX, "one line for each algorithm");

struct Digest {
        DigestAlgorithm algorithm;
        EVP_MD_CTX *context;
        bool is_finished;
};

size_t digest_algorithm_size(DigestAlgorithm algorithm)
{
        assert((unsigned)algorithm < _DIGEST_ALGORITHM_MAX);
        return algorithms[algorithm].n_bytes;
}

const char *digest_value_to_hex(const DigestValue *value, char text[static DIGEST_HEX_MAX])
{
        static const char digits[] = "0123456789abcdef";

        for (size_t i = 0; i < value->n_bytes; i++) {
                text[2 * i] = digits[value->bytes[i] >> 4];
                text[2 * i + 1] = digits[value->bytes[i] & 0xf];
        }
        text[2 * value->n_bytes] = 0;
        return text;
}

/* Fetching searches the providers, so it is done once; the process keeps what it found until it ends. */
static const EVP_MD *fetch(DigestAlgorithm algorithm)
{
        static EVP_MD *fetched[_DIGEST_ALGORITHM_MAX];

        if (!fetched[algorithm])
                fetched[algorithm] = EVP_MD_fetch(NULL, algorithms[algorithm].openssl_name, NULL);
        return fetched[algorithm];
}

int digest_new(DigestAlgorithm algorithm, Digest **ret)
{
        _cleanup_(digest_freep) Digest *digest = calloc(1, sizeof(*digest));
        int r;

        assert((unsigned)algorithm < _DIGEST_ALGORITHM_MAX);
        if (!digest)
                return -ENOMEM;
        if (!fetch(algorithm))
                return -EOPNOTSUPP;
        digest->algorithm = algorithm;
        digest->context = EVP_MD_CTX_new();
        if (!digest->context)
                return -ENOMEM;
        r = digest_reset(digest);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(digest);
        return 0;
}

Digest *digest_free(Digest *digest)
{
        if (!digest)
                return NULL;
        EVP_MD_CTX_free(digest->context);
        free(digest);
        return NULL;
}

int digest_update(Digest *digest, const void *data, size_t n_data)
{
        if (digest->is_finished)
                return -EINVAL;
        return EVP_DigestUpdate(digest->context, data, n_data) == 1 ? 0 : -EIO;
}

int digest_finish(Digest *digest, DigestValue *ret)
{
        DigestValue value = {.algorithm = digest->algorithm};
        unsigned n = 0;

        if (digest->is_finished)
                return -EINVAL;
        digest->is_finished = true;
        if (EVP_DigestFinal_ex(digest->context, value.bytes, &n) != 1 ||
            n != digest_algorithm_size(digest->algorithm))
                return -EIO;
        value.n_bytes = n;
        *ret = value;
        return 0;
}

int digest_reset(Digest *digest)
{
        digest->is_finished = false;
        return EVP_DigestInit_ex2(digest->context, fetch(digest->algorithm), NULL) == 1 ? 0 : -EIO;
}
