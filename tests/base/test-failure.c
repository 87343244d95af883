#include <errno.h>
#include <string.h>

#include "base/failure.h"
#include "base/update-state.h"
#include "unit.h"

static void test_every_reason_has_its_words(void **state)
{
        for (int i = 0; i < _FAILURE_MAX; i++) {
                const char *word = failure_reason_to_string((FailureReason)i);

                assert_non_null(word);
                assert_non_null(failure_reason_to_freertos((FailureReason)i));
                assert_int_equal(failure_reason_from_string(word), i);
        }
        assert_int_equal(failure_reason_from_string("no such word"), FAILURE_INTERNAL);
}

static void test_every_state_has_a_word(void **state)
{
        for (int i = 0; i < _UPDATE_STATE_MAX; i++)
                assert_int_equal(update_state_from_string(update_state_to_string((UpdateState)i)), i);
        assert_int_equal(update_state_from_string("asleep"), -EINVAL);
}

static void test_fail_escapes_and_cuts(void **state)
{
        Failure failure = {0};
        char huge[5000];

        assert_int_equal(fail(&failure, FAILURE_NO_SPACE, ENOSPC, "line\nbreak %s", "\x1b[31mred"), -ENOSPC);
        assert_int_equal(failure.reason, FAILURE_NO_SPACE);
        assert_string_equal(failure.detail, "line\\x0abreak \\x1b[31mred");

        memset(huge, 'x', sizeof(huge) - 1);
        huge[sizeof(huge) - 1] = 0;
        assert_int_equal(fail(&failure, FAILURE_INTERNAL, EIO, "%s", huge), -EIO);
        assert_int_equal(strlen(failure.detail), FAILURE_DETAIL_MAX - 1);
        assert_int_equal(fail(NULL, FAILURE_INTERNAL, EIO, "nobody asks"), -EIO);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_reason_has_its_words),
                cmocka_unit_test(test_every_state_has_a_word),
                cmocka_unit_test(test_fail_escapes_and_cuts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
