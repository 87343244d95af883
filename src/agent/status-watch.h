/*
 * status-watch: what can only be told from how the engine's status changes: how fast bytes come in, and how the last
 * update ended. A plain value, told the time.
 */
#pragma once

#include <stdbool.h>

#include "agent/status-json.h"

typedef struct StatusWatch {
        /* the update under way, as last seen */
        JobKey key;
        UpdateState state;
        Failure failure;

        /* speed */
        bool sampled;
        uint64_t sample_usec;
        uint64_t sample_bytes;
        double bytes_per_second;

        /* otad-installer tells it now and then; between, it is counted down */
        uint64_t selftest_told_usec;
        uint64_t selftest_told_at_usec;

        StatusResult last;
} StatusWatch;

/* True: an update has ended, watch->last says how. */
bool status_watch_observe(StatusWatch *watch, const EngineStatus *status, uint64_t now_usec,
                          uint64_t wall_clock_usec);
/* Until otad-installer rolls back, counted down from what it told last; USEC_INFINITY outside of testing. */
uint64_t status_watch_selftest_left(const StatusWatch *watch, uint64_t now_usec);
