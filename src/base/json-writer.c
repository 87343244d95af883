#include "base/json-writer.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/text.h"

enum { TEXT_MAX = 2048 }; /* the longest text that is ever shown, escapes included: a failure's detail has 512 */

int json_writer_init(JsonWriter *w)
{
        *w = (JsonWriter){0};
        w->file = open_memstream(&w->text, &w->n_text);
        return w->file ? 0 : -ENOMEM;
}

void json_writer_done(JsonWriter *w)
{
        if (w->file)
                fclose(w->file);
        free(w->text);
        *w = (JsonWriter){0};
}

int json_writer_finish(JsonWriter *w, char **ret)
{
        bool failed = ferror(w->file) != 0;

        failed |= fclose(TAKE_PTR(w->file)) != 0;
        if (failed)
                return -ENOMEM;
        *ret = TAKE_PTR(w->text);
        return 0;
}

static void begin(JsonWriter *w, const char *name)
{
        if (w->needs_comma)
                fputc(',', w->file);
        w->needs_comma = true;
        if (name)
                fprintf(w->file, "\"%s\":", name);
}

void json_writer_open(JsonWriter *w, const char *name, char bracket)
{
        begin(w, name);
        fputc(bracket, w->file);
        w->needs_comma = false;
}

void json_writer_close(JsonWriter *w, char bracket)
{
        fputc(bracket, w->file);
        w->needs_comma = true;
}

void json_writer_null(JsonWriter *w, const char *name)
{
        begin(w, name);
        fputs("null", w->file);
}

void json_writer_bool(JsonWriter *w, const char *name, bool value)
{
        begin(w, name);
        fputs(value ? "true" : "false", w->file);
}

void json_writer_u64(JsonWriter *w, const char *name, uint64_t value)
{
        begin(w, name);
        fprintf(w->file, "%" PRIu64, value);
}

void json_writer_i64(JsonWriter *w, const char *name, int64_t value)
{
        begin(w, name);
        fprintf(w->file, "%" PRId64, value);
}

void json_writer_text(JsonWriter *w, const char *name, const char *value)
{
        char safe[TEXT_MAX];

        if (!value || !value[0]) {
                json_writer_null(w, name);
                return;
        }
        begin(w, name);
        fputc('"', w->file);
        for (const char *c = text_escape(safe, sizeof(safe), value, strlen(value), false); *c; c++) {
                if (*c == '"' || *c == '\\')
                        fputc('\\', w->file);
                fputc(*c, w->file);
        }
        fputc('"', w->file);
}
