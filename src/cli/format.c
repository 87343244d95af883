#include "cli/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/time-util.h"

const char *bytes_format(char text[static FORMAT_TEXT_MAX], uint64_t bytes)
{
        static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
        uint64_t whole = bytes, rest = 0;
        size_t unit = 0;

        while (whole >= 1024 && unit + 1 < ELEMENTSOF(units)) {
                rest = whole % 1024;
                whole /= 1024;
                unit++;
        }
        if (unit == 0)
                snprintf(text, FORMAT_TEXT_MAX, "%" PRIu64 " B", whole);
        else
                snprintf(text, FORMAT_TEXT_MAX, "%" PRIu64 ".%" PRIu64 " %s", whole, rest * 10 / 1024, units[unit]);
        return text;
}

const char *speed_format(char text[static FORMAT_TEXT_MAX], uint64_t bytes_per_second)
{
        bytes_format(text, bytes_per_second);
        strcat(text, "/s");
        return text;
}

const char *time_left_format(char text[static FORMAT_TEXT_MAX], uint64_t held, uint64_t total,
                             uint64_t bytes_per_second)
{
        char duration[DURATION_TEXT_MAX];
        uint64_t seconds;

        text[0] = 0;
        if (bytes_per_second == 0 || held >= total)
                return text;
        seconds = (total - held) / bytes_per_second;
        if (seconds < USEC_INFINITY / USEC_PER_SEC)
                snprintf(text, FORMAT_TEXT_MAX, "%.20s left",
                         duration_format(duration, (seconds + 1) * USEC_PER_SEC));
        return text;
}

const char *bar_format(char *text, size_t text_size, unsigned width, uint64_t part, uint64_t whole)
{
        unsigned inside, full;

        text[0] = 0;
        if (width < 3 || width >= text_size)
                return text;
        inside = width - 2;
        if (whole == 0)
                full = 0;
        else if (part >= whole)
                full = inside;
        else
                full = MIN2((unsigned)((double)part / (double)whole * inside), inside - 1);
        text[0] = '[';
        memset(text + 1, '#', full);
        memset(text + 1 + full, '.', inside - full);
        text[width - 1] = ']';
        text[width] = 0;
        return text;
}
