/* The download by stream in simulated time (stream-sim.h), and by hand where the service is hostile. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/time-util.h"
#include "stream-sim.h"
#include "stride.h"
#include "unit.h"

#define MSEC(n) ((n)*USEC_PER_MSEC)

enum { KIB = 1024, MIB = 1024 * 1024 };

static StreamSimParams plain(uint64_t size_bytes, uint32_t block_bytes)
{
        return (StreamSimParams){
                .fetch = {.file_id = 3,
                          .size_bytes = size_bytes,
                          .block_bytes = block_bytes,
                          .window_bytes = 2 * MIB,
                          .stall_usec = 60 * USEC_PER_SEC},
                .round_trip_usec = MSEC(20),
                .version = -1,
        };
}

static void run_well(StreamSim *sim, const StreamSimParams *params)
{
        stream_sim_run(sim, params);
        if (failure_is_set(&sim->failure))
                fail_msg("%s", sim->failure.detail);
        assert_true(sim->most_early_bytes <= params->fetch.window_bytes);
}

/* -- in order --------------------------------------------------------------------------------------------------- */

static void test_sizes(void **state)
{
        static const uint32_t blocks[] = {256, 1000, 4096, 32768, 65535, 65536};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(blocks); i++) {
                const uint64_t b = blocks[i], sizes[] = {1, b - 1, b, b + 1, 7 * b, 7 * b + 1, 40 * b - 1, 64 * b};

                for (size_t k = 0; k < ELEMENTSOF(sizes); k++) {
                        StreamSimParams params = plain(sizes[k], blocks[i]);

                        run_well(&sim, &params);
                        assert_int_equal(sim.stats.n_blocks, (sizes[k] + b - 1) / b);
                        assert_int_equal(sim.stats.n_lost, 0);
                        assert_int_equal(sim.stats.n_ignored, 0);
                        assert_int_equal(sim.n_describes, 1);
                }
        }
}

static void test_largest_file(void **state)
{
        static const uint32_t blocks[] = {256, 32768, 65536};
        StreamSim sim;

        /* The first are 65536 blocks, most of what this program does. */
        for (size_t i = test_stride() > 1; i < ELEMENTSOF(blocks); i++) {
                StreamSimParams params = plain(STREAM_FILE_MAX_BYTES, blocks[i]);

                run_well(&sim, &params);
                assert_int_equal(sim.stats.n_blocks, STREAM_FILE_MAX_BYTES / blocks[i]);
        }
}

static void test_resumes_at_any_byte(void **state)
{
        static const uint64_t firsts[] = {1, 255, 256, 257, 4095, 4096, 4097, 8191, 65535, 99998, 99999};
        static const uint32_t blocks[] = {256, 4096, 65536};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(blocks); i++)
                for (size_t k = 0; k < ELEMENTSOF(firsts); k++) {
                        StreamSimParams params = plain(100000, blocks[i]);

                        params.fetch.first_byte = firsts[k];
                        run_well(&sim, &params);
                        assert_int_equal(sim.stats.n_blocks,
                                         (100000 + blocks[i] - 1) / blocks[i] - firsts[k] / blocks[i]);
                }
}

static void test_parameters_out_of_range(void **state)
{
        static const StreamFetchParams bad[] = {
                {.size_bytes = 0, .block_bytes = 4096, .window_bytes = MIB},
                {.size_bytes = STREAM_FILE_MAX_BYTES + 1, .block_bytes = 4096, .window_bytes = MIB},
                {.size_bytes = 9, .first_byte = 9, .block_bytes = 4096, .window_bytes = MIB},
                {.size_bytes = 9, .block_bytes = 255, .window_bytes = MIB},
                {.size_bytes = 9, .block_bytes = 65537, .window_bytes = MIB},
                {.size_bytes = 9, .block_bytes = 4096, .window_bytes = 128 * KIB - 1},
        };
        StreamFetch *fetch;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(stream_fetch_new(&bad[i], NULL, NULL, &fetch), -EINVAL);
}

/* -- disorder, loss, silence ------------------------------------------------------------------------------------ */

