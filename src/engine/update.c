#include "engine/update.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"
#include "update-private.h"
#include "update-report.h"

/* Between two calls that another one at work keeps off. */
#define BUSY_BASE_USEC (2 * USEC_PER_SEC)
#define BUSY_CAP_USEC  (30 * USEC_PER_SEC)

/* The table of docs/architecture.md: from each state, the states that may follow. */
#define TO(state) (1u << UPDATE_STATE_##state)
#define ANY       ((1u << _UPDATE_STATE_MAX) - 1)
static const unsigned transitions[_UPDATE_STATE_MAX] = {
        /* Anything may be found half done when the installer is reached, at the start or again. */
        [UPDATE_STATE_IDLE] = ANY,
        [UPDATE_STATE_ACCEPTED] = ANY,
        [UPDATE_STATE_DOWNLOADING] =
                TO(IDLE) | TO(ACCEPTED) | TO(SUSPENDED) | TO(VERIFYING) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_SUSPENDED] = ANY,
        [UPDATE_STATE_VERIFYING] = TO(IDLE) | TO(ACCEPTED) | TO(SUSPENDED) | TO(DOWNLOADING) | TO(INSTALLED) |
                                   TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_INSTALLED] = TO(IDLE) | TO(ACCEPTED) | TO(SUSPENDED) | TO(DOWNLOADING) | TO(VERIFYING) |
                                   TO(ACTIVATING) | TO(TESTING) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_ACTIVATING] = TO(IDLE) | TO(TESTING) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_TESTING] = TO(IDLE) | TO(COMMITTED) | TO(ROLLING_BACK) | TO(ROLLED_BACK),
        [UPDATE_STATE_COMMITTED] = TO(IDLE),
        [UPDATE_STATE_ROLLING_BACK] = TO(IDLE) | TO(ROLLED_BACK),
        [UPDATE_STATE_ROLLED_BACK] = TO(IDLE),
};

int update_new(const UpdateParams *params, const WorldOps *world, void *world_userdata, Outbox *outbox,
               JobQueue *queue, Update **ret)
{
        Update *u = calloc(1, sizeof(*u));

        if (!u)
                return -ENOMEM;
        *u = (Update){
                .params = *params,
                .world = world,
                .world_userdata = world_userdata,
                .outbox = outbox,
                .queue = queue,
                .waiting = "otad-installer is not reached", /* until it was */
                .opens_usec = USEC_INFINITY,
                .retry_usec = USEC_INFINITY,
                .policy_usec = USEC_INFINITY,
                .busy = {.base_usec = BUSY_BASE_USEC, .cap_usec = BUSY_CAP_USEC},
        };
        *ret = u;
        return 0;
}

Update *update_free(Update *u)
{
        if (!u)
                return NULL;
        download_free(u->download);
        job_document_free(u->document);
        free(u);
        return NULL;
}

void update_set_waiting(Update *u, const char *why)
{
        if (strcmp(u->waiting, why) == 0)
                return;
        snprintf(u->waiting, sizeof(u->waiting), "%s", why);
        u->opens_usec = USEC_INFINITY;
        if (why[0] && job_key_is_set(&u->key))
                log_info("Job %s waits: %s", u->key.job_id, why);
        u->world->changed(u->world_userdata);
}

void update_report(Update *u, uint64_t now_usec)
{
        UpdateStatus status;
        JobReport message;

        if (u->gone || u->concluded || !job_key_is_set(&u->key))
                return;
        u->reported_usec = now_usec;
        update_status(u, &status);
        if (update_report_progress(&status, u->params.download.block_bytes, &message) < 0)
                return; /* no memory: the next one tells the same and more */
        u->reported_percent = update_percent(&status);
        strcpy(u->reported_waiting, u->waiting);
        outbox_progress(u->outbox, &u->key, &message, now_usec);
}

