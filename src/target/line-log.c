#include "line-log.h"

#include <inttypes.h>
#include <string.h>

#include "base/log.h"
#include "base/text.h"

static void end_line(LineLog *log)
{
        /* Blanks at the end, a CR among them, say nothing. */
        while (log->n_line > 0 && strchr(" \t\r\v\f", log->line[log->n_line - 1]))
                log->n_line--;
        if (log->n_line == 0)
                return;

        memcpy(log->last, log->line, log->n_line);
        log->n_last = log->n_line;
        if (log->n_logged < LINE_LOG_LINES_MAX) {
                log->n_logged++;
                log_info("%s: %.*s", log->name, (int)log->n_line, log->line);
        } else {
                log->n_dropped++;
        }
        log->n_line = 0;
}

static void append(LineLog *log, const char *data, size_t n_data)
{
        for (size_t i = 0; i < n_data && log->n_line < sizeof(log->line); i++)
                if (data[i] != 0)
                        log->line[log->n_line++] = data[i];
}

void line_log_feed(LineLog *log, const char *data, size_t n_data)
{
        while (n_data > 0) {
                const char *end = memchr(data, '\n', n_data);
                size_t n = end ? (size_t)(end - data) : n_data;

                append(log, data, n);
                if (!end)
                        return;
                end_line(log);
                data += n + 1;
                n_data -= n + 1;
        }
}

void line_log_finish(LineLog *log)
{
        end_line(log);
        if (log->n_dropped > 0)
                log_info("%s: %" PRIu64 " more lines were not logged", log->name, log->n_dropped);
        log->n_dropped = 0;
}

const char *line_log_last(const LineLog *log, char *buffer, size_t buffer_size)
{
        return text_escape(buffer, buffer_size, log->last, log->n_last, false);
}
