/*
 * job-status: the states of a job execution, in the words of AWS IoT Jobs.
 *
 * Source: AWS IoT Developer Guide, "Jobs and job execution states".
 */
#pragma once

#include <stdbool.h>

typedef enum JobStatus {
        JOB_STATUS_UNKNOWN, /* a word this code does not know; never sent */
        JOB_STATUS_QUEUED,
        JOB_STATUS_IN_PROGRESS,
        JOB_STATUS_SUCCEEDED,
        JOB_STATUS_FAILED,    /* the service may retry it with the next execution number */
        JOB_STATUS_TIMED_OUT, /* the same */
        JOB_STATUS_REJECTED,  /* never retried */
        JOB_STATUS_REMOVED,
        JOB_STATUS_CANCELED,
        _JOB_STATUS_MAX,
} JobStatus;

const char *job_status_to_string(JobStatus status); /* "IN_PROGRESS"; "UNKNOWN" */
JobStatus job_status_from_string(const char *word); /* JOB_STATUS_UNKNOWN where unknown */
bool job_status_is_terminal(JobStatus status);      /* false for JOB_STATUS_UNKNOWN */
bool job_status_is_reportable(JobStatus status);    /* one of the four a device may set */
