#include "base/backoff.h"
#include "base/cleanup.h"
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

static void test_periods_are_spread(void **state)
{
        unsigned n_lower_half = 0;

        for (unsigned i = 0; i < 400; i++) {
                uint64_t period = backoff_spread_usec(3600 * USEC_PER_SEC);

                assert_true(period >= 3240 * USEC_PER_SEC && period <= 3600 * USEC_PER_SEC);
                n_lower_half += period < 3420 * USEC_PER_SEC;
        }
        assert_true(n_lower_half > 140 && n_lower_half < 260); /* as above */
        assert_int_equal(backoff_spread_usec(1), 1);
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

static void test_timestamps(void **state)
{
        static const struct {
                uint64_t sec;
                const char *text;
        } cases[] = {
                {0, "1970-01-01T00:00:00Z"},
                {951782399, "2000-02-28T23:59:59Z"},
                {951782400, "2000-02-29T00:00:00Z"},
                {951868800, "2000-03-01T00:00:00Z"},
                {1767225599, "2025-12-31T23:59:59Z"},
                {UINT64_C(2147483648), "2038-01-19T03:14:08Z"},
                {UINT64_C(2524607999), "2049-12-31T23:59:59Z"}, /* when certificates of AWS IoT end */
                {UINT64_C(4107542400), "2100-03-01T00:00:00Z"},
                {UINT64_C(253402300799), "9999-12-31T23:59:59Z"},
                {UINT64_C(253402300800), ""},
        };
        char text[TIMESTAMP_TEXT_MAX];

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_string_equal(timestamp_format(text, cases[i].sec * USEC_PER_SEC + 999999), cases[i].text);
        assert_string_equal(timestamp_format(text, USEC_INFINITY), "");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_grows_to_the_cap_and_stays_there),
                cmocka_unit_test(test_waits_are_spread),
                cmocka_unit_test(test_reset_starts_again),
                cmocka_unit_test(test_periods_are_spread),
                cmocka_unit_test(test_durations_read_well),
                cmocka_unit_test(test_timestamps),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
