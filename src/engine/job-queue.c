#include "engine/job-queue.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log.h"
#include "base/time-util.h"
#include "codec/job-report.h"

enum {
        SKIPPED_MAX = 2 * PENDING_JOBS_MAX,
        TRIES_MAX = 3, /* to have a job described; then those behind it come first */
};

typedef enum Asked { ASKED_NOTHING, ASKED_LIST, ASKED_HELD, ASKED_CANDIDATE } Asked;

struct JobQueue {
        JobQueueParams params;
        const JobQueueOps *ops;
        void *userdata;

        PendingJobs list;
        JobKey held;
        JobKey skipped[SKIPPED_MAX]; /* a ring */
        size_t n_skipped;

        bool connected;
        bool want_list;
        bool want_held;
        bool owner_is_busy; /* takes no job before job_queue_let_go() */
        Asked asked;
        JobKey asked_key;
        char asked_token[CLIENT_TOKEN_MAX + 1];
        uint64_t answer_deadline_usec;
        uint64_t not_before_usec;
        uint64_t refresh_deadline_usec;
        unsigned last_token;
        unsigned n_tries; /* in a row, to have the same candidate described */
        Backoff backoff;
};

int job_queue_new(const JobQueueParams *params, const JobQueueOps *ops, void *userdata, JobQueue **ret)
{
        JobQueue *q = calloc(1, sizeof(*q));

        if (!q)
                return -ENOMEM;
        *q = (JobQueue){
                .params = *params,
                .ops = ops,
                .userdata = userdata,
                .refresh_deadline_usec = USEC_INFINITY,
                .backoff = {.base_usec = USEC_PER_SEC, .cap_usec = 300 * USEC_PER_SEC},
        };
        *ret = q;
        return 0;
}

JobQueue *job_queue_free(JobQueue *q)
{
        free(q);
        return NULL;
}

static bool is_skipped(const JobQueue *q, const JobKey *key)
{
        for (size_t i = 0; i < MIN2(q->n_skipped, (size_t)SKIPPED_MAX); i++)
                if (job_key_equal(&q->skipped[i], key))
                        return true;
        return false;
}

static void skip(JobQueue *q, const JobKey *key)
{
        if (!is_skipped(q, key))
                q->skipped[q->n_skipped++ % SKIPPED_MAX] = *key;
}

static const JobSummary *first_candidate(const JobQueue *q)
{
        for (size_t i = 0; i < q->list.n_jobs; i++) {
                JobKey key = job_key_make(q->list.jobs[i].job_id, q->list.jobs[i].execution_number);

                if (!is_skipped(q, &key))
                        return &q->list.jobs[i];
        }
        return NULL;
}

static void move_to_back(JobQueue *q, const JobKey *key)
{
        for (size_t i = 0; i < q->list.n_jobs; i++) {
                JobSummary job = q->list.jobs[i];

                if (strcmp(job.job_id, key->job_id) != 0)
                        continue;
                memmove(&q->list.jobs[i], &q->list.jobs[i + 1], (q->list.n_jobs - i - 1) * sizeof(job));
                q->list.jobs[q->list.n_jobs - 1] = job;
                return;
        }
}

static bool may_look_further(const JobQueue *q)
{
        return !job_key_is_set(&q->held) && !q->owner_is_busy;
}

static bool wants_held(const JobQueue *q)
{
        return q->want_held && job_key_is_set(&q->held);
}

static void note_asked(JobQueue *q, Asked what, const JobKey *key, uint64_t now_usec)
{
        q->asked = what;
        q->asked_key = key ? *key : (JobKey){0};
        q->answer_deadline_usec = usec_add(now_usec, q->params.answer_timeout_usec);
}

static void ask_list(JobQueue *q, uint64_t now_usec)
{
        _cleanup_free_ char *json = NULL;

        note_asked(q, ASKED_LIST, NULL, now_usec);
        snprintf(q->asked_token, sizeof(q->asked_token), "g-%u", ++q->last_token);
        /* Out of memory: the deadline asks again. */
        if (job_get_format(q->asked_token, &json) >= 0)
                q->ops->publish_get(json, q->userdata);
}

static void ask_job(JobQueue *q, Asked what, const JobKey *key, uint64_t now_usec)
{
        _cleanup_free_ char *json = NULL;

        note_asked(q, what, key, now_usec);
        snprintf(q->asked_token, sizeof(q->asked_token), "d-%u", ++q->last_token);
        if (job_describe_format(key->execution_number, true, q->asked_token, &json) >= 0)
                q->ops->publish_describe(key->job_id, json, q->userdata);
}

static void pump(JobQueue *q, uint64_t now_usec)
{
        const JobSummary *candidate;

        if (!q->connected || q->asked != ASKED_NOTHING || now_usec < q->not_before_usec)
                return;
        if (wants_held(q)) {
                JobKey key = q->held;

                ask_job(q, ASKED_HELD, &key, now_usec);
        } else if (q->want_list) {
                ask_list(q, now_usec);
        } else if (may_look_further(q) && (candidate = first_candidate(q))) {
                JobKey key = job_key_make(candidate->job_id, candidate->execution_number);

                ask_job(q, ASKED_CANDIDATE, &key, now_usec);
        }
}

