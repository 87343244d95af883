#include "download-private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/time-util.h"

enum {
        RETRY_BASE_USEC = 500 * 1000,
        RETRY_CAP_USEC = 60 * 1000 * 1000,
};

static const char *const plane_words[_DOWNLOAD_PLANE_MAX] = {
        [DOWNLOAD_PLANE_HTTPS] = "https",
        [DOWNLOAD_PLANE_MQTT] = "mqtt",
};

const char *download_plane_to_string(DownloadPlane plane)
{
        assert(plane >= 0 && plane < _DOWNLOAD_PLANE_MAX);
        return plane_words[plane];
}

static bool can_carry(DownloadPlane plane, const JobDocument *document, const JobFile *file)
{
        if (plane == DOWNLOAD_PLANE_HTTPS)
                return document->https && file->url;
        return document->mqtt && file->size_bytes <= STREAM_FILE_MAX_BYTES;
}

bool download_first_plane(const DownloadParams *params, const JobDocument *document, const JobFile *file,
                          DownloadPlane *ret)
{
        for (size_t i = 0; i < params->n_planes; i++)
                if (can_carry(params->planes[i], document, file)) {
                        *ret = params->planes[i];
                        return true;
                }
        return false;
}

int download_new(const DownloadParams *params, const WorldOps *world, void *world_userdata, const DownloadOps *ops,
                 void *userdata, const JobDocument *document, const LinkOffsets *offsets, Download **ret)
{
        Download *d;

        if (offsets->n_files != document->n_files)
                return -EINVAL;
        for (size_t i = 0; i < document->n_files; i++)
                if (offsets->resume_bytes[i] > document->files[i].size_bytes)
                        return -EINVAL;
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        *d = (Download){
                .params = *params,
                .world = world,
                .world_userdata = world_userdata,
                .ops = ops,
                .userdata = userdata,
                .document = document,
                .offsets = *offsets,
                .suspended = true,
                .backoff = {.base_usec = RETRY_BASE_USEC, .cap_usec = RETRY_CAP_USEC},
                .http_pace = pace_make(params->max_bytes_per_sec, 0),
                .blocked_usec = USEC_INFINITY,
        };
        for (size_t i = 0; i < document->n_files; i++) {
                d->stats.total_bytes += document->files[i].size_bytes;
                d->stats.held_bytes += offsets->resume_bytes[i];
        }
        *ret = d;
        return 0;
}

const JobFile *download_current(const Download *d)
{
        return &d->document->files[d->stats.file];
}

uint64_t *download_held(Download *d)
{
        return &d->offsets.resume_bytes[d->stats.file];
}

static void add_stream_stats(StreamFetchStats *sum, const StreamFetchStats *stats)
{
        sum->n_requests += stats->n_requests;
        sum->n_blocks += stats->n_blocks;
        sum->n_delivered += stats->n_delivered;
        sum->n_lost += stats->n_lost;
        sum->n_ignored += stats->n_ignored;
        sum->round_trip_usec = stats->round_trip_usec;
}

const DownloadStats *download_stats(Download *d)
{
        d->shown = d->stats;
        if (d->stream)
                add_stream_stats(&d->shown.stream, stream_fetch_stats(d->stream));
        return &d->shown;
}

void download_stop_fetching(Download *d)
{
        if (d->http_running)
                d->world->http_cancel(d->world_userdata);
        d->http_running = d->http_paused = false;
        d->http_skip = 0;
        if (d->stream)
                add_stream_stats(&d->stats.stream, stream_fetch_stats(d->stream));
        d->stream = stream_fetch_free(d->stream);
}

static void close_pipe(Download *d)
{
        if (d->open)
                d->world->data_close(d->world_userdata);
        d->open = false;
        d->blocked_usec = USEC_INFINITY;
}

Download *download_free(Download *d)
{
        if (!d)
                return NULL;
        download_stop_fetching(d);
        download_stream_unsubscribe(d);
        close_pipe(d);
        free(d);
        return NULL;
}

static void finish(Download *d, const Failure *failure)
{
        download_stop_fetching(d);
        download_stream_unsubscribe(d);
        close_pipe(d);
        d->phase = PHASE_OVER;
        d->ops->done(failure, d->userdata);
}

static bool is_offered(const Download *d, DownloadPlane plane)
{
        char topic[TOPIC_MAX + 1];

        if (!can_carry(plane, d->document, download_current(d)))
                return false;
        return plane == DOWNLOAD_PLANE_HTTPS || topic_format(d->params.thing_name, TOPIC_FORM_STREAM_DESCRIPTION,
                                                             d->document->stream_name, topic) >= 0;
}

