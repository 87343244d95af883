/*
 * backoff: exponential backoff with full jitter, random(0, min(cap, base * 2^n)).
 *
 * A plain value. It knows no clock: the caller says when a try succeeded for long enough to forget the
 * failures. Source: AWS IoT Device Advisor expects exponential backoff with jitter, and that a connection
 * which drops right away does not reset it.
 */
#pragma once

#include <stdint.h>

typedef struct Backoff {
        uint64_t base_usec;
        uint64_t cap_usec;
        unsigned n_failures;
} Backoff;

/* The wait before the next try; counts one failure. Never less than a tenth of the current ceiling, never 0.
 */
uint64_t backoff_next_usec(Backoff *backoff);
void backoff_reset(Backoff *backoff);

/* The same for what is done again without a failure: the period, less up to a tenth of it, so that a fleet which began
 * together does not go on together. */
uint64_t backoff_spread_usec(uint64_t period_usec);
