#include "terminal-line.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"

static unsigned columns(void)
{
        struct winsize size;

        if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
                return TERMINAL_LINE_DEFAULT;
        return MIN2(size.ws_col, (unsigned)TERMINAL_LINE_MAX);
}

TerminalLine terminal_line_open(void)
{
        return (TerminalLine){.is_terminal = isatty(STDOUT_FILENO)};
}

/* Carriage return and "erase in line": ECMA-48, EL. */
void terminal_line_erase(TerminalLine *line)
{
        if (line->drawn)
                fputs("\r\x1b[K", stdout);
        line->drawn = false;
}

void terminal_line_draw(TerminalLine *line, const StatusView *view)
{
        char text[TERMINAL_LINE_MAX + 1];

        if (!line->is_terminal)
                return;
        terminal_line_erase(line);
        /* A full last column would make some terminals go to the next line. */
        fputs(status_view_progress(view, columns() - 1, text, sizeof(text)), stdout);
        fflush(stdout);
        line->drawn = true;
}