bool download_find_plane(const Download *d, PlaneState state, DownloadPlane *ret)
{
        for (size_t i = 0; i < d->params.n_planes; i++)
                if (d->plane_states[d->params.planes[i]] == state && is_offered(d, d->params.planes[i])) {
                        *ret = d->params.planes[i];
                        return true;
                }
        return false;
}

static bool choose_plane(Download *d)
{
        if (!download_find_plane(d, PLANE_GOOD, &d->plane))
                return false;
        d->stats.plane = d->plane;
        return true;
}

/* Nothing of one file is of any meaning for the next: neither its pipe nor what failed. */
static void next_file(Download *d)
{
        close_pipe(d);
        d->stats.file++;
        memset(d->plane_states, 0, sizeof(d->plane_states));
        d->patient = false;
        d->n_attempts = d->n_renewals = d->n_restarts = 0;
        d->etag[0] = 0;
        backoff_reset(&d->backoff);
        d->last_failure = (Failure){0};
}

void download_file_complete(Download *d, uint64_t now_usec)
{
        download_stop_fetching(d);
        download_start_file(d, now_usec);
}

ssize_t download_hand_on(Download *d, const uint8_t *data, size_t n_data, uint64_t now_usec)
{
        ssize_t n = d->world->data_write(data, n_data, d->world_userdata);

        if (n < 0)
                return n;
        *download_held(d) += (uint64_t)n;
        d->stats.held_bytes += (uint64_t)n;
        d->stats.fetched_bytes += (uint64_t)n;
        if (n > 0) {
                d->new_bytes = true;
                d->barren_since_usec = now_usec;
                d->n_renewals = 0;
                if (d->patient)
                        d->ops->stuck(false, d->userdata);
                d->patient = false;
        }
        if ((size_t)n == n_data)
                d->blocked_usec = USEC_INFINITY;
        else if (d->blocked_usec == USEC_INFINITY || n > 0)
                d->blocked_usec = now_usec;
        return n;
}

/* How many of the bytes in it the installer has read is not known, so nothing goes on from here. */
static void lose_pipe(Download *d, const char *why, uint64_t now_usec)
{
        close_pipe(d);
        d->phase = PHASE_OVER;
        d->ops->pipe_lost(why, now_usec, d->userdata);
}

void download_on_pipe_gone(Download *d, uint64_t now_usec)
{
        lose_pipe(d, "otad-installer has closed the data pipe", now_usec);
}

/*
 * It may hang; or its storage is busy with a flush of minutes, or serves everybody else first, and a process that waits for
 * that gives no sign of life; or the machine slept. Asked for Begin() it answers as soon as it can, and an installer that
 * hangs the link notices.
 */
static void give_up_full_pipe(Download *d, uint64_t now_usec)
{
        char why[64], text[DURATION_TEXT_MAX];

        download_stop_fetching(d);
        snprintf(why, sizeof(why), "otad-installer took no byte for %s", duration_format(text, d->params.stall_usec));
        lose_pipe(d, why, now_usec);
}

static void start_plane(Download *d, uint64_t now_usec)
{
        log_info("Downloading file %u of %zu by %s from byte %" PRIu64 " of %" PRIu64, d->stats.file + 1,
                 d->document->n_files, download_plane_to_string(d->plane), *download_held(d),
                 download_current(d)->size_bytes);
        switch (d->plane) {
        case DOWNLOAD_PLANE_HTTPS:
                download_stream_unsubscribe(d);
                download_http_start(d);
                return;
        case DOWNLOAD_PLANE_MQTT:
                download_stream_start(d, now_usec);
                return;
        case _DOWNLOAD_PLANE_MAX:
                break;
        }
        assert(false);
}

/* Opens the pipe of the next file that is not complete, then fetches. */
void download_start_file(Download *d, uint64_t now_usec)
{
        while (d->stats.file < d->document->n_files && *download_held(d) == download_current(d)->size_bytes)
                next_file(d);
        if (d->stats.file == d->document->n_files) {
                d->stats.file--;
                finish(d, NULL);
                return;
        }
        if (!d->open) {
                d->phase = PHASE_OPENING;
                d->ops->open(d->stats.file, *download_held(d), d->userdata);
                return;
        }
        if (choose_plane(d)) {
                start_plane(d, now_usec);
                return;
        }

        if (!failure_is_set(&d->last_failure))
                (void)fail(&d->last_failure, FAILURE_NO_PROTOCOL, EPROTONOSUPPORT,
                           "the job offers no protocol that is enabled here and can carry file %u of %" PRIu64
                           " bytes",
                           d->stats.file + 1, download_current(d)->size_bytes);
        finish(d, &d->last_failure);
}

