#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log-event.h"
#include "base/log.h"
#include "base/time-util.h"
#include "update-private.h"
#include "update-report.h"

void update_on_connected(Update *u, uint64_t now_usec)
{
        u->connected = true;
        u->confirmed = false;
        u->world->changed(u->world_userdata);
        update_reconcile(u, now_usec);
}

void update_on_disconnected(Update *u, uint64_t now_usec)
{
        u->connected = u->confirmed = false;
        if (u->goodbye == GOODBYE_ASKED)
                u->goodbye = GOODBYE_SAID;
        if (u->download)
                download_on_disconnected(u->download, now_usec);
        u->world->changed(u->world_userdata);
        update_reconcile(u, now_usec);
}

void update_on_goodbye(Update *u, uint64_t now_usec)
{
        u->connected = u->confirmed = false;
        if (u->goodbye == GOODBYE_NOT_SAID)
                u->world->come_back(u->world_userdata); /* meanwhile there is nothing to reboot for */
        else
                u->goodbye = GOODBYE_SAID;
        u->world->changed(u->world_userdata);
        update_reconcile(u, now_usec);
}

/* A job that is not begun at all: the cloud hears why at once. */
static JobVerdict refuse(Update *u, const JobKey *key, const Failure *failure, uint64_t now_usec)
{
        LogFields fields = {.job_id = key->job_id, .state = update_state_to_string(UPDATE_STATE_IDLE)};
        UpdateStatus status;
        JobReport message;
        int r;

        fields.error = failure_reason_to_string(failure->reason);
        log_event(LOG_EVENT_UPDATE_FAILED, &fields, "Job %s refused: %s (%s)", key->job_id, failure->detail,
                  fields.error);
        update_status(u, &status);
        status.state = UPDATE_STATE_IDLE;
        status.failure = failure;
        status.download = NULL;
        status.document = NULL;
        r = update_report_final(&status, JOB_STATUS_REJECTED, u->params.download.block_bytes, &message);
        if (r >= 0)
                r = outbox_finish(u->outbox, key, &message, now_usec);
        if (r < 0)
                log_error_errno(r, "Cannot write that down; after a restart the job is looked at again: %m");
        return JOB_VERDICT_SKIP;
}

static int check_policy(const Update *u, const JobDocument *document, const char *targets[static JOB_FILES_MAX],
                        Failure *reterr)
{
        for (size_t i = 0; i < document->n_files; i++) {
                const JobFile *file = &document->files[i];
                DownloadPlane plane;

                targets[i] = u->world->find_target(file->path, u->world_userdata);
                if (!targets[i])
                        return fail(reterr, FAILURE_TARGET_UNKNOWN, ENOENT,
                                    "no configured target matches the file path '%s'", file->path);
                for (size_t k = 0; k < i; k++)
                        if (strcmp(targets[k], targets[i]) == 0)
                                return fail(reterr, FAILURE_TARGET_REPEATED, EINVAL,
                                            "the files '%s' and '%s' are both for target '%s'",
                                            document->files[k].path, file->path, targets[i]);
                if (!download_first_plane(&u->params.download, document, file, &plane))
                        return fail(reterr, FAILURE_NO_PROTOCOL, EPROTONOSUPPORT,
                                    "the job offers no protocol that is enabled here and can carry file '%s' of "
                                    "%" PRIu64 " bytes",
                                    file->path, file->size_bytes);
                if (file->algorithm == SIGNATURE_ALGORITHM_NONE && u->params.signing_required)
                        return fail(reterr, FAILURE_SIGNATURE_MISSING, EKEYREJECTED,
                                    "file '%s' has no signature, and signing.required is set", file->path);
                if (file->algorithm != SIGNATURE_ALGORITHM_NONE && !u->params.algorithms[file->algorithm])
                        return fail(reterr, FAILURE_ALGORITHM_REFUSED, EKEYREJECTED,
                                    "signature algorithm %s of file '%s' is not among signing.algorithms",
                                    signature_algorithm_to_string(file->algorithm), file->path);
                if (file->cert_name && strlen(update_cert_selector(file->cert_name)) > LINK_CERT_MAX)
                        return fail(reterr, FAILURE_DOCUMENT_INVALID, EINVAL,
                                    "certfile of file '%s' is too long a name", file->path);
        }
        return 0;
}

/* The held job, described again: the URLs are fresh. */
static void take_fresh_document(Update *u, JobDocument *document, uint64_t now_usec)
{
        JobDocument *old = u->document;

        u->document = document;
        if (u->download)
                download_on_document(u->download, document, now_usec);
        job_document_free(old);
}

