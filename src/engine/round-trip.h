/*
 * round-trip: smoothed round-trip time and retransmission time-out, as RFC 6298 computes them. A plain value.
 */
#pragma once

#include <stdint.h>

typedef struct RoundTrip {
        uint64_t smoothed_usec; /* 0: no sample yet */
        uint64_t variance_usec;
        uint64_t least_usec; /* the least ever seen: the path without queues */
        unsigned n_timeouts; /* in a row; each doubles the time-out */
} RoundTrip;

void round_trip_sample(RoundTrip *rt, uint64_t usec);
uint64_t round_trip_timeout_usec(const RoundTrip *rt);