void job_queue_hold(JobQueue *q, const JobKey *key)
{
        q->held = *key;
}

void job_queue_put_back(JobQueue *q)
{
        q->held = (JobKey){0};
        q->want_held = q->owner_is_busy = false;
        q->want_list = true;
}

void job_queue_let_go(JobQueue *q, uint64_t now_usec)
{
        if (job_key_is_set(&q->held))
                skip(q, &q->held);
        job_queue_put_back(q);
        pump(q, now_usec);
}

void job_queue_describe_held(JobQueue *q, uint64_t now_usec)
{
        q->want_held = job_key_is_set(&q->held);
        pump(q, now_usec);
}

void job_queue_on_connected(JobQueue *q, uint64_t now_usec)
{
        q->connected = true;
        q->asked = ASKED_NOTHING;
        q->want_list = true;
        q->want_held = job_key_is_set(&q->held);
        q->not_before_usec = 0;
        pump(q, now_usec);
}

void job_queue_on_disconnected(JobQueue *q)
{
        q->connected = false;
        q->asked = ASKED_NOTHING;
        q->refresh_deadline_usec = USEC_INFINITY;
}

static void report_gone(JobQueue *q, JobStatus status, const char *why)
{
        JobKey key = q->held;

        skip(q, &key);
        q->held = (JobKey){0};
        q->want_held = false;
        q->want_list = true;
        q->ops->gone(&key, status, why, q->userdata);
}

/* What is not pending any more need not be remembered: a deleted job's id and number may come again as a new job. */
static void prune_skipped(JobQueue *q)
{
        size_t n_kept = 0;

        for (size_t i = 0; i < MIN2(q->n_skipped, (size_t)SKIPPED_MAX); i++)
                for (size_t k = 0; k < q->list.n_jobs; k++) {
                        JobKey listed = job_key_make(q->list.jobs[k].job_id, q->list.jobs[k].execution_number);

                        if (job_key_equal(&listed, &q->skipped[i])) {
                                q->skipped[n_kept++] = listed;
                                break;
                        }
                }
        q->n_skipped = n_kept;
}

/*
 * What the list says of the held job. Its absence is no proof: the list is cut at 15, and windows hide jobs. Nor is a lower
 * number: a notification may come late, from the attempt before; or the job was deleted and made anew. The description
 * tells.
 */
static void check_held(JobQueue *q)
{
        for (size_t i = 0; i < q->list.n_jobs; i++) {
                const JobSummary *job = &q->list.jobs[i];

                if (strcmp(job->job_id, q->held.job_id) != 0)
                        continue;
                if (job->execution_number > q->held.execution_number)
                        report_gone(q, JOB_STATUS_UNKNOWN, "the service has begun another attempt at it");
                else if (job->execution_number >= 0 && job->execution_number < q->held.execution_number)
                        q->want_held = true;
                return;
        }
        q->want_held = true;
}

void job_queue_on_list(JobQueue *q, const PendingJobs *list, uint64_t now_usec)
{
        if (!q->connected)
                return;
        if (list->client_token[0]) {
                if (q->asked != ASKED_LIST || strcmp(list->client_token, q->asked_token) != 0)
                        return;
                q->asked = ASKED_NOTHING;
        }
        q->list = *list;
        q->want_list = false;
        q->n_tries = 0;
        prune_skipped(q);
        backoff_reset(&q->backoff);
        q->refresh_deadline_usec = usec_add(now_usec, backoff_spread_usec(q->params.refresh_usec));
        if (job_key_is_set(&q->held))
                check_held(q);
        pump(q, now_usec);
}

static void on_held_described(JobQueue *q, const JobExecution *execution)
{
        q->want_held = false;
        if (!execution->present)
                report_gone(q, JOB_STATUS_UNKNOWN, "the service does not know it any more");
        else if (job_status_is_terminal(execution->status))
                report_gone(q, execution->status, job_status_to_string(execution->status));
        else if (execution->execution_number >= 0 && execution->execution_number != q->held.execution_number)
                report_gone(q, JOB_STATUS_UNKNOWN, "the service has begun another attempt at it");
        else
                (void)q->ops->job(execution, q->userdata);
}

static void on_candidate_described(JobQueue *q, const JobExecution *execution, uint64_t now_usec)
{
        JobKey listed = q->asked_key, key;

        q->n_tries = 0;
        if (!execution->present || job_status_is_terminal(execution->status)) {
                skip(q, &listed);
                return;
        }
        key = job_key_make(execution->job_id, execution->execution_number);
        switch (q->ops->job(execution, q->userdata)) {
        case JOB_VERDICT_HOLD:
                return;
        case JOB_VERDICT_SKIP:
                skip(q, &listed);
                skip(q, &key);
                return;
        case JOB_VERDICT_WAIT:
                q->owner_is_busy = true;
                return;
        case JOB_VERDICT_LATER:
                q->not_before_usec = usec_add(now_usec, backoff_next_usec(&q->backoff));
                return;
        }
}

