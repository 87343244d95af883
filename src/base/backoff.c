#include "base/backoff.h"

#include <assert.h>
#include <sys/random.h>

#include "base/cleanup.h"

uint64_t backoff_next_usec(Backoff *backoff)
{
        uint64_t ceiling, random = 0;

        assert(backoff->base_usec > 0 && backoff->base_usec <= backoff->cap_usec);

        /* Doubling by shift would overflow for a long series of failures: stop at the cap. */
        ceiling = backoff->base_usec;
        for (unsigned i = 0; i < backoff->n_failures && ceiling < backoff->cap_usec; i++)
                ceiling *= 2;
        ceiling = MIN2(ceiling, backoff->cap_usec);
        backoff->n_failures++;

        /* Should the kernel have no randomness yet (early boot), half of the ceiling serves as well as any.
         */
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
                random = ceiling / 2;
        return MAX2(random % ceiling, ceiling / 10) + 1;
}

void backoff_reset(Backoff *backoff)
{
        backoff->n_failures = 0;
}
