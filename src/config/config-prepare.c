#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "config-text.h"

/* One pass over the text with just enough of libconfig's grammar to know numbers from what looks like them. */
typedef struct Scan {
        const char *text;
        size_t n_text;
        size_t at;
        unsigned line;
        char *out;
        size_t n_out;
} Scan;

/* As long as a 64 bit number can be in hexadecimal with its "0x", or in decimal. */
enum { NUMBER_MAX_CHARS = 18 };

static char peek(const Scan *s, size_t ahead)
{
        return s->at + ahead < s->n_text ? s->text[s->at + ahead] : '\0';
}

static void take(Scan *s, size_t n)
{
        for (; n > 0 && s->at < s->n_text; n--) {
                s->line += s->text[s->at] == '\n';
                s->out[s->n_out++] = s->text[s->at++];
        }
}

static void take_line(Scan *s)
{
        while (s->at < s->n_text && peek(s, 0) != '\n')
                take(s, 1);
}

static const char *take_comment(Scan *s)
{
        take(s, 2);
        while (s->at < s->n_text && !(peek(s, 0) == '*' && peek(s, 1) == '/'))
                take(s, 1);
        if (s->at == s->n_text)
                return "a comment without an end; allowed: /* ... */";
        take(s, 2);
        return NULL;
}

static const char *take_string(Scan *s)
{
        take(s, 1);
        while (s->at < s->n_text && peek(s, 0) != '"')
                take(s, peek(s, 0) == '\\' ? 2 : 1);
        if (s->at == s->n_text)
                return "a string without an end; allowed: \"...\"";
        take(s, 1);
        return NULL;
}

static void take_while(Scan *s, const char *also)
{
        while (isalnum((unsigned char)peek(s, 0)) || (peek(s, 0) && strchr(also, peek(s, 0))))
                take(s, 1);
}

/* After digits: ".5" or "e5", but not the "e" of a key that follows without a space. */
static bool is_fraction(const Scan *s)
{
        bool has_sign = peek(s, 1) == '+' || peek(s, 1) == '-';

        if (peek(s, 0) == 'e' || peek(s, 0) == 'E')
                return isdigit((unsigned char)peek(s, has_sign ? 2 : 1));
        return peek(s, 0) == '.';
}

/* A whole number without the suffix gets it. */
static const char *take_number(Scan *s)
{
        bool is_hex = peek(s, 0) == '0' && (peek(s, 1) == 'x' || peek(s, 1) == 'X');
        size_t n = is_hex ? 2 : 0;

        while (is_hex ? isxdigit((unsigned char)peek(s, n)) : isdigit((unsigned char)peek(s, n)))
                n++;
        if (n > NUMBER_MAX_CHARS)
                return "a number of too many digits; allowed: at most 18";
        take(s, n);
        if (!is_hex && is_fraction(s))
                take_while(s, ".+-");
        else if (peek(s, 0) != 'L')
                s->out[s->n_out++] = 'L';
        return NULL;
}

/* NULL, or why libconfig must not be given this. */
static const char *take_token(Scan *s)
{
        char c = peek(s, 0);

        if (c == '#' || (c == '/' && peek(s, 1) == '/'))
                take_line(s);
        else if (c == '/' && peek(s, 1) == '*')
                return take_comment(s);
        else if (c == '"')
                return take_string(s);
        else if (c == '@')
                return "@include is not supported; allowed: all settings in one file";
        else if (isalpha((unsigned char)c) || c == '*')
                take_while(s, "-_*"); /* a name, which may have digits in it */
        else if (c == '.')
                take_while(s, ".+-"); /* .5e-3 */
        else if (isdigit((unsigned char)c))
                return take_number(s);
        else
                take(s, 1);
        return NULL;
}

int config_text_prepare(const char *text, size_t n_text, char **ret, unsigned *reterr_line, const char **reterr_why)
{
        _cleanup_free_ char *out = NULL;
        const char *nul = memchr(text, 0, n_text);
        Scan s = {.text = text, .n_text = nul ? (size_t)(nul - text) : n_text, .line = 1};
        const char *why = NULL;
        unsigned line = 1; /* where the token begins */

        /* Each number, at least one character long, grows by one. */
        out = s.out = malloc(2 * s.n_text + 1);
        if (!out)
                return -ENOMEM;
        while (!why && s.at < s.n_text) {
                line = s.line;
                why = take_token(&s);
        }
        if (!why && nul) {
                line = s.line;
                why = "a NUL character; allowed: text";
        }
        if (why) {
                *reterr_line = line;
                *reterr_why = why;
                return -EINVAL;
        }
        s.out[s.n_out] = 0;
        *ret = TAKE_PTR(out);
        return 0;
}
