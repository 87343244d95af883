#include "engine/stream-fetch.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/time-util.h"
#include "pace.h"
#include "round-trip.h"

enum {
        REQUESTS_MAX = 64,           /* in flight */
        BLOCKS_PER_REQUEST_MAX = 16, /* well below 100 messages a second even for small blocks */
        /* One connection gets 100 messages a second: these two add up to less, the rest is left to Jobs. */
        MESSAGES_PER_SEC = 78,
        MESSAGES_BURST = BLOCKS_PER_REQUEST_MAX,
        REJECTIONS_MAX = 8,        /* in a row, without a block or a pause between */
        REORDER_GRACE_USEC = 5000, /* a block may be this much later than those asked for after it */
        TAIL_GRACE_USEC = 100 * 1000,
        TOKEN_MAX = 24,
};

typedef enum SlotState { SLOT_MISSING, SLOT_ASKED, SLOT_HELD } SlotState;

/* One block of the window. */
typedef struct Slot {
        SlotState state;
        uint32_t request; /* serial of the request that asked last */
        uint32_t buffer;  /* of SLOT_HELD: where in the arena */
} Slot;

/* One request in flight. */
typedef struct Request {
        uint32_t serial; /* 0: free */
        unsigned n_left; /* blocks it still has to bring */
        uint64_t sent_usec;
        uint64_t late_usec; /* when to give up, since later requests are answered; USEC_INFINITY: not yet */
        bool sampled;
} Request;

struct StreamFetch {
        StreamFetchParams params;
        const StreamFetchOps *ops;
        void *userdata;

        uint32_t n_blocks;  /* of the whole file */
        uint32_t base;      /* the first block not delivered whole */
        uint32_t base_skip; /* bytes of it that are delivered already */
        uint32_t next_new;  /* the first block never asked for */
        uint32_t n_slots;   /* of the window; block b lives in slot b % n_slots */
        uint32_t n_missing; /* lost blocks between base and next_new */
        Slot *slots;
        uint8_t *arena; /* n_slots buffers of block_bytes */
        /* The one given back last is taken first, so that memory is touched for as many as are ever held at a time. */
        uint32_t *free_buffers;
        uint32_t n_free;

        Request requests[REQUESTS_MAX];
        uint32_t last_serial;
        uint32_t newest_complete; /* serial of the newest request that was answered whole */
        unsigned n_in_flight;     /* blocks */
        unsigned window;          /* blocks that may be in flight: the congestion window */
        unsigned threshold;       /* slow start below, linear growth above */
        unsigned growth;          /* blocks received towards the next step of linear growth */
        RoundTrip round_trip;

        double messages; /* token bucket for aws_limits */
        uint64_t messages_usec;
        Pace pace;                /* of what is asked for */
        uint64_t not_before_usec; /* after a rejection that asks for patience */
        unsigned n_rejections;
        uint64_t last_block_usec; /* when the last new block came */
        int32_t stream_version;   /* -1: not known */
        bool blocked;             /* deliver took less than offered */
        bool silent;              /* done, or nobody takes the bytes */
        StreamFetchStats stats;
};

/* Blocks of a request that makes the most of its 128 KB. */
static unsigned full_request(const StreamFetch *f)
{
        return MIN2((unsigned)STREAM_ANSWER_MAX_BYTES / f->params.block_bytes, (unsigned)BLOCKS_PER_REQUEST_MAX);
}

/* The same, or what the pace lets through at a time. */
static unsigned paced_request(const StreamFetch *f)
{
        uint64_t n = MAX2(pace_portion_bytes(&f->pace) / f->params.block_bytes, UINT64_C(1));

        return (unsigned)MIN2((uint64_t)full_request(f), n);
}

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
        f->window = 2 * full_request(f);
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

static Slot *slot_of(StreamFetch *f, uint32_t block)
{
        return &f->slots[block % f->n_slots];
}

static uint8_t *buffer_of(StreamFetch *f, uint32_t block)
{
        return f->arena + (size_t)slot_of(f, block)->buffer * f->params.block_bytes;
}

static uint32_t block_length(const StreamFetch *f, uint32_t block)
{
        uint64_t start = (uint64_t)block * f->params.block_bytes;

        return (uint32_t)MIN2(f->params.size_bytes - start, (uint64_t)f->params.block_bytes);
}

static uint32_t window_end(const StreamFetch *f)
{
        return MIN2(f->n_blocks, f->base + f->n_slots);
}

static Request *find_request(StreamFetch *f, uint32_t serial)
{
        for (size_t i = 0; serial > 0 && i < REQUESTS_MAX; i++)
                if (f->requests[i].serial == serial)
                        return &f->requests[i];
        return NULL;
}

static Request *free_request(StreamFetch *f)
{
        for (size_t i = 0; i < REQUESTS_MAX; i++)
                if (f->requests[i].serial == 0)
                        return &f->requests[i];
        return NULL;
}

