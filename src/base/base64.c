#include <errno.h>

#include "base/base64.h"

static int digit_value(char c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == '+')
                return 62;
        return c == '/' ? 63 : -1;
}

int base64_decode(const char *text, uint8_t *buffer, size_t max_bytes, size_t *ret_size)
{
        unsigned n_digits = 0, n_padding = 0; /* in the group of four that is being read */
        uint32_t group = 0;
        size_t n = 0;

        for (; *text; text++) {
                int value = digit_value(*text);

                if (*text == '\r' || *text == '\n')
                        continue;
                if (*text == '=')
                        n_padding++;
                else if (value < 0 || n_padding > 0)
                        return -EBADMSG;
                group = group << 6 | (uint32_t)(value < 0 ? 0 : value);
                if (++n_digits < 4)
                        continue;

                /* Padding leaves one or two of the three bytes, and the bits of those left out have to be clear. */
                if (n_padding > 2 || (group & ((UINT32_C(1) << (8 * n_padding)) - 1)) != 0)
                        return -EBADMSG;
                for (unsigned i = 0; i < 3 - n_padding; i++) {
                        if (n == max_bytes)
                                return -E2BIG;
                        buffer[n++] = (uint8_t)(group >> (16 - 8 * i));
                }
                n_digits = 0;
                group = 0;
                if (n_padding > 0)
                        /* Only a digit or another '=' behind it would be wrong: both meet n_padding above. */
                        n_padding = 3;
        }
        if (n_digits != 0)
                return -EBADMSG;

        *ret_size = n;
        return 0;
}
