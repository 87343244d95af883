/*
 * format: sizes, speeds, times left and bars, as a person reads them. Pure.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { FORMAT_TEXT_MAX = 32 };

/* "0 B", "1023 B", "1.5 KiB", "41.2 MiB", "16.0 EiB": one decimal, cut, never rounded up to what is not there yet. */
const char *bytes_format(char text[static FORMAT_TEXT_MAX], uint64_t bytes);
/* "1.2 MiB/s" */
const char *speed_format(char text[static FORMAT_TEXT_MAX], uint64_t bytes_per_second);
/* "20s left"; "" where nothing can be told: nothing comes in, or all is here. */
const char *time_left_format(char text[static FORMAT_TEXT_MAX], uint64_t held, uint64_t total,
                             uint64_t bytes_per_second);
/*
 * "[######......]", `width` columns with its brackets; "" where that is less than 3 or does not fit. Full only when
 * `part` is `whole`; `whole` 0 is an empty bar.
 */
const char *bar_format(char *text, size_t text_size, unsigned width, uint64_t part, uint64_t whole);
