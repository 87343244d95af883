#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "codec/job-message.h"
#include "mangle.h"
#include "unit.h"

#define TEN      "0123456789"
#define SIXTY    TEN TEN TEN TEN TEN TEN
#define DOCUMENT "{\"afr_ota\": {\"n\":9007199254740993, \"x\":\"\\u00e9\"}}"

static const char get_answer[] =
        "{\"inProgressJobs\":[{\"jobId\":\"AFR_OTA-fw-41\",\"queuedAt\":1760000000,\"startedAt\":1760000100,"
        "\"lastUpdatedAt\":1760000130,\"versionNumber\":3,\"executionNumber\":1}],"
        "\"queuedJobs\":[],\"timestamp\":1760000200,\"clientToken\":\"g-17\"}";
static const char notify[] =
        "{\"timestamp\":1760000300,\"jobs\":{\"IN_PROGRESS\":[{\"jobId\":\"a\",\"queuedAt\":1,\"startedAt\":2,"
        "\"lastUpdatedAt\":2,\"executionNumber\":1,\"versionNumber\":2}],\"QUEUED\":[{\"jobId\":\"b\","
        "\"queuedAt\":1760000000123,\"lastUpdatedAt\":3,\"executionNumber\":1,\"versionNumber\":1}]}}";
static const char describe_answer[] =
        "{\"clientToken\":\"d-19\",\"timestamp\":1760000201,"
        "\"execution\":{\"jobId\":\"AFR_OTA-fw-41\",\"thingName\":\"dev-7\",\"status\":\"IN_PROGRESS\","
        "\"statusDetails\":{\"receive\":\"64/158\",\"self_test\":\"ready\"},\"queuedAt\":1760000000,"
        "\"startedAt\":1760000100,\"lastUpdatedAt\":1760000130,\"approximateSecondsBeforeTimedOut\":3400,"
        "\"versionNumber\":3,\"executionNumber\":1,\"jobDocument\":" DOCUMENT "}}";
static const char update_answer[] =
        "{\"executionState\":{\"status\":\"IN_PROGRESS\",\"statusDetails\":{\"receive\":\"64/158\"},"
        "\"versionNumber\":4},\"timestamp\":1760000202,\"clientToken\":\"u-20\"}";
static const char rejection_answer[] =
        "{\"code\":\"VersionMismatch\",\"message\":\"expected 3, found 5\",\"clientToken\":\"u-20\","
        "\"timestamp\":1760000203,\"executionState\":{\"status\":\"IN_PROGRESS\","
        "\"statusDetails\":{\"receive\":\"128/158\"},\"versionNumber\":5}}";

static JobExecution *execution_of(const char *text)
{
        JobExecution *execution = NULL;
        const char *error = "";

        if (job_execution_parse(text, strlen(text), &execution, &error) != 0)
                fail_msg("%s: %s", text, error);
        return execution;
}

static void test_pending(void **state)
{
        PendingJobs p;

        (void)state;
        assert_int_equal(pending_jobs_parse(get_answer, strlen(get_answer), &p, NULL), 0);
        assert_int_equal(p.n_jobs, 1);
        assert_string_equal(p.jobs[0].job_id, "AFR_OTA-fw-41");
        assert_true(p.jobs[0].in_progress);
        assert_int_equal(p.jobs[0].version_number, 3);
        assert_int_equal(p.jobs[0].execution_number, 1);
        assert_string_equal(p.client_token, "g-17");
        assert_int_equal(p.timestamp_sec, 1760000200);

        assert_int_equal(pending_jobs_parse(notify, strlen(notify), &p, NULL), 0);
        assert_int_equal(p.n_jobs, 2);
        assert_string_equal(p.jobs[0].job_id, "a");
        assert_string_equal(p.jobs[1].job_id, "b");
        assert_true(p.jobs[0].in_progress);
        assert_false(p.jobs[1].in_progress);
        assert_string_equal(p.client_token, "");

        assert_int_equal(pending_jobs_parse("{\"timestamp\":1,\"jobs\":{}}", 25, &p, NULL), 0);
        assert_int_equal(p.n_jobs, 0);
        assert_int_equal(pending_jobs_parse("{\"jobs\":{\"QUEUED\":[{\"jobId\":\"x\"}]}}", 35, &p, NULL), 0);
        assert_int_equal(p.jobs[0].version_number, -1);
        assert_int_equal(p.jobs[0].execution_number, -1);
}

