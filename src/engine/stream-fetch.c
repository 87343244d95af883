#include "engine/stream-fetch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/time-util.h"
#include "stream-window.h"

enum {
        REJECTIONS_MAX = 8, /* in a row, without a block or a pause between */
        TAIL_GRACE_USEC = 100 * 1000,
};

int stream_fetch_new(const StreamFetchParams *params, const StreamFetchOps *ops, void *userdata, StreamFetch **ret)
{
        _cleanup_(stream_fetch_freep) StreamFetch *f = NULL;

        if (params->size_bytes == 0 || params->size_bytes > STREAM_FILE_MAX_BYTES ||
            params->first_byte >= params->size_bytes || params->block_bytes < STREAM_BLOCK_MIN_BYTES ||
            params->block_bytes > STREAM_BLOCK_MAX_BYTES / 2 || params->window_bytes < STREAM_ANSWER_MAX_BYTES)
                return -EINVAL;

        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->params = *params;
        f->ops = ops;
        f->userdata = userdata;
        f->n_blocks = (uint32_t)((params->size_bytes + params->block_bytes - 1) / params->block_bytes);
        f->base = f->next_new = (uint32_t)(params->first_byte / params->block_bytes);
        f->base_skip = (uint32_t)(params->first_byte % params->block_bytes);
        f->n_slots = MIN2(params->window_bytes / params->block_bytes, f->n_blocks - f->base);
        f->slots = calloc(f->n_slots, sizeof(Slot));
        f->arena = malloc((size_t)f->n_slots * params->block_bytes);
        f->free_buffers = calloc(f->n_slots, sizeof(uint32_t));
        if (!f->slots || !f->arena || !f->free_buffers)
                return -ENOMEM;
        for (uint32_t i = f->n_slots; i > 0; i--)
                f->free_buffers[f->n_free++] = i - 1;
        f->pace = pace_make(params->max_bytes_per_sec, 0);
        f->window = 2 * stream_window_full_request(f);
        f->threshold = UINT32_MAX;
        f->messages = MESSAGES_BURST;
        f->stream_version = -1;
        *ret = TAKE_PTR(f);
        return 0;
}

StreamFetch *stream_fetch_free(StreamFetch *f)
{
        if (!f)
                return NULL;
        free(f->slots);
        free(f->arena);
        free(f->free_buffers);
        free(f);
        return NULL;
}

const StreamFetchStats *stream_fetch_stats(const StreamFetch *f)
{
        return &f->stats;
}

/* May free the fetch: nothing of it may be touched afterwards. */
static void finish(StreamFetch *f, const Failure *failure)
{
        f->silent = true;
        f->ops->done(failure, f->userdata);
}

_printf_(3, 4) static void finish_failed(StreamFetch *f, FailureReason reason, const char *format, ...)
{
        Failure failure;
        va_list args;

        va_start(args, format);
        (void)fail_va(&failure, reason, EIO, format, args);
        va_end(args);
        finish(f, &failure);
}

void stream_fetch_start(StreamFetch *f, uint64_t now_usec)
{
        f->last_block_usec = f->messages_usec = now_usec;
        f->ops->describe("d-1", f->userdata);
        stream_window_send(f, now_usec);
}

/*
 * Hands on what lies in order at the front of the window, `direct` being the front block straight from its message.
 * False: the fetch is over, and perhaps freed.
 */
static bool deliver(StreamFetch *f, const uint8_t *direct, uint64_t now_usec)
{
        while (f->base < f->n_blocks && !f->blocked) {
                const uint8_t *data = direct;
                uint32_t n;
                ssize_t taken;

                if (!direct && (f->base >= f->next_new || stream_window_slot(f, f->base)->state != SLOT_HELD))
                        return true;
                if (!direct)
                        data = stream_window_buffer(f, f->base);
                n = stream_window_block_length(f, f->base) - f->base_skip;
                taken = f->ops->deliver(data + f->base_skip, n, f->userdata);
                if (taken < 0) {
                        f->silent = true;
                        return false;
                }
                f->base_skip += (uint32_t)taken;
                f->blocked = (uint32_t)taken < n;
                if (f->blocked)
                        return true;
                if (!direct)
                        f->free_buffers[f->n_free++] = stream_window_slot(f, f->base)->buffer;
                *stream_window_slot(f, f->base) = (Slot){.state = SLOT_MISSING};
                f->base++;
                f->base_skip = 0;
                f->stats.n_delivered++;
                direct = NULL;
                f->last_block_usec = now_usec;
        }
        if (f->base < f->n_blocks)
                return true;
        finish(f, NULL);
        return false;
}

