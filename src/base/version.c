#include "base/version.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/file-util.h"

/* The next character at *value, which moves past it; -EBADMSG where it cannot stand there. `quote` is 0 outside quotes. */
static int take_character(const char **value, const char *end, char quote)
{
        char c = *(*value)++;

        if (quote == '"' && c == '\\') {
                if (*value == end) /* it takes the closing quote away */
                        return -EBADMSG;
                if (strchr("$\"`\\", **value))
                        c = *(*value)++;
        } else if (c == quote || (!quote && strchr(" '\"\\$`;&|<>()", c)))
                return -EBADMSG;
        return c < 0x20 || c > 0x7e ? -EBADMSG : c;
}

/* `value` goes up to the end of its line. -EBADMSG, -ENODATA: it is empty, -ENOMEM. */
static int parse_value(const char *value, size_t n_value, char **ret)
{
        char text[VERSION_MAX_BYTES + 1] = {};
        const char *end = value + n_value;
        char quote = 0, *copy;

        while (end > value && isspace((unsigned char)end[-1]))
                end--;
        if (value < end && (*value == '"' || *value == '\'')) {
                quote = *value++;
                if (value == end || *--end != quote)
                        return -EBADMSG;
        }
        for (size_t n = 0; value < end; n++) {
                int c = take_character(&value, end, quote);

                if (c < 0 || n == VERSION_MAX_BYTES)
                        return -EBADMSG;
                text[n] = (char)c;
        }
        if (!text[0])
                return -ENODATA;
        copy = strdup(text);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

int version_parse(const char *text, size_t n_text, const char *key, char **ret)
{
        const char *value = NULL, *end = text + n_text;
        size_t n_key = strlen(key), n_value = 0;

        for (const char *line = text, *next; line < end; line = next) {
                const char *newline = memchr(line, '\n', (size_t)(end - line));
                const char *line_end = newline ? newline : end;

                next = newline ? newline + 1 : end;
                while (line < line_end && (*line == ' ' || *line == '\t'))
                        line++;
                if ((size_t)(line_end - line) <= n_key || memcmp(line, key, n_key) != 0 || line[n_key] != '=')
                        continue;
                value = line + n_key + 1;
                n_value = (size_t)(line_end - value);
        }
        return value ? parse_value(value, n_value, ret) : -ENODATA;
}

int version_read(const char *file, const char *key, char **ret)
{
        _cleanup_free_ char *text = NULL;
        size_t n_text = 0;
        int r;

        r = file_read(AT_FDCWD, file, VERSION_FILE_MAX_BYTES, &text, &n_text);
        return r < 0 ? r : version_parse(text, n_text, key, ret);
}

/* ASCII only, whatever the locale. */
static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static const char *skip_separators(const char *p)
{
        while (*p && !is_digit(*p) && !is_letter(*p) && !strchr("-.~^", *p))
                p++;
        return p;
}

static size_t count(const char *p, bool (*is)(char))
{
        size_t n = 0;

        while (is(p[n]))
                n++;
        return n;
}

static int order(size_t a, size_t b)
{
        return (a > b) - (a < b);
}

/* Moves both past their number; no number at all is older than any. Numbers may be longer than any integer. */
static int compare_numbers(const char **a, const char **b)
{
        size_t n_a = count(*a, is_digit), n_b = count(*b, is_digit);
        const char *number_a = *a, *number_b = *b;
        int r;

        *a += n_a;
        *b += n_b;
        if (n_a == 0 || n_b == 0)
                return order(n_a, n_b);
        for (; *number_a == '0'; n_a--)
                number_a++;
        for (; *number_b == '0'; n_b--)
                number_b++;
        r = order(n_a, n_b);
        return r != 0 ? r : memcmp(number_a, number_b, n_a);
}

/* Moves both past their letters; fewer letters are older. */
static int compare_letters(const char **a, const char **b)
{
        size_t n_a = count(*a, is_letter), n_b = count(*b, is_letter);
        int r = memcmp(*a, *b, MIN2(n_a, n_b));

        *a += n_a;
        *b += n_b;
        return r != 0 ? r : order(n_a, n_b);
}

int version_compare(const char *a, const char *b)
{
        /* From here on what begins with the earlier of these is older than what begins with a later one or none. */
        static const char marks[] = "-^.";
        int r;

        for (;;) {
                a = skip_separators(a);
                b = skip_separators(b);

                /* Before the end is looked at, as "~" is older than that. */
                if (*a == '~' || *b == '~') {
                        if (*a != *b)
                                return *a == '~' ? -1 : 1;
                        a++;
                        b++;
                }
                if (!*a || !*b)
                        return order(*a != 0, *b != 0);
                for (const char *mark = marks; *mark; mark++) {
                        if (*a != *mark && *b != *mark)
                                continue;
                        if (*a != *b)
                                return *a == *mark ? -1 : 1;
                        a++;
                        b++;
                }
                r = is_digit(*a) || is_digit(*b) ? compare_numbers(&a, &b) : compare_letters(&a, &b);
                if (r != 0)
                        return r;
        }
}

static uint32_t take_part(const char **p, uint32_t most)
{
        uint32_t number = 0;

        for (; is_digit(**p); (*p)++)
                number = MIN2(number * 10 + (uint32_t)(**p - '0'), most);
        /* What follows another character than a dot says nothing about major, minor and build. */
        *p = **p == '.' ? *p + 1 : "";
        return number;
}

uint32_t version_to_word(const char *version)
{
        uint32_t major = take_part(&version, 0xff), minor = take_part(&version, 0xff);

        return major << 24 | minor << 16 | take_part(&version, 0xffff);
}

const char *version_word_format(char text[static VERSION_WORD_TEXT_MAX], uint32_t word)
{
        snprintf(text, VERSION_WORD_TEXT_MAX, "0x%08" PRIx32, word);
        return text;
}
