#include "base/backoff.h"

#include <assert.h>
#include <sys/random.h>

#include "base/cleanup.h"

/* Should the kernel have no randomness yet (early boot), half of the range serves as well as any. */
static uint64_t random_below(uint64_t range)
{
        uint64_t random = 0;

        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
                random = range / 2;
        return random % range;
}

uint64_t backoff_next_usec(Backoff *backoff)
{
        uint64_t ceiling, wait;

        assert(backoff->base_usec > 0 && backoff->base_usec <= backoff->cap_usec);

        /* Doubling by shift would overflow for a long series of failures: stop at the cap. */
        ceiling = backoff->base_usec;
        for (unsigned i = 0; i < backoff->n_failures && ceiling < backoff->cap_usec; i++)
                ceiling *= 2;
        ceiling = MIN2(ceiling, backoff->cap_usec);
        backoff->n_failures++;

        wait = random_below(ceiling);
        return MAX2(wait, ceiling / 10) + 1;
}

void backoff_reset(Backoff *backoff)
{
        backoff->n_failures = 0;
}

uint64_t backoff_spread_usec(uint64_t period_usec)
{
        return period_usec - random_below(period_usec / 10 + 1);
}
