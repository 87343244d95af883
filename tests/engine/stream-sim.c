#include "stream-sim.h"

#include <inttypes.h>
#include <string.h>

#include "base/time-util.h"
#include "unit.h"

enum { RING_MAX = 1 << 17, ROUNDS_MAX = 2000000, TIMERS_IN_A_ROW_MAX = 64 };

typedef enum EventKind { EVENT_BLOCK, EVENT_DESCRIPTION, EVENT_WRITABLE } EventKind;

typedef struct SimEvent {
        uint64_t when_usec;
        uint64_t order; /* of two at the same time the one scheduled first */
        EventKind kind;
        uint32_t block;
        char token[STREAM_CLIENT_TOKEN_MAX + 1];
} SimEvent;

const uint8_t *stream_sim_bytes(uint64_t offset)
{
        static uint64_t *bytes;
        uint64_t x = 88172645463325252u;

        if (!bytes) {
                bytes = malloc(STREAM_FILE_MAX_BYTES);
                assert_non_null(bytes);
                for (size_t i = 0; i < STREAM_FILE_MAX_BYTES / sizeof(*bytes); i++) {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        bytes[i] = x;
                }
        }
        return (const uint8_t *)bytes + offset;
}

uint32_t stream_sim_random(StreamSim *sim, uint32_t below)
{
        sim->random ^= sim->random << 13;
        sim->random ^= sim->random >> 7;
        sim->random ^= sim->random << 17;
        return (uint32_t)(sim->random >> 32) % below;
}

static bool is_before(const SimEvent *a, const SimEvent *b)
{
        return a->when_usec < b->when_usec || (a->when_usec == b->when_usec && a->order < b->order);
}

static void swap(SimEvent *a, SimEvent *b)
{
        SimEvent c = *a;

        *a = *b;
        *b = c;
}

static SimEvent *schedule(StreamSim *sim, EventKind kind, uint64_t when_usec)
{
        size_t i = sim->n_events;

        if (sim->n_events == sim->n_allocated) {
                sim->n_allocated = MAX2(2 * sim->n_allocated, (size_t)64);
                sim->events = reallocarray(sim->events, sim->n_allocated, sizeof(SimEvent));
                assert_non_null(sim->events);
        }
        sim->events[sim->n_events++] = (SimEvent){.when_usec = when_usec, .order = sim->n_scheduled++, .kind = kind};
        for (; i > 0 && is_before(&sim->events[i], &sim->events[(i - 1) / 2]); i = (i - 1) / 2)
                swap(&sim->events[i], &sim->events[(i - 1) / 2]);
        return &sim->events[i];
}

static SimEvent next_event(StreamSim *sim)
{
        SimEvent first = sim->events[0];

        sim->events[0] = sim->events[--sim->n_events];
        for (size_t i = 0, least; 2 * i + 1 < sim->n_events; i = least) {
                least = 2 * i + 1;
                if (least + 1 < sim->n_events && is_before(&sim->events[least + 1], &sim->events[least]))
                        least++;
                if (!is_before(&sim->events[least], &sim->events[i]))
                        break;
                swap(&sim->events[i], &sim->events[least]);
        }
        return first;
}

static uint32_t n_blocks(const StreamSim *sim)
{
        return (uint32_t)((sim->params.fetch.size_bytes + sim->params.fetch.block_bytes - 1) /
                          sim->params.fetch.block_bytes);
}

static uint32_t block_length(const StreamSim *sim, uint32_t block)
{
        uint64_t start = (uint64_t)block * sim->params.fetch.block_bytes;

        return (uint32_t)MIN2(sim->params.fetch.size_bytes - start, (uint64_t)sim->params.fetch.block_bytes);
}

/* Counts the messages of the second that ends now, and says whether the broker would throw this one away. */
static bool is_too_many(StreamSim *sim, uint64_t when_usec)
{
        while (sim->n_sent_ring > 0 && sim->sent_usec[sim->ring_first] + USEC_PER_SEC <= when_usec) {
                sim->ring_first = (sim->ring_first + 1) % RING_MAX;
                sim->n_sent_ring--;
        }
        if (sim->params.messages_per_sec > 0 && sim->n_sent_ring >= sim->params.messages_per_sec)
                return true;
        assert_true(sim->n_sent_ring < RING_MAX);
        sim->sent_usec[(sim->ring_first + sim->n_sent_ring++) % RING_MAX] = when_usec;
        sim->most_messages_per_sec = MAX2(sim->most_messages_per_sec, (unsigned)sim->n_sent_ring);
        return false;
}

