#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/file-util.h"
#include "base/log.h"

enum { SIGNATURE_FILE_MAX = 8 * 1024 };

void image_done(Image *image)
{
        image->fd = close_fd(image->fd);
}

static void take_params(const Config *config, InstallParams *ret)
{
        *ret = (InstallParams){
                .signing_required = config->signing.required,
                .trust_store = config->signing.trust_store,
                .dates_always = config->signing.dates == CONFIG_SIGNING_DATES_ALWAYS,
        };
        for (size_t i = 0; i < config->signing.algorithms.n && i < ELEMENTSOF(ret->algorithms); i++)
                ret->algorithms[ret->n_algorithms++] = (SignatureAlgorithm)config->signing.algorithms.values[i];
}

static int open_file(const char *path, Image *image)
{
        struct stat st;

        image->path = path;
        image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (image->fd < 0 || fstat(image->fd, &st) < 0) {
                log_error("Cannot open the image %s: %s", path, strerror(errno));
                return EXIT_FAILED;
        }
        if (!S_ISREG(st.st_mode)) {
                log_error("The image %s is no regular file", path);
                return EXIT_FAILED;
        }
        image->file.size_bytes = (uint64_t)st.st_size;
        return EXIT_FINE;
}

static int read_signature(const char *path, InstallFile *file)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        int r;

        r = file_read(AT_FDCWD, path, SIGNATURE_FILE_MAX, &text, &n_text);
        if (r < 0) {
                log_error("Cannot read the signature %s: %s", path, strerror(-r));
                return EXIT_FAILED;
        }
        /* A signature itself is binary: it is never base64 from its first byte to its last, without a NUL. */
        if (n_text > 0 && strlen(text) == n_text &&
            base64_decode(text, file->signature, sizeof(file->signature), &file->n_signature) >= 0)
                return EXIT_FINE;
        if (n_text == 0 || n_text > sizeof(file->signature)) {
                log_error("The signature %s has %zu bytes, which none has", path, n_text);
                return EXIT_FAILED;
        }
        memcpy(file->signature, text, n_text);
        file->n_signature = n_text;
        return EXIT_FINE;
}

int image_open(const Options *options, Image *ret)
{
        Failure failure;
        int r;

        *ret = IMAGE_NONE;
        take_params(options->config, &ret->params);
        snprintf(ret->file.target, sizeof(ret->file.target), "%s", options->target ?: "any");
        snprintf(ret->file.cert, sizeof(ret->file.cert), "%s", options->cert ?: "");
        r = open_file(options->argument, ret);
        if (r == EXIT_FINE && options->signature)
                r = read_signature(options->signature, &ret->file);
        if (r != EXIT_FINE || !options->signature)
                return r;
        if (policy_choose_algorithm(&ret->params, &ret->file, &failure) < 0) {
                log_error("%s: %s", failure_reason_to_string(failure.reason), failure.detail);
                return EXIT_FAILED;
        }
        return EXIT_FINE;
}
