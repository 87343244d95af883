#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "codec/job-report.h"
#include "json.h"

void job_report_init(JobReport *report, JobStatus status)
{
        *report = (JobReport){.status = status, .expected_version = -1, .execution_number = -1};
}

void job_report_done(JobReport *report)
{
        for (size_t i = 0; i < report->n_details; i++) {
                free(report->details[i].key);
                free(report->details[i].value);
        }
        report->n_details = 0;
}

/* First and last of each run in category C, without the surrogates, which no valid UTF-8 holds. */
typedef struct Range {
        uint32_t first;
        uint32_t last;
} Range;

/*
 * The Unicode Character Database, version 15: Cc, Cf, Co and the noncharacters. Which of the others are unassigned
 * (Cn) depends on the version the service has, so those pass; whoever sends must cope with a refusal anyway.
 */
static const Range unfit[] = {
        {0x0000, 0x001f},   {0x007f, 0x009f},   {0x00ad, 0x00ad},   {0x0600, 0x0605},    {0x061c, 0x061c},
        {0x06dd, 0x06dd},   {0x070f, 0x070f},   {0x0890, 0x0891},   {0x08e2, 0x08e2},    {0x180e, 0x180e},
        {0x200b, 0x200f},   {0x202a, 0x202e},   {0x2060, 0x206f},   {0xe000, 0xf8ff},    {0xfdd0, 0xfdef},
        {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},   {0x110bd, 0x110bd},  {0x110cd, 0x110cd},
        {0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0x10ffff},
};

static uint32_t decode_character(const char *text, size_t n)
{
        const uint8_t *t = (const uint8_t *)text;
        uint32_t c = n == 1 ? t[0] : t[0] & (0x7fU >> n);

        for (size_t i = 1; i < n; i++)
                c = c << 6 | (t[i] & 0x3fU);
        return c;
}

static bool is_unfit(uint32_t c)
{
        if ((c & 0xfffe) == 0xfffe)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(unfit); i++)
                if (c >= unfit[i].first && c <= unfit[i].last)
                        return true;
        return false;
}

char *job_report_clean(char buffer[static JOB_REPORT_VALUE_MAX_BYTES + 1], const char *value)
{
        size_t n_units = 0, used = 0, n_value = strlen(value);

        for (size_t i = 0, n; i < n_value; i += n) {
                size_t units;

                n = utf8_char_length(value + i, n_value - i);
                /* A character of four bytes is a surrogate pair in UTF-16, which the service counts in. */
                units = n == 4 ? 2 : 1;
                if (n_units + units > JOB_REPORT_VALUE_MAX)
                        break;

                if (n == 1 && strchr("\t\n\r", value[i]))
                        buffer[used++] = ' ';
                else if (n == 0 || is_unfit(decode_character(value + i, n)))
                        buffer[used++] = '?';
                else {
                        memcpy(buffer + used, value + i, n);
                        used += n;
                }
                n_units += units;
                n = n == 0 ? 1 : n;
        }
        if (used == 0)
                buffer[used++] = '-';
        buffer[used] = 0;
        return buffer;
}

int job_report_add(JobReport *report, const char *key, const char *value)
{
        char clean[JOB_REPORT_VALUE_MAX_BYTES + 1];
        _cleanup_free_ char *new_key = NULL, *new_value = NULL;

        if (!text_is_token(key, JOB_DETAIL_KEY_MAX, ":_-"))
                return -EINVAL;
        new_value = strdup(job_report_clean(clean, value));
        if (!new_value)
                return -ENOMEM;

        for (size_t i = 0; i < report->n_details; i++) {
                if (strcmp(report->details[i].key, key) != 0)
                        continue;
                free(report->details[i].value);
                report->details[i].value = TAKE_PTR(new_value);
                return 0;
        }
        if (report->n_details == JOB_DETAILS_MAX)
                return -E2BIG;
        new_key = strdup(key);
        if (!new_key)
                return -ENOMEM;
        report->details[report->n_details++] = (JobDetail){.key = TAKE_PTR(new_key), .value = TAKE_PTR(new_value)};
        return 0;
}

