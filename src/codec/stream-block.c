#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "cbor-reader.h"
#include "codec/stream-block.h"

/* A key that is known, and whether it was there. */
typedef struct Key {
        const char *name;
        bool seen;
} Key;

/* The index of the known key, or of n_keys, which stands for all others. -EBADMSG: a known one twice. */
static int find_key(CborReader *reader, const CborItem *item, Key *keys, size_t n_keys)
{
        for (size_t i = 0; i < n_keys; i++) {
                if (!cbor_text_is(item, keys[i].name))
                        continue;
                if (keys[i].seen)
                        return cbor_refuse(reader, "a key is there twice");
                keys[i].seen = true;
                return (int)i;
        }
        return (int)n_keys;
}

static int skip_pair(CborReader *reader, const CborItem *key)
{
        CborItem value;
        int r;

        r = cbor_skip(reader, key, STREAM_DEPTH_MAX);
        if (r >= 0)
                r = cbor_next(reader, &value);
        return r < 0 ? r : cbor_skip(reader, &value, STREAM_DEPTH_MAX);
}

static int read_token(CborReader *reader, char token[static STREAM_CLIENT_TOKEN_MAX + 1])
{
        CborItem item;
        int r;

        r = cbor_read_string(reader, CBOR_KIND_TEXT, &item, "the client token is not a text of definite length");
        if (r < 0)
                return r;
        if (item.value > STREAM_CLIENT_TOKEN_MAX)
                return cbor_refuse(reader, "the client token is longer than 64 bytes");
        if (memchr(item.data, 0, item.value) || !utf8_is_valid((const char *)item.data, item.value))
                return cbor_refuse(reader, "the client token is not UTF-8 without NUL");
        memcpy(token, item.data, item.value);
        token[item.value] = 0;
        return 0;
}

static int read_text(CborReader *reader, char *buffer, size_t buffer_size, const char *error)
{
        CborItem item;
        int r;

        r = cbor_read_string(reader, CBOR_KIND_TEXT, &item, error);
        if (r < 0)
                return r;
        text_escape(buffer, buffer_size, (const char *)item.data, item.value, true);
        return 0;
}

static int end_message(CborReader *reader)
{
        return reader->n_left > 0 ? cbor_refuse(reader, "something follows the map") : 0;
}

static int finish(const CborReader *reader, int r, const char **reterr)
{
        if (r < 0 && reterr)
                *reterr = reader->error;
        return r;
}

static int read_payload(CborReader *reader, StreamBlock *block)
{
        CborItem item;
        int r;

        r = cbor_read_string(reader, CBOR_KIND_BYTES, &item, "p is not a byte string of definite length");
        if (r < 0)
                return r;
        if (item.value == 0 || item.value > STREAM_BLOCK_MAX_BYTES)
                return cbor_refuse(reader, "p is empty or longer than 128 KiB");
        block->payload = item.data;
        block->n_payload = (uint32_t)item.value;
        return 0;
}

static int read_block(CborReader *reader, StreamBlock *block)
{
        enum { KEY_C, KEY_F, KEY_L, KEY_I, KEY_P, N_KEYS };
        Key keys[N_KEYS] = {{"c", false}, {"f", false}, {"l", false}, {"i", false}, {"p", false}};
        uint64_t value, length = 0;
        CborSpan map;
        CborItem key;
        int r;

        r = cbor_enter_map(reader, &map);
        while (r >= 0 && (r = cbor_span_next(reader, &map, &key)) > 0) {
                r = find_key(reader, &key, keys, N_KEYS);
                switch (r) {
                case KEY_C:
                        r = read_token(reader, block->client_token);
                        break;
                case KEY_F:
                        r = cbor_read_uint(reader, UINT8_MAX, &value, "f is not a number from 0 to 255");
                        block->file_id = r < 0 ? 0 : (uint8_t)value;
                        break;
                case KEY_L:
                        r = cbor_read_uint(reader, STREAM_BLOCK_MAX_BYTES, &length, "l is not a number to 131072");
                        break;
                case KEY_I:
                        r = cbor_read_uint(reader, STREAM_N_BLOCKS_MAX - 1, &value, "i is not a number to 98303");
                        block->block = r < 0 ? 0 : (uint32_t)value;
                        break;
                case KEY_P:
                        r = read_payload(reader, block);
                        break;
                case N_KEYS:
                        r = skip_pair(reader, &key);
                        break;
                }
        }
        if (r < 0)
                return r;

        if (!keys[KEY_F].seen || !keys[KEY_L].seen || !keys[KEY_I].seen || !keys[KEY_P].seen)
                return cbor_refuse(reader, "one of f, l, i and p is missing");
        if (length != block->n_payload)
                return cbor_refuse(reader, "l is not the length of p");
        return end_message(reader);
}

