/*
 * log-private: what log.c and log-event.c share: where a line goes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { LOG_RAW_MAX = 2048, LOG_LINE_MAX = LOG_RAW_MAX + 256 }; /* before it is escaped, and after */

bool log_is_wanted(int level);
/* `n_fields` texts "NAME=value" go along where it is the journal that is written to. */
void log_line_send(int level, const char *line, char *const *fields, size_t n_fields);
