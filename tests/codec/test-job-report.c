#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "codec/job-report.h"
#include "unit.h"

typedef int (*FormatFn)(const JobReport *report, char **ret);

static void assert_format(FormatFn format, const JobReport *report, const char *expected)
{
        _cleanup_free_ char *text = NULL;

        assert_int_equal(format(report, &text), 0);
        assert_string_equal(text, expected);
}

static void test_update(void **state)
{
        JobReport report;

        (void)state;
        job_report_init(&report, JOB_STATUS_IN_PROGRESS);
        assert_format(job_report_format, &report, "{\"status\":\"IN_PROGRESS\"}");

        assert_int_equal(job_report_add(&report, "receive", "64/158"), 0);
        report.expected_version = 3;
        report.execution_number = 1;
        report.include_state = true;
        report.step_timeout_minutes = 60;
        strcpy(report.client_token, "u-20");
        assert_format(job_report_format, &report,
                      "{\"status\":\"IN_PROGRESS\",\"statusDetails\":{\"receive\":\"64/158\"},\"expectedVersion\":3,"
                      "\"executionNumber\":1,\"includeJobExecutionState\":true,\"stepTimeoutInMinutes\":60,"
                      "\"clientToken\":\"u-20\"}");

        assert_int_equal(job_report_add(&report, "receive", "say \"\\\""), 0);
        report.expected_version = 0;
        report.execution_number = INT64_C(1000000000000000);
        report.include_state = false;
        report.step_timeout_minutes = -1;
        report.client_token[0] = 0;
        assert_format(job_report_format, &report,
                      "{\"status\":\"IN_PROGRESS\",\"statusDetails\":{\"receive\":\"say \\\"\\\\\\\"\"},"
                      "\"expectedVersion\":0,\"executionNumber\":1000000000000000,\"stepTimeoutInMinutes\":-1}");
        job_report_done(&report);
        job_report_done(&report);
}

/* The FreeRTOS agent's own words, with two spaces as it writes them. */
static void test_freertos_words(void **state)
{
        JobReport report;

        (void)state;
        job_report_init(&report, JOB_STATUS_SUCCEEDED);
        assert_int_equal(job_report_add(&report, "reason", "accepted  v1.3.0"), 0);
        assert_int_equal(job_report_add(&report, "updatedBy", "  v1.2.3"), 0);
        assert_format(job_report_format, &report,
                      "{\"status\":\"SUCCEEDED\",\"statusDetails\":{\"reason\":\"accepted  v1.3.0\","
                      "\"updatedBy\":\"  v1.2.3\"}}");
        job_report_done(&report);
}

static void test_others(void **state)
{
        char *text;

        (void)state;
        assert_int_equal(job_get_format("g-17", &text), 0);
        assert_string_equal(text, "{\"clientToken\":\"g-17\"}");
        free(text);
        assert_int_equal(job_get_format(NULL, &text), 0);
        assert_string_equal(text, "{}");
        free(text);
        assert_int_equal(job_describe_format(1, true, "d-19", &text), 0);
        assert_string_equal(text, "{\"executionNumber\":1,\"includeJobDocument\":true,\"clientToken\":\"d-19\"}");
        free(text);
        assert_int_equal(job_describe_format(-1, false, "", &text), 0);
        assert_string_equal(text, "{\"includeJobDocument\":false}");
        free(text);
        assert_int_equal(job_describe_format(-2, false, "", &text), -EINVAL);
        assert_int_equal(job_get_format("a\"b", &text), -EINVAL);
        assert_int_equal(job_get_format("0123456789012345678901234567890123456789012345678901234567890123x", &text),
                         -EINVAL);
}

static void test_refused(void **state)
{
        static const JobStatus statuses[] = {JOB_STATUS_UNKNOWN, JOB_STATUS_QUEUED,   JOB_STATUS_TIMED_OUT,
                                             JOB_STATUS_REMOVED, JOB_STATUS_CANCELED, _JOB_STATUS_MAX};
        JobReport report;
        char *text;

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(statuses); i++) {
                job_report_init(&report, statuses[i]);
                assert_int_equal(job_report_format(&report, &text), -EINVAL);
        }
        job_report_init(&report, JOB_STATUS_FAILED);
        report.step_timeout_minutes = JOB_STEP_TIMEOUT_MAX_MINUTES + 1;
        assert_int_equal(job_report_format(&report, &text), -EINVAL);
        report.step_timeout_minutes = -2;
        assert_int_equal(job_report_format(&report, &text), -EINVAL);
        report.step_timeout_minutes = 0;
        report.expected_version = -2;
        assert_int_equal(job_report_format(&report, &text), -EINVAL);
        report.expected_version = -1;
        report.execution_number = -2;
        assert_int_equal(job_report_format(&report, &text), -EINVAL);
        report.execution_number = -1;
        strcpy(report.client_token, "a b");
        assert_int_equal(job_report_format(&report, &text), -EINVAL);
        strcpy(report.client_token, "a:b");
        assert_int_equal(job_report_format(&report, &text), 0);
        free(text);
}

