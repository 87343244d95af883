/*
 * otactl history: what otad-installer remembers of earlier updates, asked by way of otad, or where there is none, directly.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/control.h"
#include "base/json-writer.h"
#include "base/local-session.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time-util.h"
#include "cli/format.h"
#include "command.h"
#include "manager.h"

enum { SCHEMA = 1 };

/* What turns the direction of text passes the link, and is no good at a terminal. */
static const char *escape(char *text, size_t text_size, const char *raw)
{
        return text_escape(text, text_size, raw, strlen(raw), false);
}

static void print_entry(const LinkHistoryEntry *e)
{
        char when[TIMESTAMP_TEXT_MAX], size[FORMAT_TEXT_MAX], before[4 * LINK_VERSION_MAX + 1];
        char after[sizeof(before)], detail[4 * LINK_HISTORY_DETAIL_MAX + 1];

        printf("%s  %-11s  %s", timestamp_format(when, e->ended_wall_usec), e->result, e->targets);
        if (e->previous_version[0] || e->version[0])
                printf(" %s -> %s",
                       escape(before, sizeof(before), e->previous_version[0] ? e->previous_version : "?"),
                       escape(after, sizeof(after), e->version[0] ? e->version : "?"));
        if (e->size_bytes > 0)
                printf(", %s", bytes_format(size, e->size_bytes));
        if (session_is_local(e->session))
                printf(", local %s\n", e->operation);
        else
                printf(", job %s (attempt %" PRIu64 ")\n", e->job_id, e->attempt);
        if (e->reason[0])
                printf("%22s%s: %s\n", "", e->reason, escape(detail, sizeof(detail), e->detail));
}

static void write_targets(JsonWriter *w, const char *targets)
{
        char name[LINK_TARGET_MAX + 1];

        json_writer_open(w, "targets", '[');
        while (*targets) {
                size_t n = strcspn(targets, ",");

                snprintf(name, sizeof(name), "%.*s", (int)n, targets);
                json_writer_text(w, NULL, name);
                targets += n + (targets[n] == ',');
        }
        json_writer_close(w, ']');
}

static void write_entry(JsonWriter *w, const LinkHistoryEntry *e)
{
        bool is_local = session_is_local(e->session);
        char when[TIMESTAMP_TEXT_MAX];

        json_writer_open(w, NULL, '{');
        json_writer_text(w, "session", e->session);
        json_writer_text(w, "who", is_local ? "local" : "job");
        if (is_local) {
                json_writer_null(w, "job");
        } else {
                json_writer_open(w, "job", '{');
                json_writer_text(w, "id", e->job_id);
                json_writer_u64(w, "attempt", e->attempt);
                json_writer_close(w, '}');
        }
        json_writer_text(w, "operation", e->operation);
        write_targets(w, e->targets);
        json_writer_u64(w, "size", e->size_bytes);
        json_writer_open(w, "versions", '{');
        json_writer_text(w, "before", e->previous_version);
        json_writer_text(w, "after", e->version);
        json_writer_close(w, '}');
        json_writer_text(w, "began", timestamp_format(when, e->began_wall_usec));
        json_writer_text(w, "ended", timestamp_format(when, e->ended_wall_usec));
        json_writer_text(w, "result", e->result);
        json_writer_text(w, "error", e->reason);
        json_writer_text(w, "detail", e->detail);
        json_writer_close(w, '}');
}

static int print_json(const LinkHistoryEntry *entries, size_t n_entries)
{
        _cleanup_(json_writer_done) JsonWriter w;
        _cleanup_free_ char *text = NULL;
        int r;

        r = json_writer_init(&w);
        if (r < 0)
                return r;
        json_writer_open(&w, NULL, '{');
        json_writer_u64(&w, "schema", SCHEMA);
        json_writer_open(&w, "entries", '[');
        for (size_t i = 0; i < n_entries; i++)
                write_entry(&w, &entries[i]);
        json_writer_close(&w, ']');
        json_writer_close(&w, '}');
        r = json_writer_finish(&w, &text);
        if (r >= 0)
                puts(text);
        return r;
}

/* By otad: for everyone. -ENOTCONN: otad is there, and does not reach otad-installer itself. */
static int ask_otad(sd_event *event, const Options *options, LinkHistoryEntry **ret, size_t *ret_n)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(manager_done) Manager manager = {0};
        _cleanup_free_ char *status = NULL;
        char why[MANAGER_WHY_MAX] = "";
        int r;

        r = manager_open(event, options, &manager, &status, why);
        if (r >= 0)
                r = manager_call(&manager, "GetHistory", &reply, why);
        return r < 0 ? r : link_history_read(reply, ret, ret_n);
}

int command_history(const Options *options)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_free_ LinkHistoryEntry *entries = NULL;
        size_t n = 0;
        int r;

        r = sd_event_new(&event);
        if (r >= 0 && ask_otad(event, options, &entries, &n) < 0)
                r = installer_get_history(event, options, &entries, &n);
        if (r < 0) {
                log_error("Neither otad nor otad-installer can be asked: %s", strerror(-r));
                return EXIT_FAILED;
        }
        if (options->json)
                return print_json(entries, n) < 0 ? EXIT_FAILED : EXIT_FINE;
        for (size_t i = 0; i < n; i++)
                print_entry(&entries[i]);
        if (n == 0)
                puts("There was no update yet.");
        return EXIT_FINE;
}
