#include "engine/outbox.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "outbox-record.h"

enum {
        FINALS_MAX = 16,
        MISMATCHES_MAX = 3, /* of a version, answered at once; then somebody else writes all the time */
};

struct Outbox {
        OutboxParams params;
        const OutboxOps *ops;
        void *userdata;

        OutboxEntry finals[FINALS_MAX]; /* oldest first, without gaps */
        size_t n_finals;
        OutboxEntry progress;
        bool progress_unsent;

        JobKey known; /* the job whose version number we know */
        int64_t known_version;

        bool connected;
        JobKey asked; /* the update under way; not set: none */
        JobStatus asked_status;
        char asked_token[CLIENT_TOKEN_MAX + 1];
        uint64_t answer_deadline_usec;
        uint64_t not_before_usec;
        bool only_progress_waits; /* for that moment: the cloud refused it, and a final status is another matter */
        unsigned last_token;
        unsigned n_mismatches; /* in a row */
        Backoff backoff;
};

Outbox *outbox_free(Outbox *o)
{
        if (!o)
                return NULL;
        for (size_t i = 0; i < o->n_finals; i++)
                outbox_entry_done(&o->finals[i]);
        outbox_entry_done(&o->progress);
        free(o);
        return NULL;
}

static OutboxEntry *find_final(const Outbox *o, const JobKey *key)
{
        for (size_t i = 0; i < o->n_finals; i++)
                if (job_key_equal(&o->finals[i].key, key))
                        return (OutboxEntry *)&o->finals[i];
        return NULL;
}

bool outbox_holds_final(const Outbox *o, const JobKey *key)
{
        return find_final(o, key) != NULL;
}

size_t outbox_n_finals(const Outbox *o)
{
        return o->n_finals;
}

bool outbox_is_idle(const Outbox *o)
{
        return o->n_finals == 0 && !o->progress_unsent && !job_key_is_set(&o->asked);
}

static int save(Outbox *o)
{
        int r = outbox_record_save(o->params.dir_fd, o->finals, o->n_finals);

        for (size_t i = 0; r >= 0 && i < o->n_finals; i++)
                o->finals[i].saved = true;
        return r;
}

int outbox_new(const OutboxParams *params, const OutboxOps *ops, void *userdata, Outbox **ret)
{
        _cleanup_(outbox_freep) Outbox *o = calloc(1, sizeof(*o));
        int r;

        if (!o)
                return -ENOMEM;
        *o = (Outbox){
                .params = *params,
                .ops = ops,
                .userdata = userdata,
                .known_version = -1,
                .backoff = {.base_usec = USEC_PER_SEC, .cap_usec = 300 * USEC_PER_SEC},
        };
        r = outbox_record_load(params->dir_fd, o->finals, FINALS_MAX, &o->n_finals);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(o);
        return 0;
}

static void send(Outbox *o, OutboxEntry *entry, uint64_t now_usec)
{
        _cleanup_free_ char *json = NULL;
        JobReport claim, *report = &entry->report;
        bool final = job_status_is_terminal(report->status);
        int r;

        if (entry->claim_first) {
                job_report_init(&claim, JOB_STATUS_IN_PROGRESS);
                report = &claim;
        }
        report->execution_number = entry->key.execution_number;
        report->expected_version = job_key_equal(&o->known, &entry->key) ? o->known_version : -1;
        report->include_state = true;
        report->step_timeout_minutes = final ? 0 : o->params.step_timeout_minutes;
        snprintf(report->client_token, sizeof(report->client_token), "u-%u", ++o->last_token);
        r = job_report_format(report, &json);
        if (r < 0) {
                log_error_errno(r, "Cannot write the status %s of job %s, will try again in %" PRIu64 "s: %m",
                                job_status_to_string(report->status), entry->key.job_id,
                                o->params.answer_timeout_usec / USEC_PER_SEC);
                o->not_before_usec = usec_add(now_usec, o->params.answer_timeout_usec);
                return;
        }

        o->asked = entry->key;
        o->asked_status = report->status;
        strcpy(o->asked_token, report->client_token);
        o->answer_deadline_usec = usec_add(now_usec, o->params.answer_timeout_usec);
        if (!final)
                o->progress_unsent = false;
        o->ops->publish(&entry->key, json, o->userdata);
}

