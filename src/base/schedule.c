#include "base/schedule.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/time-util.h"

enum {
        DAY_SEC = 24 * 60 * 60,
        WEEK_SEC = 7 * DAY_SEC,
        ALL_DAYS = 0x7f,
        /* Edges and changes of the zone's offset that are looked at: more than there are in two weeks. */
        EDGES_MAX = 4 * 7 * SCHEDULE_WINDOWS_MAX,
};

static const char day_words[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

/* -- from text -------------------------------------------------------------------------------------------------- */

static int take_day(const char **text)
{
        for (int day = 0; day < (int)ELEMENTSOF(day_words); day++)
                if (strncasecmp(*text, day_words[day], 3) == 0) {
                        *text += 3;
                        return day;
                }
        return -EINVAL;
}

/* "Sat,Sun", "Mon-Wed,Fri"; a range may lead over the end of the week. */
static int take_days(const char **text, uint8_t *ret)
{
        uint8_t days = 0;

        for (;;) {
                int day = take_day(text), last = day;

                if (day >= 0 && **text == '-') {
                        (*text)++;
                        last = take_day(text);
                }
                if (day < 0 || last < 0)
                        return -EINVAL;
                for (days |= (uint8_t)(1 << day); day != last; days |= (uint8_t)(1 << day))
                        day = (day + 1) % 7;
                if (**text != ',')
                        break;
                (*text)++;
        }
        *ret = days;
        return 0;
}

/* "HH:MM", in seconds of the day. */
static int take_time(const char **text, uint32_t *ret)
{
        const char *t = *text;
        uint32_t hour, minute;

        if (!isdigit((unsigned char)t[0]) || !isdigit((unsigned char)t[1]) || t[2] != ':' ||
            !isdigit((unsigned char)t[3]) || !isdigit((unsigned char)t[4]))
                return -EINVAL;
        hour = (uint32_t)(t[0] - '0') * 10 + (uint32_t)(t[1] - '0');
        minute = (uint32_t)(t[3] - '0') * 10 + (uint32_t)(t[4] - '0');
        if (minute > 59 || hour * 60 + minute > 24 * 60)
                return -EINVAL;
        *text += 5;
        *ret = (hour * 60 + minute) * 60;
        return 0;
}

int schedule_window_parse(const char *text, ScheduleWindow *ret, const char **reterr_why)
{
        ScheduleWindow window = {.days = ALL_DAYS};
        uint32_t end = 0;

        if (isalpha((unsigned char)text[0])) {
                *reterr_why = "the days are none";
                if (take_days(&text, &window.days) < 0 || *text != ' ')
                        return -EINVAL;
                text += strspn(text, " ");
        }
        *reterr_why = "the times are none";
        if (take_time(&text, &window.begin_sec) < 0 || window.begin_sec == DAY_SEC || *text++ != '-' ||
            take_time(&text, &end) < 0 || *text)
                return -EINVAL;
        *reterr_why = "it ends when it begins; 00:00-24:00 is the whole day";
        if (end == window.begin_sec)
                return -EINVAL;
        window.length_sec = end > window.begin_sec ? end - window.begin_sec : DAY_SEC - window.begin_sec + end;
        *ret = window;
        return 0;
}

/* -- in time ---------------------------------------------------------------------------------------------------- */

static struct tm local_time(time_t t)
{
        struct tm tm = {0};

        (void)localtime_r(&t, &tm); /* fails for years no int can hold; then it is a Sunday's first second */
        return tm;
}

static uint32_t second_of_week(time_t t)
{
        struct tm tm = local_time(t);

        /* A leap second counts as the one before. */
        return (uint32_t)(tm.tm_wday * DAY_SEC + tm.tm_hour * 3600 + tm.tm_min * 60 + MIN2(tm.tm_sec, 59));
}

static bool is_open_at(const Schedule *schedule, uint32_t second)
{
        for (size_t i = 0; i < schedule->n; i++)
                for (uint32_t day = 0; day < 7; day++) {
                        const ScheduleWindow *w = &schedule->windows[i];
                        uint32_t begin = day * DAY_SEC + w->begin_sec;

                        if ((w->days & (1 << day)) && (second + WEEK_SEC - begin) % WEEK_SEC < w->length_sec)
                                return true;
                }
        return schedule->n == 0;
}

/* Seconds on the local clock, at least one, to the next beginning or end of any window. */
static uint32_t to_next_edge(const Schedule *schedule, uint32_t second)
{
        uint32_t least = WEEK_SEC;

        for (size_t i = 0; i < schedule->n; i++)
                for (uint32_t day = 0; day < 7; day++) {
                        const ScheduleWindow *w = &schedule->windows[i];
                        uint32_t begin = day * DAY_SEC + w->begin_sec;

                        if (!(w->days & (1 << day)))
                                continue;
                        least = MIN2(least, (begin + WEEK_SEC - second - 1) % WEEK_SEC + 1);
                        least = MIN2(least, (begin + w->length_sec + WEEK_SEC - second - 1) % WEEK_SEC + 1);
                }
        return least;
}

/* The first second in (from, to] with another offset from UTC than `from`; `to` where it has the same. */
static time_t to_next_offset(time_t from, time_t to)
{
        long offset = local_time(from).tm_gmtoff;

        if (local_time(to).tm_gmtoff == offset)
                return to;
        while (to - from > 1) {
                time_t middle = from + (to - from) / 2;

                if (local_time(middle).tm_gmtoff == offset)
                        from = middle;
                else
                        to = middle;
        }
        return to;
}

bool schedule_is_open(const Schedule *schedule, uint64_t wall_usec, uint64_t *ret_change_usec)
{
        time_t t = (time_t)(wall_usec / USEC_PER_SEC);
        bool open;

        tzset();
        *ret_change_usec = USEC_INFINITY;
        open = is_open_at(schedule, second_of_week(t));
        for (unsigned i = 0; schedule->n > 0 && i < EDGES_MAX; i++) {
                /* While the offset stays, the local clock runs as the other does. */
                t = to_next_offset(t, t + to_next_edge(schedule, second_of_week(t)));
                if (is_open_at(schedule, second_of_week(t)) != open) {
                        *ret_change_usec = (uint64_t)t * USEC_PER_SEC;
                        break;
                }
        }
        return open;
}

const char *schedule_time_format(char text[static SCHEDULE_TIME_TEXT_MAX], uint64_t wall_usec)
{
        struct tm tm = local_time((time_t)(wall_usec / USEC_PER_SEC));

        snprintf(text, SCHEDULE_TIME_TEXT_MAX, "%s %02d:%02d", day_words[(unsigned)tm.tm_wday % 7], tm.tm_hour % 100,
                 tm.tm_min % 100);
        return text;
}
