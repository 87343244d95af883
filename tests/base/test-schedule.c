/* Windows of the week: what they are written as, and when they are open, in a zone with summer time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/schedule.h"
#include "base/time-util.h"
#include "stride.h"
#include "unit.h"

static void add(Schedule *schedule, const char *text)
{
        const char *why = NULL;

        if (schedule_window_parse(text, &schedule->windows[schedule->n++], &why) < 0)
                fail_msg("'%s': %s", text, why);
}

/* "2026-11-26 18:00", by UTC. */
static uint64_t utc(const char *text)
{
        struct tm tm = {0};

        assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
        return (uint64_t)timegm(&tm) * USEC_PER_SEC;
}

static const char *utc_text(char text[static 32], uint64_t usec)
{
        time_t t = (time_t)(usec / USEC_PER_SEC);
        struct tm tm;

        if (usec == USEC_INFINITY)
                return "never";
        assert_non_null(gmtime_r(&t, &tm));
        assert_true(strftime(text, 32, tm.tm_sec == 0 ? "%Y-%m-%d %H:%M" : "%Y-%m-%d %H:%M:%S", &tm) > 0);
        return text;
}

static void test_bad_windows(void **state)
{
        static const char *const bad[] = {
                "",
                "01:00",
                "01:00-",
                "1:00-2:00",
                "01:00 - 02:00",
                "01:00-02:00 ",
                "25:00-26:00",
                "23:60-23:61",
                "24:00-01:00",
                "00:00-24:01",
                "-1:00-02:00",
                "Mon",
                "Mon ",
                "Mon-",
                "Mon- 01:00-02:00",
                "Mon,, 01:00-02:00",
                "Mon, 01:00-02:00",
                "Monday 01:00-02:00",
                "Mo 01:00-02:00",
                "Mun 01:00-02:00",
                "Mon01:00-02:00",
                "Mon-Fri-Sun 01:00-02:00",
                "03:00-03:00",
                "\xff 01:00-02:00",
        };
        ScheduleWindow window;

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const char *why = NULL;

                if (schedule_window_parse(bad[i], &window, &why) != -EINVAL)
                        fail_msg("'%s' is taken", bad[i]);
                assert_non_null(why);
        }
}

static void test_windows_are_read(void **state)
{
        static const struct {
                const char *text;
                ScheduleWindow window;
        } cases[] = {
                {"01:00-04:30", {0x7f, 3600, 12600}},          {"00:00-24:00", {0x7f, 0, 86400}},
                {"Mon-Fri 22:00-06:00", {0x3e, 79200, 28800}}, {"Sat,Sun 20:00-00:00", {0x41, 72000, 14400}},
                {"Fri-Mon 00:00-00:01", {0x63, 0, 60}},        {"mon-wed,SAT   12:00-13:00", {0x4e, 43200, 3600}},
                {"Sun-Sat 00:00-12:00", {0x7f, 0, 43200}},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ScheduleWindow window;
                const char *why = NULL;

                assert_int_equal(schedule_window_parse(cases[i].text, &window, &why), 0);
                assert_int_equal(window.days, cases[i].window.days);
                assert_int_equal(window.begin_sec, cases[i].window.begin_sec);
                assert_int_equal(window.length_sec, cases[i].window.length_sec);
        }
}

