/*
 * image: a file that a person brings, its signature, and what the configuration says of both.
 */
#pragma once

#include "command.h"
#include "install/policy.h"

typedef struct Image {
        const char *path; /* borrowed from the options */
        int fd;
        InstallParams params; /* what is about signing; borrows from the config */
        InstallFile file;     /* its target is "any" where none is named */
} Image;

#define IMAGE_NONE ((Image){.fd = -1})

/*
 * Opens the file and reads the signature beside it (DER, or base64 of it). Without one the policy judges later.
 * EXIT_FINE, or the exit code after it has said why not.
 */
_must_use_ int image_open(const Options *options, Image *ret);
void image_done(Image *image);
