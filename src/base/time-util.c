#include "base/time-util.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t clock)
{
        struct timespec ts = {0};

        /* Cannot fail for clocks that every supported kernel has; 0 would only mean "long ago". */
        (void)clock_gettime(clock, &ts);
        return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t now_usec(void)
{
        return read_clock(CLOCK_BOOTTIME);
}

uint64_t wall_clock_usec(void)
{
        return read_clock(CLOCK_REALTIME);
}

uint64_t usec_add(uint64_t a, uint64_t b)
{
        return a > USEC_INFINITY - b ? USEC_INFINITY : a + b;
}

uint64_t usec_sub(uint64_t a, uint64_t b)
{
        if (a == USEC_INFINITY)
                return USEC_INFINITY;
        return a > b ? a - b : 0;
}

const char *duration_format(char text[static DURATION_TEXT_MAX], uint64_t usec)
{
        uint64_t sec = usec / USEC_PER_SEC;

        if (usec == USEC_INFINITY)
                snprintf(text, DURATION_TEXT_MAX, "for ever");
        else if (sec < 1)
                snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 "ms", usec / USEC_PER_MSEC);
        else if (sec < 60)
                snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 "s", sec);
        else if (sec < 3600)
                snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 "min %" PRIu64 "s", sec / 60, sec % 60);
        else
                snprintf(text, DURATION_TEXT_MAX, "%" PRIu64 "h %" PRIu64 "min", sec / 3600, sec / 60 % 60);
        return text;
}

const char *timestamp_format(char text[static TIMESTAMP_TEXT_MAX], uint64_t wall_clock)
{
        time_t seconds = (time_t)(wall_clock / USEC_PER_SEC);
        struct tm tm;

        if (!gmtime_r(&seconds, &tm) || strftime(text, TIMESTAMP_TEXT_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                text[0] = '\0';
        return text;
}
