/*
 * stream-fetch: one file by MQTT stream, from a given byte onwards: which blocks to ask for, and when again.
 *
 * Keeps several requests in flight, each for at most 128 KB, within a congestion window that grows while
 * blocks come in and shrinks on silence. Takes blocks in any order, hands bytes on in order, and holds what
 * came early in a bounded window. A block is lost when a later request was answered whole, or when the
 * retransmission time-out (RFC 6298, from the measured round-trip times; tokens make each sample unambiguous)
 * runs out: then just the missing blocks are asked for again.
 *
 * Told the time; knows no topic, no socket and no file. Sources: AWS IoT Developer Guide, "Using AWS IoT
 * MQTT-based file delivery in devices" (128 KB a request, blocks out of order, repeated or missing); AWS
 * General Reference (100 messages a second and connection, the excess is discarded).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/failure.h"
#include "codec/stream-block.h"

typedef struct StreamFetch StreamFetch;

typedef struct StreamFetchParams {
        uint8_t file_id;
        uint64_t size_bytes;   /* 1 to STREAM_FILE_MAX_BYTES */
        uint64_t first_byte;   /* less than size_bytes */
        uint32_t block_bytes;  /* 256 to 65536 */
        uint32_t window_bytes; /* bound on what is held out of order; half of it is in flight; at least 128 KiB */
        bool aws_limits;       /* never ask for more than 100 messages a second */
        uint64_t max_bytes_per_sec; /* asked for; 0: no bound */
        uint64_t stall_usec;        /* no new block for this long ends the fetch */
} StreamFetchParams;

typedef struct StreamFetchOps {
        /* Publishes. What is lost is asked for again, so there is no outcome. */
        void (*request)(const StreamRequest *request, void *userdata);
        void (*describe)(const char *client_token, void *userdata);
        /*
         * Takes bytes in order; returns how many. Fewer than offered: no more now, stream_fetch_on_writable()
         * follows. Negative: nobody takes them any more; the fetch falls silent and its owner frees it.
         */
        ssize_t (*deliver)(const uint8_t *data, size_t n_data, void *userdata);
        /* Once, last of all; NULL: every byte was delivered. May free the fetch. */
        void (*done)(const Failure *failure, void *userdata);
} StreamFetchOps;

/* What it did, for otactl and for the choice of block size and window. */
typedef struct StreamFetchStats {
        uint64_t n_requests;
        uint64_t n_blocks;        /* new and right */
        uint64_t n_delivered;     /* handed on whole, in order */
        uint64_t n_lost;          /* asked for again */
        uint64_t n_ignored;       /* repeated, foreign, of a wrong length */
        uint64_t round_trip_usec; /* smoothed; 0 before the first sample */
} StreamFetchStats;

/* Sends nothing yet. -EINVAL: a parameter out of its range. -ENOMEM. */
_must_use_ int stream_fetch_new(const StreamFetchParams *params, const StreamFetchOps *ops, void *userdata,
                                StreamFetch **ret);
StreamFetch *stream_fetch_free(StreamFetch *fetch); /* cancels; NULL is fine; returns NULL */
DEFINE_CLEANUP(StreamFetch *, stream_fetch_free);

/* Each may call ops, done among them. */
void stream_fetch_start(StreamFetch *fetch, uint64_t now_usec);
void stream_fetch_on_block(StreamFetch *fetch, const StreamBlock *block, uint64_t now_usec);
void stream_fetch_on_rejection(StreamFetch *fetch, const StreamRejection *rejection, uint64_t now_usec);
void stream_fetch_on_description(StreamFetch *fetch, const StreamDescription *description, uint64_t now_usec);
void stream_fetch_on_writable(StreamFetch *fetch, uint64_t now_usec);
void stream_fetch_on_timer(StreamFetch *fetch, uint64_t now_usec);

/* USEC_INFINITY: none. Ask again after each event. */
uint64_t stream_fetch_next_deadline(const StreamFetch *fetch);
const StreamFetchStats *stream_fetch_stats(const StreamFetch *fetch);