void update_enter(Update *u, UpdateState next, uint64_t now_usec)
{
        UpdateState last = u->state;

        if (next == last)
                return;
        assert(transitions[last] & (1u << next));
        log_info("Job %s: %s -> %s", u->key.job_id, update_state_to_string(last), update_state_to_string(next));
        if (last == UPDATE_STATE_DOWNLOADING)
                u->totals.download_usec += usec_sub(now_usec, u->downloading_since_usec);
        if (next == UPDATE_STATE_DOWNLOADING)
                u->downloading_since_usec = now_usec;
        u->state = next;
        u->retry_usec = USEC_INFINITY;
        u->world->changed(u->world_userdata);
        switch (next) {
        case UPDATE_STATE_IDLE:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLED_BACK:
                return; /* the final status tells it */
        case UPDATE_STATE_DOWNLOADING:
                update_set_waiting(u, "");
                if (last == UPDATE_STATE_ACCEPTED)
                        return; /* the claim has just been reported */
                break;
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case UPDATE_STATE_VERIFYING:
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
        case UPDATE_STATE_ROLLING_BACK:
                break;
        case _UPDATE_STATE_MAX:
                assert(false);
        }
        update_report(u, now_usec);
}

/* The reboot that the broker was told of does not come now. */
void update_come_back(Update *u)
{
        if (u->goodbye != GOODBYE_SAID)
                return;
        u->goodbye = GOODBYE_NOT_SAID;
        u->world->come_back(u->world_userdata);
}

static void add_download(UpdateTotals *totals, const DownloadStats *download)
{
        const StreamFetchStats *stream = &download->stream;

        totals->n_received += stream->n_blocks + stream->n_ignored + download->n_pieces;
        totals->n_queued += stream->n_blocks + download->n_pieces;
        totals->n_processed += stream->n_delivered + download->n_pieces;
        totals->n_dropped += stream->n_ignored;
        totals->n_requests += stream->n_requests;
        totals->n_lost += stream->n_lost;
        totals->n_retries += download->n_retries;
        totals->n_bytes += download->fetched_bytes;
}

void update_end_download(Update *u)
{
        if (u->download)
                add_download(&u->totals, download_stats(u->download));
        u->download = download_free(u->download);
}

void update_totals(const Update *u, uint64_t now_usec, UpdateTotals *ret)
{
        *ret = u->totals;
        if (u->download)
                add_download(ret, download_stats(u->download));
        if (u->state == UPDATE_STATE_DOWNLOADING)
                ret->download_usec += usec_sub(now_usec, u->downloading_since_usec);
}

void update_note_unreadable(Update *u)
{
        u->totals.n_received++;
        u->totals.n_dropped++;
}

void update_drop_job(Update *u, uint64_t now_usec)
{
        update_end_download(u);
        u->document = job_document_free(u->document);
        update_enter(u, UPDATE_STATE_IDLE, now_usec);
        u->key = (JobKey){0};
        u->confirmed = u->claimed = u->gone = u->concluded = false;
        u->begun = u->downloaded = u->self_tested = u->rebooting = false;
        u->goodbye = GOODBYE_NOT_SAID;
        u->goodbye_deadline_usec = 0;
        u->failure = (Failure){0};
        u->waiting[0] = u->reported_waiting[0] = 0;
        u->opens_usec = u->policy_usec = USEC_INFINITY;
        u->n_out_of_turn = u->n_pipes_lost = 0;
        backoff_reset(&u->busy);
        u->resumed_bytes = 0;
        u->not_now_call = INSTALL_CALL_NONE;
        outbox_drop_progress(u->outbox);
}

void update_forget(Update *u, uint64_t now_usec)
{
        update_drop_job(u, now_usec);
        job_queue_let_go(u->queue, now_usec);
}

bool update_may_follow(UpdateState ours, UpdateState device)
{
        switch (device) {
        case UPDATE_STATE_IDLE:
                return true;
        case UPDATE_STATE_DOWNLOADING:
        case UPDATE_STATE_VERIFYING:
                return ours <= UPDATE_STATE_INSTALLED;
        case UPDATE_STATE_INSTALLED:
        case UPDATE_STATE_ACTIVATING:
        case UPDATE_STATE_TESTING:
        case UPDATE_STATE_COMMITTED:
        case UPDATE_STATE_ROLLING_BACK:
        case UPDATE_STATE_ROLLED_BACK:
        case UPDATE_STATE_ACCEPTED:
        case UPDATE_STATE_SUSPENDED:
        case _UPDATE_STATE_MAX:
                break;
        }
        return ours == device || (transitions[ours] & (1u << device));
}

