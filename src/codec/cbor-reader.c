#include <cbor.h>
#include <errno.h>
#include <string.h>

#include "cbor-reader.h"

static void put(void *context, CborKind kind, uint64_t value, const uint8_t *data)
{
        *(CborItem *)context = (CborItem){.kind = kind, .value = value, .data = data};
}

static void on_uint8(void *context, uint8_t value)
{
        put(context, CBOR_KIND_UINT, value, NULL);
}

static void on_uint16(void *context, uint16_t value)
{
        put(context, CBOR_KIND_UINT, value, NULL);
}

static void on_uint32(void *context, uint32_t value)
{
        put(context, CBOR_KIND_UINT, value, NULL);
}

static void on_uint64(void *context, uint64_t value)
{
        put(context, CBOR_KIND_UINT, value, NULL);
}

static void on_bytes(void *context, cbor_data data, size_t n)
{
        put(context, CBOR_KIND_BYTES, n, data);
}

static void on_text(void *context, cbor_data data, size_t n)
{
        put(context, CBOR_KIND_TEXT, n, data);
}

static void on_bytes_open(void *context)
{
        put(context, CBOR_KIND_BYTES_OPEN, 0, NULL);
}

static void on_text_open(void *context)
{
        put(context, CBOR_KIND_TEXT_OPEN, 0, NULL);
}

static void on_array(void *context, size_t n)
{
        put(context, CBOR_KIND_ARRAY, n, NULL);
}

static void on_array_open(void *context)
{
        put(context, CBOR_KIND_ARRAY_OPEN, 0, NULL);
}

static void on_map(void *context, size_t n)
{
        put(context, CBOR_KIND_MAP, n, NULL);
}

static void on_map_open(void *context)
{
        put(context, CBOR_KIND_MAP_OPEN, 0, NULL);
}

static void on_tag(void *context, uint64_t value)
{
        put(context, CBOR_KIND_TAG, value, NULL);
}

static void on_break(void *context)
{
        put(context, CBOR_KIND_BREAK, 0, NULL);
}

int cbor_refuse(CborReader *reader, const char *error)
{
        reader->error = error;
        return -EBADMSG;
}

/* A string, array or map that says to be larger than 4 GiB, as no message is. libcbor tells sizes in size_t: where that has
 * 32 bits, the upper half would be lost, and the rest taken for the size. RFC 8949, section 3. */
static bool is_vast(const CborReader *reader)
{
        enum { MAJOR_BYTES = 2, MAJOR_MAP = 5, EIGHT_BYTES_FOLLOW = 27, HEAD = 9 };
        static const uint8_t none[4];
        unsigned major = reader->p[0] >> 5;

        return major >= MAJOR_BYTES && major <= MAJOR_MAP && (reader->p[0] & 0x1f) == EIGHT_BYTES_FOLLOW &&
               reader->n_left >= HEAD && memcmp(reader->p + 1, none, sizeof(none)) != 0;
}

int cbor_next(CborReader *reader, CborItem *ret)
{
        struct cbor_callbacks callbacks = cbor_empty_callbacks;
        struct cbor_decoder_result result;

        callbacks.uint8 = on_uint8;
        callbacks.uint16 = on_uint16;
        callbacks.uint32 = on_uint32;
        callbacks.uint64 = on_uint64;
        callbacks.byte_string = on_bytes;
        callbacks.byte_string_start = on_bytes_open;
        callbacks.string = on_text;
        callbacks.string_start = on_text_open;
        callbacks.array_start = on_array;
        callbacks.indef_array_start = on_array_open;
        callbacks.map_start = on_map;
        callbacks.indef_map_start = on_map_open;
        callbacks.tag = on_tag;
        callbacks.indef_break = on_break;

        if (reader->n_left == 0 || is_vast(reader))
                return cbor_refuse(reader, "ends too early");
        *ret = (CborItem){.kind = CBOR_KIND_OTHER};
        result = cbor_stream_decode(reader->p, reader->n_left, &callbacks, ret);
        if (result.status == CBOR_DECODER_NEDATA)
                return cbor_refuse(reader, "ends too early");
        if (result.status != CBOR_DECODER_FINISHED || result.read == 0 || result.read > reader->n_left)
                return cbor_refuse(reader, "not CBOR");
        reader->p += result.read;
        reader->n_left -= result.read;
        return 0;
}

