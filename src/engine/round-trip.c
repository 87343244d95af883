#include "round-trip.h"

#include "base/cleanup.h"
#include "base/time-util.h"

/* RFC 6298 says one second for both floor and start. A stream service answers within a local path's
 * milliseconds, and asking twice costs one block: the floor may be lower; the first answer may wait for a
 * cold store. */
enum {
        TIMEOUT_FLOOR_USEC = 100 * 1000,
        TIMEOUT_START_USEC = 2 * 1000 * 1000,
        TIMEOUT_CEILING_USEC = 10 * 1000 * 1000,
};

void round_trip_sample(RoundTrip *rt, uint64_t usec)
{
        usec = MAX2(usec, 1);
        if (rt->smoothed_usec == 0) {
                rt->smoothed_usec = rt->least_usec = usec;
                rt->variance_usec = usec / 2;
        } else {
                uint64_t error = usec > rt->smoothed_usec ? usec - rt->smoothed_usec : rt->smoothed_usec - usec;

                rt->variance_usec = (3 * rt->variance_usec + error) / 4;
                rt->smoothed_usec = (7 * rt->smoothed_usec + usec) / 8;
                rt->least_usec = MIN2(rt->least_usec, usec);
        }
        rt->n_timeouts = 0;
}

uint64_t round_trip_timeout_usec(const RoundTrip *rt)
{
        uint64_t timeout = TIMEOUT_START_USEC;

        if (rt->smoothed_usec > 0)
                timeout = MAX2(rt->smoothed_usec + 4 * rt->variance_usec, (uint64_t)TIMEOUT_FLOOR_USEC);
        for (unsigned i = 0; i < rt->n_timeouts && timeout < TIMEOUT_CEILING_USEC; i++)
                timeout *= 2;
        return MIN2(timeout, (uint64_t)TIMEOUT_CEILING_USEC);
}
