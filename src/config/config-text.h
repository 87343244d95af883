/*
 * config-text: what the texts in a config may look like, and the file's text as libconfig can take it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"

bool config_text_is_clean(const char *text); /* valid UTF-8 without control characters */
bool config_text_is_thing_name(const char *text);
bool config_text_is_host(const char *text);
bool config_text_is_name(const char *text);
bool config_text_is_variable(const char *text);
bool config_text_is_user(const char *text);
bool config_text_is_user_or_empty(const char *text);
bool config_text_is_package_or_empty(const char *text);
bool config_text_is_pattern(const char *text);
bool config_text_is_bus(const char *text);
bool config_text_is_path(const char *text);
bool config_text_is_proxy(const char *text);
bool config_text_is_identity(const char *text); /* where a certificate or key is */

/*
 * The text with every whole number marked as one of 64 bits, because libconfig before 1.7 silently keeps the low 32
 * bits of any other; lines stay where they are.
 *
 * -EINVAL: *reterr_line is where, and *reterr_why what libconfig must not be given: a NUL, @include (libconfig 1.5 ends
 * the process where it names a folder), a number beyond 64 bits (it wraps), a string or a comment without an end (the
 * message would name the last line, and memory would leak). -ENOMEM.
 */
_must_use_ int config_text_prepare(const char *text, size_t n_text, char **ret, unsigned *reterr_line,
                                   const char **reterr_why);
