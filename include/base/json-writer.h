/*
 * json-writer: JSON text, written member by member.
 *
 * Commas and escapes are its business, that objects and lists are closed again the caller's. What goes wrong (there is
 * only memory) is told once, by json_writer_finish().
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cleanup.h"

typedef struct JsonWriter {
        FILE *file;
        char *text;
        size_t n_text;
        bool needs_comma;
} JsonWriter;

_must_use_ int json_writer_init(JsonWriter *writer); /* -ENOMEM */
void json_writer_done(JsonWriter *writer);
/* *ret is the caller's. -ENOMEM. Only json_writer_done() may follow. */
_must_use_ int json_writer_finish(JsonWriter *writer, char **ret);

/* `name` NULL: an element of a list, or the whole text. */
void json_writer_open(JsonWriter *writer, const char *name, char bracket);
void json_writer_close(JsonWriter *writer, char bracket);
void json_writer_null(JsonWriter *writer, const char *name);
void json_writer_bool(JsonWriter *writer, const char *name, bool value);
void json_writer_u64(JsonWriter *writer, const char *name, uint64_t value);
void json_writer_i64(JsonWriter *writer, const char *name, int64_t value);
/* NULL and "" are null. Control characters and what is not UTF-8 become the text \xNN. */
void json_writer_text(JsonWriter *writer, const char *name, const char *value);
