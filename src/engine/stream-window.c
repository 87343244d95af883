#include "stream-window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/time-util.h"

enum {
        REORDER_GRACE_USEC = 5000, /* a block may be this much later than those asked for after it */
        TOKEN_MAX = 24,
};

unsigned stream_window_full_request(const StreamFetch *f)
{
        return MIN2((unsigned)STREAM_ANSWER_MAX_BYTES / f->params.block_bytes, (unsigned)BLOCKS_PER_REQUEST_MAX);
}

unsigned stream_window_paced_request(const StreamFetch *f)
{
        uint64_t n = MAX2(pace_portion_bytes(&f->pace) / f->params.block_bytes, UINT64_C(1));

        return (unsigned)MIN2((uint64_t)stream_window_full_request(f), n);
}

Slot *stream_window_slot(StreamFetch *f, uint32_t block)
{
        return &f->slots[block % f->n_slots];
}

uint8_t *stream_window_buffer(StreamFetch *f, uint32_t block)
{
        return f->arena + (size_t)stream_window_slot(f, block)->buffer * f->params.block_bytes;
}

uint32_t stream_window_block_length(const StreamFetch *f, uint32_t block)
{
        uint64_t start = (uint64_t)block * f->params.block_bytes;

        return (uint32_t)MIN2(f->params.size_bytes - start, (uint64_t)f->params.block_bytes);
}

uint32_t stream_window_end(const StreamFetch *f)
{
        return MIN2(f->n_blocks, f->base + f->n_slots);
}

Request *stream_window_find_request(StreamFetch *f, uint32_t serial)
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

void stream_window_give_up(StreamFetch *f, Request *request)
{
        for (uint32_t b = f->base; request->n_left > 0 && b < f->next_new; b++) {
                Slot *slot = stream_window_slot(f, b);

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
        unsigned n = stream_window_paced_request(f);
        unsigned n_wanted = f->n_missing + (stream_window_end(f) - f->next_new);

        /* While nobody takes bytes, what has come is no reason to ask for more. */
        unsigned n_busy = f->n_in_flight + (f->blocked ? f->n_slots - f->n_free : 0);

        if (n_busy >= f->window)
                return 0;
        /* Fill requests whole where there is more to come: half-full ones cost as much as full ones. */
        if (f->window - n_busy < n && n_wanted >= n && n_busy > 0)
                return 0;
        if (f->n_missing == 0 && n_wanted < n && stream_window_end(f) < f->n_blocks)
                return 0;
        if (f->params.aws_limits && f->messages < (double)MIN2(n, n_wanted))
                return 0;
        return MIN2(n, n_wanted);
}

static void format_token(uint32_t serial, char token[static TOKEN_MAX])
{
        snprintf(token, TOKEN_MAX, "b-%" PRIu32, serial);
}

uint32_t stream_window_parse_token(const char *token)
{
        uint32_t serial;
        int n = 0;

        return sscanf(token, "b-%" SCNu32 "%n", &serial, &n) == 1 && token[n] == 0 ? serial : 0;
}

/* Missing blocks first, then new ones; `n` of them. */
static void send_request(StreamFetch *f, Request *request, unsigned n, uint64_t now_usec)
{
        uint8_t bitmap[STREAM_BITMAP_MAX_BYTES] = {0};
        uint32_t first = f->next_new, last = 0, end = stream_window_end(f);
        char token[TOKEN_MAX];
        unsigned n_asked = 0;

        if (++f->last_serial == 0)
                f->last_serial = 1;
        *request = (Request){.serial = f->last_serial, .sent_usec = now_usec, .late_usec = USEC_INFINITY};
        for (uint32_t b = f->n_missing > 0 ? f->base : f->next_new; b < end && n_asked < n; b++) {
                Slot *slot = stream_window_slot(f, b);

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

void stream_window_send(StreamFetch *f, uint64_t now_usec)
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

void stream_window_hold(StreamFetch *f, const StreamBlock *block)
{
        Slot *slot = stream_window_slot(f, block->block);

        assert(f->n_free > 0); /* there are as many as slots */
        slot->buffer = f->free_buffers[--f->n_free];
        slot->state = SLOT_HELD;
        memcpy(stream_window_buffer(f, block->block), block->payload, block->n_payload);
}

/*
 * Half of the slots: when a block is lost, the others go on to be asked for while it is asked for again. Were all slots
 * in flight, each loss would stop the rest for a round trip.
 */
static unsigned largest_window(const StreamFetch *f)
{
        unsigned half = f->params.window_bytes / f->params.block_bytes / 2;

        /* With a single request in flight no later one would show that a block of it is lost. */
        return MIN2(MAX2(half, 2 * stream_window_full_request(f)), f->params.window_bytes / f->params.block_bytes);
}

void stream_window_grow(StreamFetch *f)
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

void stream_window_credit(StreamFetch *f, const StreamBlock *block, uint64_t now_usec)
{
        Slot *slot = stream_window_slot(f, block->block);
        Request *named = stream_window_find_request(f, stream_window_parse_token(block->client_token));
        Request *asked = slot->state == SLOT_ASKED ? stream_window_find_request(f, slot->request) : NULL;

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
