/*
 * transcript: what happened in one step of a test, as one line of text, and the little of JSON that tests read.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit.h"

typedef struct Transcript {
        char text[4096];
        size_t n_text;
        unsigned n_acts;
} Transcript;

_printf_(2, 3) static inline void note(Transcript *t, const char *format, ...)
{
        va_list args;

        t->n_text += (size_t)snprintf(t->text + t->n_text, sizeof(t->text) - t->n_text, "%s", t->n_text ? "; " : "");
        va_start(args, format);
        t->n_text += (size_t)vsnprintf(t->text + t->n_text, sizeof(t->text) - t->n_text, format, args);
        va_end(args);
        t->n_acts++;
        assert_true(t->n_text < sizeof(t->text));
}

static inline void forget_notes(Transcript *t)
{
        *t = (Transcript){0};
}

/* The text of a member anywhere in our own, unescaped JSON; "" where there is none. */
static inline const char *json_text(const char *json, const char *member, char text[static 128])
{
        char name[64];
        const char *at;

        snprintf(name, sizeof(name), "\"%s\":\"", member);
        at = strstr(json, name);
        text[0] = 0;
        if (at)
                assert_int_equal(sscanf(at + strlen(name), "%127[^\"]", text), 1);
        return text;
}

/* -1 where there is none. */
static inline long json_number(const char *json, const char *member)
{
        char name[64];
        const char *at;

        snprintf(name, sizeof(name), "\"%s\":", member);
        at = strstr(json, name);
        return at ? strtol(at + strlen(name), NULL, 10) : -1;
}
