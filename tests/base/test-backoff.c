#include "base/backoff.h"
#include "base/time-util.h"
#include "unit.h"

static void test_grows_to_the_cap_and_stays_there(void **state)
{
        Backoff backoff = {.base_usec = 500000, .cap_usec = 8000000};

        for (unsigned i = 0; i < 200; i++) {
                uint64_t ceiling = i < 4 ? UINT64_C(500000) << i : 8000000;
                uint64_t wait = backoff_next_usec(&backoff);

                assert_true(wait > 0 && wait <= ceiling + 1);
                assert_true(wait >= ceiling / 10);
        }
        assert_int_equal(backoff.n_failures, 200);
}

static void test_waits_are_spread(void **state)
{
        unsigned n_lower_half = 0;

        for (unsigned i = 0; i < 400; i++) {
                Backoff backoff = {.base_usec = 1000000, .cap_usec = 1000000};

                n_lower_half += backoff_next_usec(&backoff) < 500000;
        }
        /* Full jitter puts about half of them there; 6 sigma around 200 are +-60. */
        assert_true(n_lower_half > 140 && n_lower_half < 260);
}

static void test_reset_starts_again(void **state)
{
        Backoff backoff = {.base_usec = 1000, .cap_usec = 1000000};

        for (unsigned i = 0; i < 20; i++)
                backoff_next_usec(&backoff);
        backoff_reset(&backoff);
        assert_true(backoff_next_usec(&backoff) <= 1001);
}

static void test_durations_read_well(void **state)
{
        char text[DURATION_TEXT_MAX];

        assert_string_equal(duration_format(text, 850 * USEC_PER_MSEC), "850ms");
        assert_string_equal(duration_format(text, 30 * USEC_PER_SEC), "30s");
        assert_string_equal(duration_format(text, 125 * USEC_PER_SEC), "2min 5s");
        assert_string_equal(duration_format(text, 5400 * USEC_PER_SEC), "1h 30min");
        assert_string_equal(duration_format(text, USEC_INFINITY), "for ever");
        assert_true(usec_add(USEC_INFINITY - 1, 5) == USEC_INFINITY);
        assert_true(usec_sub(5, 7) == 0 && usec_sub(USEC_INFINITY, 7) == USEC_INFINITY);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grows_to_the_cap_and_stays_there),
                cmocka_unit_test(test_waits_are_spread),
                cmocka_unit_test(test_reset_starts_again),
                cmocka_unit_test(test_durations_read_well),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
