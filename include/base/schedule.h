/*
 * schedule: times of the week by the local clock, such as "Mon-Fri 01:00-04:30". A plain value; told the time.
 *
 * A window is open while the clock on the wall shows a time in it. So where summer time begins, what lies in the hour
 * that is left out does not come; where it ends, what lies in the hour that comes twice is open twice. The time zone is
 * the C library's (TZ, /etc/localtime), read anew for each question.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

enum { SCHEDULE_WINDOWS_MAX = 16, SCHEDULE_TIME_TEXT_MAX = 16 };

typedef struct ScheduleWindow {
        uint8_t days;        /* on which it opens; bit 0: Sunday, as tm_wday */
        uint32_t begin_sec;  /* of the day */
        uint32_t length_sec; /* over midnight, where it leads there */
} ScheduleWindow;

typedef struct Schedule {
        size_t n; /* 0: always open */
        ScheduleWindow windows[SCHEDULE_WINDOWS_MAX];
} Schedule;

/*
 * "[DAYS ]HH:MM-HH:MM". DAYS: Mon, Mon-Fri, Sat,Sun, or several of these with commas between; none: each day. An end at
 * or before the beginning is one of the next day; 24:00 is the end of the day. -EINVAL: *reterr_why tells what is wrong.
 */
_must_use_ int schedule_window_parse(const char *text, ScheduleWindow *ret, const char **reterr_why);

/* Whether it is open at this wall clock time, and when that changes next: USEC_INFINITY: never. */
bool schedule_is_open(const Schedule *schedule, uint64_t wall_usec, uint64_t *ret_change_usec);

/* "Sat 00:00", by the local clock. Returns `text`. */
const char *schedule_time_format(char text[static SCHEDULE_TIME_TEXT_MAX], uint64_t wall_usec);
