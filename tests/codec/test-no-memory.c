/* Each allocation of each parser and formatter failing once: it must say -ENOMEM and leak nothing. */
#include <cjson/cJSON.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "codec/job-document.h"
#include "codec/job-message.h"
#include "codec/job-report.h"
#include "unit.h"

/* Allocations still granted; below zero all of them are. */
static int n_granted = -1;

static bool granted(void)
{
        if (n_granted == 0)
                return false;
        if (n_granted > 0)
                n_granted--;
        return true;
}

void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

void *__wrap_calloc(size_t n, size_t size)
{
        return granted() ? __real_calloc(n, size) : NULL;
}

char *__wrap_strdup(const char *text)
{
        return granted() ? __real_strdup(text) : NULL;
}

char *__wrap_strndup(const char *text, size_t n)
{
        return granted() ? __real_strndup(text, n) : NULL;
}

static void *cjson_malloc(size_t size)
{
        return granted() ? malloc(size) : NULL;
}

#define DOCUMENT                                                                                               \
        "{\"afr_ota\":{\"protocols\":[\"MQTT\",\"HTTP\"],\"streamname\":\"S\",\"files\":[{\"filepath\":\"a\"," \
        "\"filesize\":1,\"fileid\":0,\"certfile\":\"c\",\"update_data_url\":\"https://h/k\","                  \
        "\"sig-sha256-ecdsa\":\"AAEC\"}]}}"

static int try_document(void)
{
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        Failure failure = {0};
        int r = job_document_parse(DOCUMENT, strlen(DOCUMENT), &document, &failure);

        assert_true(r == 0 || failure.reason == FAILURE_RESOURCES);
        return r;
}

static int try_execution(void)
{
        static const char text[] = "{\"clientToken\":\"t\",\"execution\":{\"jobId\":\"b\",\"status\":\"QUEUED\","
                                   "\"statusDetails\":{\"a\":\"1\",\"b\":\"2\"},\"jobDocument\":" DOCUMENT "}}";
        _cleanup_(job_execution_freep) JobExecution *execution = NULL;

        return job_execution_parse(text, strlen(text), &execution, NULL);
}

static int try_rejection(void)
{
        static const char text[] = "{\"code\":\"VersionMismatch\",\"executionState\":{\"status\":\"FAILED\","
                                   "\"statusDetails\":{\"a\":\"1\"}}}";
        _cleanup_(job_rejection_freep) JobRejection *rejection = NULL;

        return job_rejection_parse(text, strlen(text), &rejection, NULL);
}

static int try_update(void)
{
        static const char text[] = "{\"executionState\":{\"status\":\"FAILED\",\"statusDetails\":{\"a\":\"1\"}}}";
        _cleanup_(job_update_freep) JobUpdate *update = NULL;

        return job_update_parse(text, strlen(text), &update, NULL);
}

static int try_report(void)
{
        _cleanup_free_ char *text = NULL;
        JobReport report;
        int r;

        job_report_init(&report, JOB_STATUS_FAILED);
        report.expected_version = report.execution_number = report.step_timeout_minutes = 1;
        report.include_state = true;
        memcpy(report.client_token, "t", 2);
        r = job_report_add(&report, "a", "1");
        if (r >= 0)
                r = job_report_add(&report, "a", "2");
        if (r >= 0)
                r = job_report_format(&report, &text);
        job_report_done(&report);
        return r;
}

static int try_describe(void)
{
        _cleanup_free_ char *text = NULL;

        return job_describe_format(1, true, "t", &text);
}

static void test_each_allocation(void **state)
{
        static int (*const tries[])(void) = {try_document, try_execution, try_rejection,
                                             try_update,   try_report,    try_describe};
        cJSON_Hooks hooks = {.malloc_fn = cjson_malloc, .free_fn = free};

        cJSON_InitHooks(&hooks);
        for (size_t i = 0; i < ELEMENTSOF(tries); i++) {
                int n = 0, r;

                do {
                        n_granted = n++;
                        r = tries[i]();
                        n_granted = -1;
                        assert_true(r == 0 || r == -ENOMEM);
                        assert_true(n < 1000);
                } while (r < 0);
                assert_true(n > 3);
        }
        cJSON_InitHooks(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_allocation)};

        return cmocka_run_group_tests(tests, NULL, NULL);
}
