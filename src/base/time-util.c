#include "base/time-util.h"

#include <inttypes.h>
#include <stdbool.h>
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

static bool is_leap(unsigned year)
{
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* Counted here, as gmtime() ends in January 2038 where a time_t has 32 bits, and certificates do not. */
const char *timestamp_format(char text[static TIMESTAMP_TEXT_MAX], uint64_t wall_clock)
{
        static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        uint64_t sec = wall_clock / USEC_PER_SEC, days = wall_clock / USEC_PER_DAY, n;
        unsigned year = 1970, month = 0;

        text[0] = '\0';
        for (; days >= (n = is_leap(year) ? 366 : 365); year++, days -= n)
                if (year == 9999)
                        return text;
        for (; days >= (n = month_days[month] + (month == 1 && is_leap(year))); month++)
                days -= n;
        snprintf(text, TIMESTAMP_TEXT_MAX, "%u-%02u-%02uT%02u:%02u:%02uZ", year, month + 1, (unsigned)days + 1,
                 (unsigned)(sec / 3600 % 24), (unsigned)(sec / 60 % 60), (unsigned)(sec % 60));
        return text;
}
