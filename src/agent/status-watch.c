#include "status-watch.h"

#include "base/time-util.h"

#define SPEED_MIN_USEC    (500 * USEC_PER_MSEC) /* a shorter time tells nothing: bytes come in bursts */
#define SPEED_MEMORY_USEC (5 * USEC_PER_SEC)    /* the time constant of the average */

static void observe_speed(StatusWatch *w, const DownloadStats *download, uint64_t now)
{
        uint64_t since = usec_sub(now, w->sample_usec);
        double rate, weight;

        if (!download || (w->sampled && download->fetched_bytes < w->sample_bytes)) {
                w->sampled = false;
                w->bytes_per_second = 0;
        }
        if (!download)
                return;
        if (w->sampled && since < SPEED_MIN_USEC)
                return;
        if (w->sampled) {
                rate = (double)(download->fetched_bytes - w->sample_bytes) * (double)USEC_PER_SEC / (double)since;
                weight = (double)since / (double)(since + SPEED_MEMORY_USEC);
                if (w->bytes_per_second <= 0)
                        weight = 1;
                w->bytes_per_second += (rate - w->bytes_per_second) * weight;
        }
        w->sampled = true;
        w->sample_usec = now;
        w->sample_bytes = download->fetched_bytes;
}

static void observe_selftest(StatusWatch *w, const LinkState *device, uint64_t now)
{
        uint64_t told = device && device->state == UPDATE_STATE_TESTING ? device->selftest_left_usec : USEC_INFINITY;

        if (told == w->selftest_told_usec)
                return;
        w->selftest_told_usec = told;
        w->selftest_told_at_usec = now;
}

uint64_t status_watch_selftest_left(const StatusWatch *w, uint64_t now)
{
        return usec_sub(w->selftest_told_usec, usec_sub(now, w->selftest_told_at_usec));
}

static StatusOutcome outcome_of(const Failure *failure)
{
        if (failure->reason == FAILURE_CANCELLED)
                return STATUS_OUTCOME_CANCELLED;
        return failure_reason_is_permanent(failure->reason) ? STATUS_OUTCOME_REJECTED : STATUS_OUTCOME_FAILED;
}

/* False: it was only put aside, as neither commit nor failure was seen; or it was no job's, which the history tells. */
static bool note_end(StatusWatch *w, uint64_t wall_clock)
{
        bool committed = w->state == UPDATE_STATE_COMMITTED;

        if (!job_key_is_set(&w->key) || (!committed && !failure_is_set(&w->failure)))
                return false;
        w->last = (StatusResult){.key = w->key, .wall_clock_usec = wall_clock};
        if (!committed) {
                w->last.outcome = outcome_of(&w->failure);
                w->last.failure = w->failure;
        }
        return true;
}

bool status_watch_observe(StatusWatch *w, const EngineStatus *status, uint64_t now, uint64_t wall_clock)
{
        const UpdateStatus *u = &status->update;
        JobKey key = u->key ? *u->key : (JobKey){0};
        bool ended = false;

        observe_speed(w, u->download, now);
        observe_selftest(w, u->device, now);
        /* The engine enters idle with the key and the failure of the update that ends, and forgets both right after. */
        if (w->state != UPDATE_STATE_IDLE && (u->state == UPDATE_STATE_IDLE || !job_key_equal(&w->key, &key))) {
                if (u->failure && failure_is_set(u->failure) && job_key_equal(&w->key, &key))
                        w->failure = *u->failure;
                ended = note_end(w, wall_clock);
        }
        w->key = key;
        w->state = u->state;
        w->failure = u->failure ? *u->failure : (Failure){0};
        return ended;
}
