#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Well-formed UTF-8 byte sequences: The Unicode Standard, table 3-7. */
size_t utf8_char_length(const char *text, size_t n_text)
{
        const uint8_t *t = (const uint8_t *)text;
        uint8_t low = 0x80, high = 0xbf;
        size_t n;

        if (n_text == 0)
                return 0;
        if (t[0] < 0x80)
                return 1;
        if (t[0] >= 0xc2 && t[0] <= 0xdf)
                n = 2;
        else if (t[0] >= 0xe0 && t[0] <= 0xef)
                n = 3;
        else if (t[0] >= 0xf0 && t[0] <= 0xf4)
                n = 4;
        else
                return 0;
        if (n_text < n)
                return 0;

        /* Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte. */
        if (t[0] == 0xe0)
                low = 0xa0;
        else if (t[0] == 0xed)
                high = 0x9f;
        else if (t[0] == 0xf0)
                low = 0x90;
        else if (t[0] == 0xf4)
                high = 0x8f;
        if (t[1] < low || t[1] > high)
                return 0;
        for (size_t i = 2; i < n; i++)
                if (t[i] < 0x80 || t[i] > 0xbf)
                        return 0;
        return n;
}

bool utf8_is_valid(const char *text, size_t n_text)
{
        for (size_t i = 0, n; i < n_text; i += n) {
                n = utf8_char_length(text + i, n_text - i);
                if (n == 0)
                        return false;
        }
        return true;
}

static bool is_control(const char *text, size_t n)
{
        const uint8_t *t = (const uint8_t *)text;

        if (n == 1)
                return t[0] < 0x20 || t[0] == 0x7f;
        if (n == 2)
                return t[0] == 0xc2 && t[1] < 0xa0;
        /* U+2028 to U+202E, U+2066 to U+2069: The Unicode Standard, "Layout Controls". */
        return n == 3 && t[0] == 0xe2 &&
               ((t[1] == 0x80 && t[2] >= 0xa8 && t[2] <= 0xae) || (t[1] == 0x81 && t[2] >= 0xa6 && t[2] <= 0xa9));
}

char *text_escape(char *buffer, size_t buffer_size, const char *text, size_t n_text, bool escape_backslash)
{
        size_t used = 0;

        assert(buffer_size > 0);
        n_text = strnlen(text, n_text);
        for (size_t i = 0, n; i < n_text; i += n) {
                char escaped[4 * 3 + 1] = "";
                size_t n_escaped = 0;

                n = utf8_char_length(text + i, n_text - i);
                if (n == 0 || is_control(text + i, n)) {
                        n = n == 0 ? 1 : n;
                        for (size_t k = 0; k < n; k++)
                                n_escaped += (size_t)snprintf(escaped + n_escaped, sizeof(escaped) - n_escaped,
                                                              "\\x%02x", (uint8_t)text[i + k]);
                } else if (text[i] == '\\' && escape_backslash) {
                        memcpy(escaped, "\\\\", n_escaped = 2);
                } else {
                        memcpy(escaped, text + i, n_escaped = n);
                }
                if (used + n_escaped >= buffer_size)
                        break;
                memcpy(buffer + used, escaped, n_escaped);
                used += n_escaped;
        }
        buffer[used] = 0;
        return buffer;
}

bool text_is_token(const char *text, size_t max_length, const char *extra)
{
        size_t n = strnlen(text, max_length + 1);

        if (n == 0 || n > max_length)
                return false;
        for (size_t i = 0; i < n; i++) {
                uint8_t c = (uint8_t)text[i];

                if (c >= 0x80 || (!isalnum(c) && !strchr(extra, c)))
                        return false;
        }
        return true;
}