void stream_fetch_on_block(StreamFetch *f, const StreamBlock *block, uint64_t now_usec)
{
        if (f->silent)
                return;
        /* A late block of a request that was given up is as good as any; one never asked for is not ours. */
        if (block->file_id != f->params.file_id || block->block < f->base || block->block >= f->next_new ||
            stream_window_slot(f, block->block)->state == SLOT_HELD ||
            block->n_payload != stream_window_block_length(f, block->block)) {
                f->stats.n_ignored++;
                return;
        }

        stream_window_credit(f, block, now_usec);
        f->stats.n_blocks++;
        f->n_rejections = 0;
        f->last_block_usec = now_usec;
        stream_window_grow(f);
        if (block->block != f->base) {
                stream_window_hold(f, block);
        } else {
                uint32_t front = f->base;

                stream_window_slot(f, front)->state =
                        SLOT_HELD; /* so that it is not asked for again while it is delivered */
                if (!deliver(f, block->payload, now_usec))
                        return;
                if (f->base == front)
                        stream_window_hold(f, block);
        }
        stream_window_send(f, now_usec);
}

void stream_fetch_on_writable(StreamFetch *f, uint64_t now_usec)
{
        if (f->silent)
                return;
        f->blocked = false;
        f->last_block_usec = now_usec;
        if (deliver(f, NULL, now_usec))
                stream_window_send(f, now_usec);
}

void stream_fetch_on_description(StreamFetch *f, const StreamDescription *description, uint64_t now_usec)
{
        if (f->silent)
                return;
        for (size_t i = 0; i < description->n_files; i++) {
                const StreamFile *file = &description->files[i];

                if (file->file_id != f->params.file_id)
                        continue;
                if (file->size_bytes != f->params.size_bytes) {
                        finish_failed(f, FAILURE_OBJECT_CHANGED,
                                      "file %u has %" PRIu64 " bytes in the stream, %" PRIu64 " in the job",
                                      file->file_id, file->size_bytes, f->params.size_bytes);
                        return;
                }
                f->stream_version = description->version;
                return;
        }
        finish_failed(f, FAILURE_STREAM_REFUSED, "the stream has no file %u", f->params.file_id);
}

static bool may_pass(StreamRejectionCode code)
{
        return code == STREAM_REJECTION_INTERNAL_ERROR || code == STREAM_REJECTION_UNKNOWN;
}

void stream_fetch_on_rejection(StreamFetch *f, const StreamRejection *rejection, uint64_t now_usec)
{
        Request *request = stream_window_find_request(f, stream_window_parse_token(rejection->client_token));

        if (f->silent || strncmp(rejection->client_token, "d-", 2) == 0)
                return;
        if (request)
                stream_window_give_up(f, request);
        /* Those of all requests in flight tell of one and the same trouble. */
        if (now_usec < f->not_before_usec && may_pass(rejection->code))
                return;
        f->n_rejections++;

        switch (rejection->code) {
        case STREAM_REJECTION_VERSION_MISMATCH:
        case STREAM_REJECTION_ETAG_MISMATCH:
                finish_failed(f, FAILURE_OBJECT_CHANGED, "the stream answered %s: %s", rejection->code_text,
                              rejection->message);
                return;
        case STREAM_REJECTION_INTERNAL_ERROR:
        case STREAM_REJECTION_UNKNOWN:
                if (f->n_rejections >= REJECTIONS_MAX) {
                        finish_failed(f, FAILURE_DOWNLOAD_FAILED, "the stream answered %s %u times in a row: %s",
                                      rejection->code_text, f->n_rejections, rejection->message);
                        return;
                }
                f->not_before_usec = now_usec + (UINT64_C(100) << f->n_rejections) * USEC_PER_MSEC;
                return;
        case STREAM_REJECTION_INVALID_REQUEST:
                /* Once: the bitmap is made anew from what is missing now. */
                if (f->n_rejections == 1) {
                        stream_window_send(f, now_usec);
                        return;
                }
                break;
        case STREAM_REJECTION_INVALID_TOPIC:
        case STREAM_REJECTION_INVALID_JSON:
        case STREAM_REJECTION_INVALID_CBOR:
        case STREAM_REJECTION_UNAUTHORIZED:
        case STREAM_REJECTION_BLOCK_SIZE_OUT_OF_BOUNDS:
        case STREAM_REJECTION_OFFSET_OUT_OF_BOUNDS:
        case STREAM_REJECTION_BLOCK_COUNT_LIMIT_EXCEEDED:
        case STREAM_REJECTION_BLOCK_BITMAP_LIMIT_EXCEEDED:
        case STREAM_REJECTION_RESOURCE_NOT_FOUND:
        case _STREAM_REJECTION_MAX:
                break;
        }
        finish_failed(f, FAILURE_STREAM_REFUSED, "the stream answered %s: %s", rejection->code_text,
                      rejection->message);
}