static void pump(Outbox *o, uint64_t now_usec)
{
        bool waits = now_usec < o->not_before_usec;

        if (!o->connected || job_key_is_set(&o->asked))
                return;
        if (o->n_finals > 0 && (!waits || o->only_progress_waits))
                send(o, &o->finals[0], now_usec);
        else if (o->n_finals == 0 && o->progress_unsent && !waits)
                send(o, &o->progress, now_usec);
}

void outbox_drop_progress(Outbox *o)
{
        if (o->only_progress_waits)
                o->not_before_usec = 0;
        o->progress_unsent = false;
        outbox_entry_done(&o->progress);
}

void outbox_progress(Outbox *o, const JobKey *key, JobReport *report, uint64_t now_usec)
{
        if (outbox_holds_final(o, key)) {
                job_report_done(report);
                return;
        }
        outbox_drop_progress(o);
        o->progress = (OutboxEntry){.key = *key, .report = *report};
        *report = (JobReport){0};
        o->progress_unsent = true;
        pump(o, now_usec);
}

static void remove_final(Outbox *o, size_t index)
{
        int r;

        outbox_entry_done(&o->finals[index]);
        memmove(&o->finals[index], &o->finals[index + 1], (o->n_finals - index - 1) * sizeof(OutboxEntry));
        o->finals[--o->n_finals] = (OutboxEntry){0};
        r = save(o);
        if (r < 0)
                log_warning_errno(r, "Cannot write down that a final status was delivered, it may be sent again: %m");
}

int outbox_finish(Outbox *o, const JobKey *key, JobReport *report, uint64_t now_usec)
{
        OutboxEntry *entry = find_final(o, key);
        int r;

        assert(job_status_is_terminal(report->status));
        if (entry) {
                job_report_done(report);
                return entry->saved ? 0 : save(o);
        }
        if (o->n_finals == FINALS_MAX) {
                log_error("Too many final statuses the cloud has not accepted: that of job %s is dropped",
                          o->finals[0].key.job_id);
                remove_final(o, 0);
        }
        if (job_key_equal(&o->progress.key, key))
                outbox_drop_progress(o);
        o->finals[o->n_finals++] = (OutboxEntry){.key = *key, .report = *report};
        *report = (JobReport){0};
        r = save(o);
        pump(o, now_usec);
        return r;
}

void outbox_note_version(Outbox *o, const JobKey *key, int64_t version_number)
{
        o->known = *key;
        o->known_version = version_number;
}

void outbox_on_connected(Outbox *o, uint64_t now_usec)
{
        o->connected = true;
        o->asked = (JobKey){0};
        o->not_before_usec = 0;
        pump(o, now_usec);
}

void outbox_on_disconnected(Outbox *o)
{
        o->connected = false;
        /* Whether the update under way arrived is not known: it goes out again, and its version tells. */
        if (job_key_is_set(&o->asked) && !job_status_is_terminal(o->asked_status) &&
            job_key_equal(&o->asked, &o->progress.key))
                o->progress_unsent = true;
        o->asked = (JobKey){0};
}

/* What was asked is answered for good: nothing of it is sent again. */
static void settle(Outbox *o)
{
        OutboxEntry *final = find_final(o, &o->asked);

        if (final)
                final->claim_first = false;
        if (job_status_is_terminal(o->asked_status) && o->n_finals > 0 && job_key_equal(&o->finals[0].key, &o->asked))
                remove_final(o, 0);
        o->asked = (JobKey){0};
        o->n_mismatches = 0;
        backoff_reset(&o->backoff);
}

