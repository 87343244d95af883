/*
 * base64: the strict reading of RFC 4648, section 4, for signatures.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

/*
 * Standard alphabet, padded to a multiple of four; line ends anywhere are passed over, as tools that wrap at 64 or 76
 * columns write them. -EBADMSG: anything else, including bits that are set behind the last byte. -E2BIG: more than
 * max_bytes.
 */
_must_use_ int base64_decode(const char *text, uint8_t *buffer, size_t max_bytes, size_t *ret_size);
