/*
 * job-report: what a device sends to AWS IoT Jobs.
 *
 * Everything sent keeps the service's limits, so that a status is never refused for the text beside it.
 * Sources: AWS IoT Developer Guide, "Jobs device MQTT API" and "Job limits"; AWS service model iot-jobs-data
 * 2017-09-29 (statusDetails: at most 10 pairs, values of 1 to 1024 characters that match [^\p{C}]+).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "codec/job-message.h"
#include "codec/job-status.h"

enum {
        JOB_DETAILS_MAX = 10,
        JOB_DETAIL_KEY_MAX = 128,    /* bytes, [a-zA-Z0-9:_-]+ */
        JOB_REPORT_VALUE_MAX = 1024, /* UTF-16 units, as the service counts */
        JOB_REPORT_VALUE_MAX_BYTES = 3 * JOB_REPORT_VALUE_MAX,
        JOB_STEP_TIMEOUT_MAX_MINUTES = 10080,
};

typedef struct JobDetail {
        char *key;
        char *value;
} JobDetail;

/*
 * A plain value with owned details: begin with job_report_init(), set what is wanted, end with job_report_done().
 * The service replaces the stored details by those sent, as a whole; where none are added they stay as they are.
 */
typedef struct JobReport {
        JobStatus status;
        int64_t expected_version;                /* -1: not sent, so not checked */
        int64_t execution_number;                /* -1: not sent, then the latest is meant */
        int step_timeout_minutes;                /* 0: not sent; -1: stops a running step timer; else 1 to 10080 */
        bool include_state;                      /* ask for `executionState` in the answer */
        char client_token[CLIENT_TOKEN_MAX + 1]; /* "": not sent; else [a-zA-Z0-9:_-] */
        JobDetail details[JOB_DETAILS_MAX];
        size_t n_details;
} JobReport;

void job_report_init(JobReport *report, JobStatus status);
void job_report_done(JobReport *report); /* fine twice */

/*
 * Copies both; a key added again is replaced. The value is made fit first: line ends and tabs become spaces, what else
 * is a control, format, private or invalid character becomes '?', it is cut between characters at
 * JOB_REPORT_VALUE_MAX, and an empty one becomes "-".
 * -EINVAL: not a key. -E2BIG: more than JOB_DETAILS_MAX. -ENOMEM.
 */
_must_use_ int job_report_add(JobReport *report, const char *key, const char *value);
/* The cleaning alone. Returns `buffer`. */
char *job_report_clean(char buffer[static JOB_REPORT_VALUE_MAX_BYTES + 1], const char *value);

/*
 * Bodies of requests: *ret is JSON text on the heap that ends in NUL.
 * -EINVAL: a status no device may set, or a token or number out of its range. -ENOMEM.
 */
_must_use_ int job_report_format(const JobReport *report, char **ret); /* J/update */
_must_use_ int job_get_format(const char *client_token, char **ret);   /* get; "" or NULL: no token */
/* `execution_number` -1: the latest one, as for $next. */
_must_use_ int job_describe_format(int64_t execution_number, bool include_document, const char *client_token,
                                   char **ret); /* J/get, $next/get */
