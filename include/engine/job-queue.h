/*
 * job-queue: which jobs the cloud has for this thing, and which of them is next.
 *
 * After every connect it asks for the pending list, describes one job after the other until its owner takes one, and
 * from then on watches that the held job is still there. Notifications are hints only: they may be lost, doubled or
 * late, so the list and the job are read from the service again, and at least every refresh_usec. A job whose description
 * does not come after some tries lets those behind it pass.
 *
 * Told the time; one request is under way at a time. Source: AWS IoT Developer Guide, "Jobs device MQTT API" and "Jobs
 * notifications".
 */
#pragma once

#include "base/cleanup.h"
#include "codec/job-message.h"
#include "engine/job-key.h"

typedef struct JobQueue JobQueue;

typedef struct JobQueueParams {
        uint64_t answer_timeout_usec;
        uint64_t refresh_usec; /* between two lists when nothing is heard, at most; see backoff_spread_usec() */
} JobQueueParams;

typedef enum JobVerdict {
        JOB_VERDICT_HOLD, /* ours: job_queue_hold() was, or is, called */
        JOB_VERDICT_SKIP, /* foreign, refused or already done: look at the next one */
        JOB_VERDICT_WAIT, /* for the end of another: look at none before job_queue_let_go(), then at this one again */
        JOB_VERDICT_LATER, /* cannot be judged now: ask for it again after a while */
} JobVerdict;

/* None may free the queue. */
typedef struct JobQueueOps {
        void (*publish_get)(const char *json, void *userdata);
        void (*publish_describe)(const char *job_id, const char *json, void *userdata);
        /* A pending job, with its document: a candidate, or the held one described again. */
        JobVerdict (*job)(const JobExecution *execution, void *userdata);
        /* The held job is not pending any more. `why` is for a person. The queue has let go of it. */
        void (*gone)(const JobKey *key, JobStatus status, const char *why, void *userdata);
} JobQueueOps;

_must_use_ int job_queue_new(const JobQueueParams *params, const JobQueueOps *ops, void *userdata, JobQueue **ret);
JobQueue *job_queue_free(JobQueue *queue); /* NULL is fine; returns NULL */
DEFINE_CLEANUP(JobQueue *, job_queue_free);

/* From now on just this job is watched. */
void job_queue_hold(JobQueue *queue, const JobKey *key);
/* Done with it: the list is asked for, and the next candidate described. */
void job_queue_let_go(JobQueue *queue, uint64_t now_usec);
/* Another one has to come first: this one stays among the candidates. job_queue_hold() of the other follows. */
void job_queue_put_back(JobQueue *queue);
/* Describes the held job once more, for a fresh document (URLs are signed at delivery). */
void job_queue_describe_held(JobQueue *queue, uint64_t now_usec);

void job_queue_on_connected(JobQueue *queue, uint64_t now_usec);
void job_queue_on_disconnected(JobQueue *queue);
void job_queue_on_list(JobQueue *queue, const PendingJobs *list, uint64_t now_usec); /* notify and get/accepted */
void job_queue_on_execution(JobQueue *queue, const JobExecution *execution, uint64_t now_usec);
/* A description that cannot be read, and will not be the next time: a candidate is left alone, as it may be foreign. */
void job_queue_on_unreadable(JobQueue *queue, const char *job_id, uint64_t now_usec);
void job_queue_on_next(JobQueue *queue, const JobExecution *execution, uint64_t now_usec); /* notify-next */
void job_queue_on_rejection(JobQueue *queue, const JobRejection *rejection, uint64_t now_usec);
void job_queue_on_timer(JobQueue *queue, uint64_t now_usec);
uint64_t job_queue_next_deadline(const JobQueue *queue);
