/*
 * text: hostile text made fit for a line, an environment or the cloud.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies at most n_text bytes of `text` (up to a NUL) into `buffer`, escaping control characters, DEL, C1
 * controls, what breaks lines or turns the direction of text (U+2028 to U+202E, U+2066 to U+2069) and invalid
 * UTF-8 as \xNN, and a backslash as \\ only where `escape_backslash`. Cuts between characters. Returns `buffer`.
 */
char *text_escape(char *buffer, size_t buffer_size, const char *text, size_t n_text, bool escape_backslash);

/* The length of the valid UTF-8 character at `text`, 1 to 4; 0 where it is invalid or cut off. */
size_t utf8_char_length(const char *text, size_t n_text);
bool utf8_is_valid(const char *text, size_t n_text);

/* Non-empty, at most max_length bytes, only letters, digits and `extra`. */
bool text_is_token(const char *text, size_t max_length, const char *extra);
