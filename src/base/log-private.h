/*
 * log-private: what log.c and log-event.c share: where a line goes.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

enum { LOG_LINE_MAX = 2048 + 256 };

bool log_is_wanted(int level);
/* Formats and escapes. Returns `line`. */
const char *log_line_format(char line[static LOG_LINE_MAX], const char *format, va_list args);
/* `n_fields` texts "NAME=value" go along where it is the journal that is written to. */
void log_line_send(int level, const char *line, char *const *fields, size_t n_fields);
