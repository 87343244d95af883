#include "download-private.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/time-util.h"

void download_http_start(Download *d)
{
        d->phase = PHASE_FETCHING;
        d->http_running = true;
        d->world->http_start(download_current(d)->url, *download_held(d), download_current(d)->size_bytes,
                             d->etag[0] ? d->etag : NULL, d->world_userdata);
}

void download_on_http_headers(Download *d, const char *etag)
{
        if (etag && strlen(etag) < sizeof(d->etag))
                strcpy(d->etag, etag);
}

int download_on_http_data(Download *d, const uint8_t *data, size_t n_data, uint64_t now_usec)
{
        size_t skipped = MIN2(d->http_skip, (uint64_t)n_data);
        ssize_t n;

        if (!d->http_running)
                return -ECANCELED;
        if (!pace_lets(&d->http_pace, now_usec)) {
                d->http_paused = true;
                return -EAGAIN;
        }
        n = download_hand_on(d, data + skipped, n_data - skipped, now_usec);
        if (n < 0) {
                d->http_running = false;
                download_on_pipe_gone(d, now_usec);
                return -EPIPE;
        }
        pace_spend(&d->http_pace, (uint64_t)n);
        if (skipped + (size_t)n == n_data) {
                d->http_skip -= skipped;
                d->stats.n_pieces++;
                return 0;
        }
        /* curl gives a paused chunk again from its start. */
        d->http_skip += (uint64_t)n;
        d->http_paused = true;
        return -EAGAIN;
}

void download_on_http_done(Download *d, const Failure *failure, uint64_t retry_after_usec, uint64_t now_usec)
{
        Failure early;

        if (!d->http_running)
                return;
        d->http_running = false;
        if (failure) {
                download_on_failure(d, failure, retry_after_usec, now_usec);
        } else if (*download_held(d) != download_current(d)->size_bytes) {
                (void)fail(&early, FAILURE_DOWNLOAD_FAILED, EPIPE,
                           "the download ended at byte %" PRIu64 " of %" PRIu64, *download_held(d),
                           download_current(d)->size_bytes);
                download_on_failure(d, &early, 0, now_usec);
        } else {
                download_file_complete(d, now_usec);
        }
}

void download_http_resume(Download *d)
{
        d->http_paused = false;
        d->world->http_resume(d->world_userdata);
}

/* Paused while the pipe has room, it is for the pace. */
uint64_t download_http_deadline(const Download *d)
{
        return d->http_paused && d->blocked_usec == USEC_INFINITY ? pace_next_usec(&d->http_pace) : USEC_INFINITY;
}