/* 2026-03-29 at 01:00 UTC the clock goes from 02:00 to 03:00, 2026-10-25 at 01:00 UTC from 03:00 to 02:00. */
static void test_open_and_next_change(void **state)
{
        static const struct {
                const char *windows[3];
                const char *now;
                bool open;
                const char *change;
        } cases[] = {
                {{NULL}, "2026-11-26 12:00", true, "never"},
                {{"00:00-24:00"}, "2026-11-26 12:00", true, "never"},
                {{"Mon-Fri 00:00-24:00", "Sat,Sun 00:00-24:00"}, "2026-11-26 12:00", true, "never"},
                /* winter: an hour ahead of UTC; a Thursday */
                {{"01:00-04:30"}, "2026-11-26 12:00", false, "2026-11-27 00:00"},
                {{"01:00-04:30"}, "2026-11-27 00:00", true, "2026-11-27 03:30"},
                {{"01:00-04:30"}, "2026-11-27 03:29", true, "2026-11-27 03:30"},
                {{"01:00-04:30"}, "2026-11-27 03:30", false, "2026-11-28 00:00"},
                {{"Mon-Fri 01:00-04:30", "Sat,Sun 00:00-06:00"}, "2026-11-27 12:00", false, "2026-11-27 23:00"},
                {{"Mon-Fri 01:00-04:30", "Sat,Sun 00:00-06:00"}, "2026-11-29 12:00", false, "2026-11-30 00:00"},
                /* over midnight, and over the end of the week */
                {{"Sat 22:00-06:00"}, "2026-11-28 20:59", false, "2026-11-28 21:00"},
                {{"Sat 22:00-06:00"}, "2026-11-29 04:00", true, "2026-11-29 05:00"},
                {{"Sat 22:00-06:00"}, "2026-11-29 05:00", false, "2026-12-05 21:00"},
                /* two that touch or overlap are one */
                {{"01:00-02:00", "02:00-03:00"}, "2026-11-27 00:30", true, "2026-11-27 02:00"},
                {{"01:00-03:00", "02:00-04:00"}, "2026-11-27 00:30", true, "2026-11-27 03:00"},
                /* summer: two hours ahead */
                {{"01:00-04:30"}, "2026-07-01 12:00", false, "2026-07-01 23:00"},
                /* the hour that is left out: what lies in it does not come, what begins in it begins after it */
                {{"02:15-02:45"}, "2026-03-28 12:00", false, "2026-03-30 00:15"},
                {{"02:30-04:00"}, "2026-03-28 12:00", false, "2026-03-29 01:00"},
                {{"01:30-02:30"}, "2026-03-29 00:45", true, "2026-03-29 01:00"},
                {{"01:00-04:00"}, "2026-03-28 12:00", false, "2026-03-29 00:00"},
                {{"01:00-04:00"}, "2026-03-29 00:30", true, "2026-03-29 02:00"},
                /* the hour that comes twice: what lies in it is open twice */
                {{"02:15-02:45"}, "2026-10-24 12:00", false, "2026-10-25 00:15"},
                {{"02:15-02:45"}, "2026-10-25 00:45", false, "2026-10-25 01:15"},
                {{"02:15-02:45"}, "2026-10-25 01:45", false, "2026-10-26 01:15"},
                {{"01:00-02:30"}, "2026-10-25 00:30", false, "2026-10-25 01:00"},
                {{"01:00-02:30"}, "2026-10-25 01:00", true, "2026-10-25 01:30"},
        };

        setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Schedule schedule = {0};
                uint64_t change = 0;
                char text[32];
                bool open;

                for (size_t k = 0; k < ELEMENTSOF(cases[i].windows) && cases[i].windows[k]; k++)
                        add(&schedule, cases[i].windows[k]);
                open = schedule_is_open(&schedule, utc(cases[i].now), &change);
                if (open != cases[i].open || strcmp(utc_text(text, change), cases[i].change) != 0)
                        fail_msg("case %zu: %s until %s", i, open ? "open" : "closed", utc_text(text, change));
        }
}

static void test_the_zone_may_change(void **state)
{
        Schedule schedule = {0};
        uint64_t change = 0;
        char text[SCHEDULE_TIME_TEXT_MAX];

        add(&schedule, "12:00-13:00");
        setenv("TZ", "UTC0", 1);
        assert_true(schedule_is_open(&schedule, utc("2026-11-26 12:30"), &change));
        assert_string_equal(schedule_time_format(text, change), "Thu 13:00");
        setenv("TZ", "XXX-5:30", 1);
        assert_false(schedule_is_open(&schedule, utc("2026-11-26 12:30"), &change));
        assert_true(change == utc("2026-11-27 06:30"));
        assert_string_equal(schedule_time_format(text, change), "Fri 12:00");
}

/* What is asked minute by minute, and what is foretold, is the same, over a year with both changes. With a stride of some
 * minutes, which must be less than any window and what is between two, a change lies somewhere in the last ones. */
static void test_foretold_is_what_comes(void **state)
{
        Schedule schedule = {0};
        uint64_t t = utc("2026-01-01 00:00"), end = utc("2027-01-01 00:00"), change = 0, later;
        uint64_t step = test_stride() * 60 * USEC_PER_SEC;
        bool open;

        setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
        add(&schedule, "Mon-Fri 01:00-02:30");
        add(&schedule, "Sat,Sun 22:00-02:45");
        open = schedule_is_open(&schedule, t, &change);
        for (t += step; t < end; t += step) {
                bool now = schedule_is_open(&schedule, t, &later);

                if (now != open)
                        assert_true(change <= t && change > t - step && change % (60 * USEC_PER_SEC) == 0);
                else
                        assert_true(change > t);
                open = now;
                change = later;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bad_windows),
                cmocka_unit_test(test_windows_are_read),
                cmocka_unit_test(test_open_and_next_change),
                cmocka_unit_test(test_the_zone_may_change),
                cmocka_unit_test(test_foretold_is_what_comes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
