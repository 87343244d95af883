#include "engine/job-key.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

JobKey job_key_make(const char *job_id, int64_t execution_number)
{
        JobKey key = {.execution_number = execution_number};

        snprintf(key.job_id, sizeof(key.job_id), "%s", job_id);
        return key;
}

bool job_key_equal(const JobKey *a, const JobKey *b)
{
        return a->execution_number == b->execution_number && strcmp(a->job_id, b->job_id) == 0;
}

const char *job_key_format(const JobKey *key, char text[static JOB_KEY_TEXT_MAX])
{
        snprintf(text, JOB_KEY_TEXT_MAX, "%s#%" PRId64, key->job_id, key->execution_number);
        return text;
}

int job_key_parse(const char *text, JobKey *ret)
{
        const char *hash = strrchr(text, '#');
        JobKey key = {0};
        char *end;

        if (!hash || (size_t)(hash - text) >= sizeof(key.job_id) || hash[1] < '0' || hash[1] > '9')
                return -EINVAL;
        memcpy(key.job_id, text, (size_t)(hash - text));
        if (!job_id_is_valid(key.job_id))
                return -EINVAL;
        errno = 0;
        key.execution_number = strtoll(hash + 1, &end, 10);
        if (errno != 0 || *end)
                return -EINVAL;
        *ret = key;
        return 0;
}