/* -- the operator ------------------------------------------------------------------------------------------- */

int update_suspend(Update *u, uint64_t now_usec)
{
        if (u->suspended)
                return -EALREADY;
        u->suspended = true;
        update_reconcile(u, now_usec);
        return 0;
}

int update_resume(Update *u, uint64_t now_usec)
{
        if (!u->suspended)
                return -EALREADY;
        u->suspended = false;
        update_set_waiting(u, "");
        update_reconcile(u, now_usec);
        return 0;
}

int update_cancel(Update *u, const char *why, uint64_t now_usec)
{
        Failure failure;

        if (u->device.state == UPDATE_STATE_COMMITTED)
                return -EPERM;
        if ((!job_key_is_set(&u->key) && !u->aside) || u->concluded || u->gone)
                return -ENOENT;
        if (failure_is_set(&u->failure))
                return -EALREADY;
        (void)fail(&failure, FAILURE_CANCELLED_LOCALLY, ECANCELED, "%s", why);
        update_end_with(u, &failure, now_usec);
        return 0;
}

/* -- time --------------------------------------------------------------------------------------------------- */

/* Also while nothing gets on: a step timer that ran out would end the job. */
static bool reports_progress(const Update *u)
{
        return u->connected && !u->concluded && !u->gone && u->state != UPDATE_STATE_IDLE && job_key_is_set(&u->key);
}

/* The cloud does not know yet what is waited for. */
static bool has_untold_wait(const Update *u)
{
        return u->confirmed && u->waiting[0] && strcmp(u->waiting, u->reported_waiting) != 0;
}

static uint64_t heartbeat_usec(const Update *u)
{
        return MAX2(u->params.heartbeat_usec, u->params.progress_usec);
}

void update_on_progress(Update *u, uint64_t now_usec)
{
        uint64_t since = usec_sub(now_usec, u->reported_usec);
        UpdateStatus status;

        if (u->retry_usec == 0) {
                update_reconcile(u, now_usec);
                return;
        }
        if (!reports_progress(u) || since < u->params.progress_usec)
                return;
        update_status(u, &status);
        if (since >= heartbeat_usec(u) || has_untold_wait(u) ||
            update_percent(&status) >= u->reported_percent + u->params.progress_percent)
                update_report(u, now_usec);
}

static uint64_t reconcile_deadline(const Update *u)
{
        if (u->call != INSTALL_CALL_NONE || !u->device_known)
                return USEC_INFINITY;
        return u->retry_usec != USEC_INFINITY ? u->retry_usec : u->policy_usec;
}

void update_on_timer(Update *u, uint64_t now_usec)
{
        if (u->download)
                download_on_timer(u->download, now_usec);
        if (now_usec >= reconcile_deadline(u))
                update_reconcile(u, now_usec);
        update_on_progress(u, now_usec);
}

uint64_t update_next_deadline(const Update *u)
{
        uint64_t deadline = reconcile_deadline(u);

        if (u->download)
                deadline = MIN2(deadline, download_next_deadline(u->download));
        if (reports_progress(u))
                deadline = MIN2(deadline, usec_add(u->reported_usec,
                                                   has_untold_wait(u) ? u->params.progress_usec : heartbeat_usec(u)));
        return deadline;
}

void update_status(const Update *u, UpdateStatus *ret)
{
        *ret = (UpdateStatus){
                .state = u->aside && u->device_known ? u->device.state : u->state,
                .key = &u->key,
                .local_session = u->aside ? u->device.session : "",
                .device = u->device_known || u->device_rests ? &u->device : NULL,
                .download = u->download ? download_stats(u->download) : NULL,
                .document = u->document,
                .failure = &u->failure,
                .waiting = u->waiting,
                .retry_usec = u->retry_usec != USEC_INFINITY ? u->retry_usec : u->opens_usec,
                .suspended_by_operator = u->suspended,
        };
}
