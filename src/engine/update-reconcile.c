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

enum {
        GOODBYE_PATIENCE_USEC = 5 * 1000 * 1000, /* for the last report to be answered */
        SAVE_RETRY_USEC = 10 * 1000 * 1000,
        PIPE_RETRY_USEC = 1 * 1000 * 1000, /* time for the installer to say why it closed the data pipe */
        PIPES_MAX = 5, /* broken, refused or left full in a row, without a byte more on the targets */
};

void update_call(Update *u, InstallCall which)
{
        assert(u->call == INSTALL_CALL_NONE);
        if (which != INSTALL_CALL_GET_STATE)
                update_set_waiting(u, "");
        u->call = which;
        u->world->call(which, u->world_userdata);
}

static void call_roll_back(Update *u)
{
        assert(u->call == INSTALL_CALL_NONE && failure_is_set(&u->failure));
        update_end_download(u);
        update_set_waiting(u, "");
        u->call = INSTALL_CALL_ROLL_BACK;
        u->world->roll_back(&u->failure, u->world_userdata);
}

static void call_begin(Update *u)
{
        LinkBegin begin = {.attempt = (uint64_t)u->key.execution_number};
        DownloadPlane plane;
        char session[JOB_KEY_TEXT_MAX];

        assert(u->call == INSTALL_CALL_NONE && u->document);
        update_end_download(u); /* it counts from offsets that are not true any more */
        u->downloaded = false;
        begin.n_files = u->document->n_files;
        snprintf(begin.session, sizeof(begin.session), "%s", job_key_format(&u->key, session));
        snprintf(begin.job_id, sizeof(begin.job_id), "%s", u->key.job_id);
        for (size_t i = 0; i < u->document->n_files; i++) {
                const JobFile *file = &u->document->files[i];
                LinkFile *to = &begin.files[i];

                snprintf(to->target, sizeof(to->target), "%s", u->targets[i]);
                to->size_bytes = file->size_bytes;
                to->algorithm = file->algorithm;
                to->n_signature = file->n_signature;
                memcpy(to->signature, file->signature, file->n_signature);
                if (file->cert_name)
                        snprintf(to->cert, sizeof(to->cert), "%s", update_cert_selector(file->cert_name));
        }
        update_set_waiting(u, "");
        u->call = INSTALL_CALL_BEGIN;
        u->world->begin(&begin, u->world_userdata);
        if (download_first_plane(&u->params.download, u->document, &u->document->files[0], &plane) &&
            plane == DOWNLOAD_PLANE_HTTPS)
                u->world->http_prepare(u->world_userdata);
}

/* -- download, as seen from here ------------------------------------------------------------------------------ */

static void on_download_open(unsigned file, uint64_t offset, void *userdata)
{
        Update *u = userdata;

        assert(u->call == INSTALL_CALL_NONE);
        u->call = INSTALL_CALL_WRITE;
        u->world->write(file, offset, u->world_userdata);
}

static void on_download_need_document(uint64_t now_usec, void *userdata)
{
        Update *u = userdata;

        job_queue_describe_held(u->queue, now_usec);
}

static void on_download_stuck(bool is_stuck, void *userdata)
{
        update_set_waiting(userdata, is_stuck ? "the download does not get on, trying again" : "");
}

/* What is in the pipe, and from where it may go on, only Begin() tells. */
void update_give_up_pipe(Update *u)
{
        u->begun = false;
        if (++u->n_pipes_lost > PIPES_MAX)
                (void)fail(&u->failure, FAILURE_INSTALLER, EPIPE,
                           "otad-installer took no byte by %u data pipes in a row: refused, closed or left full",
                           u->n_pipes_lost);
}

/* This and the next are called from inside the download: what follows is done by the timer. */
static void on_download_pipe_lost(const char *why, uint64_t now_usec, void *userdata)
{
        Update *u = userdata;

        log_warning("Job %s: %s, asking it how many it has", u->key.job_id, why);
        update_give_up_pipe(u);
        u->retry_usec = usec_add(now_usec, PIPE_RETRY_USEC);
}

static void on_download_done(const Failure *failure, void *userdata)
{
        Update *u = userdata;

        if (failure)
                u->failure = *failure;
        else
                u->downloaded = true;
        u->retry_usec = 0;
}

static const DownloadOps download_ops = {
        .open = on_download_open,
        .need_document = on_download_need_document,
        .stuck = on_download_stuck,
        .done = on_download_done,
        .pipe_lost = on_download_pipe_lost,
};

Download *update_download(Update *u)
{
        return u->download;
}

static void go_on_downloading(Update *u, uint64_t now_usec)
{
        int r;

        update_enter(u, UPDATE_STATE_DOWNLOADING, now_usec);
        if (!u->download) {
                r = download_new(&u->params.download, u->world, u->world_userdata, &download_ops, u, u->document,
                                 &u->offsets, &u->download);
                if (r < 0) {
                        (void)fail(&u->failure, r == -ENOMEM ? FAILURE_RESOURCES : FAILURE_INSTALLER, -r,
                                   "cannot prepare the download: %s", strerror(-r));
                        call_roll_back(u);
                        return;
                }
        }
        download_resume(u->download, now_usec);
}

