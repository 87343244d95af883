/*
 * json: the gate before cJSON, and exact reading behind it.
 *
 * cJSON is lenient (a member twice, control characters, half-valid numbers), recurses as deep as the text says, cuts a
 * string at an escaped NUL and keeps numbers as doubles. So a linear scan admits only what RFC 8259 allows, within
 * JSON_DEPTH_MAX levels, and the readers below refuse what a double has not kept exactly.
 */
#pragma once

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

#define JSON_INTEGER_MAX (UINT64_C(1) << 53)

DEFINE_CLEANUP(cJSON *, cJSON_Delete);

/* Why a text or an item was refused is static text; NULL for `reterr` is fine. */

/* One whole JSON text, UTF-8, without NUL in any form. -EBADMSG. */
_must_use_ int json_check(const char *text, size_t n_text, const char **reterr);
/* json_check(), then cJSON. -EBADMSG, -ENOMEM. */
_must_use_ int json_parse(const char *text, size_t n_text, cJSON **ret, const char **reterr);

/* -EBADMSG: some number in a text that json_check() admitted is not one that is told by its double. */
_must_use_ int json_check_numbers(const char *text, size_t n_text, const char **reterr);

/*
 * The text of a member of the object `text`, which json_check() admitted: a borrowed part of it. -ENOENT: no member
 * whose name is written just like `name`.
 */
_must_use_ int json_member_text(const char *text, size_t n_text, const char *name, const char **ret,
                                size_t *ret_size);

/*
 * -EBADMSG: some object in `item`, at any depth, has a member twice; *ret_name (NULL is fine) is its name, borrowed.
 * What lies below a member called `exempt` (NULL: none) is not looked at. -ENOMEM.
 */
_must_use_ int json_check_unique(const cJSON *item, const char *exempt, const char **ret_name);

/* A whole number from 0 to JSON_INTEGER_MAX; false for anything else, NULL too. */
bool json_is_integer(const cJSON *item, uint64_t *ret);
const char *json_type_to_string(const cJSON *item); /* "a string"; "missing" for NULL */
