#include <stdbool.h>

#include "trust/clock.h"
#include "unit.h"

static void test_decision(void **state)
{
        static const struct {
                ClockSigns signs;
                bool known;
        } cases[] = {
                {{true, false, 1000}, true},       {{false, true, 1000}, true}, {{true, true, 2000}, true},
                {{false, false, 2000}, false},     {{true, true, 999}, false},  {{true, false, 0}, false},
                {{false, true, UINT64_MAX}, true},
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                assert_int_equal(clock_is_known(&cases[i].signs, 1000), cases[i].known);
}

static void test_reading(void **state)
{
        ClockSigns signs = {};

        clock_read_signs(&signs);
        assert_true(signs.wall_clock_usec > 0);
        /* Whoever keeps it: a clock before the reference is not known to be right. */
        assert_int_equal(clock_is_known(&signs, signs.wall_clock_usec + 1), false);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_decision),
                cmocka_unit_test(test_reading),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
