/*
 * terminal-line: the line at the bottom of a terminal that is drawn over and over while something goes on.
 */
#pragma once

#include <stdbool.h>

#include "cli/status-view.h"

enum { TERMINAL_LINE_MAX = 512, TERMINAL_LINE_DEFAULT = 80 };

typedef struct TerminalLine {
        bool is_terminal; /* of standard output; else nothing is ever drawn */
        bool drawn;
} TerminalLine;

TerminalLine terminal_line_open(void);
/* Before anything else is printed, and at the end. */
void terminal_line_erase(TerminalLine *line);
/* status_view_progress(), as wide as the terminal. */
void terminal_line_draw(TerminalLine *line, const StatusView *view);