/* cJSON would print a large number with an exponent, which the service does not take for a whole one. */
static int add_integer(cJSON *object, const char *name, int64_t value)
{
        char text[32];

        (void)snprintf(text, sizeof(text), "%" PRId64, value);
        return cJSON_AddRawToObject(object, name, text) ? 0 : -ENOMEM;
}

static int add_token(cJSON *object, const char *token)
{
        if (!token || token[0] == 0)
                return 0;
        if (!text_is_token(token, CLIENT_TOKEN_MAX, ":_-"))
                return -EINVAL;
        return cJSON_AddStringToObject(object, "clientToken", token) ? 0 : -ENOMEM;
}

static int add_details(cJSON *object, const JobReport *report)
{
        cJSON *map;

        if (report->n_details == 0)
                return 0;
        map = cJSON_AddObjectToObject(object, "statusDetails");
        if (!map)
                return -ENOMEM;
        for (size_t i = 0; i < report->n_details; i++)
                if (!cJSON_AddStringToObject(map, report->details[i].key, report->details[i].value))
                        return -ENOMEM;
        return 0;
}

static int add_step_timeout(cJSON *object, const JobReport *report)
{
        if (report->step_timeout_minutes == 0)
                return 0;
        if (report->step_timeout_minutes < -1 || report->step_timeout_minutes > JOB_STEP_TIMEOUT_MAX_MINUTES)
                return -EINVAL;
        return add_integer(object, "stepTimeoutInMinutes", report->step_timeout_minutes);
}

static int print(const cJSON *object, char **ret)
{
        char *text = cJSON_PrintUnformatted(object);

        if (!text)
                return -ENOMEM;
        *ret = text;
        return 0;
}

static int add_update(cJSON *object, const JobReport *report)
{
        int r = 0;

        if (!job_status_is_reportable(report->status) || report->expected_version < -1 ||
            report->execution_number < -1)
                return -EINVAL;
        if (!cJSON_AddStringToObject(object, "status", job_status_to_string(report->status)))
                return -ENOMEM;
        r = add_details(object, report);
        if (r >= 0 && report->expected_version >= 0)
                r = add_integer(object, "expectedVersion", report->expected_version);
        if (r >= 0 && report->execution_number >= 0)
                r = add_integer(object, "executionNumber", report->execution_number);
        if (r >= 0 && report->include_state)
                r = cJSON_AddTrueToObject(object, "includeJobExecutionState") ? 0 : -ENOMEM;
        if (r >= 0)
                r = add_step_timeout(object, report);
        if (r >= 0)
                r = add_token(object, report->client_token);
        return r;
}

int job_report_format(const JobReport *report, char **ret)
{
        _cleanup_(cJSON_Deletep) cJSON *object = cJSON_CreateObject();
        int r;

        if (!object)
                return -ENOMEM;
        r = add_update(object, report);
        return r < 0 ? r : print(object, ret);
}

int job_get_format(const char *client_token, char **ret)
{
        _cleanup_(cJSON_Deletep) cJSON *object = cJSON_CreateObject();
        int r;

        if (!object)
                return -ENOMEM;
        r = add_token(object, client_token);
        return r < 0 ? r : print(object, ret);
}

int job_describe_format(int64_t execution_number, bool include_document, const char *client_token, char **ret)
{
        _cleanup_(cJSON_Deletep) cJSON *object = cJSON_CreateObject();
        int r = 0;

        if (!object)
                return -ENOMEM;
        if (execution_number < -1)
                return -EINVAL;
        if (execution_number >= 0)
                r = add_integer(object, "executionNumber", execution_number);
        if (r >= 0)
                r = cJSON_AddBoolToObject(object, "includeJobDocument", include_document) ? 0 : -ENOMEM;
        if (r >= 0)
                r = add_token(object, client_token);
        return r < 0 ? r : print(object, ret);
}
