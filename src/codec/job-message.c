#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "codec/job-message.h"
#include "json.h"
#include "message.h"

/* A time above this is in milliseconds: as seconds it would be in the year 5138. */
#define MILLISECONDS_ABOVE UINT64_C(100000000000)

int message_refuse(const char **reterr, const char *why)
{
        if (reterr)
                *reterr = why;
        return -EBADMSG;
}

int message_read_number(const cJSON *object, const char *name, int64_t *ret, const char **reterr)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
        uint64_t value;

        if (!item)
                return 0;
        if (!json_is_integer(item, &value))
                return message_refuse(reterr,
                                      "a version, execution number or time is not a whole number from 0 to 2^53");
        *ret = (int64_t)value;
        return 0;
}

static int read_time(const cJSON *object, const char *name, uint64_t *ret, const char **reterr)
{
        int64_t value = 0;
        int r;

        r = message_read_number(object, name, &value, reterr);
        if (r < 0)
                return r;
        *ret = (uint64_t)value > MILLISECONDS_ABOVE ? (uint64_t)value / 1000 : (uint64_t)value;
        return 0;
}

static int read_job_id(const cJSON *object, char ret[static JOB_ID_MAX + 1], const char **reterr)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "jobId");

        if (!cJSON_IsString(item))
                return message_refuse(reterr, "jobId is missing or not a string");
        if (!job_id_is_valid(item->valuestring))
                return message_refuse(reterr, "jobId is not 1 to 64 of a-z A-Z 0-9 _ -");
        memcpy(ret, item->valuestring, strlen(item->valuestring) + 1);
        return 0;
}

int message_open(const char *payload, size_t n_payload, cJSON **ret, char token[static CLIENT_TOKEN_MAX + 1],
                 uint64_t *ret_time, const char **reterr)
{
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        const cJSON *item;
        int r;

        if (n_payload > JOB_MESSAGE_MAX_BYTES)
                return message_refuse(reterr, "longer than 128 KiB");
        r = json_parse(payload, n_payload, &root, reterr);
        if (r < 0)
                return r;
        if (!cJSON_IsObject(root))
                return message_refuse(reterr, "not a JSON object");
        /* A document that is bad in itself must still be told from a bad message: its job can be rejected. */
        r = json_check_unique(root, "jobDocument", NULL);
        if (r < 0)
                return r == -EBADMSG ? message_refuse(reterr, "a member is there twice") : r;

        item = cJSON_GetObjectItemCaseSensitive(root, "clientToken");
        token[0] = 0;
        if (item) {
                if (!cJSON_IsString(item) || strlen(item->valuestring) > CLIENT_TOKEN_MAX)
                        return message_refuse(reterr, "clientToken is not a string of at most 64 bytes");
                memcpy(token, item->valuestring, strlen(item->valuestring) + 1);
        }
        r = read_time(root, "timestamp", ret_time, reterr);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(root);
        return 0;
}

static int read_pending(const cJSON *list, bool in_progress, PendingJobs *pending, const char **reterr)
{
        const cJSON *item;
        int r;

        if (!list)
                return 0;
        if (!cJSON_IsArray(list))
                return message_refuse(reterr, "a list of jobs is not an array");
        for (item = list->child; item; item = item->next) {
                JobSummary job = {.execution_number = -1, .version_number = -1, .in_progress = in_progress};

                if (!cJSON_IsObject(item))
                        return message_refuse(reterr, "a listed job is not an object");
                r = read_job_id(item, job.job_id, reterr);
                if (r >= 0)
                        r = message_read_number(item, "executionNumber", &job.execution_number, reterr);
                if (r >= 0)
                        r = message_read_number(item, "versionNumber", &job.version_number, reterr);
                if (r < 0)
                        return r;

                if (pending->n_jobs < PENDING_JOBS_MAX)
                        pending->jobs[pending->n_jobs++] = job;
        }
        return 0;
}

