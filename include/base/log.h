/*
 * log: one line an event, to the journal when systemd started us, else to stderr.
 *
 * What an operator acts on has fields besides: base/log-event.h.
 *
 * Control characters and invalid UTF-8 never reach the log unescaped. No URL, key or token is ever logged:
 * callers' duty. `%m` prints errno; log_*_errno() print a negative errno given to them and return it.
 */
#pragma once

#include <syslog.h>

#include "base/cleanup.h"

/* `name` is printed before each line on stderr; it must outlive the program. First of all in main(): standard descriptors
 * that are closed become /dev/null. */
void log_open(const char *name);
void log_set_max_level(int level);           /* LOG_ERR .. LOG_DEBUG; default LOG_INFO */
int log_level_from_string(const char *word); /* "error" "warning" "notice" "info" "debug"; -EINVAL */

_printf_(3, 4) int log_full_errno(int level, int error, const char *format, ...);

#define log_debug(...)                ((void)log_full_errno(LOG_DEBUG, 0, __VA_ARGS__))
#define log_info(...)                 ((void)log_full_errno(LOG_INFO, 0, __VA_ARGS__))
#define log_notice(...)               ((void)log_full_errno(LOG_NOTICE, 0, __VA_ARGS__))
#define log_warning(...)              ((void)log_full_errno(LOG_WARNING, 0, __VA_ARGS__))
#define log_error(...)                ((void)log_full_errno(LOG_ERR, 0, __VA_ARGS__))
#define log_debug_errno(error, ...)   log_full_errno(LOG_DEBUG, error, __VA_ARGS__)
#define log_warning_errno(error, ...) log_full_errno(LOG_WARNING, error, __VA_ARGS__)
#define log_error_errno(error, ...)   log_full_errno(LOG_ERR, error, __VA_ARGS__)
