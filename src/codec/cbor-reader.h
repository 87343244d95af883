/*
 * cbor-reader: one CBOR item after the other, copying nothing and allocating nothing.
 *
 * libcbor's streaming decoder turned around: it calls back, this is asked. Strings point into the message.
 * Source: RFC 8949.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

typedef enum CborKind {
        CBOR_KIND_UINT,
        CBOR_KIND_BYTES,
        CBOR_KIND_TEXT,
        CBOR_KIND_BYTES_OPEN, /* of indefinite length: chunks follow, then CBOR_KIND_BREAK */
        CBOR_KIND_TEXT_OPEN,
        CBOR_KIND_ARRAY, /* value: members */
        CBOR_KIND_ARRAY_OPEN,
        CBOR_KIND_MAP, /* value: pairs */
        CBOR_KIND_MAP_OPEN,
        CBOR_KIND_TAG,   /* one item follows */
        CBOR_KIND_OTHER, /* negative, float, boolean, null, undefined: whole in itself */
        CBOR_KIND_BREAK,
} CborKind;

typedef struct CborItem {
        CborKind kind;
        uint64_t value;
        const uint8_t *data; /* of a string, value bytes of it; borrowed from the message */
} CborItem;

typedef struct CborReader {
        const uint8_t *p;
        size_t n_left;
        const char *error; /* static text, once something was refused */
} CborReader;

/* What is left of an array or map that has been opened. */
typedef struct CborSpan {
        bool open;
        uint64_t n_left;
} CborSpan;

/* All: -EBADMSG, with reader->error set. */
_must_use_ int cbor_refuse(CborReader *reader, const char *error);
_must_use_ int cbor_next(CborReader *reader, CborItem *ret);
/* Passes over what is left of an item, at most max_depth levels. */
_must_use_ int cbor_skip(CborReader *reader, const CborItem *item, unsigned max_depth);

_must_use_ int cbor_enter_map(CborReader *reader, CborSpan *ret);
_must_use_ int cbor_enter_array(CborReader *reader, CborSpan *ret);
/* 1: *ret is the next member of an array, or key of a map; 0: there is none, the span is behind us. */
_must_use_ int cbor_span_next(CborReader *reader, CborSpan *span, CborItem *ret);

bool cbor_text_is(const CborItem *item, const char *text);
_must_use_ int cbor_read_uint(CborReader *reader, uint64_t max, uint64_t *ret, const char *error);
/* A string of definite length. */
_must_use_ int cbor_read_string(CborReader *reader, CborKind kind, CborItem *ret, const char *error);