static void test_any_order(void **state)
{
        StreamSim sim;

        for (size_t seed = 0; seed < 40; seed += test_stride()) {
                StreamSimParams params = plain(3 * MIB + 77, seed % 2 ? 4096 : 32768);

                params.seed = seed;
                params.jitter_usec = MSEC(1) << seed % 10;
                params.duplicate_percent = 20;
                params.fetch.window_bytes = seed % 3 ? 2 * MIB : 128 * KIB;
                run_well(&sim, &params);
                assert_true(sim.stats.n_ignored > 0);
        }
}

static void test_random_loss(void **state)
{
        static const unsigned percents[] = {1, 10, 50};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(percents); i++)
                for (size_t seed = 0; seed < 10; seed += test_stride()) {
                        StreamSimParams params = plain(2 * MIB + 1, seed % 2 ? 2048 : 32768);

                        params.seed = seed;
                        params.loss_percent = percents[i];
                        params.duplicate_percent = 5;
                        params.jitter_usec = seed % 4 * MSEC(10);
                        run_well(&sim, &params);
                        assert_true(percents[i] < 10 || sim.stats.n_lost > 0);
                        /* Nothing like a storm: each block is sent once, and once more for each time it was lost. */
                        assert_true(sim.stats.n_lost <= 3 * sim.stats.n_blocks);
                }
}

static uint32_t lost_block;

static bool lose_one_once(StreamSim *sim, uint32_t block, unsigned n_sent)
{
        return block == lost_block && n_sent == 0;
}

static void test_one_lost_block_costs_a_round_trip(void **state)
{
        static const uint64_t round_trips[] = {MSEC(1), MSEC(20), MSEC(80), MSEC(300)};
        static const uint64_t rates[] = {0, 512 * KIB};
        static const uint32_t lost[] = {0, 1, 2, 3, 4, 7, 17, 40, 64, 100, 110, 120, 123, 124, 126, 127};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(round_trips); i++)
                for (size_t k = 0; k < ELEMENTSOF(rates); k++) {
                        StreamSimParams params = plain(4 * MIB, 32768);
                        uint64_t resend, least;

                        params.round_trip_usec = round_trips[i];
                        params.bytes_per_sec = rates[k];
                        resend = rates[k] > 0 ? 32768 * USEC_PER_SEC / rates[k] : 0;
                        run_well(&sim, &params);
                        least = sim.ended_usec;
                        params.lose = lose_one_once;
                        for (size_t j = 0; j < ELEMENTSOF(lost); j++) {
                                /* A later answer gives a loss away; of the last ones, silence alone. */
                                uint64_t grace = lost[j] < 120 ? MSEC(10) : MSEC(110) + resend;

                                lost_block = lost[j];
                                run_well(&sim, &params);
                                assert_true(sim.n_sent_twice >= 1);
                                if (sim.ended_usec >= least + 2 * round_trips[i] + resend + grace)
                                        fail_msg("block %" PRIu32 ", round trip %" PRIu64 " us, %" PRIu64
                                                 " B/s: cost %" PRIu64 " us",
                                                 lost_block, round_trips[i], rates[k], sim.ended_usec - least);
                        }
                }
}

static uint64_t silent_from, silent_until;

static bool lose_for_a_while(StreamSim *sim, uint32_t block, unsigned n_sent)
{
        uint64_t t = sim->now_usec - sim->began_usec;

        return t >= silent_from && t < silent_until;
}

/* Requests go out ever more slowly while nothing comes back, and at full speed again afterwards. */
static void test_silence(void **state)
{
        StreamSimParams params = plain(8 * MIB, 32768);
        StreamSim sim;
        uint64_t n_requests, least;

        params.bytes_per_sec = 4 * MIB;
        params.lose = lose_for_a_while;
        silent_from = silent_until = 0;
        run_well(&sim, &params);
        n_requests = sim.n_requests;
        least = sim.ended_usec;

        silent_from = MSEC(500);
        silent_until = 20 * USEC_PER_SEC;
        run_well(&sim, &params);
        /* What was in flight, then one request after each of ever longer waits: 0.1 s, 0.2 s, ... 10 s. */
        assert_in_range(sim.n_requests, n_requests + 5, n_requests + 40);
        assert_true(sim.ended_usec <= silent_until + 10 * USEC_PER_SEC + least);
}