/* Silence is judged from the last block on: under a rate limit answers trickle, and that is no loss. */
static uint64_t request_deadline(const StreamFetch *f, const Request *request)
{
        const RoundTrip *rt = &f->round_trip;
        uint64_t silence = MAX2(request->sent_usec, f->last_block_usec) + round_trip_timeout_usec(rt);

        /*
         * At the end of the file no later request gives a loss away, and a time-out that was measured with a full
         * queue is long: what was due already is asked for again after one round trip of an empty path (like the tail
         * loss probe of RFC 8985).
         */
        if (f->next_new == f->n_blocks && f->n_missing == 0 && rt->smoothed_usec > 0 && rt->n_timeouts == 0)
                silence = MIN2(silence, MAX2(request->sent_usec + rt->smoothed_usec + rt->variance_usec,
                                             f->last_block_usec + rt->least_usec + TAIL_GRACE_USEC));
        return MIN2(silence, request->late_usec);
}

static uint64_t stall_deadline(const StreamFetch *f)
{
        return f->blocked ? USEC_INFINITY : usec_add(f->last_block_usec, f->params.stall_usec);
}

static uint64_t send_deadline(const StreamFetch *f)
{
        uint64_t n_short;

        if (f->not_before_usec > f->messages_usec)
                return f->not_before_usec;
        if (f->n_in_flight >= f->window || f->n_missing + (stream_window_end(f) - f->next_new) == 0)
                return USEC_INFINITY;
        if (pace_next_usec(&f->pace) > f->messages_usec)
                return pace_next_usec(&f->pace);
        if (!f->params.aws_limits || f->messages >= stream_window_paced_request(f))
                return USEC_INFINITY;
        n_short = (uint64_t)(stream_window_paced_request(f) - f->messages) + 1;
        return f->messages_usec + n_short * USEC_PER_SEC / MESSAGES_PER_SEC;
}

uint64_t stream_fetch_next_deadline(const StreamFetch *f)
{
        uint64_t deadline;

        if (f->silent)
                return USEC_INFINITY;
        deadline = MIN2(stall_deadline(f), send_deadline(f));
        for (size_t i = 0; i < REQUESTS_MAX; i++)
                if (f->requests[i].serial > 0)
                        deadline = MIN2(deadline, request_deadline(f, &f->requests[i]));
        return deadline;
}

void stream_fetch_on_timer(StreamFetch *f, uint64_t now_usec)
{
        bool silence = false;
        unsigned per_request = stream_window_full_request(f);
        char text[DURATION_TEXT_MAX];

        if (f->silent)
                return;
        if (now_usec >= stall_deadline(f)) {
                finish_failed(f, FAILURE_DOWNLOAD_STALLED,
                              "no block of the stream for %s, at byte %" PRIu64 " of %" PRIu64,
                              duration_format(text, f->params.stall_usec),
                              (uint64_t)f->base * f->params.block_bytes + f->base_skip, f->params.size_bytes);
                return;
        }
        for (size_t i = 0; i < REQUESTS_MAX; i++) {
                Request *request = &f->requests[i];

                if (request->serial == 0 || now_usec < request_deadline(f, request))
                        continue;
                silence |= now_usec < request->late_usec;
                stream_window_give_up(f, request);
        }
        if (silence) {
                f->threshold = MAX2(f->window / 2, 2 * per_request);
                f->window = per_request;
                f->growth = 0;
                f->round_trip.n_timeouts++;
        }
        stream_window_send(f, now_usec);
}
