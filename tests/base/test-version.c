#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/version.h"
#include "unit.h"

static int sign(int number)
{
        return (number > 0) - (number < 0);
}

static void test_compare(void **state)
{
        static const struct {
                const char *a;
                int order;
                const char *b;
        } cases[] = {
                /* the specification's examples */
                {"11", 0, "11"},
                {"systemd-123", 0, "systemd-123"},
                {"bar-123", -1, "foo-123"},
                {"123a", 1, "123"},
                {"123.a", 1, "123"},
                {"123.a", -1, "123.b"},
                {"123a", 1, "123.a"},
                {"11\xce\xb1", 0, "11\xce\xb2"}, /* not ASCII: a separator */
                {"A", -1, "a"},
                {"", -1, "0"},
                {"0.", 1, "0"},
                {"0.0", 1, "0"},
                {"1_", 0, "1"},
                {"_1", 0, "1"},
                {"1_", -1, "1.2"},
                {"1_2_3", 1, "1.3.3"},
                {"1+", 0, "1"},
                {"+1", 0, "1"},
                {"1+2+3", 1, "1.3.3"},
                /* the end */
                {"", 0, ""},
                {"1.2.3", 0, "1.2.3"},
                {"1.2", -1, "1.2.0"},
                /* ~ before the end, and before all else */
                {"123~rc1", -1, "123"},
                {"123~rc1", -1, "123~rc2"},
                {"123~rc1", 1, "123~"},
                {"123~", -1, "123-1"},
                {"123~", -1, "123^"},
                {"~", -1, ""},
                {"~~", 1, "~"}, /* the second of two is compared with the end and not before it */
                {"123~~", -1, "123~a"},
                /* - before ^ and . and digits and letters */
                {"123", -1, "123-1"},
                {"123-1", -1, "123-1.1"},
                {"123-1", -1, "123^post1"},
                {"123-9", -1, "123.0"},
                {"123-a", -1, "123-1"},
                {"123-1", -1, "124"},
                {"123-1", -1, "123a"},
                /* ^ before . and digits and letters */
                {"123", -1, "123^"},
                {"123^", -1, "123^post1"},
                {"123^post1", -1, "123.a-1"},
                {"123^9", -1, "123.1"},
                {"1^", -1, "1a"},
                /* . before digits and letters */
                {"123.1-1", -1, "123a-1"},
                {"123a-1", -1, "124-1"},
                /* numbers */
                {"9", -1, "10"},
                {"1.9", -1, "1.10"},
                {"007", 0, "7"},
                {"1.00", 0, "1.0"},
                {"0", 0, "000"},
                {"99999999999999999999999999999998", -1, "99999999999999999999999999999999"},
                {"18446744073709551616", 1, "1"},
                {"1.0", 1, "1.a"}, /* a number is newer than none */
                {"1a", -1, "1a0"},
                /* letters */
                {"a", -1, "b"},
                {"a", -1, "ab"},
                {"aB", -1, "ab"},
                {"Z", -1, "a"},
                {"1rc", -1, "1rc1"},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                int forth = sign(version_compare(cases[i].a, cases[i].b));
                int back = sign(version_compare(cases[i].b, cases[i].a));

                if (forth != cases[i].order || back != -cases[i].order)
                        fail_msg("\"%s\" and \"%s\": %d and %d", cases[i].a, cases[i].b, forth, back);
        }
}

static void test_word(void **state)
{
        static const struct {
                const char *version;
                const char *word;
        } cases[] = {
                {"1.2.3", "0x01020003"},         {"1.3.0", "0x01030000"},
                {"0.9.2", "0x00090002"},         {"1", "0x01000000"},
                {"1.2", "0x01020000"},           {"1.2.3.4", "0x01020003"},
                {"01.002.3", "0x01020003"},      {"255.255.65535", "0xffffffff"},
                {"256.256.65536", "0xffffffff"}, {"99999999999999999999.1.1", "0xff010001"},
                {"2025.10.15", "0xff0a000f"},    {"1.2~rc1.3", "0x01020000"},
                {"1.2.3-4", "0x01020003"},       {"1a.2.3", "0x01000000"},
                {"1..3", "0x01000003"},          {".5", "0x00050000"},
                {"1.-2.3", "0x01000000"},        {"v1.2.3", "0x00000000"},
                {"bookworm", "0x00000000"},      {"", "0x00000000"},
        };
        char text[VERSION_WORD_TEXT_MAX];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(version_word_format(text, version_to_word(cases[i].version)), cases[i].word);
}

