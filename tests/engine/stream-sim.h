/*
 * stream-sim: a stream service behind a path with delay, loss and disorder, in simulated time.
 *
 * Drives one StreamFetch to its end. Each request is checked against what the service would take (AWS IoT Developer
 * Guide, "Using AWS IoT MQTT-based file delivery in devices"), each delivered byte against the file. Deterministic:
 * chance comes from `seed`.
 */
#pragma once

#include "engine/stream-fetch.h"

typedef struct StreamSim StreamSim;

typedef struct StreamSimParams {
        StreamFetchParams fetch;
        uint64_t round_trip_usec;
        uint64_t jitter_usec;       /* up to this much later, each block by itself: disorder */
        uint64_t bytes_per_sec;     /* blocks leave one after the other; 0: all at once */
        unsigned loss_percent;      /* of blocks */
        unsigned duplicate_percent; /* of blocks */
        unsigned messages_per_sec;  /* more in one second of the clock are thrown away; 0: none are */
        int32_t version;            /* told by the description; -1: describe is never answered */
        uint64_t sink_pause_usec;   /* from a full pipe to a writable one */
        /* True: this copy of the block (the n_sent-th, from 0) never arrives. NULL: chance alone decides. */
        bool (*lose)(StreamSim *sim, uint32_t block, unsigned n_sent);
        /* How many of n bytes the pipe takes now. NULL: all. */
        size_t (*take)(StreamSim *sim, size_t n);
        unsigned seed;
} StreamSimParams;

struct StreamSim {
        StreamSimParams params;
        StreamFetch *fetch;
        uint64_t began_usec;
        uint64_t now_usec;
        uint64_t random;

        struct SimEvent *events; /* a heap */
        size_t n_events, n_allocated;
        uint64_t n_scheduled;

        unsigned *n_sent; /* of each block */
        bool *arrived;
        uint64_t service_free_usec;
        uint64_t *sent_usec; /* ring of the last second's messages */
        size_t n_sent_ring, ring_first;

        bool done;
        bool waits_for_writable;
        Failure failure; /* of done; NONE: it went well */
        uint64_t delivered_bytes;
        uint64_t ended_usec;   /* since the begin */
        uint64_t n_sent_twice; /* blocks the service sent more than once */
        uint64_t n_requests;
        unsigned n_describes;
        unsigned n_versioned;           /* requests that named the version */
        unsigned most_messages_per_sec; /* in any second, sliding */
        uint64_t most_early_bytes;      /* arrived and not yet delivered */
        uint64_t early_bytes;
        StreamFetchStats stats;
};

/* Simulates until the fetch has ended; fails the test where it breaks a rule, is stuck or loops. */
void stream_sim_run(StreamSim *sim, const StreamSimParams *params);
/* The bytes of the file from `offset` on. */
const uint8_t *stream_sim_bytes(uint64_t offset);
uint32_t stream_sim_random(StreamSim *sim, uint32_t below);