/* -- the end ------------------------------------------------------------------------------------------------ */

/* How it ended well was told when it was committed. */
static void log_end(const Update *u, JobStatus job_status)
{
        const LogFields fields = {
                .job_id = u->key.job_id,
                .state = update_state_to_string(u->state),
                .error = failure_reason_to_string(u->failure.reason),
        };

        if (job_status == JOB_STATUS_SUCCEEDED)
                log_notice("Job %s: %s", u->key.job_id, job_status_to_string(job_status));
        else
                log_event(LOG_EVENT_UPDATE_FAILED, &fields, "Job %s: %s: %s", u->key.job_id,
                          job_status_to_string(job_status), u->failure.detail);
}

static void conclude(Update *u, JobStatus job_status, uint64_t now_usec)
{
        UpdateStatus status;
        JobReport message;
        int r;

        if (!u->concluded && !u->gone) {
                update_status(u, &status);
                r = update_report_final(&status, job_status, u->params.download.block_bytes, &message);
                if (r >= 0)
                        r = outbox_finish(u->outbox, &u->key, &message, now_usec);
                if (r < 0) {
                        log_error_errno(r, "Cannot write down that job %s ended %s, trying again in %d s: %m",
                                        u->key.job_id, job_status_to_string(job_status),
                                        SAVE_RETRY_USEC / (int)USEC_PER_SEC);
                        update_set_waiting(u, "the state folder cannot be written");
                        u->retry_usec = usec_add(now_usec, SAVE_RETRY_USEC);
                        return;
                }
        }
        if (!u->concluded)
                log_end(u, job_status);
        u->concluded = true;
        if (u->device.session[0])
                update_call(u, INSTALL_CALL_RELEASE);
        else
                update_forget(u, now_usec);
}

/* -- the one next thing ------------------------------------------------------------------------------------- */

static bool is_still_ours(Update *u)
{
        if (!u->connected)
                update_set_waiting(u, "the broker is not reached");
        else if (!u->confirmed)
                update_set_waiting(u, "the cloud has not confirmed the job yet");
        else
                return true;
        return false;
}

static bool is_ready(Update *u)
{
        if (!u->suspended)
                return is_still_ours(u);
        update_set_waiting(u, "suspended by the operator");
        return false;
}

/* Ends the update: what the cloud or the operator asked for does not wait for a retry. */
void update_end_with(Update *u, const Failure *failure, uint64_t now_usec)
{
        if (!failure_is_set(&u->failure))
                u->failure = *failure;
        u->retry_usec = USEC_INFINITY;
        update_reconcile(u, now_usec);
}

static JobStatus failed_status(const Update *u)
{
        return failure_reason_is_permanent(u->failure.reason) ? JOB_STATUS_REJECTED : JOB_STATUS_FAILED;
}

/* Confirmed on trial, where the document is of no matter any more, and thrown back from there. */
static bool cannot_begin(const Update *u)
{
        return u->confirmed && !u->document;
}

/* Whether going on from here leads to the network: what is complete is verified at any time. */
static bool lacks_bytes(const Update *u)
{
        if (u->downloaded || u->device.state != UPDATE_STATE_DOWNLOADING)
                return false;
        for (size_t i = 0; i < u->device.n_files; i++)
                if (u->device.files[i].written_bytes < u->device.files[i].size_bytes)
                        return true;
        return false;
}

static void reconcile_download(Update *u, uint64_t now_usec)
{
        if (failure_is_set(&u->failure)) {
                call_roll_back(u);
        } else if (!is_ready(u) || (lacks_bytes(u) && !update_may_download(u, now_usec))) {
                if (u->download)
                        download_suspend(u->download, now_usec);
                if (u->state != UPDATE_STATE_ACCEPTED)
                        update_enter(u, UPDATE_STATE_SUSPENDED, now_usec);
        } else if (!u->begun && cannot_begin(u)) {
                (void)fail(&u->failure, FAILURE_RECORD_DAMAGED, EBADMSG,
                           "otad-installer went back to %s, and the job document is not good for that",
                           update_state_to_string(u->device.state));
                call_roll_back(u);
        } else if (!u->begun) {
                call_begin(u);
        } else if (u->downloaded) {
                update_set_waiting(u, "");
                update_enter(u, UPDATE_STATE_VERIFYING, now_usec);
                update_call(u, INSTALL_CALL_VERIFY);
        } else {
                go_on_downloading(u, now_usec);
        }
}