static void take_accepted(Outbox *o, int64_t version_number)
{
        JobKey key = o->asked;
        JobStatus status = o->asked_status;

        if (version_number >= 0)
                outbox_note_version(o, &key, version_number);
        else if (job_key_equal(&o->known, &key) && o->known_version >= 0)
                o->known_version++;
        settle(o);
        log_debug("The cloud took status %s of job %s", job_status_to_string(status), key.job_id);
        o->ops->accepted(&key, status, o->userdata);
}

void outbox_on_update(Outbox *o, const JobUpdate *update, uint64_t now_usec)
{
        if (!job_key_is_set(&o->asked) || strcmp(update->client_token, o->asked_token) != 0)
                return;
        take_accepted(o, update->state.present ? update->state.version_number : -1);
        pump(o, now_usec);
}

static void try_again_later(Outbox *o, const char *why, uint64_t now_usec)
{
        uint64_t wait = backoff_next_usec(&o->backoff);
        char text[DURATION_TEXT_MAX];

        log_warning("Status %s of job %s was not taken by the cloud (%s), trying again in %s",
                    job_status_to_string(o->asked_status), o->asked.job_id, why, duration_format(text, wait));
        if (!job_status_is_terminal(o->asked_status) && job_key_equal(&o->progress.key, &o->asked))
                o->progress_unsent = true;
        o->asked = (JobKey){0};
        o->not_before_usec = usec_add(now_usec, wait);
        o->only_progress_waits = false;
}

static void take_gone(Outbox *o, JobStatus status, const char *why)
{
        JobKey key = o->asked;

        /* Said once here; the owner says what follows for the update. */
        log_notice("Job %s is over in the cloud (%s): its status %s was refused", key.job_id, why,
                   job_status_to_string(o->asked_status));
        settle(o);
        if (job_key_equal(&o->progress.key, &key))
                outbox_drop_progress(o);
        o->ops->gone(&key, status, why, o->userdata);
}

/*
 * The cloud will not have it. A final status ends there; a claim or a progress is sent again, ever more rarely, since
 * the update waits for the claim and a newer progress may fare better.
 */
static void give_up(Outbox *o, const JobRejection *rejection, uint64_t now_usec)
{
        if (!job_status_is_terminal(o->asked_status) && !find_final(o, &o->asked)) {
                try_again_later(o, rejection->code_text, now_usec);
                o->only_progress_waits = true;
                return;
        }
        log_event(LOG_EVENT_STATUS_REFUSED, &(LogFields){.job_id = o->asked.job_id},
                  "The cloud refused status %s of job %s, giving it up: %s: %s",
                  job_status_to_string(o->asked_status), o->asked.job_id, rejection->code_text, rejection->message);
        settle(o);
}

static OutboxEntry *asked_entry(Outbox *o)
{
        if (job_status_is_terminal(o->asked_status))
                return find_final(o, &o->asked);
        return job_key_equal(&o->progress.key, &o->asked) ? &o->progress : NULL;
}

/*
 * An illegal step. Where the cloud says the job still runs, REJECTED is not to be had from there, but FAILED is. Where it
 * says that the job was never begun, IN_PROGRESS has to come before SUCCEEDED or FAILED.
 */
static void on_invalid_transition(Outbox *o, const JobRejection *rejection, uint64_t now_usec)
{
        OutboxEntry *entry = asked_entry(o);

        if (rejection->state.present && job_status_is_terminal(rejection->state.status)) {
                take_gone(o, rejection->state.status, job_status_to_string(rejection->state.status));
                return;
        }
        if (entry && o->asked_status == JOB_STATUS_REJECTED) {
                log_notice("The cloud does not take REJECTED for job %s any more, reporting FAILED", o->asked.job_id);
                entry->report.status = JOB_STATUS_FAILED;
                if (save(o) < 0)
                        log_warning("Cannot write that down; after a restart REJECTED is tried again first");
                o->asked = (JobKey){0};
                return;
        }
        if (entry && rejection->state.present && rejection->state.status == JOB_STATUS_QUEUED && !entry->claimed &&
            job_status_is_terminal(o->asked_status)) {
                entry->claim_first = entry->claimed = true;
                if (rejection->state.version_number >= 0)
                        outbox_note_version(o, &o->asked, rejection->state.version_number);
                o->asked = (JobKey){0};
                return;
        }
        give_up(o, rejection, now_usec);
}