int stream_block_parse(const uint8_t *message, size_t n_message, StreamBlock *ret, const char **reterr)
{
        CborReader reader = {.p = message, .n_left = n_message};
        StreamBlock block = {0};
        int r;

        r = read_block(&reader, &block);
        if (r >= 0)
                *ret = block;
        return finish(&reader, r, reterr);
}

static const char *const codes[_STREAM_REJECTION_MAX] = {
        [STREAM_REJECTION_UNKNOWN] = "unknown",
        [STREAM_REJECTION_INVALID_TOPIC] = "InvalidTopic",
        [STREAM_REJECTION_INVALID_JSON] = "InvalidJson",
        [STREAM_REJECTION_INVALID_CBOR] = "InvalidCbor",
        [STREAM_REJECTION_INVALID_REQUEST] = "InvalidRequest",
        [STREAM_REJECTION_UNAUTHORIZED] = "Unauthorized",
        [STREAM_REJECTION_BLOCK_SIZE_OUT_OF_BOUNDS] = "BlockSizeOutOfBounds",
        [STREAM_REJECTION_OFFSET_OUT_OF_BOUNDS] = "OffsetOutOfBounds",
        [STREAM_REJECTION_BLOCK_COUNT_LIMIT_EXCEEDED] = "BlockCountLimitExceeded",
        [STREAM_REJECTION_BLOCK_BITMAP_LIMIT_EXCEEDED] = "BlockBitmapLimitExceeded",
        [STREAM_REJECTION_RESOURCE_NOT_FOUND] = "ResourceNotFound",
        [STREAM_REJECTION_VERSION_MISMATCH] = "VersionMismatch",
        [STREAM_REJECTION_ETAG_MISMATCH] = "ETagMismatch",
        [STREAM_REJECTION_INTERNAL_ERROR] = "InternalError",
};

const char *stream_rejection_code_to_string(StreamRejectionCode code)
{
        return code < _STREAM_REJECTION_MAX ? codes[code] : codes[STREAM_REJECTION_UNKNOWN];
}

static StreamRejectionCode rejection_code_from_string(const char *word)
{
        for (StreamRejectionCode code = STREAM_REJECTION_UNKNOWN + 1; code < _STREAM_REJECTION_MAX; code++)
                if (strcmp(word, codes[code]) == 0)
                        return code;
        return STREAM_REJECTION_UNKNOWN;
}

/* Each text has a short key, then a long one; which of them is read into is `i` in that order. */
static int read_rejection_text(CborReader *reader, int i, StreamRejection *shorter, StreamRejection *longer)
{
        StreamRejection *rejection = i % 2 == 0 ? shorter : longer;

        switch (i / 2) {
        case 0:
                return read_text(reader, rejection->code_text, sizeof(rejection->code_text),
                                 "the code is not a text of definite length");
        case 1:
                return read_text(reader, rejection->message, sizeof(rejection->message),
                                 "the message is not a text of definite length");
        default:
                return read_token(reader, rejection->client_token);
        }
}

static int read_rejection(CborReader *reader, StreamRejection *shorter, StreamRejection *longer)
{
        enum { N_KEYS = 6 };
        Key keys[N_KEYS] = {{"o", false},       {"code", false}, {"m", false},
                            {"message", false}, {"c", false},    {"clientToken", false}};
        CborSpan map;
        CborItem key;
        int r;

        r = cbor_enter_map(reader, &map);
        while (r >= 0 && (r = cbor_span_next(reader, &map, &key)) > 0) {
                r = find_key(reader, &key, keys, N_KEYS);
                if (r == N_KEYS)
                        r = skip_pair(reader, &key);
                else if (r >= 0)
                        r = read_rejection_text(reader, r, shorter, longer);
        }
        if (r < 0)
                return r;

        if (!keys[0].seen && !keys[1].seen)
                return cbor_refuse(reader, "the code is missing");
        if (!keys[1].seen)
                memcpy(longer->code_text, shorter->code_text, sizeof(longer->code_text));
        if (!keys[3].seen)
                memcpy(longer->message, shorter->message, sizeof(longer->message));
        if (!keys[5].seen)
                memcpy(longer->client_token, shorter->client_token, sizeof(longer->client_token));
        return end_message(reader);
}