static void test_pending_many(void **state)
{
        char text[4096] = "{\"queuedJobs\":[";
        PendingJobs p;

        (void)state;
        for (unsigned i = 0; i < PENDING_JOBS_MAX + 8; i++)
                strcat(text, i == 0 ? "{\"jobId\":\"x\"}" : ",{\"jobId\":\"x\"}");
        strcat(text, "]}");
        assert_int_equal(pending_jobs_parse(text, strlen(text), &p, NULL), 0);
        assert_int_equal(p.n_jobs, PENDING_JOBS_MAX);
}

static void test_execution(void **state)
{
        _cleanup_(job_execution_freep) JobExecution *e = execution_of(describe_answer);

        (void)state;
        assert_true(e->present);
        assert_string_equal(e->job_id, "AFR_OTA-fw-41");
        assert_int_equal(e->status, JOB_STATUS_IN_PROGRESS);
        assert_int_equal(e->version_number, 3);
        assert_int_equal(e->execution_number, 1);
        /* Just as it was sent: a number that no double holds is still there. */
        assert_string_equal(e->document, DOCUMENT);
        assert_int_equal(e->n_document, strlen(DOCUMENT));
        assert_string_equal(e->client_token, "d-19");
}

static void test_no_execution(void **state)
{
        static const char *const texts[] = {
                "{\"timestamp\":1760000302}",
                "{}",
                "{\"clientToken\":\"d-1\",\"timestamp\":1,\"execution\":{}}",
                "{\"execution\":null}",
        };

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(job_execution_freep) JobExecution *e = execution_of(texts[i]);

                assert_false(e->present);
                assert_null(e->document);
                assert_int_equal(e->version_number, -1);
        }
}

static void test_execution_forms(void **state)
{
        JobExecution *e;

        (void)state;
        e = execution_of("{\"execution\":{\"jobId\":\"b\",\"status\":\"QUEUED\",\"versionNumber\":0,"
                         "\"jobDocument\":\"{\\\"afr_ota\\\":{}}\",\"approximateSecondsBeforeTimedOut\":-12}}");
        assert_string_equal(e->document, "{\"afr_ota\":{}}");
        assert_int_equal(e->version_number, 0);
        assert_int_equal(e->execution_number, -1);
        job_execution_free(e);

        e = execution_of("{\"execution\":{\"jobId\":\"b\",\"status\":\"PAUSED\",\"futureMember\":[1,{\"a\":2}],"
                         "\"queuedAt\":[],\"startedAt\":true}}"); /* nobody reads those */
        assert_int_equal(e->status, JOB_STATUS_UNKNOWN);
        assert_null(e->document);
        job_execution_free(e);

        /* A bad document does not make a bad message. */
        e = execution_of("{\"execution\":{\"jobDocument\":{\"a\":1,\"a\":2},\"status\":\"QUEUED\",\"jobId\":\"b\"}}");
        assert_string_equal(e->document, "{\"a\":1,\"a\":2}");
        job_execution_free(e);
}

static void test_update(void **state)
{
        JobUpdate *u = NULL;

        (void)state;
        assert_int_equal(job_update_parse(update_answer, strlen(update_answer), &u, NULL), 0);
        assert_true(u->state.present);
        assert_int_equal(u->state.status, JOB_STATUS_IN_PROGRESS);
        assert_int_equal(u->state.version_number, 4);
        assert_string_equal(u->client_token, "u-20");
        assert_int_equal(u->timestamp_sec, 1760000202);
        u = job_update_free(u);
        assert_null(u);

        assert_int_equal(job_update_parse("{\"timestamp\":5}", 15, &u, NULL), 0);
        assert_false(u->state.present);
        assert_string_equal(u->client_token, "");
        job_update_free(u);
}

