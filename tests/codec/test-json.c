/* What may pass to cJSON at all, seen through the plainest message there is. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "codec/job-message.h"
#include "unit.h"

typedef struct Case {
        const char *text;
        const char *error; /* NULL: fine */
} Case;

static const Case cases[] = {
        {"{}", NULL},
        {" \t\r\n{ } \n", NULL},
        {"{\"a\":null,\"b\":true,\"c\":false,\"d\":\"\",\"e\":[],\"f\":{},\"g\":[[],{}]}", NULL},
        {"{\"a\":[0,-0,1,-1,10,0.5,-12.25,1e3,1E+3,1e-3,1.5e30]}", NULL},
        {"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uD83D\\uDE00\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\x7f\"}", NULL},
        {"", "ends where a value is due"},
        {"   ", "ends where a value is due"},
        {"[]", "not a JSON object"},
        {"\"a\"", "not a JSON object"},
        {"1", "not a JSON object"},
        {"null", "not a JSON object"},
        {"nul", "not JSON: a value is wrong"},
        {"{\"a\":True}", "not JSON: a value is wrong"},
        {"{\"a\":NaN}", "not JSON: a value is wrong"},
        {"{\"a\":'b'}", "not JSON: a value is wrong"},
        {"{\"a\":+1}", "not JSON: a value is wrong"},
        {"{\"a\":.5}", "not JSON: a value is wrong"},
        {"{\"a\":}", "not JSON: a value is wrong"},
        {"{\"a\":[1,]}", "not JSON: a value is wrong"},
        {"{\"a\":-}", "a number is wrong"},
        {"{\"a\":1.}", "a number is wrong"},
        {"{\"a\":1e}", "a number is wrong"},
        {"{\"a\":1e+}", "a number is wrong"},
        {"{\"a\":01}", "a comma or bracket is missing"},
        {"{\"a\":0x10}", "a comma or bracket is missing"},
        {"{\"a\":1 2}", "a comma or bracket is missing"},
        {"{\"a\":[1}", "a comma or bracket is missing"},
        {"{\"a\":{]}", "a member's name is missing"},
        {"{\"a\":[1,2,3", "ends too early"},
        {"{\"a\":1", "ends too early"},
        {"{\"a\"", "a colon is missing"},
        {"{\"a\" 1}", "a colon is missing"},
        {"{\"a\":1,}", "a member's name is missing"},
        {"{,}", "a member's name is missing"},
        {"{a:1}", "a member's name is missing"},
        {"{1:1}", "a member's name is missing"},
        {"{", "a member's name is missing"},
        {"{\"a", "ends inside a string"},
        {"{\"a\\", "ends inside a string"},
        {"{\"a\\u00", "ends inside a string"},
        {"{\"a\":\"\\x41\"}", "an escape in a string is wrong"},
        {"{\"a\":\"\\u00g0\"}", "an escape in a string is wrong"},
        {"{\"a\":\"\\u0000\"}", "a string holds NUL"},
        {"{\"a\\u0000b\":1}", "a string holds NUL"},
        {"{\"a\":\"\\ud800\"}", "half a surrogate pair in a string"},
        {"{\"a\":\"\\ud800\\u0041\"}", "half a surrogate pair in a string"},
        {"{\"a\":\"\\udc00\"}", "half a surrogate pair in a string"},
        {"{\"a\":\"tab\there\"}", "a control character in a string"},
        {"{\"a\":\"line\nend\"}", "a control character in a string"},
        {"{\"a\":\"\xff\"}", "not UTF-8"},
        {"{\"a\":\"\xc0\x80\"}", "not UTF-8"},
        {"{\"a\":\"\xed\xa0\x80\"}", "not UTF-8"},
        {"{\"a\":\"\xe2\x82\"}", "not UTF-8"},
        {"{\"\xfe\":1}", "not UTF-8"},
        {"\xef\xbb\xbf{}", "not JSON: a value is wrong"},
        {"{} {}", "something follows the JSON text"},
        {"{}x", "something follows the JSON text"},
        {"{\"a\":1,\"a\":2}", "a member is there twice"},
        {"{\"a\":1,\"\\u0061\":2}", "a member is there twice"},
        {"{\"x\":[{\"a\":1,\"b\":2,\"a\":3}]}", "a member is there twice"},
        {"{\"jobDocument\":{\"a\":1,\"a\":2}}", NULL},
        {"{\"jobDocument\":1,\"jobDocument\":2}", "a member is there twice"},
        {"{\"a\":123456789012345678901234567890123456789012345678901234567890123}", NULL},
        {"{\"a\":1234567890123456789012345678901234567890123456789012345678901234}", "a number is too long"},
        {"{\"a\":1e999}", NULL},
};