static void test_keys(void **state)
{
        char key[JOB_DETAIL_KEY_MAX + 2];
        JobReport report;

        (void)state;
        job_report_init(&report, JOB_STATUS_FAILED);
        memset(key, 'k', sizeof(key));
        key[JOB_DETAIL_KEY_MAX + 1] = 0;
        assert_int_equal(job_report_add(&report, key, "v"), -EINVAL);
        key[JOB_DETAIL_KEY_MAX] = 0;
        assert_int_equal(job_report_add(&report, key, "v"), 0);
        assert_int_equal(job_report_add(&report, "", "v"), -EINVAL);
        assert_int_equal(job_report_add(&report, "a b", "v"), -EINVAL);
        assert_int_equal(job_report_add(&report, "a\"", "v"), -EINVAL);
        for (char c = 'a'; report.n_details < JOB_DETAILS_MAX; c++)
                assert_int_equal(job_report_add(&report, (const char[]){c, 0}, "v"), 0);
        assert_int_equal(job_report_add(&report, "z", "v"), -E2BIG);
        assert_int_equal(job_report_add(&report, "a", "w"), 0);
        assert_int_equal(report.n_details, JOB_DETAILS_MAX);
        assert_string_equal(report.details[1].value, "w");
        job_report_done(&report);
}

static void test_clean(void **state)
{
        static const struct {
                const char *value;
                const char *clean;
        } cases[] = {
                {"", "-"},
                {"plain text", "plain text"},
                {"a\nb\tc\rd", "a b c d"},
                {"a\x01\x1b[2J\x7f", "a??[2J?"},
                {"a\xc2\x85z", "a?z"},
                {"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
                {"a\xff\xfez", "a??z"},
                {"a\xc3", "a?"},
                {"a\xe2\x82", "a??"},
                {"a\xc0\x80z", "a??z"},
                {"soft\xc2\xadhyphen", "soft?hyphen"},
                {"zero\xe2\x80\x8bwidth\xe2\x80\xaeoverride", "zero?width?override"},
                {"\xef\xbb\xbfmark", "?mark"},
                {"\xee\x80\x80private", "?private"},
                {"\xef\xbf\xbfnone", "?none"},
                {"\xf3\xa0\x80\x81tag", "?tag"},
                {"\xf0\x9f\xbf\xbeplane", "?plane"},
        };
        char clean[JOB_REPORT_VALUE_MAX_BYTES + 1];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(job_report_clean(clean, cases[i].value), cases[i].clean);
}

static void test_clean_length(void **state)
{
        char value[3 * JOB_REPORT_VALUE_MAX_BYTES + 1] = "", clean[JOB_REPORT_VALUE_MAX_BYTES + 1];

        (void)state;
        memset(value, 'x', JOB_REPORT_VALUE_MAX + 10);
        assert_int_equal(strlen(job_report_clean(clean, value)), JOB_REPORT_VALUE_MAX);

        /* A pair of UTF-16 units that would be half inside is left out as a whole. */
        memset(value, 'x', JOB_REPORT_VALUE_MAX - 1);
        strcpy(value + JOB_REPORT_VALUE_MAX - 1, "\xf0\x9f\x98\x80");
        assert_int_equal(strlen(job_report_clean(clean, value)), JOB_REPORT_VALUE_MAX - 1);

        value[0] = 0;
        for (size_t i = 0; i < JOB_REPORT_VALUE_MAX + 5; i++)
                memcpy(value + 3 * i, "\xe2\x82\xac", 4);
        assert_int_equal(strlen(job_report_clean(clean, value)), JOB_REPORT_VALUE_MAX_BYTES);
        assert_true(utf8_is_valid(clean, strlen(clean)));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_update),       cmocka_unit_test(test_freertos_words),
                cmocka_unit_test(test_others),       cmocka_unit_test(test_refused),
                cmocka_unit_test(test_keys),         cmocka_unit_test(test_clean),
                cmocka_unit_test(test_clean_length),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
