/*
 * clock: is the wall clock known to be right, so that a certificate's dates mean something?
 *
 * A gateway without a battery starts in 1970 or at its image's build date. Refusing a good update for that,
 * or accepting an expired certificate for it, would both be wrong, so the question is asked before dates are
 * looked at.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* A plain value: what the system says about its clock. */
typedef struct ClockSigns {
        bool kernel_synchronized;    /* adjtimex(2): neither STA_UNSYNC nor TIME_ERROR */
        bool timesyncd_synchronized; /* /run/systemd/timesync/synchronized is there: systemd-timesyncd(8) */
        uint64_t wall_clock_usec;    /* CLOCK_REALTIME */
} ClockSigns;

void clock_read_signs(ClockSigns *ret);
/* Something keeps the clock, and it shows no time before `reference_usec`. */
bool clock_is_known(const ClockSigns *signs, uint64_t reference_usec);