/* The blocks it has not brought are missing again. */
static void give_up_request(StreamFetch *f, Request *request)
{
        for (uint32_t b = f->base; request->n_left > 0 && b < f->next_new; b++) {
                Slot *slot = slot_of(f, b);

                if (slot->state != SLOT_ASKED || slot->request != request->serial)
                        continue;
                slot->state = SLOT_MISSING;
                request->n_left--;
                f->n_missing++;
                f->n_in_flight--;
                f->stats.n_lost++;
        }
        request->serial = 0;
}

static void refill_messages(StreamFetch *f, uint64_t now_usec)
{
        double earned = (double)usec_sub(now_usec, f->messages_usec) / USEC_PER_SEC * MESSAGES_PER_SEC;

        f->messages = MIN2(f->messages + earned, (double)MESSAGES_BURST);
        f->messages_usec = now_usec;
}

/* How many blocks the next request may ask for; 0: none now. */
static unsigned request_size(const StreamFetch *f)
{
        unsigned n = paced_request(f);
        unsigned n_wanted = f->n_missing + (window_end(f) - f->next_new);

        /* While nobody takes bytes, what has come is no reason to ask for more. */
        unsigned n_busy = f->n_in_flight + (f->blocked ? f->n_slots - f->n_free : 0);

        if (n_busy >= f->window)
                return 0;
        /* Fill requests whole where there is more to come: half-full ones cost as much as full ones. */
        if (f->window - n_busy < n && n_wanted >= n && n_busy > 0)
                return 0;
        if (f->n_missing == 0 && n_wanted < n && window_end(f) < f->n_blocks)
                return 0;
        if (f->params.aws_limits && f->messages < (double)MIN2(n, n_wanted))
                return 0;
        return MIN2(n, n_wanted);
}

static void format_token(uint32_t serial, char token[static TOKEN_MAX])
{
        snprintf(token, TOKEN_MAX, "b-%" PRIu32, serial);
}

static uint32_t parse_token(const char *token)
{
        uint32_t serial;
        int n = 0;

        return sscanf(token, "b-%" SCNu32 "%n", &serial, &n) == 1 && token[n] == 0 ? serial : 0;
}

/* Missing blocks first, then new ones; `n` of them. */
static void send_request(StreamFetch *f, Request *request, unsigned n, uint64_t now_usec)
{
        uint8_t bitmap[STREAM_BITMAP_MAX_BYTES] = {0};
        uint32_t first = f->next_new, last = 0, end = window_end(f);
        char token[TOKEN_MAX];
        unsigned n_asked = 0;

        if (++f->last_serial == 0)
                f->last_serial = 1;
        *request = (Request){.serial = f->last_serial, .sent_usec = now_usec, .late_usec = USEC_INFINITY};
        for (uint32_t b = f->n_missing > 0 ? f->base : f->next_new; b < end && n_asked < n; b++) {
                Slot *slot = slot_of(f, b);

                if (b < f->next_new && slot->state != SLOT_MISSING)
                        continue;
                if (n_asked == 0)
                        first = b;
                if ((b - first) / 8 >= sizeof(bitmap))
                        break;
                if (b < f->next_new)
                        f->n_missing--;
                else
                        f->next_new = b + 1;
                *slot = (Slot){.state = SLOT_ASKED, .request = request->serial};
                bitmap[(b - first) / 8] |= (uint8_t)(1 << (b - first) % 8);
                last = b;
                n_asked++;
        }

        assert(n_asked > 0);
        request->n_left = n_asked;
        f->n_in_flight += n_asked;
        f->messages -= n_asked;
        pace_spend(&f->pace, (uint64_t)n_asked * f->params.block_bytes);
        f->stats.n_requests++;
        format_token(request->serial, token);
        f->ops->request(&(StreamRequest){.client_token = token,
                                         .stream_version = f->stream_version,
                                         .file_id = f->params.file_id,
                                         .block_bytes = f->params.block_bytes,
                                         .first_block = first,
                                         .n_blocks = n_asked,
                                         .bitmap = bitmap,
                                         .n_bits = last - first + 1},
                        f->userdata);
}

static void send_requests(StreamFetch *f, uint64_t now_usec)
{
        refill_messages(f, now_usec);
        while (!f->silent && now_usec >= f->not_before_usec && pace_lets(&f->pace, now_usec)) {
                Request *request = free_request(f);
                unsigned n = request_size(f);

                if (!request || n == 0)
                        return;
                send_request(f, request, n, now_usec);
        }
}

