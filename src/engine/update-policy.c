#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/time-util.h"
#include "update-private.h"

/* The clock, or the time zone, may be set at any time: so it is looked at again that often. */
#define CLOCK_CHECK_USEC (60 * USEC_PER_SEC)

static bool refuse(Update *u, const char *why)
{
        /* While it is not asked a hook cannot go on saying "not now". */
        u->not_now_call = INSTALL_CALL_NONE;
        update_set_waiting(u, why);
        return false;
}

static bool is_open(Update *u, const Schedule *windows, const char *what, uint64_t now_usec)
{
        char text[FAILURE_DETAIL_MAX], time[SCHEDULE_TIME_TEXT_MAX];
        uint64_t wall_usec, change_usec, left_usec;
        bool is_open_now;

        if (windows->n == 0)
                return true;
        wall_usec = u->world->wall_clock(u->world_userdata);
        if (wall_usec == USEC_INFINITY) {
                u->policy_usec = MIN2(u->policy_usec, usec_add(now_usec, CLOCK_CHECK_USEC));
                snprintf(text, sizeof(text), "the clock is not set: it cannot tell the %s windows", what);
                return refuse(u, text);
        }
        is_open_now = schedule_is_open(windows, wall_usec, &change_usec);
        left_usec = usec_sub(change_usec, wall_usec);
        u->policy_usec = MIN2(u->policy_usec, usec_add(now_usec, MIN2(left_usec, CLOCK_CHECK_USEC)));
        if (is_open_now)
                return true;
        snprintf(text, sizeof(text), "outside the %s windows: until %s", what,
                 schedule_time_format(time, change_usec));
        (void)refuse(u, text);
        u->opens_usec = usec_add(now_usec, left_usec);
        return false;
}

static bool is_affordable(Update *u)
{
        uint64_t bytes = 0;
        char text[FAILURE_DETAIL_MAX];

        for (size_t i = 0; u->document && i < u->document->n_files; i++)
                bytes = usec_add(bytes, u->document->files[i].size_bytes);
        if (!u->metered || u->params.metered_max_bytes == 0 || bytes <= u->params.metered_max_bytes)
                return true;
        snprintf(text, sizeof(text), "the connection is metered: %" PRIu64 " bytes are more than %" PRIu64, bytes,
                 u->params.metered_max_bytes);
        return refuse(u, text);
}

bool update_may_download(Update *u, uint64_t now_usec)
{
        return is_open(u, &u->params.download_windows, "download", now_usec) && is_affordable(u);
}

bool update_may_activate(Update *u, uint64_t now_usec)
{
        return is_open(u, &u->params.activate_windows, "activation", now_usec);
}

void update_on_metered(Update *u, bool is_metered, uint64_t now_usec)
{
        u->metered = is_metered;
        update_reconcile(u, now_usec);
}