int pending_jobs_parse(const char *payload, size_t n_payload, PendingJobs *ret, const char **reterr)
{
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        const cJSON *jobs, *running, *queued;
        PendingJobs pending = {0};
        int r;

        r = message_open(payload, n_payload, &root, pending.client_token, &pending.timestamp_sec, reterr);
        if (r < 0)
                return r;

        /* A notification keeps its lists one level deeper, and under other names, than the answer to `get`. */
        jobs = cJSON_GetObjectItemCaseSensitive(root, "jobs");
        if (jobs && !cJSON_IsObject(jobs))
                return message_refuse(reterr, "jobs is not an object");
        running = jobs ? cJSON_GetObjectItemCaseSensitive(jobs, "IN_PROGRESS")
                       : cJSON_GetObjectItemCaseSensitive(root, "inProgressJobs");
        queued = jobs ? cJSON_GetObjectItemCaseSensitive(jobs, "QUEUED")
                      : cJSON_GetObjectItemCaseSensitive(root, "queuedJobs");

        r = read_pending(running, true, &pending, reterr);
        if (r < 0)
                return r;
        r = read_pending(queued, false, &pending, reterr);
        if (r < 0)
                return r;
        *ret = pending;
        return 0;
}

int message_read_status(const cJSON *object, JobStatus *ret, const char **reterr)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "status");

        if (!cJSON_IsString(item))
                return message_refuse(reterr, "status is missing or not a string");
        *ret = job_status_from_string(item->valuestring);
        return 0;
}

/*
 * The document goes on as it was written: printed by cJSON, its numbers would be those of a double. `payload` is the
 * text that `execution` was parsed from.
 */
static int read_document(const cJSON *item, const char *payload, size_t n_payload, JobExecution *execution,
                         const char **reterr)
{
        const char *text;
        size_t n;
        int r;

        if (!item || cJSON_IsNull(item))
                return 0;
        if (cJSON_IsString(item)) {
                text = item->valuestring;
                n = strlen(text);
        } else if (cJSON_IsObject(item)) {
                r = json_member_text(payload, n_payload, "execution", &text, &n);
                if (r >= 0)
                        r = json_member_text(text, n, "jobDocument", &text, &n);
                if (r < 0)
                        return message_refuse(reterr, "execution or jobDocument is written with escapes");
        } else
                return message_refuse(reterr, "jobDocument is neither an object nor a string");

        execution->document = strndup(text, n);
        if (!execution->document)
                return -ENOMEM;
        execution->n_document = n;
        return 0;
}

static int read_execution(const cJSON *item, JobExecution *execution, const char **reterr)
{
        int r;

        r = read_job_id(item, execution->job_id, reterr);
        if (r >= 0)
                r = message_read_status(item, &execution->status, reterr);
        if (r >= 0)
                r = message_read_number(item, "versionNumber", &execution->version_number, reterr);
        if (r >= 0)
                r = message_read_number(item, "executionNumber", &execution->execution_number, reterr);
        if (r < 0)
                return r;
        execution->present = true;
        return 0;
}

int job_execution_parse(const char *payload, size_t n_payload, JobExecution **ret, const char **reterr)
{
        _cleanup_(job_execution_freep) JobExecution *execution = NULL;
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        const cJSON *item;
        int r;

        execution = calloc(1, sizeof(*execution));
        if (!execution)
                return -ENOMEM;
        execution->version_number = execution->execution_number = -1;

        r = message_open(payload, n_payload, &root, execution->client_token, &execution->timestamp_sec, reterr);
        if (r < 0)
                return r;
        item = cJSON_GetObjectItemCaseSensitive(root, "execution");
        /* Nothing pending: no such member; `{}` and null are taken for the same. */
        if (item && !cJSON_IsNull(item) && !(cJSON_IsObject(item) && !item->child)) {
                if (!cJSON_IsObject(item))
                        return message_refuse(reterr, "execution is not an object");
                r = read_execution(item, execution, reterr);
                if (r < 0)
                        return r;
                r = read_document(cJSON_GetObjectItemCaseSensitive(item, "jobDocument"), payload, n_payload,
                                  execution, reterr);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(execution);
        return 0;
}

JobExecution *job_execution_free(JobExecution *execution)
{
        if (!execution)
                return NULL;
        free(execution->document);
        free(execution);
        return NULL;
}
