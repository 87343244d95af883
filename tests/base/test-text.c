#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "unit.h"

static void test_utf8(void **state)
{
        static const struct {
                const char *text;
                size_t length;
        } cases[] = {
                {"a", 1},
                {"\xc3\xa4", 2},
                {"\xe2\x82\xac", 3},
                {"\xf0\x9f\x98\x80", 4},
                {"\x80", 0},
                {"\xc0\xaf", 0},
                {"\xe0\x80\xaf", 0},
                {"\xed\xa0\x80", 0},
                {"\xc3", 0},
                {"\xe2\x82", 0},
                {"\xf4\x90\x80\x80", 0},
                {"\xf5\x80\x80\x80", 0},
                {"\xf0\x80\x80\x80", 0},
                {"", 0},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                assert_int_equal(utf8_char_length(cases[i].text, strlen(cases[i].text)), cases[i].length);
                assert_int_equal(utf8_is_valid(cases[i].text, strlen(cases[i].text)),
                                 cases[i].length > 0 || cases[i].text[0] == 0);
        }
}

static void test_escape(void **state)
{
        char buffer[64], tiny[6];

        assert_string_equal(text_escape(buffer, sizeof(buffer), "a\tb\x7f", 100, false), "a\\x09b\\x7f");
        assert_string_equal(text_escape(buffer, sizeof(buffer), "\xc2\x85|\xff|\xc3\xa4", 100, false),
                            "\\xc2\\x85|\\xff|\xc3\xa4");
        /* U+2028 ends a line, U+202E and U+2067 make text read backwards; their neighbours U+2027, U+206A do nothing. */
        assert_string_equal(text_escape(buffer, sizeof(buffer), "\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa7", 100, false),
                            "\\xe2\\x80\\xa8\\xe2\\x80\\xae\\xe2\\x81\\xa7");
        assert_string_equal(text_escape(buffer, sizeof(buffer), "\xe2\x80\xa7\xe2\x81\xaa", 100, false),
                            "\xe2\x80\xa7\xe2\x81\xaa");
        assert_string_equal(text_escape(buffer, sizeof(buffer), "a\\b", 100, true), "a\\\\b");
        assert_string_equal(text_escape(buffer, sizeof(buffer), "a\\b", 100, false), "a\\b");
        assert_string_equal(text_escape(buffer, sizeof(buffer), "abcdef", 3, false), "abc");
        /* Never half a character, never half an escape. */
        assert_string_equal(text_escape(tiny, sizeof(tiny), "abcd\xc3\xa4", 100, false), "abcd");
        assert_string_equal(text_escape(tiny, sizeof(tiny), "abc\n", 100, false), "abc");
}

static void test_tokens(void **state)
{
        assert_true(text_is_token("AFR_OTA-fw-41", 64, "_-"));
        assert_false(text_is_token("", 64, "_-"));
        assert_false(text_is_token("a/b", 64, "_-"));
        assert_false(text_is_token("abcd", 3, ""));
        assert_false(text_is_token("\xc3\xa4", 64, "_-"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_utf8),
                cmocka_unit_test(test_escape),
                cmocka_unit_test(test_tokens),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
