/*
 * time-util: microseconds on CLOCK_BOOTTIME, which counts suspend and never jumps.
 *
 * Wall-clock time is asked for in three places only: certificate dates, windows of the week, and what a person reads.
 */
#pragma once

#include <stdint.h>

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC  UINT64_C(1000000)
#define USEC_PER_DAY  (86400 * USEC_PER_SEC)
#define SEC_PER_DAY   INT64_C(86400)
#define USEC_INFINITY UINT64_MAX

/* No wall clock that shows less can be right: this source did not exist then. 2026-01-01T00:00:00Z; raised with
 * releases. */
#define CLOCK_REFERENCE_USEC (UINT64_C(1767225600) * USEC_PER_SEC)

uint64_t now_usec(void);        /* CLOCK_BOOTTIME */
uint64_t wall_clock_usec(void); /* CLOCK_REALTIME, since 1970 */

/* Addition that saturates at USEC_INFINITY. */
uint64_t usec_add(uint64_t a, uint64_t b);
/* a - b, 0 where b is later; USEC_INFINITY stays infinite. */
uint64_t usec_sub(uint64_t a, uint64_t b);

enum { DURATION_TEXT_MAX = 32, TIMESTAMP_TEXT_MAX = 32 };
/* "850ms", "30s", "2min 5s", "1h 30min", "for ever". Returns `text`. */
const char *duration_format(char text[static DURATION_TEXT_MAX], uint64_t usec);
/* A wall clock's time in UTC, RFC 3339: "2026-11-26T18:13:42Z"; "" where it has no such form. Returns `text`. */
const char *timestamp_format(char text[static TIMESTAMP_TEXT_MAX], uint64_t wall_clock);