static void test_stall_ends_it(void **state)
{
        StreamSimParams params = plain(8 * MIB, 32768);
        StreamSim sim;

        params.lose = lose_for_a_while;
        silent_from = MSEC(30);
        silent_until = USEC_INFINITY;
        stream_sim_run(&sim, &params);
        assert_int_equal(sim.failure.reason, FAILURE_DOWNLOAD_STALLED);
        assert_in_range(sim.ended_usec, 60 * USEC_PER_SEC, 61 * USEC_PER_SEC);

        silent_from = 0;
        stream_sim_run(&sim, &params);
        assert_int_equal(sim.failure.reason, FAILURE_DOWNLOAD_STALLED);
        assert_int_equal(sim.ended_usec, 60 * USEC_PER_SEC);
}

/* -- limits ----------------------------------------------------------------------------------------------------- */

static void test_throughput(void **state)
{
        static const uint64_t round_trips[] = {MSEC(20), MSEC(80), MSEC(300)};
        static const uint32_t blocks[] = {8192, 16384, 32768, 65536};
        const uint64_t rate = 512 * KIB;
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(round_trips); i++)
                for (size_t k = 0; k < ELEMENTSOF(blocks); k++) {
                        StreamSimParams params = plain(STREAM_FILE_MAX_BYTES, blocks[k]);

                        params.round_trip_usec = round_trips[i];
                        params.bytes_per_sec = rate;
                        params.messages_per_sec = 100;
                        params.fetch.aws_limits = true;
                        run_well(&sim, &params);
                        assert_int_equal(sim.stats.n_lost, 0);
                        if (sim.ended_usec * rate / USEC_PER_SEC * 9 / 10 > STREAM_FILE_MAX_BYTES)
                                fail_msg("round trip %" PRIu64 " us, blocks of %" PRIu32 ": %" PRIu64 " us",
                                         round_trips[i], blocks[k], sim.ended_usec);
                }
}

/* What is asked for is paced, whatever path and blocks, and a loss is made up for within the bound. */
static void test_pace(void **state)
{
        static const uint64_t round_trips[] = {MSEC(1), MSEC(80), MSEC(300)}, rates[] = {16 * KIB, 100 * KIB, MIB};
        static const uint32_t blocks[] = {4096, 16384, 65536};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(round_trips); i++)
                for (size_t k = 0; k < ELEMENTSOF(rates); k++)
                        for (size_t m = 0; m < ELEMENTSOF(blocks); m++) {
                                StreamSimParams params = plain(20 * rates[k], blocks[m]);

                                params.round_trip_usec = round_trips[i];
                                params.fetch.max_bytes_per_sec = rates[k];
                                run_well(&sim, &params);
                                assert_int_equal(sim.stats.n_lost, 0);
                                /* The first portion and the last block do not count. */
                                if (sim.ended_usec < 18 * USEC_PER_SEC - 64 * KIB * USEC_PER_SEC / rates[k] ||
                                    sim.ended_usec > 22 * USEC_PER_SEC)
                                        fail_msg("round trip %" PRIu64 " us, blocks of %" PRIu32 ", %" PRIu64
                                                 " bytes/s: %" PRIu64 " us",
                                                 round_trips[i], blocks[m], rates[k], sim.ended_usec);
                                params.loss_percent = 10;
                                run_well(&sim, &params);
                                assert_true(sim.ended_usec > 18 * USEC_PER_SEC - 64 * KIB * USEC_PER_SEC / rates[k]);
                        }
}

