#include <string.h>

#include "codec/job-status.h"

static const char *const words[_JOB_STATUS_MAX] = {
        [JOB_STATUS_UNKNOWN] = "UNKNOWN",         [JOB_STATUS_QUEUED] = "QUEUED",
        [JOB_STATUS_IN_PROGRESS] = "IN_PROGRESS", [JOB_STATUS_SUCCEEDED] = "SUCCEEDED",
        [JOB_STATUS_FAILED] = "FAILED",           [JOB_STATUS_TIMED_OUT] = "TIMED_OUT",
        [JOB_STATUS_REJECTED] = "REJECTED",       [JOB_STATUS_REMOVED] = "REMOVED",
        [JOB_STATUS_CANCELED] = "CANCELED",
};

const char *job_status_to_string(JobStatus status)
{
        return status < _JOB_STATUS_MAX ? words[status] : words[JOB_STATUS_UNKNOWN];
}

JobStatus job_status_from_string(const char *word)
{
        for (JobStatus status = 0; status < _JOB_STATUS_MAX; status++)
                if (strcmp(word, words[status]) == 0)
                        return status;
        return JOB_STATUS_UNKNOWN;
}

bool job_status_is_terminal(JobStatus status)
{
        return status == JOB_STATUS_SUCCEEDED || status == JOB_STATUS_FAILED || status == JOB_STATUS_TIMED_OUT ||
               status == JOB_STATUS_REJECTED || status == JOB_STATUS_REMOVED || status == JOB_STATUS_CANCELED;
}

bool job_status_is_reportable(JobStatus status)
{
        return status == JOB_STATUS_IN_PROGRESS || status == JOB_STATUS_SUCCEEDED || status == JOB_STATUS_FAILED ||
               status == JOB_STATUS_REJECTED;
}