static void test_rejection(void **state)
{
        static const char *const codes[] = {
                "InvalidTopic",    "InvalidJson",   "InvalidRequest",   "InvalidStateTransition", "ResourceNotFound",
                "VersionMismatch", "InternalError", "RequestThrottled", "TerminalStateReached",
        };
        JobRejection *j = NULL;
        char text[256];

        (void)state;
        assert_int_equal(job_rejection_parse(rejection_answer, strlen(rejection_answer), &j, NULL), 0);
        assert_int_equal(j->code, JOB_REJECTION_VERSION_MISMATCH);
        assert_string_equal(j->code_text, "VersionMismatch");
        assert_string_equal(j->message, "expected 3, found 5");
        assert_true(j->state.present);
        assert_int_equal(j->state.version_number, 5);
        assert_string_equal(j->client_token, "u-20");
        job_rejection_free(j);

        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                (void)snprintf(text, sizeof(text), "{\"code\":\"%s\"}", codes[i]);
                assert_int_equal(job_rejection_parse(text, strlen(text), &j, NULL), 0);
                assert_int_equal(j->code, i + 1);
                assert_string_equal(job_rejection_code_to_string(j->code), codes[i]);
                assert_string_equal(j->message, "");
                assert_false(j->state.present);
                job_rejection_free(j);
        }

        (void)snprintf(text, sizeof(text), "{\"code\":\"New\\nCode\",\"message\":\"a\\u001b[2Jb\"}");
        assert_int_equal(job_rejection_parse(text, strlen(text), &j, NULL), 0);
        assert_int_equal(j->code, JOB_REJECTION_UNKNOWN);
        assert_string_equal(j->code_text, "New\\x0aCode");
        assert_string_equal(j->message, "a\\x1b[2Jb");
        job_rejection_free(j);
}

typedef enum Parser {
        PENDING,
        EXECUTION,
        UPDATE,
        REJECTION,
} Parser;

static int parse(Parser parser, const char *text, size_t n_text, const char **reterr)
{
        _cleanup_(job_execution_freep) JobExecution *execution = NULL;
        _cleanup_(job_rejection_freep) JobRejection *rejection = NULL;
        _cleanup_(job_update_freep) JobUpdate *update = NULL;
        PendingJobs pending = {0};
        int r = -EINVAL;

        switch (parser) {
        case PENDING:
                r = pending_jobs_parse(text, n_text, &pending, reterr);
                assert_true(pending.n_jobs <= PENDING_JOBS_MAX);
                break;
        case EXECUTION:
                r = job_execution_parse(text, n_text, &execution, reterr);
                assert_true((r == 0) == (execution != NULL));
                assert_true(!execution || !execution->present || job_id_is_valid(execution->job_id));
                break;
        case UPDATE:
                r = job_update_parse(text, n_text, &update, reterr);
                assert_true((r == 0) == (update != NULL));
                break;
        case REJECTION:
                r = job_rejection_parse(text, n_text, &rejection, reterr);
                assert_true((r == 0) == (rejection != NULL));
                break;
        }
        return r;
}

typedef struct BadCase {
        Parser parser;
        const char *text;
        const char *error;
} BadCase;

#define NUMBER  "a version, execution number or time is not a whole number from 0 to 2^53"
#define TOKEN   "clientToken is not a string of at most 64 bytes"
#define JOB_ID  "jobId is not 1 to 64 of a-z A-Z 0-9 _ -"
#define EXEC(x) "{\"execution\":{\"jobId\":\"b\",\"status\":\"QUEUED\"," x "}}"