static bool is_same_text(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* But for the URLs. */
static bool is_same_document(const JobDocument *a, const JobDocument *b)
{
        if (a->n_files != b->n_files || !is_same_text(a->stream_name, b->stream_name))
                return false;
        for (size_t i = 0; i < a->n_files; i++) {
                const JobFile *x = &a->files[i], *y = &b->files[i];

                if (x->size_bytes != y->size_bytes || x->file_id != y->file_id || !is_same_text(x->path, y->path) ||
                    !is_same_text(x->cert_name, y->cert_name) || x->algorithm != y->algorithm ||
                    x->n_signature != y->n_signature || memcmp(x->signature, y->signature, x->n_signature) != 0)
                        return false;
        }
        return true;
}

static JobVerdict on_held_job(Update *u, const JobExecution *execution, JobDocument *document, uint64_t now_usec)
{
        u->confirmed = true;
        u->claimed |= execution->status == JOB_STATUS_IN_PROGRESS;
        if (u->document && !is_same_document(u->document, document)) {
                Failure failure;

                job_document_free(document);
                (void)fail(&failure, FAILURE_DOCUMENT_INVALID, EINVAL,
                           "the job document changed while it was carried out");
                update_end_with(u, &failure, now_usec);
                return JOB_VERDICT_HOLD;
        }
        take_fresh_document(u, document, now_usec);
        if (!u->claimed)
                update_report(u, now_usec);
        update_reconcile(u, now_usec);
        return JOB_VERDICT_HOLD;
}

static JobVerdict on_new_job(Update *u, const JobKey *key, const JobExecution *execution, JobDocument *document,
                             uint64_t now_usec)
{
        char attempt[24];
        const LogFields fields = {
                .job_id = key->job_id, .attempt = attempt, .state = update_state_to_string(UPDATE_STATE_ACCEPTED)};

        u->key = *key;
        u->document = document;
        u->confirmed = true;
        job_queue_hold(u->queue, key);
        snprintf(attempt, sizeof(attempt), "%" PRId64, key->execution_number);
        log_event(LOG_EVENT_UPDATE_ACCEPTED, &fields, "Job %s (attempt %s): %zu file(s)", key->job_id, attempt,
                  document->n_files);
        update_enter(u, UPDATE_STATE_ACCEPTED, now_usec);
        return JOB_VERDICT_HOLD;
}

JobVerdict update_on_job(Update *u, const JobExecution *execution, uint64_t now_usec)
{
        _cleanup_(job_document_freep) JobDocument *document = NULL;
        JobKey key = job_key_make(execution->job_id, execution->execution_number);
        const char *targets[JOB_FILES_MAX];
        Failure failure = {0};
        int r;

        if (execution->execution_number < 0) {
                log_warning("Job %s has no execution number: ignored", key.job_id);
                return JOB_VERDICT_SKIP;
        }
        outbox_note_version(u->outbox, &key, execution->version_number);
        if (outbox_holds_final(u->outbox, &key))
                return JOB_VERDICT_SKIP;
        if (!execution->document)
                r = fail(&failure, FAILURE_DOCUMENT_INVALID, EBADMSG, "the job has no document");
        else
                r = job_document_parse(execution->document, execution->n_document, &document, &failure);
        if (r == -ENOMSG && !u->params.reject_foreign) {
                log_debug("Job %s is not an OTA update: left alone", key.job_id);
                return JOB_VERDICT_SKIP;
        }
        if (r == -ENOMSG)
                (void)fail(&failure, FAILURE_DOCUMENT_UNSUPPORTED, EOPNOTSUPP,
                           "not an OTA update, and jobs.reject-foreign is set");
        if (document)
                r = check_policy(u, document, targets, &failure);
        if (r == -ENOMEM) {
                log_error("No memory to read job %s, looking at it again later", key.job_id);
                return JOB_VERDICT_LATER;
        }
        if (r < 0 && !job_key_equal(&key, &u->key))
                return refuse(u, &key, &failure, now_usec);
        /* What runs on trial is not undone because the config it brought would not take the same job again. */
        if (r < 0 && u->device_known && u->device.state >= UPDATE_STATE_ACTIVATING) {
                u->confirmed = true;
                update_reconcile(u, now_usec);
                return JOB_VERDICT_HOLD;
        }
        if (r < 0) {
                u->confirmed = true;
                update_end_with(u, &failure, now_usec);
                return JOB_VERDICT_HOLD;
        }
        assert(document);
        memcpy(u->targets, targets, sizeof(targets));
        if (job_key_equal(&key, &u->key))
                return on_held_job(u, execution, TAKE_PTR(document), now_usec);
        if (job_key_is_set(&u->key) || u->aside)
                return JOB_VERDICT_WAIT; /* one after the other */
        return on_new_job(u, &key, execution, TAKE_PTR(document), now_usec);
}

void update_on_accepted(Update *u, const JobKey *key, JobStatus status, uint64_t now_usec)
{
        if (!job_key_equal(key, &u->key))
                return;
        if (status == JOB_STATUS_IN_PROGRESS)
                u->claimed = true;
        if (job_status_is_terminal(status) && !u->concluded) {
                /* Heard in the cloud: now it is of no matter whether the disk could hold it. */
                u->concluded = true;
                u->retry_usec = USEC_INFINITY;
        }
        if (u->goodbye_deadline_usec > 0)
                u->retry_usec = USEC_INFINITY; /* was a wait for just this answer */
        update_reconcile(u, now_usec);
}

void update_on_gone(Update *u, const JobKey *key, const char *why, uint64_t now_usec)
{
        Failure failure;

        if (!job_key_equal(key, &u->key) || u->gone || u->concluded)
                return;
        u->gone = true;
        (void)fail(&failure, FAILURE_CANCELLED, ECANCELED, "the job is over in the cloud: %s", why);
        if (u->device_known && u->device.state != UPDATE_STATE_COMMITTED)
                log_notice("Job %s is over in the cloud (%s) while %s: the update is %s", key->job_id, why,
                           update_state_to_string(u->state),
                           u->device.state >= UPDATE_STATE_ACTIVATING ? "rolled back" : "abandoned");
        update_end_with(u, &failure, now_usec);
}