/* Somebody else wrote, or the answer to this very update was lost. */
static void on_version_mismatch(Outbox *o, const JobRejection *rejection, uint64_t now_usec)
{
        bool was_ours = rejection->state.present && rejection->state.status == o->asked_status &&
                        job_key_equal(&o->known, &o->asked) &&
                        rejection->state.version_number == o->known_version + 1;

        if (was_ours) {
                take_accepted(o, rejection->state.version_number);
                return;
        }
        if (rejection->state.present && job_status_is_terminal(rejection->state.status)) {
                take_gone(o, rejection->state.status, job_status_to_string(rejection->state.status));
                return;
        }
        outbox_note_version(o, &o->asked, rejection->state.present ? rejection->state.version_number : -1);
        if (++o->n_mismatches > MISMATCHES_MAX) {
                try_again_later(o, rejection->code_text, now_usec);
                return;
        }
        if (asked_entry(o) == &o->progress)
                o->progress_unsent = true;
        o->asked = (JobKey){0};
}

static void on_invalid_request(Outbox *o, const JobRejection *rejection, uint64_t now_usec)
{
        OutboxEntry *entry = asked_entry(o);

        if (!entry || entry->report.n_details == 0) {
                give_up(o, rejection, now_usec);
                return;
        }
        log_warning("The cloud refused the details of job %s, sending the status alone: %s", o->asked.job_id,
                    rejection->message);
        job_report_done(&entry->report);
        job_report_init(&entry->report, o->asked_status);
        if (entry == &o->progress)
                o->progress_unsent = true;
        o->asked = (JobKey){0};
}

void outbox_on_rejection(Outbox *o, const JobRejection *rejection, uint64_t now_usec)
{
        if (!job_key_is_set(&o->asked) ||
            (rejection->client_token[0] && strcmp(rejection->client_token, o->asked_token) != 0))
                return;
        switch (rejection->code) {
        case JOB_REJECTION_INVALID_STATE_TRANSITION:
                on_invalid_transition(o, rejection, now_usec);
                break;
        case JOB_REJECTION_VERSION_MISMATCH:
                on_version_mismatch(o, rejection, now_usec);
                break;
        case JOB_REJECTION_RESOURCE_NOT_FOUND:
        case JOB_REJECTION_TERMINAL_STATE_REACHED:
                take_gone(o, JOB_STATUS_UNKNOWN, rejection->code_text);
                break;
        case JOB_REJECTION_INVALID_REQUEST:
                on_invalid_request(o, rejection, now_usec);
                break;
        case JOB_REJECTION_INVALID_TOPIC:
        case JOB_REJECTION_INVALID_JSON:
                give_up(o, rejection, now_usec);
                break;
        case JOB_REJECTION_INTERNAL_ERROR:
        case JOB_REJECTION_REQUEST_THROTTLED:
        case JOB_REJECTION_UNKNOWN:
        case _JOB_REJECTION_MAX:
                try_again_later(o, rejection->code_text, now_usec);
                break;
        }
        pump(o, now_usec);
}

void outbox_on_timer(Outbox *o, uint64_t now_usec)
{
        if (job_key_is_set(&o->asked) && now_usec >= o->answer_deadline_usec)
                try_again_later(o, "no answer", now_usec);
        pump(o, now_usec);
}

uint64_t outbox_next_deadline(const Outbox *o)
{
        if (!o->connected)
                return USEC_INFINITY;
        if (job_key_is_set(&o->asked))
                return o->answer_deadline_usec;
        return o->n_finals > 0 || o->progress_unsent ? o->not_before_usec : USEC_INFINITY;
}
