/*
 * line-log: a program's output into our log, a line at a time, with the last line kept.
 *
 * Nothing here grows with what is fed: a line is cut at LINE_LOG_LINE_MAX bytes, and after LINE_LOG_LINES_MAX lines the
 * rest is only counted. NUL bytes are left out; what else is not text is escaped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
        LINE_LOG_LINE_MAX = 512,
        LINE_LOG_LINES_MAX = 500, /* in one run */
};

/* A plain value, begun as all zero but for the name. */
typedef struct LineLog {
        const char *name; /* borrowed */
        char line[LINE_LOG_LINE_MAX];
        size_t n_line;
        char last[LINE_LOG_LINE_MAX]; /* raw: not yet escaped, no NUL */
        size_t n_last;
        unsigned n_logged;
        uint64_t n_dropped;
} LineLog;

void line_log_feed(LineLog *log, const char *data, size_t n_data);
/* What stands without a line end counts as a line; then tells what was dropped. */
void line_log_finish(LineLog *log);
/* The last line that was not blank, escaped; "" where there was none. Returns `buffer`. */
const char *line_log_last(const LineLog *log, char *buffer, size_t buffer_size);