static void test_never_100_messages_in_a_second(void **state)
{
        static const uint32_t blocks[] = {256, 1024, 4096, 16384};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(blocks); i++)
                for (unsigned loss = 0; loss <= 20; loss += 10) {
                        StreamSimParams params = plain(1000 * blocks[i] + 1, blocks[i]);

                        params.fetch.aws_limits = true;
                        params.loss_percent = loss;
                        params.seed = loss;
                        run_well(&sim, &params);
                        assert_in_range(sim.most_messages_per_sec, 40, 99);
                        /* And not much slower than the limit asks for. */
                        assert_true(sim.ended_usec < 1001 * USEC_PER_SEC / 70 * (100 + 2 * loss) / 100);
                }
}

/* Where the service has thrown the excess away, the rest still comes. */
static void test_a_service_that_throws_away(void **state)
{
        StreamSimParams params = plain(2000 * 256, 256);
        StreamSim sim;

        params.messages_per_sec = 100;
        run_well(&sim, &params);
        assert_true(sim.stats.n_lost > 0);
}

static void test_window_is_kept(void **state)
{
        StreamSimParams params = plain(4 * MIB, 16384);
        StreamSim sim;

        params.fetch.window_bytes = 256 * KIB;
        params.lose = lose_one_once;
        params.round_trip_usec = MSEC(300);
        lost_block = 20;
        run_well(&sim, &params); /* on_request() of the simulator watches what is asked for */
        assert_true(sim.most_early_bytes > 100 * KIB);
}

/* -- the pipe --------------------------------------------------------------------------------------------------- */

static uint64_t full_at; /* the pipe takes bytes up to here, nothing once, then all */
static unsigned n_refusals;

static size_t take_up_to(StreamSim *sim, size_t n)
{
        if (sim->delivered_bytes >= full_at && (n_refusals > 0 || sim->delivered_bytes > full_at))
                return n;
        if (sim->delivered_bytes + n <= full_at)
                return n;
        n_refusals++;
        return full_at - sim->delivered_bytes;
}

static void test_pipe_full_at_any_byte(void **state)
{
        StreamSim sim;

        for (uint64_t first = 0; first < 300; first += 299)
                for (full_at = first; full_at < 1000; full_at += test_stride()) {
                        StreamSimParams params = plain(1000, 256);

                        params.fetch.first_byte = first;
                        params.take = take_up_to;
                        params.sink_pause_usec = MSEC(full_at % 50);
                        params.jitter_usec = MSEC(full_at % 40 + 1);
                        n_refusals = 0;
                        run_well(&sim, &params);
                        assert_int_equal(n_refusals, 1);
                }
}

static size_t take_one(StreamSim *sim, size_t n)
{
        return 1;
}

static size_t take_all_but_one(StreamSim *sim, size_t n)
{
        return n > 1 ? n - 1 : 1;
}

static size_t take_some_or_none(StreamSim *sim, size_t n)
{
        return stream_sim_random(sim, 3) == 0 ? 0 : stream_sim_random(sim, (uint32_t)n) + 1;
}

static void test_pipe_that_takes_little(void **state)
{
        size_t (*const takes[])(StreamSim * sim, size_t n) = {take_one, take_all_but_one, take_some_or_none};
        StreamSim sim;

        for (size_t i = 0; i < ELEMENTSOF(takes); i++) {
                StreamSimParams params = plain(20 * 256 + 3, 256);

                params.take = takes[i];
                params.sink_pause_usec = MSEC(3);
                params.jitter_usec = MSEC(9);
                run_well(&sim, &params);
                assert_int_equal(sim.stats.n_lost, 0);
        }
}

/* A pipe that stays full for longer than the stall time is no stall of the stream. */
static void test_slow_pipe_is_no_stall(void **state)
{
        StreamSimParams params = plain(4 * MIB, 65536);
        StreamSim sim;

        params.take = take_all_but_one;
        params.sink_pause_usec = 100 * USEC_PER_SEC;
        run_well(&sim, &params);
        assert_true(sim.ended_usec > 64 * 100 * USEC_PER_SEC);
}

/* -- what the description tells --------------------------------------------------------------------------------- */

static void test_version_is_named(void **state)
{
        StreamSimParams params = plain(4 * MIB, 16384);
        StreamSim sim;

        params.version = 7;
        run_well(&sim, &params); /* on_request() of the simulator compares the number */
        assert_true(sim.n_versioned > 0 && sim.n_versioned < sim.n_requests);
}