int stream_rejection_parse(const uint8_t *message, size_t n_message, StreamRejection *ret, const char **reterr)
{
        CborReader reader = {.p = message, .n_left = n_message};
        StreamRejection shorter = {0}, longer = {0};
        int r;

        r = read_rejection(&reader, &shorter, &longer);
        if (r >= 0) {
                longer.code = rejection_code_from_string(longer.code_text);
                *ret = longer;
        }
        return finish(&reader, r, reterr);
}

static int read_stream_file(CborReader *reader, const CborItem *item, StreamFile *file)
{
        enum { KEY_F, KEY_Z, N_KEYS };
        Key keys[N_KEYS] = {{"f", false}, {"z", false}};
        CborSpan map = {.open = item->kind == CBOR_KIND_MAP_OPEN, .n_left = item->value};
        uint64_t value;
        CborItem key;
        int r;

        if (item->kind != CBOR_KIND_MAP && item->kind != CBOR_KIND_MAP_OPEN)
                return cbor_refuse(reader, "a file in r is not a map");
        while ((r = cbor_span_next(reader, &map, &key)) > 0) {
                r = find_key(reader, &key, keys, N_KEYS);
                switch (r) {
                case KEY_F:
                        r = cbor_read_uint(reader, UINT8_MAX, &value, "f is not a number from 0 to 255");
                        file->file_id = r < 0 ? 0 : (uint8_t)value;
                        break;
                case KEY_Z:
                        r = cbor_read_uint(reader, UINT64_MAX, &file->size_bytes, "z is not a number");
                        break;
                case N_KEYS:
                        r = skip_pair(reader, &key);
                        break;
                }
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return keys[KEY_F].seen && keys[KEY_Z].seen ? 0 : cbor_refuse(reader, "a file in r lacks f or z");
}

static int read_stream_files(CborReader *reader, StreamDescription *description)
{
        CborSpan array;
        CborItem item;
        int r;

        r = cbor_enter_array(reader, &array);
        while (r >= 0 && (r = cbor_span_next(reader, &array, &item)) > 0) {
                if (description->n_files == STREAM_FILES_MAX)
                        return cbor_refuse(reader, "r has more than 50 files");
                r = read_stream_file(reader, &item, &description->files[description->n_files++]);
        }
        return r;
}

static int read_description(CborReader *reader, StreamDescription *description)
{
        enum { KEY_C, KEY_S, KEY_D, KEY_R, N_KEYS };
        Key keys[N_KEYS] = {{"c", false}, {"s", false}, {"d", false}, {"r", false}};
        uint64_t value;
        CborSpan map;
        CborItem key;
        int r;

        r = cbor_enter_map(reader, &map);
        while (r >= 0 && (r = cbor_span_next(reader, &map, &key)) > 0) {
                r = find_key(reader, &key, keys, N_KEYS);
                switch (r) {
                case KEY_C:
                        r = read_token(reader, description->client_token);
                        break;
                case KEY_S:
                        r = cbor_read_uint(reader, UINT16_MAX, &value, "s is not a number from 0 to 65535");
                        description->version = r < 0 ? -1 : (int32_t)value;
                        break;
                case KEY_D:
                        r = read_text(reader, description->description, sizeof(description->description),
                                      "d is not a text of definite length");
                        break;
                case KEY_R:
                        r = read_stream_files(reader, description);
                        break;
                case N_KEYS:
                        r = skip_pair(reader, &key);
                        break;
                }
        }
        if (r < 0)
                return r;
        return keys[KEY_R].seen ? end_message(reader) : cbor_refuse(reader, "r is missing");
}

int stream_description_parse(const uint8_t *message, size_t n_message, StreamDescription *ret, const char **reterr)
{
        CborReader reader = {.p = message, .n_left = n_message};
        StreamDescription description = {.version = -1};
        int r;

        r = read_description(&reader, &description);
        if (r >= 0)
                *ret = description;
        return finish(&reader, r, reterr);
}