void stream_fetch_start(StreamFetch *f, uint64_t now_usec)
{
        f->last_block_usec = f->messages_usec = now_usec;
        f->ops->describe("d-1", f->userdata);
        send_requests(f, now_usec);
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

                if (!direct && (f->base >= f->next_new || slot_of(f, f->base)->state != SLOT_HELD))
                        return true;
                if (!direct)
                        data = buffer_of(f, f->base);
                n = block_length(f, f->base) - f->base_skip;
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
                        f->free_buffers[f->n_free++] = slot_of(f, f->base)->buffer;
                *slot_of(f, f->base) = (Slot){.state = SLOT_MISSING};
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

static void hold(StreamFetch *f, const StreamBlock *block)
{
        Slot *slot = slot_of(f, block->block);

        assert(f->n_free > 0); /* there are as many as slots */
        slot->buffer = f->free_buffers[--f->n_free];
        slot->state = SLOT_HELD;
        memcpy(buffer_of(f, block->block), block->payload, block->n_payload);
}

/*
 * Half of the slots: when a block is lost, the others go on to be asked for while it is asked for again. Were all slots
 * in flight, each loss would stop the rest for a round trip.
 */
static unsigned largest_window(const StreamFetch *f)
{
        unsigned half = f->params.window_bytes / f->params.block_bytes / 2;

        /* With a single request in flight no later one would show that a block of it is lost. */
        return MIN2(MAX2(half, 2 * full_request(f)), f->params.window_bytes / f->params.block_bytes);
}

static void grow_window(StreamFetch *f)
{
        /* A queue that builds up gains nothing: stop where the round trip is twice that of the empty path. */
        if (f->round_trip.smoothed_usec > 2 * f->round_trip.least_usec + 100 * USEC_PER_MSEC)
                return;
        if (f->window < f->threshold)
                f->window++;
        else if (++f->growth >= f->window) {
                f->growth = 0;
                f->window++;
        }
        f->window = MIN2(f->window, largest_window(f));
}

/* Notes the request as answered, wholly or in part, and which older ones that makes suspicious. */
static void credit_request(StreamFetch *f, const StreamBlock *block, uint64_t now_usec)
{
        Slot *slot = slot_of(f, block->block);
        Request *named = find_request(f, parse_token(block->client_token));
        Request *asked = slot->state == SLOT_ASKED ? find_request(f, slot->request) : NULL;

        if (named && !named->sampled) {
                named->sampled = true;
                round_trip_sample(&f->round_trip, usec_sub(now_usec, named->sent_usec));
                f->stats.round_trip_usec = f->round_trip.smoothed_usec;
        }
        if (slot->state == SLOT_MISSING) {
                f->n_missing--;
                return;
        }
        assert(asked && asked->n_left > 0);
        f->n_in_flight--;
        if (--asked->n_left > 0)
                return;

        if ((int32_t)(asked->serial - f->newest_complete) > 0)
                f->newest_complete = asked->serial;
        asked->serial = 0;
        for (size_t i = 0; i < REQUESTS_MAX; i++) {
                Request *older = &f->requests[i];

                if (older->serial > 0 && older->late_usec == USEC_INFINITY &&
                    (int32_t)(older->serial - f->newest_complete) < 0)
                        older->late_usec = now_usec + REORDER_GRACE_USEC + f->round_trip.variance_usec;
        }
}

void stream_fetch_on_block(StreamFetch *f, const StreamBlock *block, uint64_t now_usec)
{
        if (f->silent)
                return;
        /* A late block of a request that was given up is as good as any; one never asked for is not ours. */
        if (block->file_id != f->params.file_id || block->block < f->base || block->block >= f->next_new ||
            slot_of(f, block->block)->state == SLOT_HELD || block->n_payload != block_length(f, block->block)) {
                f->stats.n_ignored++;
                return;
        }

        credit_request(f, block, now_usec);
        f->stats.n_blocks++;
        f->n_rejections = 0;
        f->last_block_usec = now_usec;
        grow_window(f);
        if (block->block != f->base) {
                hold(f, block);
        } else {
                uint32_t front = f->base;

                slot_of(f, front)->state = SLOT_HELD; /* so that it is not asked for again while it is delivered */
                if (!deliver(f, block->payload, now_usec))
                        return;
                if (f->base == front)
                        hold(f, block);
        }
        send_requests(f, now_usec);
}

void stream_fetch_on_writable(StreamFetch *f, uint64_t now_usec)
{
        if (f->silent)
                return;
        f->blocked = false;
        f->last_block_usec = now_usec;
        if (deliver(f, NULL, now_usec))
                send_requests(f, now_usec);
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
        Request *request = find_request(f, parse_token(rejection->client_token));

        if (f->silent || strncmp(rejection->client_token, "d-", 2) == 0)
                return;
        if (request)
                give_up_request(f, request);
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
                        send_requests(f, now_usec);
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
        if (f->n_in_flight >= f->window || f->n_missing + (window_end(f) - f->next_new) == 0)
                return USEC_INFINITY;
        if (pace_next_usec(&f->pace) > f->messages_usec)
                return pace_next_usec(&f->pace);
        if (!f->params.aws_limits || f->messages >= paced_request(f))
                return USEC_INFINITY;
        n_short = (uint64_t)(paced_request(f) - f->messages) + 1;
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
        unsigned per_request = full_request(f);
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
                give_up_request(f, request);
        }
        if (silence) {
                f->threshold = MAX2(f->window / 2, 2 * per_request);
                f->window = per_request;
                f->growth = 0;
                f->round_trip.n_timeouts++;
        }
        send_requests(f, now_usec);
}
