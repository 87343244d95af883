/*
 * version: reading, comparing and telling the version of what is installed.
 *
 * Pure but for version_read(). Source of the order: UAPI.10 Version Format Specification, read as
 * `systemd-analyze compare-versions` of systemd 252 does it. Where text and program differ the program
 * counts, because it is what a person has at hand: a number is newer than no number ("1.0" > "1.a"), and "~"
 * is older than the end. Source of the version word: ota-for-aws-iot-embedded-sdk v3.4.0, AppVersion32_t
 * (major, minor, build).
 */
#pragma once

#include <stdint.h>

#include "base/cleanup.h"

enum {
        VERSION_MAX_BYTES = 128, /* without the NUL */
        VERSION_FILE_MAX_BYTES = 64 * 1024,
        VERSION_WORD_TEXT_MAX = 11, /* "0x01020003" and a NUL */
};

/*
 * Reads `key` from a file of KEY=VALUE lines as os-release(5) describes them: '#' comments, values bare, in
 * single quotes (all literal) or in double quotes (a backslash before $, ", ` or \ is dropped). The last of
 * several counts, as in a shell. *ret is the caller's.
 *
 * -ENOENT and other errors of open(): no such file. -EINVAL: not a regular file. -EFBIG: over
 * VERSION_FILE_MAX_BYTES. -ENODATA: the key is not there, or empty. -EBADMSG: its value is not well quoted,
 * longer than VERSION_MAX_BYTES or not printable ASCII. -ENOMEM.
 */
_must_use_ int version_read(const char *file, const char *key, char **ret);
/* The pure half. */
_must_use_ int version_parse(const char *text, size_t n_text, const char *key, char **ret);

/* Less than, equal to or greater than 0, as `a` is older than, the same as or newer than `b`. */
int version_compare(const char *a, const char *b);

/*
 * major << 24 | minor << 16 | build of the first three parts between dots, as far as they are numbers: the
 * decimal digits a part begins with count, a part without any is 0, and what follows the first part that is
 * not only digits is not looked at ("1.2~rc1.3" is 1.2.0, "v1.2" is 0.0.0). Major and minor stop at 255,
 * build at 65535.
 */
uint32_t version_to_word(const char *version);
/* "0x01020003", as statusDetails `updatedBy` carries it. Returns `text`. */
const char *version_word_format(char text[static VERSION_WORD_TEXT_MAX], uint32_t word);
