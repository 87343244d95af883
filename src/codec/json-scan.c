#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "codec/job-message.h"
#include "json.h"

/* A cursor over the text, and for each open level whether it is an object. */
typedef struct Scan {
        const char *p;
        const char *end;
        unsigned depth;
        uint32_t objects;
        bool exact; /* refuse numbers that their double does not tell */
        const char *error;
} Scan;

/* cJSON reads no further into a number, and then gives up on the text. */
enum { NUMBER_MAX = 63 };

_Static_assert(JSON_DEPTH_MAX <= 32, "one bit for each level");

static int refuse(Scan *s, const char *error)
{
        s->error = error;
        return -EBADMSG;
}

static void skip_space(Scan *s)
{
        while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
                s->p++;
}

static bool take(Scan *s, char c)
{
        if (s->p == s->end || *s->p != c)
                return false;
        s->p++;
        return true;
}

static bool take_word(Scan *s, const char *word)
{
        size_t n = strlen(word);

        if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0)
                return false;
        s->p += n;
        return true;
}

static size_t take_digits(Scan *s)
{
        const char *start = s->p;

        while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
                s->p++;
        return (size_t)(s->p - start);
}

/* The four digits behind \u. */
static int scan_code_unit(Scan *s, unsigned *ret)
{
        unsigned unit = 0;

        for (unsigned i = 0; i < 4; i++, s->p++) {
                if (s->p == s->end)
                        return refuse(s, "ends inside a string");
                if (*s->p >= '0' && *s->p <= '9')
                        unit = unit * 16 + (unsigned)(*s->p - '0');
                else if ((*s->p | 0x20) >= 'a' && (*s->p | 0x20) <= 'f')
                        unit = unit * 16 + (unsigned)((*s->p | 0x20) - 'a') + 10;
                else
                        return refuse(s, "an escape in a string is wrong");
        }
        *ret = unit;
        return 0;
}

static int scan_escape(Scan *s)
{
        unsigned unit, low;
        int r;

        if (s->p == s->end)
                return refuse(s, "ends inside a string");
        if (*s->p != 'u') {
                if (*s->p == 0 || !strchr("\"\\/bfnrt", *s->p))
                        return refuse(s, "an escape in a string is wrong");
                s->p++;
                return 0;
        }

        s->p++;
        r = scan_code_unit(s, &unit);
        if (r < 0)
                return r;
        if (unit == 0)
                return refuse(s, "a string holds NUL");
        if (unit < 0xd800 || unit > 0xdfff)
                return 0;
        if (unit >= 0xdc00 || !take_word(s, "\\u"))
                return refuse(s, "half a surrogate pair in a string");
        r = scan_code_unit(s, &low);
        if (r < 0)
                return r;
        if (low < 0xdc00 || low > 0xdfff)
                return refuse(s, "half a surrogate pair in a string");
        return 0;
}

static int scan_string(Scan *s)
{
        int r;

        if (!take(s, '"'))
                return refuse(s, "a member's name is missing");
        while (s->p < s->end) {
                size_t n;

                if (take(s, '"'))
                        return 0;
                if (take(s, '\\')) {
                        r = scan_escape(s);
                        if (r < 0)
                                return r;
                        continue;
                }
                if ((unsigned char)*s->p < 0x20)
                        return refuse(s, "a control character in a string");
                n = utf8_char_length(s->p, (size_t)(s->end - s->p));
                if (n == 0)
                        return refuse(s, "not UTF-8");
                s->p += n;
        }
        return refuse(s, "ends inside a string");
}

/* Fifteen decimal digits always survive a double; a longer whole number does up to 2^53. */
static bool number_is_exact(const char *digits, size_t n_digits, bool whole)
{
        uint64_t value = 0;

        if (n_digits <= 15)
                return true;
        if (!whole || n_digits > 16)
                return false;
        for (size_t i = 0; i < n_digits; i++)
                value = value * 10 + (uint64_t)(digits[i] - '0');
        return value <= JSON_INTEGER_MAX;
}

static int scan_number(Scan *s)
{
        bool whole = true, exponent = false;
        const char *start = s->p, *digits;
        size_t n_digits, n;

        (void)take(s, '-');
        digits = s->p;
        if (take(s, '0'))
                n_digits = 1;
        else
                n_digits = take_digits(s);
        if (n_digits == 0)
                return refuse(s, "a number is wrong");

        if (take(s, '.')) {
                whole = false;
                n = take_digits(s);
                if (n == 0)
                        return refuse(s, "a number is wrong");
                n_digits += n;
        }
        if (take(s, 'e') || take(s, 'E')) {
                exponent = true;
                if (!take(s, '+'))
                        (void)take(s, '-');
                if (take_digits(s) == 0)
                        return refuse(s, "a number is wrong");
        }

        if (s->p - start > NUMBER_MAX)
                return refuse(s, "a number is too long");
        if (s->exact && exponent)
                return refuse(s, "a number has an exponent");
        if (s->exact && !number_is_exact(digits, n_digits, whole))
                return refuse(s, "a number is above 2^53 or has more than 15 digits");
        return 0;
}