/* -- by hand ---------------------------------------------------------------------------------------------------- */

typedef struct Hand {
        StreamFetch *fetch;
        unsigned n_requests;
        char token[STREAM_CLIENT_TOKEN_MAX + 1]; /* of the last request */
        uint32_t first_block;
        int32_t version;
        uint64_t delivered_bytes;
        ssize_t answer; /* of deliver; 0: takes all */
        unsigned n_done;
        Failure failure;
} Hand;

static void hand_request(const StreamRequest *request, void *userdata)
{
        Hand *h = userdata;

        h->n_requests++;
        h->first_block = request->first_block;
        h->version = request->stream_version;
        strcpy(h->token, request->client_token);
}

static void hand_describe(const char *token, void *userdata)
{
}

static ssize_t hand_deliver(const uint8_t *data, size_t n_data, void *userdata)
{
        Hand *h = userdata;

        if (h->answer < 0)
                return h->answer;
        assert_memory_equal(data, stream_sim_bytes(h->delivered_bytes), n_data);
        h->delivered_bytes += n_data;
        return (ssize_t)n_data;
}

static void hand_done(const Failure *failure, void *userdata)
{
        Hand *h = userdata;

        h->n_done++;
        if (failure)
                h->failure = *failure;
}

static const StreamFetchOps hand_ops = {
        .request = hand_request,
        .describe = hand_describe,
        .deliver = hand_deliver,
        .done = hand_done,
};

static void hand_start(Hand *h, uint64_t size_bytes)
{
        StreamFetchParams params = plain(size_bytes, 4096).fetch;

        *h = (Hand){0};
        params.window_bytes = 128 * KIB;
        assert_int_equal(stream_fetch_new(&params, &hand_ops, h, &h->fetch), 0);
        stream_fetch_start(h->fetch, USEC_PER_SEC);
}

static void hand_block(Hand *h, uint8_t file_id, uint32_t block, uint32_t n_payload)
{
        StreamBlock b = {.payload = stream_sim_bytes((uint64_t)block * 4096),
                         .n_payload = n_payload,
                         .block = block,
                         .file_id = file_id};

        stream_fetch_on_block(h->fetch, &b, USEC_PER_SEC + MSEC(1));
}

static void test_blocks_that_are_not_ours(void **state)
{
        static const struct {
                uint8_t file_id;
                uint32_t block;
                uint32_t n_payload;
        } blocks[] = {
                {4, 0, 4096}, /* another file */
                {3, 0, 4095}, /* wrong lengths */
                {3, 0, 1},
                {3, 0, 8192},
                {3, 40, 4096},
                {3, 100, 4096}, /* never asked for: beyond the window */
                {3, 512, 100},  /* the last one, as long as it should be, but not asked for yet */
                {3, 513, 4096}, /* beyond the file */
                {3, STREAM_N_BLOCKS_MAX - 1, 4096},
        };
        Hand h;

        hand_start(&h, 512 * 4096 + 100);
        for (size_t i = 0; i < ELEMENTSOF(blocks); i++) {
                hand_block(&h, blocks[i].file_id, blocks[i].block, blocks[i].n_payload);
                assert_int_equal(stream_fetch_stats(h.fetch)->n_ignored, i + 1);
        }
        assert_int_equal(h.delivered_bytes, 0);
        hand_block(&h, 3, 1, 4096); /* early, then again */
        hand_block(&h, 3, 1, 4096);
        hand_block(&h, 3, 0, 4096); /* in order, then again */
        hand_block(&h, 3, 0, 4096);
        hand_block(&h, 3, 1, 4096);
        assert_int_equal(h.delivered_bytes, 8192);
        assert_int_equal(stream_fetch_stats(h.fetch)->n_blocks, 2);
        assert_int_equal(stream_fetch_stats(h.fetch)->n_ignored, ELEMENTSOF(blocks) + 3);
        stream_fetch_free(h.fetch);
}

