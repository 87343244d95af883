/*
 * job-message: what AWS IoT Jobs sends to a device: answers, rejections and notifications.
 *
 * All parsers take a whole payload, which need not end in NUL, and are strict about JSON itself (RFC 8259, UTF-8, no
 * NUL, at most JOB_MESSAGE_MAX_BYTES and JSON_DEPTH_MAX levels, no member twice outside the job document). Members
 * they do not know are ignored. Numbers are whole, from 0 to 2^53. Times are seconds since 1970; what the service
 * writes in milliseconds (above 10^11) is converted, 0 stands for an absent one.
 *
 * Errors of all parsers: -EBADMSG: not such a message; *reterr (NULL is fine) is static text that says why, fit for a
 * log line, and it names no content. -ENOMEM.
 *
 * Sources: AWS IoT Developer Guide, "Jobs device MQTT API", "Jobs notifications" and "Jobs error responses"; AWS
 * service model iot-jobs-data 2017-09-29. The job document is an object over MQTT and a string over HTTPS.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "codec/job-status.h"
#include "codec/topic.h"

enum {
        JOB_MESSAGE_MAX_BYTES = 128 * 1024, /* the broker's limit for one payload */
        JSON_DEPTH_MAX = 32,
        CLIENT_TOKEN_MAX = 64,           /* bytes; ours are shorter, so a longer one is not ours: -EBADMSG */
        PENDING_JOBS_MAX = 32,           /* the service lists at most 15 */
        JOB_REJECTION_CODE_MAX = 64,     /* bytes */
        JOB_REJECTION_MESSAGE_MAX = 512, /* bytes */
};

/* One of a pending list. A number that was not there is -1. */
typedef struct JobSummary {
        char job_id[JOB_ID_MAX + 1];
        int64_t execution_number;
        int64_t version_number;
        bool in_progress;
} JobSummary;

/* A plain value. Those in progress come first, else in the service's order. */
typedef struct PendingJobs {
        JobSummary jobs[PENDING_JOBS_MAX];
        size_t n_jobs; /* filled in above; what the service lists beyond is left out */
        uint64_t timestamp_sec;
        char client_token[CLIENT_TOKEN_MAX + 1]; /* "" where there is none, as in a notification */
} PendingJobs;

/* `get/accepted` and `notify`. */
_must_use_ int pending_jobs_parse(const char *payload, size_t n_payload, PendingJobs *ret, const char **reterr);

/* A job execution, or the word that there is none. */
typedef struct JobExecution {
        bool present; /* false: nothing is pending; all below up to the token is empty */
        char job_id[JOB_ID_MAX + 1];
        JobStatus status;
        int64_t version_number;   /* -1: not given */
        int64_t execution_number; /* -1: not given */
        char *document;           /* JSON text as it was sent, ends in NUL; NULL: not sent */
        size_t n_document;
        char client_token[CLIENT_TOKEN_MAX + 1];
        uint64_t timestamp_sec;
} JobExecution;

/* `get/accepted` of one job or of $next, `start-next/accepted` and `notify-next`. *ret is the caller's. */
_must_use_ int job_execution_parse(const char *payload, size_t n_payload, JobExecution **ret, const char **reterr);
JobExecution *job_execution_free(JobExecution *execution); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(JobExecution *, job_execution_free);

/* `executionState`: where the service thinks an execution stands. */
typedef struct JobState {
        bool present;
        JobStatus status;
        int64_t version_number; /* -1: not given */
} JobState;

typedef struct JobUpdate {
        JobState state; /* only where includeJobExecutionState was asked for */
        char client_token[CLIENT_TOKEN_MAX + 1];
        uint64_t timestamp_sec;
} JobUpdate;

/* `update/accepted`. *ret is the caller's. */
_must_use_ int job_update_parse(const char *payload, size_t n_payload, JobUpdate **ret, const char **reterr);
JobUpdate *job_update_free(JobUpdate *update); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(JobUpdate *, job_update_free);

typedef enum JobRejectionCode {
        JOB_REJECTION_UNKNOWN,
        JOB_REJECTION_INVALID_TOPIC,
        JOB_REJECTION_INVALID_JSON,
        JOB_REJECTION_INVALID_REQUEST,
        JOB_REJECTION_INVALID_STATE_TRANSITION,
        JOB_REJECTION_RESOURCE_NOT_FOUND,
        JOB_REJECTION_VERSION_MISMATCH,
        JOB_REJECTION_INTERNAL_ERROR,
        JOB_REJECTION_REQUEST_THROTTLED,
        JOB_REJECTION_TERMINAL_STATE_REACHED,
        _JOB_REJECTION_MAX,
} JobRejectionCode;

typedef struct JobRejection {
        JobRejectionCode code;
        char code_text[JOB_REJECTION_CODE_MAX + 1];  /* the service's own word, escaped and cut */
        char message[JOB_REJECTION_MESSAGE_MAX + 1]; /* the same; "" where there is none */
        JobState state;                              /* sent with INVALID_STATE_TRANSITION and VERSION_MISMATCH */
        char client_token[CLIENT_TOKEN_MAX + 1];     /* "" also where the service could not read the request */
        uint64_t timestamp_sec;
} JobRejection;

/* Any `.../rejected` below `jobs`. *ret is the caller's. */
_must_use_ int job_rejection_parse(const char *payload, size_t n_payload, JobRejection **ret, const char **reterr);
JobRejection *job_rejection_free(JobRejection *rejection); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(JobRejection *, job_rejection_free);

const char *job_rejection_code_to_string(JobRejectionCode code); /* "VersionMismatch"; "unknown" */
