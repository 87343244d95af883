/*
 * stream-window: which blocks of a stream are asked for, in flight, lost or held; the inside of stream-fetch.
 *
 *   stream-fetch.c    life, what the stream and the clock tell, the order in which bytes leave
 *   stream-window.c   the window: requests, losses, and how many blocks may be in flight
 */
#pragma once

#include "engine/stream-fetch.h"
#include "pace.h"
#include "round-trip.h"

enum {
        REQUESTS_MAX = 64,           /* in flight */
        BLOCKS_PER_REQUEST_MAX = 16, /* well below 100 messages a second even for small blocks */
        /* One connection gets 100 messages a second: these two add up to less, the rest is left to Jobs. */
        MESSAGES_PER_SEC = 78,
        MESSAGES_BURST = BLOCKS_PER_REQUEST_MAX,
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

/* Blocks of a request that makes the most of its 128 KB; and the same, or what the pace lets through at a time. */
unsigned stream_window_full_request(const StreamFetch *f);
unsigned stream_window_paced_request(const StreamFetch *f);

Slot *stream_window_slot(StreamFetch *f, uint32_t block);
uint8_t *stream_window_buffer(StreamFetch *f, uint32_t block);
uint32_t stream_window_block_length(const StreamFetch *f, uint32_t block);
uint32_t stream_window_end(const StreamFetch *f); /* the first block that has no slot */

/* Asks for as much as may be in flight now. */
void stream_window_send(StreamFetch *f, uint64_t now_usec);
uint32_t stream_window_parse_token(const char *token);                /* serial; 0: not one of ours */
Request *stream_window_find_request(StreamFetch *f, uint32_t serial); /* NULL: not in flight */
/* The blocks it has not brought are missing again. */
void stream_window_give_up(StreamFetch *f, Request *request);

/* Of a new block: its request is answered, wholly or in part, which makes older ones suspicious. */
void stream_window_credit(StreamFetch *f, const StreamBlock *block, uint64_t now_usec);
void stream_window_grow(StreamFetch *f);
void stream_window_hold(StreamFetch *f, const StreamBlock *block);