static void test_nobody_takes_the_bytes(void **state)
{
        Hand h;

        hand_start(&h, MIB);
        h.answer = -EPIPE;
        hand_block(&h, 3, 0, 4096);
        assert_true(stream_fetch_next_deadline(h.fetch) == USEC_INFINITY);
        hand_block(&h, 3, 1, 4096);
        stream_fetch_on_writable(h.fetch, 2 * USEC_PER_SEC);
        stream_fetch_on_timer(h.fetch, 1000 * USEC_PER_SEC);
        assert_int_equal(h.n_done, 0);
        stream_fetch_free(h.fetch);
}

static void hand_reject(Hand *h, StreamRejectionCode code, const char *token, uint64_t now_usec)
{
        StreamRejection rejection = {.code = code, .code_text = "Code", .message = "a message"};

        strcpy(rejection.client_token, token);
        stream_fetch_on_rejection(h->fetch, &rejection, now_usec);
}

static void test_rejections(void **state)
{
        static const struct {
                StreamRejectionCode code;
                FailureReason reason; /* NONE: it goes on */
        } rows[] = {
                {STREAM_REJECTION_UNKNOWN, FAILURE_NONE},
                {STREAM_REJECTION_INVALID_TOPIC, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_INVALID_JSON, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_INVALID_CBOR, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_INVALID_REQUEST, FAILURE_NONE},
                {STREAM_REJECTION_UNAUTHORIZED, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_BLOCK_SIZE_OUT_OF_BOUNDS, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_OFFSET_OUT_OF_BOUNDS, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_BLOCK_COUNT_LIMIT_EXCEEDED, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_BLOCK_BITMAP_LIMIT_EXCEEDED, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_RESOURCE_NOT_FOUND, FAILURE_STREAM_REFUSED},
                {STREAM_REJECTION_VERSION_MISMATCH, FAILURE_OBJECT_CHANGED},
                {STREAM_REJECTION_ETAG_MISMATCH, FAILURE_OBJECT_CHANGED},
                {STREAM_REJECTION_INTERNAL_ERROR, FAILURE_NONE},
        };
        Hand h;

        assert_int_equal(ELEMENTSOF(rows), _STREAM_REJECTION_MAX);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                hand_start(&h, MIB);
                hand_reject(&h, rows[i].code, h.token, USEC_PER_SEC);
                assert_int_equal(h.n_done, rows[i].reason != FAILURE_NONE);
                assert_int_equal(h.failure.reason, rows[i].reason);
                if (rows[i].reason != FAILURE_NONE)
                        assert_true(stream_fetch_next_deadline(h.fetch) == USEC_INFINITY);
                stream_fetch_free(h.fetch);
        }
}

static void test_a_request_refused_twice(void **state)
{
        unsigned n_requests;
        Hand h;

        hand_start(&h, MIB);
        n_requests = h.n_requests;
        hand_reject(&h, STREAM_REJECTION_INVALID_REQUEST, h.token, USEC_PER_SEC);
        assert_int_equal(h.n_requests, n_requests + 1);
        hand_block(&h, 3, 0, 4096); /* good again in between */
        hand_reject(&h, STREAM_REJECTION_INVALID_REQUEST, h.token, USEC_PER_SEC);
        assert_int_equal(h.n_done, 0);
        hand_reject(&h, STREAM_REJECTION_INVALID_REQUEST, h.token, USEC_PER_SEC);
        assert_int_equal(h.failure.reason, FAILURE_STREAM_REFUSED);
        stream_fetch_free(h.fetch);
}

