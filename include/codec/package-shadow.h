/*
 * package-shadow: the installed version, as the shadow named $package takes it, and what comes back.
 *
 * Sources: AWS IoT Developer Guide, "Preparing to use the Software Package Catalog" (only `version` and `attributes` stand
 * under a package's name) and "Device Shadow MQTT topics"; API reference, CreatePackageVersion (names). A rejection's code
 * is a number as in HTTP, unlike that of Jobs.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "codec/job-message.h"

enum { PACKAGE_NAME_MAX = 128, PACKAGE_VERSION_MAX = 64, PACKAGE_PROBLEM_MAX = 256 };

bool package_name_is_valid(const char *name);
bool package_version_is_valid(const char *version); /* others the catalog cannot have */

/* {"state":{"reported":{NAME:{"version":VERSION}}},"clientToken":TOKEN}. *ret is the caller's. -EINVAL, -ENOMEM. */
_must_use_ int package_report_format(const char *name, const char *version, const char *token, char **ret);

/* A plain value. */
typedef struct PackageAnswer {
        char client_token[CLIENT_TOKEN_MAX + 1]; /* "": none */
        int code;                                /* of a rejection; 0: accepted */
        char problem[PACKAGE_PROBLEM_MAX];       /* of a rejection; escaped */
} PackageAnswer;

/* -EBADMSG: *reterr says why. -ENOMEM. */
_must_use_ int package_accepted_parse(const char *payload, size_t n_payload, PackageAnswer *ret, const char **reterr);
_must_use_ int package_rejection_parse(const char *payload, size_t n_payload, PackageAnswer *ret,
                                       const char **reterr);
