/*
 * mqtt-fake: a world with a broker that misbehaves in a chosen way; see fake-broker.py.
 */
#pragma once

#include "mqtt-world.h"

static HarnessProcess fake;

static inline World *with_broker(const char *mode)
{
        World *w;

        fake = harness_start_script("fake-broker.py", mode, NULL);
        w = new_world(fake.port);
        w->filter = "here/#";
        return w;
}

/* For what is never answered; where an answer is expected the time-outs stay long, for the machine may be busy. */
static inline World *impatient(World *w)
{
        w->params.connect_timeout_usec = 400 * USEC_PER_MSEC;
        w->params.answer_timeout_usec = 600 * USEC_PER_MSEC;
        return w;
}

static inline void end(World *w)
{
        free_world(w);
        harness_stop(&fake);
}

static inline void expect_line(const char *expected)
{
        char line[256];

        assert_true(harness_read_line(&fake, line, sizeof(line)));
        assert_string_equal(line, expected);
}

/* One failure, then another: it keeps trying. */
static inline void expect_twice(World *w, const char *words)
{
        start(w);
        expect_failure(w, words);
        expect_failure(w, words);
        end(w);
}

static inline int set_up(void **state _unused_)
{
        harness_enter();
        return 0;
}

static inline int tear_down(void **state _unused_)
{
        harness_leave();
        return 0;
}