static int scan_scalar(Scan *s)
{
        if (s->p == s->end)
                return refuse(s, "ends where a value is due");
        if (*s->p == '"')
                return scan_string(s);
        if (*s->p == '-' || (*s->p >= '0' && *s->p <= '9'))
                return scan_number(s);
        if (take_word(s, "true") || take_word(s, "false") || take_word(s, "null"))
                return 0;
        return refuse(s, "not JSON: a value is wrong");
}

static int scan_name(Scan *s)
{
        int r;

        skip_space(s);
        r = scan_string(s);
        if (r < 0)
                return r;
        skip_space(s);
        return take(s, ':') ? 0 : refuse(s, "a colon is missing");
}

static bool in_object(const Scan *s)
{
        return s->objects >> (s->depth - 1) & 1;
}

/* At '{' or '[': opens a level. Returns 1 where it is closed at once, 0 where a value is due next. */
static int scan_open(Scan *s)
{
        bool object = *s->p == '{';

        if (s->depth == JSON_DEPTH_MAX)
                return refuse(s, "nested too deeply");
        s->p++;
        s->depth++;
        s->objects &= ~(UINT32_C(1) << (s->depth - 1));
        s->objects |= (uint32_t)object << (s->depth - 1);

        skip_space(s);
        if (take(s, object ? '}' : ']')) {
                s->depth--;
                return 1;
        }
        return object ? scan_name(s) : 0;
}

/* Behind a value: closes what ends here. Returns 1 where all is closed, 0 where another value is due. */
static int scan_close(Scan *s)
{
        while (s->depth > 0) {
                skip_space(s);
                if (take(s, ','))
                        return in_object(s) ? scan_name(s) : 0;
                if (!take(s, in_object(s) ? '}' : ']'))
                        return refuse(s, s->p == s->end ? "ends too early" : "a comma or bracket is missing");
                s->depth--;
        }
        return 1;
}

/* One value, with everything inside it; no recursion, one look at each byte. */
static int scan_value(Scan *s)
{
        int r;

        for (;;) {
                skip_space(s);
                if (s->p < s->end && (*s->p == '{' || *s->p == '[')) {
                        r = scan_open(s);
                        if (r == 0)
                                continue;
                } else
                        r = scan_scalar(s);
                if (r < 0)
                        return r;

                r = scan_close(s);
                if (r != 0)
                        return r < 0 ? r : 0;
        }
}

static int scan_text(const char *text, size_t n_text, bool exact, const char **reterr)
{
        Scan s = {.p = text, .end = text + n_text, .exact = exact};
        int r;

        r = scan_value(&s);
        if (r >= 0) {
                skip_space(&s);
                if (s.p != s.end)
                        r = refuse(&s, "something follows the JSON text");
        }
        if (r < 0 && reterr)
                *reterr = s.error;
        return r;
}

int json_check(const char *text, size_t n_text, const char **reterr)
{
        return scan_text(text, n_text, false, reterr);
}

int json_check_numbers(const char *text, size_t n_text, const char **reterr)
{
        return scan_text(text, n_text, true, reterr);
}

int json_member_text(const char *text, size_t n_text, const char *name, const char **ret, size_t *ret_size)
{
        Scan s = {.p = text, .end = text + n_text};
        size_t n_name = strlen(name);

        skip_space(&s);
        if (!take(&s, '{'))
                return -ENOENT;
        for (;;) {
                const char *member, *value;
                size_t n_member;

                skip_space(&s);
                member = s.p + 1;
                if (scan_string(&s) < 0)
                        return -ENOENT;
                n_member = (size_t)(s.p - 1 - member);
                skip_space(&s);
                if (!take(&s, ':'))
                        return -ENOENT;
                skip_space(&s);
                value = s.p;
                if (scan_value(&s) < 0)
                        return -ENOENT;
                if (n_member == n_name && memcmp(member, name, n_name) == 0) {
                        *ret = value;
                        *ret_size = (size_t)(s.p - value);
                        return 0;
                }
                skip_space(&s);
                if (!take(&s, ','))
                        return -ENOENT;
        }
}
