#include "pace.h"

#include "base/cleanup.h"
#include "base/time-util.h"

enum { PORTIONS_PER_SEC = 8 };

Pace pace_make(uint64_t bytes_per_sec, uint64_t now_usec)
{
        return (Pace){.bytes_per_sec = bytes_per_sec, .earned_usec = now_usec};
}

uint64_t pace_portion_bytes(const Pace *pace)
{
        return pace->bytes_per_sec == 0 ? UINT64_MAX : MAX2(pace->bytes_per_sec / PORTIONS_PER_SEC, UINT64_C(1));
}

bool pace_lets(Pace *pace, uint64_t now_usec)
{
        double earned;

        if (pace->bytes_per_sec == 0)
                return true;
        earned = (double)usec_sub(now_usec, pace->earned_usec) / USEC_PER_SEC * (double)pace->bytes_per_sec;
        /* What nobody took in time is lost, or a pause would be followed by a flood. */
        pace->bytes = MIN2(pace->bytes + earned, (double)pace_portion_bytes(pace));
        pace->earned_usec = MAX2(pace->earned_usec, now_usec);
        return pace->bytes >= 0;
}

void pace_spend(Pace *pace, uint64_t n_bytes)
{
        if (pace->bytes_per_sec > 0)
                pace->bytes -= (double)n_bytes;
}

uint64_t pace_next_usec(const Pace *pace)
{
        if (pace->bytes_per_sec == 0 || pace->bytes >= 0)
                return pace->earned_usec;
        return pace->earned_usec + (uint64_t)(-pace->bytes * USEC_PER_SEC / (double)pace->bytes_per_sec) + 1;
}
