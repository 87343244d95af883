/*
 * otactl verify: would this file be installed, as far as its signature goes?
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/file-util.h"
#include "base/log.h"
#include "image.h"

enum { BUFFER_BYTES = 256 * 1024 };

static int hash(const Image *image, Digest *digest, DigestValue *ret)
{
        _cleanup_free_ char *buffer = malloc(BUFFER_BYTES);
        uint64_t at = 0;
        ssize_t n;
        int r;

        if (!buffer)
                return -ENOMEM;
        do {
                n = pread_full(image->fd, buffer, BUFFER_BYTES, at);
                if (n < 0)
                        return (int)n;
                r = digest_update(digest, buffer, (size_t)n);
                if (r < 0)
                        return r;
                at += (uint64_t)n;
        } while (n == BUFFER_BYTES);
        return digest_finish(digest, ret);
}

static int verify(const Image *image)
{
        _cleanup_(digest_freep) Digest *digest = NULL;
        DigestValue value;
        char hex[DIGEST_HEX_MAX];
        Failure failure;
        int r;

        r = digest_new(policy_digest_algorithm(&image->file), &digest);
        if (r >= 0)
                r = hash(image, digest, &value);
        if (r < 0) {
                log_error("Cannot read the image %s: %s", image->path, strerror(-r));
                return EXIT_FAILED;
        }
        if (policy_verify_file(&image->params, &image->file, &value, &failure) < 0) {
                log_error("%s: %s", failure_reason_to_string(failure.reason), failure.detail);
                return EXIT_FAILED;
        }
        (void)digest_value_to_hex(&value, hex);
        if (image->file.algorithm == SIGNATURE_ALGORITHM_NONE)
                printf("%s: not signed, and would be taken as it is; its digest is %s\n", image->path, hex);
        else
                printf("%s: signed by %s (%s), its digest is %s\n", image->path, image->file.cert,
                       signature_algorithm_to_string(image->file.algorithm), hex);
        return EXIT_FINE;
}

int command_verify(const Options *options)
{
        Image image = IMAGE_NONE;
        int r;

        r = image_open(options, &image);
        if (r == EXIT_FINE)
                r = verify(&image);
        image_done(&image);
        return r;
}