/* In a block of just its size, so that a read behind it shows. */
static int parse(const char *text, size_t n_text, const char **reterr)
{
        _cleanup_free_ char *copy = malloc(n_text > 0 ? n_text : 1);
        PendingJobs pending;

        assert_non_null(copy);
        memcpy(copy, text, n_text);
        return pending_jobs_parse(copy, n_text, &pending, reterr);
}

static void test_cases(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *error = NULL;
                int r = parse(cases[i].text, strlen(cases[i].text), &error);

                if (!cases[i].error && r != 0)
                        fail_msg("%s: %s", cases[i].text, error);
                if (cases[i].error && (r != -EBADMSG || !error || strcmp(error, cases[i].error) != 0))
                        fail_msg("%s: %s, not %s", cases[i].text, error, cases[i].error);
        }
        assert_int_equal(parse("{", 1, NULL), -EBADMSG);
}

static void test_nul(void **state)
{
        static const char inside[] = "{\"a\":\"b\0c\"}", behind[] = "{}\0";
        const char *error;

        (void)state;
        assert_int_equal(parse(inside, sizeof(inside) - 1, &error), -EBADMSG);
        assert_string_equal(error, "a control character in a string");
        assert_int_equal(parse(behind, sizeof(behind) - 1, &error), -EBADMSG);
        assert_string_equal(error, "something follows the JSON text");
}

/* {"a":[[...]]} with as many levels as told. */
static int parse_nested(unsigned depth, char open, char close, const char **reterr)
{
        char text[JOB_MESSAGE_MAX_BYTES];
        size_t n = 0;

        n += (size_t)snprintf(text, sizeof(text), "{\"a\":");
        for (unsigned i = 1; i < depth; i++) {
                text[n++] = open;
                if (open == '{' && i + 1 < depth)
                        n += (size_t)snprintf(text + n, sizeof(text) - n, "\"a\":");
        }
        for (unsigned i = 1; close && i < depth; i++)
                text[n++] = close;
        text[n++] = '}';
        return parse(text, n, reterr);
}

static void test_depth(void **state)
{
        const char *error;

        (void)state;
        assert_int_equal(parse_nested(JSON_DEPTH_MAX, '[', ']', &error), 0);
        assert_int_equal(parse_nested(JSON_DEPTH_MAX, '{', '}', &error), 0);
        assert_int_equal(parse_nested(JSON_DEPTH_MAX + 1, '[', ']', &error), -EBADMSG);
        assert_string_equal(error, "nested too deeply");
        assert_int_equal(parse_nested(JSON_DEPTH_MAX + 1, '{', '}', &error), -EBADMSG);
        assert_string_equal(error, "nested too deeply");
        assert_int_equal(parse_nested(100000, '[', 0, &error), -EBADMSG);
        assert_string_equal(error, "nested too deeply");
}

static void test_size(void **state)
{
        char *text = malloc(JOB_MESSAGE_MAX_BYTES + 1);
        const char *error;

        (void)state;
        assert_non_null(text);
        memset(text, ' ', JOB_MESSAGE_MAX_BYTES + 1);
        memcpy(text, "{}", 2);
        assert_int_equal(parse(text, JOB_MESSAGE_MAX_BYTES, &error), 0);
        assert_int_equal(parse(text, JOB_MESSAGE_MAX_BYTES + 1, &error), -EBADMSG);
        assert_string_equal(error, "longer than 128 KiB");
        free(text);
}

/* Tens of thousands of members must cost no more than sorting them. */
static void test_many_members(void **state)
{
        char *text = malloc(JOB_MESSAGE_MAX_BYTES);
        const char *error;
        size_t n = 1;

        (void)state;
        assert_non_null(text);
        text[0] = '{';
        for (unsigned i = 0; i < 13000; i++)
                n += (size_t)snprintf(text + n, JOB_MESSAGE_MAX_BYTES - n, "\"%x\":1,", i);
        assert_true(n + 16 < JOB_MESSAGE_MAX_BYTES);
        memcpy(text + n, "\"x\":1}", 6);
        assert_int_equal(parse(text, n + 6, &error), 0);
        memcpy(text + n, "\"0\":1}", 6);
        assert_int_equal(parse(text, n + 6, &error), -EBADMSG);
        assert_string_equal(error, "a member is there twice");
        free(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_cases), cmocka_unit_test(test_nul),          cmocka_unit_test(test_depth),
                cmocka_unit_test(test_size),  cmocka_unit_test(test_many_members),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
