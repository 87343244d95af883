#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "base/time-util.h"
#include "cli/format.h"
#include "cli/status-view.h"

enum { BAR_MIN = 10, BAR_MAX = 60 };

static void print_label(FILE *file, const char *label)
{
        fprintf(file, "%-10s", label);
}

static void print_target(const StatusViewTarget *target, FILE *file)
{
        char done[FORMAT_TEXT_MAX], size[FORMAT_TEXT_MAX];

        print_label(file, "Target");
        fprintf(file, "%s", target->target);
        if (target->slot[0])
                fprintf(file, " (slot %s)", target->slot);
        fprintf(file, ", %s of %s written", bytes_format(done, target->written), bytes_format(size, target->size));
        if (target->verified > 0)
                fprintf(file, ", %s read back", bytes_format(done, target->verified));
        fputc('\n', file);
}

static void print_download(const StatusView *view, FILE *file)
{
        char held[FORMAT_TEXT_MAX], total[FORMAT_TEXT_MAX], speed[FORMAT_TEXT_MAX], left[FORMAT_TEXT_MAX];

        print_label(file, "Download");
        fprintf(file, "%s, %" PRIu64 " %%, %s of %s", view->download.protocol, view->download.percent,
                bytes_format(held, view->download.held), bytes_format(total, view->download.total));
        if (view->download.bytes_per_second > 0)
                fprintf(file, ", %s", speed_format(speed, view->download.bytes_per_second));
        time_left_format(left, view->download.held, view->download.total, view->download.bytes_per_second);
        if (left[0])
                fprintf(file, ", %s", left);
        if (view->download.retries > 0)
                fprintf(file, ", tried again %" PRIu64 " times", view->download.retries);
        fputc('\n', file);
}

static void print_waiting(const StatusView *view, FILE *file)
{
        char duration[DURATION_TEXT_MAX];

        print_label(file, "Waiting");
        fputs(view->waiting.reason, file);
        if (view->waiting.retries)
                fprintf(file, ", again in %s", duration_format(duration, view->waiting.retry_seconds * USEC_PER_SEC));
        fputc('\n', file);
}

static void print_certificate(const StatusViewCertificate *certificate, FILE *file)
{
        print_label(file, "Warning");
        fprintf(file, "the %s certificate %s %s %s", certificate->kind, certificate->file,
                certificate->days_left < 0 ? "has ended on" : "ends on", certificate->ends);
        if (certificate->days_left >= 0)
                fprintf(file, ", in %" PRId64 " days", certificate->days_left);
        fputc('\n', file);
}

static void print_last(const StatusView *view, FILE *file)
{
        print_label(file, "Last");
        fprintf(file, "%s (attempt %" PRIu64 ") %s", view->last.job, view->last.attempt, view->last.status);
        if (view->last.when[0])
                fprintf(file, " at %s", view->last.when);
        if (view->last.error[0])
                fprintf(file, ": %s: %s", view->last.error, view->last.detail);
        fputc('\n', file);
}

void status_view_print(const StatusView *view, FILE *file)
{
        print_label(file, "otad");
        fprintf(file, "%s, thing %s, %s\n", view->otad, view->thing,
                view->connected ? "connected" : "not connected to the broker");
        print_label(file, "State");
        fprintf(file, "%s%s%s\n", view->state, view->suspended ? ", suspended by an operator" : "",
                view->reboot_needed ? ", a reboot is needed" : "");
        if (view->job[0]) {
                print_label(file, "Job");
                fprintf(file, "%s (attempt %" PRIu64 ")\n", view->job, view->attempt);
        }
        if (view->local[0]) {
                print_label(file, "Local");
                fprintf(file, "%s, by otactl\n", view->local);
        }
        for (size_t i = 0; i < view->n_targets; i++)
                print_target(&view->targets[i], file);
        if (view->download.protocol[0])
                print_download(view, file);
        if (view->running[0]) {
                print_label(file, "Version");
                fprintf(file, "%s%s%s\n", view->running, view->previous[0] ? ", before the update " : "",
                        view->previous);
        }
        if (view->failure.error[0]) {
                print_label(file, "Failure");
                fprintf(file, "%s: %s\n", view->failure.error, view->failure.detail);
        }
        if (view->waiting.reason[0])
                print_waiting(view, file);
        if (view->unsent_final_statuses > 0) {
                print_label(file, "Unsent");
                fprintf(file, "%" PRIu64 " results the cloud has not heard of\n", view->unsent_final_statuses);
        }
        for (size_t i = 0; i < view->n_certificates; i++)
                print_certificate(&view->certificates[i], file);
        if (view->last.job[0])
                print_last(view, file);
        print_label(file, "Next");
        fprintf(file, "%s\n", view->next);
}

static void append(char *text, size_t text_size, const char *part)
{
        size_t n = strlen(text);

        if (part[0])
                snprintf(text + n, text_size - n, "  %s", part);
}

/* What stands to the right of the bar. */
static void format_figures(const StatusView *view, char *text, size_t text_size)
{
        char held[FORMAT_TEXT_MAX], total[FORMAT_TEXT_MAX], part[FORMAT_TEXT_MAX];

        snprintf(text, text_size, "%3" PRIu64 " %%  %s of %s", view->download.percent,
                 bytes_format(held, view->download.held), bytes_format(total, view->download.total));
        if (view->download.bytes_per_second > 0)
                append(text, text_size, speed_format(part, view->download.bytes_per_second));
        append(text, text_size,
               time_left_format(part, view->download.held, view->download.total, view->download.bytes_per_second));
}

const char *status_view_progress(const StatusView *view, unsigned width, char *text, size_t text_size)
{
        char line[sizeof(view->state) + sizeof(view->next) + 8], figures[160], bar[BAR_MAX + 1] = "";
        size_t used;

        if (view->download.protocol[0] && !view->waiting.reason[0]) {
                format_figures(view, figures, sizeof(figures));
                used = strlen(view->state) + 2 + strlen(figures) + 2;
                if (used + BAR_MIN <= width)
                        bar_format(bar, sizeof(bar), MIN2(width - (unsigned)used, (unsigned)BAR_MAX),
                                   view->download.held, view->download.total);
                snprintf(line, sizeof(line), "%s  %s%s%s", view->state, bar, bar[0] ? "  " : "", figures);
        } else {
                snprintf(line, sizeof(line), "%s  %s", view->state, view->next);
        }
        /* Cut between characters; what is not ASCII may take less room than it has bytes, never more. */
        return text_escape(text, MIN2(text_size, (size_t)width + 1), line, strlen(line), false);
}
