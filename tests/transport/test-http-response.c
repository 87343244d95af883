#include "http-response.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit.h"

static void test_heads(void **state _unused_)
{
        static const struct {
                const char *name;
                uint64_t first_byte;
                const char *if_match;
                HttpHead head;
                FailureReason reason; /* FAILURE_NONE: good */
        } rows[] = {
                {"whole", 0, NULL, {.status = 200}, FAILURE_NONE},
                {"whole, length", 0, NULL, {200, true, 1000, NULL, NULL}, FAILURE_NONE},
                {"whole, other length", 0, NULL, {200, true, 999, NULL, NULL}, FAILURE_RANGE_WRONG},
                {"whole, but a range was asked", 1, NULL, {.status = 200}, FAILURE_RANGE_WRONG},
                {"range", 400, NULL, {206, true, 600, "bytes 400-999/1000", NULL}, FAILURE_NONE},
                {"range of all", 0, NULL, {206, true, 1000, "bytes 0-999/1000", NULL}, FAILURE_NONE},
                {"unit in capitals", 400, NULL, {206, false, 0, "Bytes 400-999/1000", NULL}, FAILURE_NONE},
                {"no range", 400, NULL, {206, true, 600, NULL, NULL}, FAILURE_RANGE_WRONG},
                {"other first", 400, NULL, {206, false, 0, "bytes 401-999/1000", NULL}, FAILURE_RANGE_WRONG},
                {"other last", 400, NULL, {206, false, 0, "bytes 400-998/1000", NULL}, FAILURE_RANGE_WRONG},
                {"other total", 400, NULL, {206, false, 0, "bytes 400-1000/1001", NULL}, FAILURE_RANGE_WRONG},
                {"unknown total", 400, NULL, {206, false, 0, "bytes 400-999/*", NULL}, FAILURE_RANGE_WRONG},
                {"total 0",
                 400,
                 NULL,
                 {206, false, 0, "bytes 400-18446744073709551615/0", NULL},
                 FAILURE_RANGE_WRONG},
                {"too large",
                 400,
                 NULL,
                 {206, false, 0, "bytes 400-999/18446744073709552616", NULL},
                 FAILURE_RANGE_WRONG},
                {"not a number", 400, NULL, {206, false, 0, "bytes 400-999/1e3", NULL}, FAILURE_RANGE_WRONG},
                {"a sign", 400, NULL, {206, false, 0, "bytes +400-999/1000", NULL}, FAILURE_RANGE_WRONG},
                {"other unit", 400, NULL, {206, false, 0, "items 400-999/1000", NULL}, FAILURE_RANGE_WRONG},
                {"something after it", 400, NULL, {206, false, 0, "bytes 400-999/1000 ", NULL}, FAILURE_RANGE_WRONG},
                {"range, other length", 400, NULL, {206, true, 601, "bytes 400-999/1000", NULL}, FAILURE_RANGE_WRONG},
                {"same ETag", 400, "\"a\"", {206, false, 0, "bytes 400-999/1000", "\"a\""}, FAILURE_NONE},
                {"no ETag", 400, "\"a\"", {206, false, 0, "bytes 400-999/1000", NULL}, FAILURE_NONE},
                {"other ETag", 400, "\"a\"", {206, false, 0, "bytes 400-999/1000", "\"b\""}, FAILURE_OBJECT_CHANGED},
                {"other ETag, whole", 400, "\"a\"", {.status = 200, .etag = "\"b\""}, FAILURE_OBJECT_CHANGED},
                {"nothing of use", 0, NULL, {.status = 204}, FAILURE_DOWNLOAD_FAILED},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                const HttpExpectation expected = {rows[i].first_byte, 1000, rows[i].if_match};
                Failure failure = {0};
                int r = http_head_check(&expected, &rows[i].head, &failure);

                if (failure.reason != rows[i].reason || (r < 0) != (rows[i].reason != FAILURE_NONE))
                        print_error("%s: %d, %s\n", rows[i].name, r, failure.detail);
                assert_int_equal(failure.reason, rows[i].reason);
                assert_int_equal(r < 0, rows[i].reason != FAILURE_NONE);
        }
}

