/*
 * job-key: what identifies one attempt at a job: (jobId, executionNumber). A plain value.
 *
 * A retry by the service has the same job id and a higher number, and starts clean. Written as "JOBID#NUMBER" it is the
 * name of a session of otad-installer.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "codec/topic.h"

enum { JOB_KEY_TEXT_MAX = JOB_ID_MAX + 22 };

typedef struct JobKey {
        char job_id[JOB_ID_MAX + 1]; /* "": none */
        int64_t execution_number;
} JobKey;

static inline bool job_key_is_set(const JobKey *key)
{
        return key->job_id[0] != 0;
}

JobKey job_key_make(const char *job_id, int64_t execution_number);
bool job_key_equal(const JobKey *a, const JobKey *b);
const char *job_key_format(const JobKey *key, char text[static JOB_KEY_TEXT_MAX]);
int job_key_parse(const char *text, JobKey *ret); /* -EINVAL */