static void test_parse(void **state)
{
        static const struct {
                const char *text;
                int result;
                const char *version;
        } cases[] = {
                {"V=1.2.3\n", 0, "1.2.3"},
                {"V=1.2.3", 0, "1.2.3"},
                {"# V=0\nNAME=x\nV=2\nVX=3\nXV=4\n", 0, "2"},
                {"V=1\nV=2\n", 0, "2"},
                {"V=1\nV=\"bad\n", -EBADMSG, NULL}, /* the last counts, also where it is no good */
                {"  V=1 \t\r\n", 0, "1"},
                {"V=\"1.2\"\n", 0, "1.2"},
                {"V='1.2'\n", 0, "1.2"},
                {"V=\"12 (bookworm)\"\n", 0, "12 (bookworm)"},
                {"V=\"a\\\"b\\\\c\\$d\\`e\\f\"\n", 0, "a\"b\\c$d`e\\f"},
                {"V='a\\b\"c'\n", 0, "a\\b\"c"},
                {"V=~1^2-3_+,:@=\n", 0, "~1^2-3_+,:@="},
                {"", -ENODATA, NULL},
                {"V", -ENODATA, NULL},
                {"V 1\n", -ENODATA, NULL},
                {"v=1\n", -ENODATA, NULL},
                {"V=\n", -ENODATA, NULL},
                {"V=\"\"\n", -ENODATA, NULL},
                {"V=1\nV=\n", -ENODATA, NULL},
                {"V=\"1\n", -EBADMSG, NULL},
                {"V=\"\n", -EBADMSG, NULL},
                {"V=1\"\n", -EBADMSG, NULL},
                {"V=\"1'\n", -EBADMSG, NULL},
                {"V=\"1\\\"\n", -EBADMSG, NULL},
                {"V=\"1\"2\"\n", -EBADMSG, NULL},
                {"V='1'2'\n", -EBADMSG, NULL},
                {"V=1 2\n", -EBADMSG, NULL},
                {"V=$X\n", -EBADMSG, NULL},
                {"V=1;reboot\n", -EBADMSG, NULL},
                {"V=1\\2\n", -EBADMSG, NULL},
                {"V=\"1\x01\"\n", -EBADMSG, NULL},
                {"V=1\xc3\xa4\n", -EBADMSG, NULL},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *version = NULL;
                int r = version_parse(cases[i].text, strlen(cases[i].text), "V", &version);

                if (r != cases[i].result || (version && strcmp(version, cases[i].version) != 0))
                        fail_msg("%d \"%s\" for %s", r, version ? version : "", cases[i].text);
        }
}

static void test_parse_bounds(void **state)
{
        _cleanup_free_ char *version = NULL;
        char text[VERSION_MAX_BYTES + 4] = "V=";

        memset(text + 2, '1', VERSION_MAX_BYTES + 1);
        assert_int_equal(version_parse(text, 2 + VERSION_MAX_BYTES + 1, "V", &version), -EBADMSG);
        assert_int_equal(version_parse(text, 2 + VERSION_MAX_BYTES, "V", &version), 0);
        assert_int_equal(strlen(version), VERSION_MAX_BYTES);

        text[4] = 0;
        assert_int_equal(version_parse(text, 10, "V", &(char *){NULL}), -EBADMSG);
}

static void write_file(const char *path, const char *text, size_t n_text)
{
        FILE *file = fopen(path, "we");

        assert_non_null(file);
        assert_int_equal(fwrite(text, 1, n_text, file), n_text);
        assert_int_equal(fclose(file), 0);
}

static void test_read(void **state)
{
        char folder[] = "/tmp/test-version-XXXXXX";
        _cleanup_free_ char *path = NULL, *version = NULL, *large = calloc(1, VERSION_FILE_MAX_BYTES + 1);

        assert_non_null(large);
        assert_non_null(mkdtemp(folder));
        assert_true(asprintf(&path, "%s/release", folder) > 0);
        assert_int_equal(version_read(path, "V", &version), -ENOENT);
        assert_int_equal(version_read(folder, "V", &version), -EINVAL);
        write_file(path, "V=7\n", 4);
        assert_int_equal(version_read(path, "V", &version), 0);
        assert_string_equal(version, "7");
        write_file(path, large, VERSION_FILE_MAX_BYTES + 1);
        assert_int_equal(version_read(path, "V", &(char *){NULL}), -EFBIG);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_compare),      cmocka_unit_test(test_word), cmocka_unit_test(test_parse),
                cmocka_unit_test(test_parse_bounds), cmocka_unit_test(test_read),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