static int skip_chunks(CborReader *reader, CborKind kind)
{
        CborItem chunk;
        int r;

        for (;;) {
                r = cbor_next(reader, &chunk);
                if (r < 0)
                        return r;
                if (chunk.kind == CBOR_KIND_BREAK)
                        return 0;
                if (chunk.kind != kind)
                        return cbor_refuse(reader, "a string has a chunk of another type");
        }
}

static int skip_next(CborReader *reader, unsigned max_depth)
{
        CborItem item;
        int r;

        r = cbor_next(reader, &item);
        if (r < 0)
                return r;
        return cbor_skip(reader, &item, max_depth);
}

static int skip_span(CborReader *reader, CborSpan span, bool map, unsigned max_depth)
{
        CborItem item;
        int r;

        for (;;) {
                r = cbor_span_next(reader, &span, &item);
                if (r <= 0)
                        return r;
                r = cbor_skip(reader, &item, max_depth);
                if (r >= 0 && map)
                        r = skip_next(reader, max_depth);
                if (r < 0)
                        return r;
        }
}

int cbor_skip(CborReader *reader, const CborItem *item, unsigned max_depth)
{
        CborSpan definite = {.n_left = item->value}, open = {.open = true};

        if (item->kind >= CBOR_KIND_ARRAY && item->kind <= CBOR_KIND_TAG && max_depth == 0)
                return cbor_refuse(reader, "nested too deeply");

        switch (item->kind) {
        case CBOR_KIND_UINT:
        case CBOR_KIND_BYTES:
        case CBOR_KIND_TEXT:
        case CBOR_KIND_OTHER:
                return 0;
        case CBOR_KIND_BYTES_OPEN:
                return skip_chunks(reader, CBOR_KIND_BYTES);
        case CBOR_KIND_TEXT_OPEN:
                return skip_chunks(reader, CBOR_KIND_TEXT);
        case CBOR_KIND_ARRAY:
                return skip_span(reader, definite, false, max_depth - 1);
        case CBOR_KIND_ARRAY_OPEN:
                return skip_span(reader, open, false, max_depth - 1);
        case CBOR_KIND_MAP:
                return skip_span(reader, definite, true, max_depth - 1);
        case CBOR_KIND_MAP_OPEN:
                return skip_span(reader, open, true, max_depth - 1);
        case CBOR_KIND_TAG:
                return skip_next(reader, max_depth - 1);
        case CBOR_KIND_BREAK:
                break;
        }
        return cbor_refuse(reader, "a break where a value is due");
}

int cbor_enter_map(CborReader *reader, CborSpan *ret)
{
        CborItem item;
        int r;

        r = cbor_next(reader, &item);
        if (r < 0)
                return r;
        if (item.kind != CBOR_KIND_MAP && item.kind != CBOR_KIND_MAP_OPEN)
                return cbor_refuse(reader, "not a map");
        *ret = (CborSpan){.open = item.kind == CBOR_KIND_MAP_OPEN, .n_left = item.value};
        return 0;
}

int cbor_enter_array(CborReader *reader, CborSpan *ret)
{
        CborItem item;
        int r;

        r = cbor_next(reader, &item);
        if (r < 0)
                return r;
        if (item.kind != CBOR_KIND_ARRAY && item.kind != CBOR_KIND_ARRAY_OPEN)
                return cbor_refuse(reader, "not an array");
        *ret = (CborSpan){.open = item.kind == CBOR_KIND_ARRAY_OPEN, .n_left = item.value};
        return 0;
}

int cbor_span_next(CborReader *reader, CborSpan *span, CborItem *ret)
{
        int r;

        if (!span->open && span->n_left == 0)
                return 0;
        r = cbor_next(reader, ret);
        if (r < 0)
                return r;
        if (span->open)
                return ret->kind == CBOR_KIND_BREAK ? 0 : 1;
        span->n_left--;
        return 1;
}

bool cbor_text_is(const CborItem *item, const char *text)
{
        size_t n = strlen(text);

        return item->kind == CBOR_KIND_TEXT && item->value == n && memcmp(item->data, text, n) == 0;
}

int cbor_read_uint(CborReader *reader, uint64_t max, uint64_t *ret, const char *error)
{
        CborItem item;
        int r;

        r = cbor_next(reader, &item);
        if (r < 0)
                return r;
        if (item.kind != CBOR_KIND_UINT || item.value > max)
                return cbor_refuse(reader, error);
        *ret = item.value;
        return 0;
}

int cbor_read_string(CborReader *reader, CborKind kind, CborItem *ret, const char *error)
{
        int r;

        r = cbor_next(reader, ret);
        if (r < 0)
                return r;
        return ret->kind == kind ? 0 : cbor_refuse(reader, error);
}