void download_resume(Download *d, uint64_t now_usec)
{
        if (!d->suspended || d->phase == PHASE_OVER)
                return;
        d->suspended = false;
        d->barren_since_usec = usec_add(d->barren_since_usec, usec_sub(now_usec, d->suspended_usec));
        if (d->phase == PHASE_IDLE)
                download_start_file(d, now_usec);
}

void download_suspend(Download *d, uint64_t now_usec)
{
        if (d->suspended || d->phase == PHASE_OVER)
                return;
        download_stop_fetching(d);
        d->subscribed = false; /* a clean session forgets it; if we are still connected, a second one does no harm */
        d->suspended = true;
        d->suspended_usec = now_usec;
        d->blocked_usec = USEC_INFINITY;
        if (d->phase != PHASE_OPENING)
                d->phase = PHASE_IDLE;
}

void download_on_disconnected(Download *d, uint64_t now_usec)
{
        if (!d->suspended)
                download_stream_lost(d, now_usec);
}

void download_on_opened(Download *d, uint64_t now_usec)
{
        d->open = true;
        if (d->phase != PHASE_OPENING)
                return;
        d->phase = PHASE_IDLE;
        if (!d->suspended)
                download_start_file(d, now_usec);
}

void download_on_document(Download *d, const JobDocument *document, uint64_t now_usec)
{
        d->document = document;
        if (d->phase == PHASE_RENEWING)
                download_start_file(d, now_usec);
}

void download_restart_file(Download *d, uint64_t now_usec)
{
        d->n_restarts++;
        d->stats.held_bytes -= *download_held(d);
        *download_held(d) = 0;
        d->etag[0] = 0;
        close_pipe(d);
        download_start_file(d, now_usec);
}

void download_on_writable(Download *d, uint64_t now_usec)
{
        d->blocked_usec = USEC_INFINITY;
        d->event_usec = now_usec;
        if (d->stream)
                stream_fetch_on_writable(d->stream, now_usec);
        else if (d->http_paused)
                download_http_resume(d);
}

static uint64_t blocked_deadline(const Download *d)
{
        return d->blocked_usec == USEC_INFINITY ? USEC_INFINITY : usec_add(d->blocked_usec, d->params.stall_usec);
}

void download_on_timer(Download *d, uint64_t now_usec)
{
        char text[DURATION_TEXT_MAX];
        Failure failure;

        d->event_usec = now_usec;
        if (d->phase == PHASE_WAITING && now_usec >= d->retry_usec) {
                /* Late is a machine that slept: that is no time in which bytes could have come. */
                d->barren_since_usec = usec_add(d->barren_since_usec, usec_sub(now_usec, d->retry_usec));
                download_start_file(d, now_usec);
        } else if (d->phase == PHASE_SUBSCRIBING && now_usec >= d->subscribe_deadline_usec) {
                (void)fail(&failure, FAILURE_DOWNLOAD_STALLED, ETIMEDOUT,
                           "the broker has not answered the subscription to stream '%s' for %s",
                           d->document->stream_name, duration_format(text, d->params.stall_usec));
                download_on_failure(d, &failure, 0, now_usec);
        } else if (d->phase == PHASE_FETCHING && now_usec >= blocked_deadline(d)) {
                give_up_full_pipe(d, now_usec);
        } else if (now_usec >= download_http_deadline(d)) {
                download_http_resume(d);
        } else if (d->stream) {
                stream_fetch_on_timer(d->stream, now_usec);
        }
}

uint64_t download_next_deadline(const Download *d)
{
        uint64_t deadline = USEC_INFINITY;

        if (d->phase == PHASE_WAITING)
                return d->retry_usec;
        if (d->phase == PHASE_SUBSCRIBING)
                return d->subscribe_deadline_usec;
        if (d->phase == PHASE_FETCHING)
                deadline = MIN2(blocked_deadline(d), download_http_deadline(d));
        if (d->stream)
                deadline = MIN2(deadline, stream_fetch_next_deadline(d->stream));
        return deadline;
}
