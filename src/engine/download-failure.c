/* What a failed try means, by its reason and by what the planes have come to. */
#include "download-private.h"

#include <stdio.h>

#include "base/log.h"
#include "base/time-util.h"

enum {
        RENEWALS_MAX = 3, /* of a URL, without a new byte between */
        RESTARTS_MAX = 2, /* of a file from byte 0, since the object changed */
};

typedef enum Next { NEXT_AGAIN, NEXT_RENEW, NEXT_FROM_ZERO, NEXT_OTHER_PLANE, NEXT_ANOTHER_ROUND, NEXT_END } Next;

/* What comes and goes by itself: the network, names, a store's bad hour, a portal that answers in its place. */
static bool may_mend(FailureReason reason)
{
        return reason == FAILURE_DOWNLOAD_FAILED || reason == FAILURE_DOWNLOAD_STALLED || reason == FAILURE_TLS;
}

/* Only the reasons a plane can fail for are of interest here. */
static Next next_on_this_plane(Download *d, FailureReason reason)
{
        if (reason == FAILURE_OBJECT_CHANGED || reason == FAILURE_RANGE_WRONG)
                return d->n_restarts < RESTARTS_MAX && (*download_held(d) > 0 || d->etag[0]) ? NEXT_FROM_ZERO
                                                                                             : NEXT_END;
        if (reason == FAILURE_URL_EXPIRED)
                return d->n_renewals++ < RENEWALS_MAX ? NEXT_RENEW : NEXT_END;
        if (reason == FAILURE_URL_REFUSED)
                return d->n_renewals++ < 1 ? NEXT_RENEW : NEXT_END;
        if (reason == FAILURE_STREAM_REFUSED)
                return NEXT_END;
        return d->n_attempts < d->params.attempts ? NEXT_AGAIN : NEXT_END;
}

/*
 * The plane at work has had its attempts. While the other one has not, it is its turn; then those that may mend have
 * another round, and so on until no byte has come for too long. In such a round each has one try.
 */
static Next next_plane(Download *d, FailureReason reason, uint64_t now_usec)
{
        DownloadPlane other;

        d->plane_states[d->plane] = may_mend(reason) ? PLANE_SET_ASIDE : PLANE_FAILED;
        if (download_find_plane(d, PLANE_GOOD, &other))
                return NEXT_OTHER_PLANE;
        if (download_find_plane(d, PLANE_SET_ASIDE, &other) &&
            usec_sub(now_usec, d->barren_since_usec) < d->params.give_up_usec)
                return NEXT_ANOTHER_ROUND;
        return NEXT_END;
}

static void begin_round(Download *d)
{
        d->patient = true;
        for (size_t i = 0; i < _DOWNLOAD_PLANE_MAX; i++)
                if (d->plane_states[i] == PLANE_SET_ASIDE)
                        d->plane_states[i] = PLANE_GOOD;
        d->ops->stuck(true, d->userdata);
}

static void log_failure(const Download *d, const Failure *failure, Next next, uint64_t wait_usec)
{
        char words[128] = "", text[DURATION_TEXT_MAX];
        DownloadPlane other;

        switch (next) {
        case NEXT_AGAIN:
        case NEXT_ANOTHER_ROUND:
                snprintf(words, sizeof(words), "trying again in %s", duration_format(text, wait_usec));
                break;
        case NEXT_RENEW:
                snprintf(words, sizeof(words), "asking for a fresh job document");
                break;
        case NEXT_FROM_ZERO:
                snprintf(words, sizeof(words), "starting the file again from its first byte");
                break;
        case NEXT_OTHER_PLANE:
                if (download_find_plane(d, PLANE_GOOD, &other))
                        snprintf(words, sizeof(words), "going on by %s", download_plane_to_string(other));
                break;
        case NEXT_END:
                snprintf(words, sizeof(words), "giving up the download");
                break;
        }
        log_warning("Download by %s: %s (%s), %s", download_plane_to_string(d->plane), failure->detail,
                    failure_reason_to_string(failure->reason), words);
}

void download_on_failure(Download *d, const Failure *failure, uint64_t wait_usec, uint64_t now_usec)
{
        Next next;

        download_stop_fetching(d);
        if (d->new_bytes) {
                d->n_attempts = 0;
                backoff_reset(&d->backoff);
        }
        d->new_bytes = false;
        d->n_attempts++;
        d->stats.n_retries++;
        d->last_failure = *failure;

        next = next_on_this_plane(d, failure->reason);
        if (next == NEXT_END)
                next = next_plane(d, failure->reason, now_usec);
        if (next == NEXT_AGAIN || next == NEXT_ANOTHER_ROUND) {
                uint64_t backoff = backoff_next_usec(&d->backoff);

                wait_usec = MAX2(wait_usec, backoff);
        }
        log_failure(d, failure, next, wait_usec);
        if (next == NEXT_ANOTHER_ROUND)
                begin_round(d);

        switch (next) {
        case NEXT_AGAIN:
        case NEXT_ANOTHER_ROUND:
                d->phase = PHASE_WAITING;
                d->retry_usec = usec_add(now_usec, wait_usec);
                break;
        case NEXT_RENEW:
                d->phase = PHASE_RENEWING;
                d->ops->need_document(now_usec, d->userdata);
                break;
        case NEXT_FROM_ZERO:
                download_restart_file(d, now_usec);
                break;
        case NEXT_OTHER_PLANE:
                d->n_renewals = 0;
                if (!d->patient) {
                        d->n_attempts = 0;
                        backoff_reset(&d->backoff);
                }
                download_start_file(d, now_usec);
                break;
        case NEXT_END:
                download_start_file(d, now_usec); /* which finds no plane, or that all bytes have come */
                break;
        }
}