static void try_again_later(JobQueue *q, const char *why, uint64_t now_usec)
{
        uint64_t wait = backoff_next_usec(&q->backoff);
        char text[DURATION_TEXT_MAX];

        log_warning("Asked the cloud for %s %s and got no use of it (%s), trying again in %s",
                    q->asked == ASKED_LIST ? "the pending jobs" : "job", q->asked_key.job_id, why,
                    duration_format(text, wait));
        /* What was asked is wanted still: the held job, if it is held still, by want_held; a candidate by the list. */
        q->want_list |= q->asked == ASKED_LIST;
        q->want_held |= q->asked == ASKED_HELD && job_key_equal(&q->held, &q->asked_key);
        if (q->asked == ASKED_CANDIDATE && ++q->n_tries == TRIES_MAX) {
                move_to_back(q, &q->asked_key);
                q->n_tries = 0;
        }
        q->asked = ASKED_NOTHING;
        q->not_before_usec = usec_add(now_usec, wait);
}

void job_queue_on_execution(JobQueue *q, const JobExecution *execution, uint64_t now_usec)
{
        Asked asked = q->asked;

        if ((asked != ASKED_HELD && asked != ASKED_CANDIDATE) || strcmp(execution->client_token, q->asked_token) != 0)
                return;
        if (execution->present && strcmp(execution->job_id, q->asked_key.job_id) != 0) {
                try_again_later(q, "another job was described", now_usec);
                return;
        }
        q->asked = ASKED_NOTHING;
        if (job_key_equal(&q->held, &q->asked_key)) {
                backoff_reset(&q->backoff);
                on_held_described(q, execution);
        } else if (asked == ASKED_CANDIDATE) {
                on_candidate_described(q, execution, now_usec);
        }
        pump(q, now_usec);
}

void job_queue_on_unreadable(JobQueue *q, const char *job_id, uint64_t now_usec)
{
        JobKey key = q->asked_key;

        if (q->asked != ASKED_CANDIDATE || strcmp(job_id, key.job_id) != 0)
                return;
        log_warning("Job %s is left alone: the cloud's description of it cannot be read", key.job_id);
        q->asked = ASKED_NOTHING;
        skip(q, &key);
        pump(q, now_usec);
}

void job_queue_on_next(JobQueue *q, const JobExecution *execution, uint64_t now_usec)
{
        if (!q->connected)
                return;
        if (execution->present) {
                JobKey key = job_key_make(execution->job_id, execution->execution_number);

                /* Known already, most likely from the `notify` that came with it. */
                if (job_key_equal(&key, &q->held) || is_skipped(q, &key))
                        return;
                for (size_t i = 0; i < q->list.n_jobs; i++) {
                        JobKey listed = job_key_make(q->list.jobs[i].job_id, q->list.jobs[i].execution_number);

                        if (job_key_equal(&listed, &key))
                                return;
                }
        }
        q->want_list = true;
        pump(q, now_usec);
}

void job_queue_on_rejection(JobQueue *q, const JobRejection *rejection, uint64_t now_usec)
{
        Asked asked = q->asked;
        JobKey key = q->asked_key;

        if (asked == ASKED_NOTHING ||
            (rejection->client_token[0] && strcmp(rejection->client_token, q->asked_token) != 0))
                return;
        if (asked == ASKED_LIST || (rejection->code != JOB_REJECTION_RESOURCE_NOT_FOUND &&
                                    rejection->code != JOB_REJECTION_TERMINAL_STATE_REACHED)) {
                try_again_later(q, rejection->code_text, now_usec);
                return;
        }

        q->asked = ASKED_NOTHING;
        if (asked == ASKED_CANDIDATE)
                skip(q, &key);
        else if (job_key_equal(&q->held, &key))
                report_gone(q, JOB_STATUS_UNKNOWN, rejection->code_text);
        pump(q, now_usec);
}

void job_queue_on_timer(JobQueue *q, uint64_t now_usec)
{
        if (!q->connected)
                return;
        if (q->asked != ASKED_NOTHING && now_usec >= q->answer_deadline_usec)
                try_again_later(q, "no answer", now_usec);
        if (now_usec >= q->refresh_deadline_usec) {
                q->want_list = true;
                q->refresh_deadline_usec = USEC_INFINITY;
        }
        pump(q, now_usec);
}

uint64_t job_queue_next_deadline(const JobQueue *q)
{
        bool wants = q->want_list || wants_held(q) || (may_look_further(q) && first_candidate(q));
        uint64_t deadline = q->refresh_deadline_usec;

        if (!q->connected)
                return USEC_INFINITY;
        if (q->asked != ASKED_NOTHING)
                return MIN2(deadline, q->answer_deadline_usec);
        return wants ? MIN2(deadline, q->not_before_usec) : deadline;
}
