#include <errno.h>
#include <string.h>

#include "codec/package-shadow.h"
#include "unit.h"

#define TEN   "0123456789"
#define SIXTY TEN TEN TEN TEN TEN TEN

static void test_format(void **state)
{
        static const char expected[] =
                "{\"state\":{\"reported\":{\"otad-image\":{\"version\":\"1.4.2\"}}},\"clientToken\":\"p-1\"}";
        _cleanup_free_ char *json = NULL;
        char *none = NULL;

        assert_int_equal(package_report_format("otad-image", "1.4.2", "p-1", &json), 0);
        assert_string_equal(json, expected);
        assert_int_equal(package_report_format("a\"b", "1", "t", &none), -EINVAL);
        assert_int_equal(package_report_format("a", "1~rc1", "t", &none), -EINVAL);
        assert_int_equal(package_report_format("a", "1", "", &none), -EINVAL);
}

static void test_names(void **state)
{
        assert_true(package_name_is_valid("Gateway_image-2.x"));
        assert_true(package_name_is_valid(SIXTY SIXTY "01234567"));
        assert_false(package_name_is_valid(SIXTY SIXTY "012345678"));
        assert_false(package_name_is_valid(""));
        assert_false(package_name_is_valid("a/b"));
        assert_true(package_version_is_valid(SIXTY "0123"));
        assert_false(package_version_is_valid(SIXTY "01234"));
        assert_false(package_version_is_valid("1.0+3"));
        assert_false(package_version_is_valid(""));
}

static void test_accepted(void **state)
{
        static const char json[] =
                "{\"state\":{\"reported\":{\"a\":{\"version\":\"1\"}}},\"version\":7,\"timestamp\":"
                "1760000000,\"clientToken\":\"p-3\"}";
        const char *why = NULL;
        PackageAnswer answer;

        assert_int_equal(package_accepted_parse(json, strlen(json), &answer, &why), 0);
        assert_string_equal(answer.client_token, "p-3");
        assert_int_equal(answer.code, 0);
        assert_int_equal(package_accepted_parse("{}", 2, &answer, &why), 0);
        assert_string_equal(answer.client_token, "");
        assert_int_equal(package_accepted_parse("[]", 2, &answer, &why), -EBADMSG);
        assert_non_null(why);
}

static void test_rejection(void **state)
{
        static const struct {
                const char *json;
                int code; /* -1: refused */
                const char *problem;
        } cases[] = {
                {"{\"code\":409,\"message\":\"Version conflict\",\"timestamp\":1,\"clientToken\":\"p-1\"}", 409,
                 "Version conflict"},
                {"{\"code\":500}", 500, ""},
                {"{\"code\":413,\"message\":\"a\\nb\"}", 413, "a\\x0ab"},
                {"{\"code\":400,\"message\":7}", 400, ""},
                {"{\"message\":\"no code\"}", -1, NULL},
                {"{\"code\":\"409\"}", -1, NULL},
                {"{\"code\":0}", -1, NULL},
                {"{\"code\":1000}", -1, NULL},
                {"{\"code\":4.5}", -1, NULL},
                {"{\"code\":1,\"code\":2}", -1, NULL},
                {"{\"code\":400,\"clientToken\":3}", -1, NULL},
                {"nonsense", -1, NULL},
                {"", -1, NULL},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const char *why = NULL;
                PackageAnswer answer;
                int r = package_rejection_parse(cases[i].json, strlen(cases[i].json), &answer, &why);

                assert_int_equal(r, cases[i].code < 0 ? -EBADMSG : 0);
                if (r < 0) {
                        assert_non_null(why);
                        continue;
                }
                assert_int_equal(answer.code, cases[i].code);
                assert_string_equal(answer.problem, cases[i].problem);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_accepted),
                cmocka_unit_test(test_rejection),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