static const BadCase bad_cases[] = {
        {PENDING, "{\"jobs\":[]}", "jobs is not an object"},
        {PENDING, "{\"jobs\":{\"QUEUED\":{}}}", "a list of jobs is not an array"},
        {PENDING, "{\"queuedJobs\":\"none\"}", "a list of jobs is not an array"},
        {PENDING, "{\"inProgressJobs\":[1]}", "a listed job is not an object"},
        {PENDING, "{\"queuedJobs\":[{}]}", "jobId is missing or not a string"},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":7}]}", "jobId is missing or not a string"},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":\"\"}]}", JOB_ID},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":\"a/b\"}]}", JOB_ID},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":\"" SIXTY "01234\"}]}", JOB_ID},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":\"a\",\"executionNumber\":-1}]}", NUMBER},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":\"a\",\"versionNumber\":1.5}]}", NUMBER},
        {PENDING, "{\"queuedJobs\":[{\"jobId\":\"a\",\"versionNumber\":\"1\"}]}", NUMBER},
        {PENDING, "{\"timestamp\":9007199254740994}", NUMBER},
        {PENDING, "{\"timestamp\":1e999}", NUMBER},
        {PENDING, "{\"timestamp\":-1}", NUMBER},
        {PENDING, "{\"timestamp\":\"1760000000\"}", NUMBER},
        {PENDING, "{\"clientToken\":1}", TOKEN},
        {PENDING, "{\"clientToken\":null}", TOKEN},
        {PENDING, "{\"clientToken\":\"" SIXTY "01234\"}", TOKEN},
        {EXECUTION, "{\"execution\":[]}", "execution is not an object"},
        {EXECUTION, "{\"execution\":\"none\"}", "execution is not an object"},
        {EXECUTION, "{\"execution\":{\"status\":\"QUEUED\"}}", "jobId is missing or not a string"},
        {EXECUTION, "{\"execution\":{\"jobId\":\"$next\",\"status\":\"QUEUED\"}}", JOB_ID},
        {EXECUTION, "{\"execution\":{\"jobId\":\"b\"}}", "status is missing or not a string"},
        {EXECUTION, "{\"execution\":{\"jobId\":\"b\",\"status\":1}}", "status is missing or not a string"},
        {EXECUTION, EXEC("\"versionNumber\":\"1\""), NUMBER},
        {EXECUTION, EXEC("\"executionNumber\":0.5"), NUMBER},
        {EXECUTION, EXEC("\"jobDocument\":1"), "jobDocument is neither an object nor a string"},
        {EXECUTION, EXEC("\"jobDocument\":[]"), "jobDocument is neither an object nor a string"},
        {EXECUTION, EXEC("\"jobDocum\\u0065nt\":{}"), "execution or jobDocument is written with escapes"},
        {EXECUTION, EXEC("\"status\":\"FAILED\""), "a member is there twice"},
        {EXECUTION, EXEC("\"jobDocument\":{},\"jobDocument\":{}"), "a member is there twice"},
        {EXECUTION, EXEC("\"statusDetails\":{\"a\":\"1\",\"a\":\"2\"}"), "a member is there twice"},
        {UPDATE, "{\"executionState\":7}", "executionState is not an object"},
        {UPDATE, "{\"executionState\":{\"versionNumber\":1}}", "status is missing or not a string"},
        {UPDATE, "{\"executionState\":{\"status\":\"FAILED\",\"versionNumber\":-4}}", NUMBER},
        {UPDATE, "[]", "not a JSON object"},
        {REJECTION, "{}", "code is missing or not a string"},
        {REJECTION, "{\"code\":404}", "code is missing or not a string"},
        {REJECTION, "{\"code\":\"VersionMismatch\",\"executionState\":[]}", "executionState is not an object"},
        {REJECTION, "{\"code\":\"VersionMismatch\",\"timestamp\":0.1}", NUMBER},
};

static void test_bad(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(bad_cases); i++) {
                const BadCase *c = &bad_cases[i];
                const char *error = "nothing";
                int r = parse(c->parser, c->text, strlen(c->text), &error);

                if (r != -EBADMSG || strcmp(error, c->error) != 0)
                        fail_msg("%s: %s, not %s", c->text, error, c->error);
                assert_int_equal(parse(c->parser, c->text, strlen(c->text), NULL), -EBADMSG);
        }
}

static void try_message(const uint8_t *data, size_t n_data)
{
        for (Parser parser = PENDING; parser <= REJECTION; parser++) {
                const char *error = NULL;
                int r = parse(parser, (const char *)data, n_data, &error);

                assert_true(r == 0 || (r == -EBADMSG && error));
        }
}

static void test_mangled(void **state)
{
        (void)state;
        mangle(get_answer, strlen(get_answer), try_message);
        mangle(notify, strlen(notify), try_message);
        mangle(describe_answer, strlen(describe_answer), try_message);
        mangle(update_answer, strlen(update_answer), try_message);
        mangle(rejection_answer, strlen(rejection_answer), try_message);
}

static void test_status(void **state)
{
        (void)state;
        for (JobStatus status = 0; status < _JOB_STATUS_MAX; status++)
                assert_int_equal(job_status_from_string(job_status_to_string(status)), status);
        assert_int_equal(job_status_from_string("queued"), JOB_STATUS_UNKNOWN);
        assert_false(job_status_is_terminal(JOB_STATUS_UNKNOWN));
        assert_false(job_status_is_terminal(JOB_STATUS_QUEUED));
        assert_false(job_status_is_terminal(JOB_STATUS_IN_PROGRESS));
        assert_true(job_status_is_terminal(JOB_STATUS_CANCELED));
        assert_true(job_status_is_terminal(JOB_STATUS_SUCCEEDED));
        assert_true(job_status_is_reportable(JOB_STATUS_REJECTED));
        assert_false(job_status_is_reportable(JOB_STATUS_TIMED_OUT));
        assert_false(job_status_is_reportable(JOB_STATUS_QUEUED));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pending),         cmocka_unit_test(test_pending_many),
                cmocka_unit_test(test_execution),       cmocka_unit_test(test_no_execution),
                cmocka_unit_test(test_execution_forms), cmocka_unit_test(test_update),
                cmocka_unit_test(test_rejection),       cmocka_unit_test(test_bad),
                cmocka_unit_test(test_mangled),         cmocka_unit_test(test_status),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