static void send_block(StreamSim *sim, uint32_t block, const char *token, uint64_t request_usec)
{
        const StreamSimParams *p = &sim->params;
        unsigned n_sent = sim->n_sent[block]++, n_copies = 1;

        sim->n_sent_twice += n_sent == 1;
        sim->service_free_usec = MAX2(sim->service_free_usec, request_usec);
        if (p->bytes_per_sec > 0)
                sim->service_free_usec += (uint64_t)block_length(sim, block) * USEC_PER_SEC / p->bytes_per_sec;
        if (is_too_many(sim, sim->service_free_usec) || (p->lose && p->lose(sim, block, n_sent)) ||
            (p->loss_percent > 0 && stream_sim_random(sim, 100) < p->loss_percent))
                return;
        if (p->duplicate_percent > 0 && stream_sim_random(sim, 100) < p->duplicate_percent)
                n_copies = 2;
        for (unsigned i = 0; i < n_copies; i++) {
                uint64_t jitter = p->jitter_usec > 0 ? stream_sim_random(sim, (uint32_t)p->jitter_usec) : 0;
                SimEvent *event =
                        schedule(sim, EVENT_BLOCK, sim->service_free_usec + p->round_trip_usec / 2 + jitter);

                event->block = block;
                strcpy(event->token, token);
        }
}

static void on_request(const StreamRequest *request, void *userdata)
{
        StreamSim *sim = userdata;
        const StreamFetchParams *p = &sim->params.fetch;
        uint64_t window_end = sim->delivered_bytes / p->block_bytes * p->block_bytes + p->window_bytes;
        uint64_t n_bytes = 0;
        unsigned n_set = 0;
        uint8_t buffer[STREAM_REQUEST_MAX_BYTES];
        size_t n_buffer;

        assert_false(sim->done);
        assert_int_equal(stream_request_format(request, buffer, sizeof(buffer), &n_buffer), 0);
        assert_int_equal(request->file_id, p->file_id);
        assert_int_equal(request->block_bytes, p->block_bytes);
        assert_true(request->first_block + request->n_bits <= n_blocks(sim));
        sim->n_requests++;
        if (request->stream_version >= 0) {
                assert_int_equal(request->stream_version, sim->params.version);
                sim->n_versioned++;
        }
        for (uint32_t bit = 0; bit < request->n_bits; bit++) {
                uint32_t block = request->first_block + bit;

                if (!(request->bitmap[bit / 8] & (1 << bit % 8)))
                        continue;
                assert_false(sim->arrived[block]);
                assert_true((uint64_t)(block + 1) * p->block_bytes <= window_end);
                n_set++;
                n_bytes += p->block_bytes;
                send_block(sim, block, request->client_token, sim->now_usec + sim->params.round_trip_usec / 2);
        }
        assert_int_equal(n_set, request->n_blocks);
        assert_true(n_bytes <= STREAM_ANSWER_MAX_BYTES);
}

static void on_describe(const char *token, void *userdata)
{
        StreamSim *sim = userdata;

        sim->n_describes++;
        if (sim->params.version >= 0)
                (void)schedule(sim, EVENT_DESCRIPTION, sim->now_usec + sim->params.round_trip_usec);
}

static ssize_t on_deliver(const uint8_t *data, size_t n_data, void *userdata)
{
        StreamSim *sim = userdata;
        size_t n = sim->params.take ? sim->params.take(sim, n_data) : n_data;

        assert_true(n_data > 0 && n <= n_data && !sim->done);
        assert_false(sim->waits_for_writable);
        assert_int_equal(memcmp(data, stream_sim_bytes(sim->delivered_bytes), n), 0);
        sim->delivered_bytes += n;
        sim->early_bytes -= n;
        if (n < n_data) {
                sim->waits_for_writable = true;
                (void)schedule(sim, EVENT_WRITABLE, sim->now_usec + sim->params.sink_pause_usec);
        }
        return (ssize_t)n;
}