static void test_statuses(void **state _unused_)
{
        static const struct {
                int status;
                FailureReason reason;
        } rows[] = {
                {304, FAILURE_URL_REFUSED},     {400, FAILURE_URL_EXPIRED},     {401, FAILURE_URL_REFUSED},
                {403, FAILURE_URL_EXPIRED},     {404, FAILURE_URL_REFUSED},     {408, FAILURE_DOWNLOAD_FAILED},
                {410, FAILURE_URL_REFUSED},     {412, FAILURE_OBJECT_CHANGED},  {416, FAILURE_RANGE_WRONG},
                {425, FAILURE_DOWNLOAD_FAILED}, {429, FAILURE_DOWNLOAD_FAILED}, {500, FAILURE_DOWNLOAD_FAILED},
                {503, FAILURE_DOWNLOAD_FAILED}, {999, FAILURE_DOWNLOAD_FAILED},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Failure failure = {0};

                assert_true(http_status_fail(rows[i].status, NULL, 0, &failure) < 0);
                assert_int_equal(failure.reason, rows[i].reason);
                assert_true(http_status_is_redirect(rows[i].status) == false);
        }
        assert_true(http_status_is_redirect(302));
        assert_true(http_status_is_redirect(308));
}

static void test_error_bodies(void **state _unused_)
{
        static const struct {
                const char *body;
                const char *detail;
        } rows[] = {
                {"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>",
                 "HTTP status 403, AccessDenied: Request has expired"},
                {"<Code>ExpiredToken</Code>", "HTTP status 403, ExpiredToken"},
                {"<Message>no</Message>", "HTTP status 403: no"},
                {"<Code>cut off", "HTTP status 403"},
                {"<Code>", "HTTP status 403"},
                {"<Code></Code>", "HTTP status 403"},
                {"<html>hello</html>", "HTTP status 403"},
                {"", "HTTP status 403"},
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                Failure failure = {0};

                assert_true(http_status_fail(403, rows[i].body, strlen(rows[i].body), &failure) < 0);
                assert_string_equal(failure.detail, rows[i].detail);
        }
}

static void test_hostile_error_body_is_escaped_and_cut(void **state _unused_)
{
        char body[4096] = "<Code>a\n\x1b[2J</Code><Message>";
        Failure failure = {0};

        memset(body + strlen(body), 'x', sizeof(body) - strlen(body) - 1);
        body[sizeof(body) - 1] = '<';
        assert_true(http_status_fail(400, body, sizeof(body), &failure) < 0);
        assert_null(strchr(failure.detail, '\n'));
        assert_null(strchr(failure.detail, '\x1b'));
        assert_true(strlen(failure.detail) < FAILURE_DETAIL_MAX);
}

static void test_etags(void **state _unused_)
{
        char long_one[400];

        memset(long_one, 'x', sizeof(long_one));
        long_one[0] = long_one[sizeof(long_one) - 2] = '"';
        long_one[sizeof(long_one) - 1] = '\0';
        assert_true(http_etag_is_useful("\"abc\""));
        assert_true(http_etag_is_useful("\"\""));
        assert_false(http_etag_is_useful(NULL));
        assert_false(http_etag_is_useful(""));
        assert_false(http_etag_is_useful("\""));
        assert_false(http_etag_is_useful("W/\"abc\""));
        assert_false(http_etag_is_useful("abc"));
        assert_false(http_etag_is_useful("\"a\", \"b\""));
        assert_false(http_etag_is_useful("\"a\r\nX: y\""));
        assert_false(http_etag_is_useful(long_one));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_heads),        cmocka_unit_test(test_statuses),
                cmocka_unit_test(test_error_bodies), cmocka_unit_test(test_hostile_error_body_is_escaped_and_cut),
                cmocka_unit_test(test_etags),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