/* One hiccup is answered to every request in flight; it is one, and the pauses grow. */
static void test_internal_errors(void **state)
{
        uint64_t now = USEC_PER_SEC, pause = 0;
        unsigned n_rounds = 0;
        Hand h;

        hand_start(&h, MIB);
        while (h.n_done == 0 && n_rounds < 20) {
                uint64_t deadline;

                for (unsigned i = 1; i <= h.n_requests; i++) {
                        char token[STREAM_CLIENT_TOKEN_MAX + 1];

                        snprintf(token, sizeof(token), "b-%u", i);
                        hand_reject(&h, STREAM_REJECTION_INTERNAL_ERROR, token, now);
                }
                n_rounds++;
                if (h.n_done > 0)
                        break;
                deadline = stream_fetch_next_deadline(h.fetch);
                assert_true(deadline - now > pause);
                pause = deadline - now;
                now = deadline;
                stream_fetch_on_timer(h.fetch, now);
        }
        assert_int_equal(n_rounds, 8);
        assert_int_equal(h.failure.reason, FAILURE_DOWNLOAD_FAILED);
        stream_fetch_free(h.fetch);
}

static void test_rejections_that_are_not_for_a_request(void **state)
{
        Hand h;

        hand_start(&h, MIB);
        hand_reject(&h, STREAM_REJECTION_RESOURCE_NOT_FOUND, "d-1", USEC_PER_SEC); /* of the describe: no harm */
        assert_int_equal(h.n_done, 0);
        hand_reject(&h, STREAM_REJECTION_UNAUTHORIZED, "", USEC_PER_SEC); /* the service need not name a token */
        assert_int_equal(h.failure.reason, FAILURE_STREAM_REFUSED);
        hand_reject(&h, STREAM_REJECTION_UNAUTHORIZED, "", USEC_PER_SEC);
        assert_int_equal(h.n_done, 1);
        stream_fetch_free(h.fetch);
}

static void test_descriptions(void **state)
{
        static const struct {
                StreamFile files[2];
                int32_t version;
                FailureReason reason;
        } rows[] = {
                {{{3, MIB}, {4, 1}}, 5, FAILURE_NONE},
                {{{4, 1}, {3, MIB}}, -1, FAILURE_NONE},
                {{{3, MIB + 1}, {4, 1}}, 5, FAILURE_OBJECT_CHANGED},
                {{{3, 0}, {4, 1}}, 5, FAILURE_OBJECT_CHANGED},
                {{{2, MIB}, {4, MIB}}, 5, FAILURE_STREAM_REFUSED},
        };
        Hand h;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                StreamDescription description = {.version = rows[i].version, .n_files = 2};

                memcpy(description.files, rows[i].files, sizeof(rows[i].files));
                hand_start(&h, MIB);
                assert_int_equal(h.version, -1);
                stream_fetch_on_description(h.fetch, &description, USEC_PER_SEC);
                assert_int_equal(h.failure.reason, rows[i].reason);
                if (rows[i].reason == FAILURE_NONE) {
                        hand_reject(&h, STREAM_REJECTION_INVALID_REQUEST, h.token, USEC_PER_SEC);
                        assert_int_equal(h.version, rows[i].version);
                }
                stream_fetch_free(h.fetch);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_largest_file),
                cmocka_unit_test(test_resumes_at_any_byte),
                cmocka_unit_test(test_parameters_out_of_range),
                cmocka_unit_test(test_any_order),
                cmocka_unit_test(test_random_loss),
                cmocka_unit_test(test_one_lost_block_costs_a_round_trip),
                cmocka_unit_test(test_silence),
                cmocka_unit_test(test_stall_ends_it),
                cmocka_unit_test(test_throughput),
                cmocka_unit_test(test_pace),
                cmocka_unit_test(test_never_100_messages_in_a_second),
                cmocka_unit_test(test_a_service_that_throws_away),
                cmocka_unit_test(test_window_is_kept),
                cmocka_unit_test(test_pipe_full_at_any_byte),
                cmocka_unit_test(test_pipe_that_takes_little),
                cmocka_unit_test(test_slow_pipe_is_no_stall),
                cmocka_unit_test(test_version_is_named),
                cmocka_unit_test(test_blocks_that_are_not_ours),
                cmocka_unit_test(test_nobody_takes_the_bytes),
                cmocka_unit_test(test_rejections),
                cmocka_unit_test(test_a_request_refused_twice),
                cmocka_unit_test(test_internal_errors),
                cmocka_unit_test(test_rejections_that_are_not_for_a_request),
                cmocka_unit_test(test_descriptions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
