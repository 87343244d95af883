#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/signature-algorithm.h"

static const char *const words[] = {
        [SIGNATURE_ALGORITHM_NONE] = "none",
        [SIGNATURE_ALGORITHM_SHA256_ECDSA] = "sha256-ecdsa",
        [SIGNATURE_ALGORITHM_SHA256_RSA] = "sha256-rsa",
        [SIGNATURE_ALGORITHM_SHA1_ECDSA] = "sha1-ecdsa",
        [SIGNATURE_ALGORITHM_SHA1_RSA] = "sha1-rsa",
};
_Static_assert(sizeof(words) / sizeof(words[0]) == _SIGNATURE_ALGORITHM_MAX, "one word for each algorithm");

const char *signature_algorithm_to_string(SignatureAlgorithm algorithm)
{
        assert((unsigned)algorithm < _SIGNATURE_ALGORITHM_MAX);
        return words[algorithm];
}

int signature_algorithm_from_string(const char *word)
{
        for (unsigned i = 0; i < _SIGNATURE_ALGORITHM_MAX; i++)
                if (strcmp(word, words[i]) == 0)
                        return (int)i;
        return -EINVAL;
}