static void on_done(const Failure *failure, void *userdata)
{
        StreamSim *sim = userdata;

        assert_false(sim->done);
        sim->done = true;
        sim->ended_usec = sim->now_usec - sim->began_usec;
        if (failure)
                sim->failure = *failure;
        else
                assert_true(sim->delivered_bytes == sim->params.fetch.size_bytes);
        sim->stats = *stream_fetch_stats(sim->fetch);
        sim->fetch = stream_fetch_free(sim->fetch); /* as a real owner may */
}

static const StreamFetchOps ops = {
        .request = on_request,
        .describe = on_describe,
        .deliver = on_deliver,
        .done = on_done,
};

static void happen(StreamSim *sim, const SimEvent *event)
{
        StreamBlock block = {.file_id = sim->params.fetch.file_id, .block = event->block};
        StreamDescription description = {.version = sim->params.version, .n_files = 1};

        switch (event->kind) {
        case EVENT_BLOCK:
                block.n_payload = block_length(sim, event->block);
                block.payload = stream_sim_bytes((uint64_t)event->block * sim->params.fetch.block_bytes);
                strcpy(block.client_token, event->token);
                if (!sim->arrived[event->block]) {
                        uint64_t start = (uint64_t)event->block * sim->params.fetch.block_bytes;

                        sim->arrived[event->block] = true;
                        sim->early_bytes +=
                                block.n_payload - (start < sim->delivered_bytes ? sim->delivered_bytes - start : 0);
                        sim->most_early_bytes = MAX2(sim->most_early_bytes, sim->early_bytes);
                }
                stream_fetch_on_block(sim->fetch, &block, sim->now_usec);
                break;
        case EVENT_DESCRIPTION:
                description.files[0] = (StreamFile){.file_id = sim->params.fetch.file_id,
                                                    .size_bytes = sim->params.fetch.size_bytes};
                stream_fetch_on_description(sim->fetch, &description, sim->now_usec);
                break;
        case EVENT_WRITABLE:
                sim->waits_for_writable = false;
                stream_fetch_on_writable(sim->fetch, sim->now_usec);
                break;
        }
}

static void step(StreamSim *sim, unsigned *n_timers)
{
        uint64_t deadline = stream_fetch_next_deadline(sim->fetch);
        SimEvent event;

        if (sim->n_events > 0 && sim->events[0].when_usec <= deadline) {
                event = next_event(sim);
                assert_true(event.when_usec >= sim->now_usec);
                sim->now_usec = event.when_usec;
                happen(sim, &event);
                *n_timers = 0;
                return;
        }
        if (deadline == USEC_INFINITY)
                fail_msg("stuck at byte %" PRIu64, sim->delivered_bytes);
        *n_timers = deadline <= sim->now_usec ? *n_timers + 1 : 0;
        if (*n_timers > TIMERS_IN_A_ROW_MAX)
                fail_msg("the timer is due again and again at byte %" PRIu64, sim->delivered_bytes);
        sim->now_usec = MAX2(sim->now_usec, deadline);
        stream_fetch_on_timer(sim->fetch, sim->now_usec);
}

void stream_sim_run(StreamSim *sim, const StreamSimParams *params)
{
        unsigned n_timers = 0;

        *sim = (StreamSim){.params = *params, .began_usec = 1000 * USEC_PER_SEC};
        sim->now_usec = sim->began_usec;
        sim->random = 0x9e3779b97f4a7c15u + params->seed;
        sim->n_sent = calloc(n_blocks(sim), sizeof(*sim->n_sent));
        sim->arrived = calloc(n_blocks(sim), sizeof(*sim->arrived));
        sim->sent_usec = calloc(RING_MAX, sizeof(*sim->sent_usec));
        assert_true(sim->n_sent && sim->arrived && sim->sent_usec);
        sim->delivered_bytes = params->fetch.first_byte;
        assert_int_equal(stream_fetch_new(&params->fetch, &ops, sim, &sim->fetch), 0);
        stream_fetch_start(sim->fetch, sim->now_usec);
        for (unsigned i = 0; !sim->done; i++) {
                if (i > ROUNDS_MAX)
                        fail_msg("no end in sight at byte %" PRIu64, sim->delivered_bytes);
                step(sim, &n_timers);
        }
        free(sim->n_sent);
        free(sim->arrived);
        free(sim->sent_usec);
        free(sim->events);
}
