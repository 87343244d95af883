#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "codec/job-message.h"
#include "message.h"

static int read_state(const cJSON *root, JobState *state, const char **reterr)
{
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, "executionState");
        int r;

        state->version_number = -1;
        if (!item || cJSON_IsNull(item) || (cJSON_IsObject(item) && !item->child))
                return 0;
        if (!cJSON_IsObject(item))
                return message_refuse(reterr, "executionState is not an object");
        r = message_read_status(item, &state->status, reterr);
        if (r >= 0)
                r = message_read_number(item, "versionNumber", &state->version_number, reterr);
        if (r < 0)
                return r;
        state->present = true;
        return 0;
}

int job_update_parse(const char *payload, size_t n_payload, JobUpdate **ret, const char **reterr)
{
        _cleanup_(job_update_freep) JobUpdate *update = NULL;
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        int r;

        update = calloc(1, sizeof(*update));
        if (!update)
                return -ENOMEM;
        r = message_open(payload, n_payload, &root, update->client_token, &update->timestamp_sec, reterr);
        if (r < 0)
                return r;
        r = read_state(root, &update->state, reterr);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(update);
        return 0;
}

JobUpdate *job_update_free(JobUpdate *update)
{
        if (!update)
                return NULL;
        free(update);
        return NULL;
}

static const char *const codes[_JOB_REJECTION_MAX] = {
        [JOB_REJECTION_UNKNOWN] = "unknown",
        [JOB_REJECTION_INVALID_TOPIC] = "InvalidTopic",
        [JOB_REJECTION_INVALID_JSON] = "InvalidJson",
        [JOB_REJECTION_INVALID_REQUEST] = "InvalidRequest",
        [JOB_REJECTION_INVALID_STATE_TRANSITION] = "InvalidStateTransition",
        [JOB_REJECTION_RESOURCE_NOT_FOUND] = "ResourceNotFound",
        [JOB_REJECTION_VERSION_MISMATCH] = "VersionMismatch",
        [JOB_REJECTION_INTERNAL_ERROR] = "InternalError",
        [JOB_REJECTION_REQUEST_THROTTLED] = "RequestThrottled",
        [JOB_REJECTION_TERMINAL_STATE_REACHED] = "TerminalStateReached",
};

const char *job_rejection_code_to_string(JobRejectionCode code)
{
        return code < _JOB_REJECTION_MAX ? codes[code] : codes[JOB_REJECTION_UNKNOWN];
}

static JobRejectionCode rejection_code_from_string(const char *word)
{
        for (JobRejectionCode code = JOB_REJECTION_UNKNOWN + 1; code < _JOB_REJECTION_MAX; code++)
                if (strcmp(word, codes[code]) == 0)
                        return code;
        return JOB_REJECTION_UNKNOWN;
}

int job_rejection_parse(const char *payload, size_t n_payload, JobRejection **ret, const char **reterr)
{
        _cleanup_(job_rejection_freep) JobRejection *rejection = NULL;
        _cleanup_(cJSON_Deletep) cJSON *root = NULL;
        const cJSON *code, *message;
        int r;

        rejection = calloc(1, sizeof(*rejection));
        if (!rejection)
                return -ENOMEM;
        r = message_open(payload, n_payload, &root, rejection->client_token, &rejection->timestamp_sec, reterr);
        if (r < 0)
                return r;

        code = cJSON_GetObjectItemCaseSensitive(root, "code");
        if (!cJSON_IsString(code))
                return message_refuse(reterr, "code is missing or not a string");
        rejection->code = rejection_code_from_string(code->valuestring);
        text_escape(rejection->code_text, sizeof(rejection->code_text), code->valuestring, strlen(code->valuestring),
                    true);
        message = cJSON_GetObjectItemCaseSensitive(root, "message");
        if (cJSON_IsString(message))
                text_escape(rejection->message, sizeof(rejection->message), message->valuestring,
                            strlen(message->valuestring), true);

        r = read_state(root, &rejection->state, reterr);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(rejection);
        return 0;
}

JobRejection *job_rejection_free(JobRejection *rejection)
{
        if (!rejection)
                return NULL;
        free(rejection);
        return NULL;
}