/* The broker hears of it first: the last report is answered, then DISCONNECT, then the hook that reboots. */
static void reconcile_reboot(Update *u, uint64_t now_usec)
{
        if (u->rebooting) {
                update_set_waiting(u, "the machine reboots");
        } else if (u->goodbye == GOODBYE_SAID) {
                update_call(u, INSTALL_CALL_REBOOT);
        } else if (u->goodbye == GOODBYE_ASKED) {
                return;
        } else if (is_ready(u) && update_may_activate(u, now_usec)) {
                if (u->goodbye_deadline_usec == 0)
                        u->goodbye_deadline_usec = usec_add(now_usec, GOODBYE_PATIENCE_USEC);
                if (!outbox_is_idle(u->outbox) && now_usec < u->goodbye_deadline_usec) {
                        u->retry_usec = u->goodbye_deadline_usec;
                        return;
                }
                u->goodbye_deadline_usec = 0;
                u->goodbye = GOODBYE_ASKED;
                u->world->say_goodbye(u->world_userdata);
        }
}

static void reconcile_idle(Update *u, uint64_t now_usec)
{
        if (!job_key_is_set(&u->key))
                return;
        if (u->concluded || u->gone) {
                update_forget(u, now_usec);
                return;
        }
        if (u->state == UPDATE_STATE_COMMITTED) {
                conclude(u, JOB_STATUS_SUCCEEDED, now_usec);
                return;
        }
        if (!failure_is_set(&u->failure) && (u->state >= UPDATE_STATE_ACTIVATING || cannot_begin(u)))
                (void)fail(&u->failure, FAILURE_RECORD_DAMAGED, EBADMSG,
                           "otad-installer has lost its record of the update while it was %s",
                           update_state_to_string(u->state));
        if (failure_is_set(&u->failure)) {
                conclude(u, failed_status(u), now_usec);
                return;
        }
        if (u->document)
                update_enter(u, UPDATE_STATE_ACCEPTED, now_usec);
        u->begun = u->downloaded = u->self_tested = false;
        update_end_download(u);
        if (!is_ready(u) || !update_may_download(u, now_usec))
                return;
        if (u->claimed)
                call_begin(u);
        else
                update_set_waiting(u, "the cloud has not taken the first status yet");
}

/* It goes on without us; only an operator's cancel is passed on. */
static void reconcile_local(Update *u)
{
        if (failure_is_set(&u->failure) && u->device.state <= UPDATE_STATE_TESTING)
                call_roll_back(u);
}

void update_reconcile(Update *u, uint64_t now_usec)
{
        if (!u->device_known || u->call != INSTALL_CALL_NONE)
                return;
        if (u->retry_usec != USEC_INFINITY && now_usec < u->retry_usec)
                return;
        u->retry_usec = u->policy_usec = USEC_INFINITY;
        if (u->aside) {
                reconcile_local(u);
                return;
        }
        if (u->device.state != UPDATE_STATE_ACTIVATING)
                update_come_back(u);
        /* Whatever it is, the installer knows better: from there on as if it had been found at the start. */
        if (!update_may_follow(u->state, u->device.state)) {
                log_warning("Job %s was %s, but otad-installer says %s", u->key.job_id,
                            update_state_to_string(u->state), update_state_to_string(u->device.state));
                update_enter(u, UPDATE_STATE_IDLE, now_usec);
        }

        switch (u->device.state) {
        case UPDATE_STATE_IDLE:
                reconcile_idle(u, now_usec);
                return;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
                reconcile_download(u, now_usec);
                return;
        case UPDATE_STATE_INSTALLED:
                update_enter(u, UPDATE_STATE_INSTALLED, now_usec);
                if (failure_is_set(&u->failure))
                        call_roll_back(u);
                else if (is_ready(u) && update_may_activate(u, now_usec))
                        update_call(u, INSTALL_CALL_ACTIVATE);
                return;
        case UPDATE_STATE_ACTIVATING:
                update_enter(u, UPDATE_STATE_ACTIVATING, now_usec);
                if (failure_is_set(&u->failure))
                        call_roll_back(u);
                else if (u->device.reboot_needed)
                        reconcile_reboot(u, now_usec);
                else if (is_ready(u))
                        update_call(u, INSTALL_CALL_ACTIVATE);
                return;
        case UPDATE_STATE_TESTING:
                update_enter(u, UPDATE_STATE_TESTING, now_usec);
                if (failure_is_set(&u->failure))
                        call_roll_back(u);
                else if (is_still_ours(u))
                        update_call(u, u->self_tested ? INSTALL_CALL_COMMIT : INSTALL_CALL_SELF_TEST);
                return;
        case UPDATE_STATE_COMMITTED:
                update_enter(u, UPDATE_STATE_COMMITTED, now_usec);
                u->failure = (Failure){0};
                conclude(u, JOB_STATUS_SUCCEEDED, now_usec);
                return;
        case UPDATE_STATE_ROLLING_BACK:
                u->failure = u->device.failure;
                update_enter(u, UPDATE_STATE_ROLLING_BACK, now_usec);
                update_set_waiting(u, u->device.reboot_needed ? "a reboot into the old software" : "");
                return;
        case UPDATE_STATE_ROLLED_BACK:
                u->failure = u->device.failure;
                update_enter(u, UPDATE_STATE_ROLLED_BACK, now_usec);
                conclude(u, failed_status(u), now_usec);
                return;
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break; /* words of otad, which the link does not let pass from the installer */
        }
        assert(false);
}
