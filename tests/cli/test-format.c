#include <string.h>

#include "base/cleanup.h"
#include "cli/format.h"
#include "unit.h"

static void test_bytes(void **state)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } rows[] = {
                {0, "0 B"},
                {1023, "1023 B"},
                {1024, "1.0 KiB"},
                {1535, "1.4 KiB"},
                {1536, "1.5 KiB"},
                {1048575, "1023.9 KiB"},
                {1048576, "1.0 MiB"},
                {UINT64_C(43201331), "41.1 MiB"},
                {UINT64_C(1) << 40, "1.0 TiB"},
                {UINT64_MAX, "15.9 EiB"},
        };
        char text[FORMAT_TEXT_MAX];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_string_equal(bytes_format(text, rows[i].bytes), rows[i].text);
        assert_string_equal(speed_format(text, 1536), "1.5 KiB/s");
        assert_string_equal(speed_format(text, UINT64_MAX), "15.9 EiB/s");
}

static void test_time_left(void **state)
{
        static const struct {
                uint64_t held, total, speed;
                const char *text;
        } rows[] = {
                {0, 100, 0, ""},           {100, 100, 10, ""},           {200, 100, 10, ""},
                {0, 100, 1000, "1s left"}, {0, 590, 10, "1min 0s left"}, {0, UINT64_MAX, 1, ""},
        };
        char text[FORMAT_TEXT_MAX];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_string_equal(time_left_format(text, rows[i].held, rows[i].total, rows[i].speed), rows[i].text);
        /* Far away, but within the text. */
        time_left_format(text, 0, UINT64_MAX, 1 << 30);
        assert_non_null(strstr(text, " left"));
}

static void test_bar(void **state)
{
        static const struct {
                unsigned width;
                uint64_t part, whole;
                const char *text;
        } rows[] = {
                {12, 0, 100, "[..........]"},
                {12, 50, 100, "[#####.....]"},
                {12, 99, 100, "[#########.]"},
                {12, 100, 100, "[##########]"},
                {12, 101, 100, "[##########]"},
                {12, UINT64_MAX - 1, UINT64_MAX, "[#########.]"},
                {12, 0, 0, "[..........]"},
                {3, 1, 2, "[.]"},
                {2, 1, 2, ""},
                {16, 1, 2, ""}, /* does not fit below */
        };
        char text[16];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                assert_string_equal(bar_format(text, sizeof(text), rows[i].width, rows[i].part, rows[i].whole),
                                    rows[i].text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bytes),
                cmocka_unit_test(test_time_left),
                cmocka_unit_test(test_bar),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
