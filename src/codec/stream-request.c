#include <cbor.h>
#include <errno.h>
#include <string.h>

#include "base/text.h"
#include "codec/stream-block.h"

/* Where the next item goes; libcbor's encoders answer 0 where there is no room for it. */
typedef struct Writer {
        uint8_t *p;
        size_t n_left;
        bool full;
} Writer;

static void advance(Writer *w, size_t n)
{
        if (n == 0)
                w->full = true;
        else {
                w->p += n;
                w->n_left -= n;
        }
}

static void write_raw(Writer *w, const void *data, size_t n)
{
        if (n > w->n_left) {
                w->full = true;
                return;
        }
        memcpy(w->p, data, n);
        w->p += n;
        w->n_left -= n;
}

static void write_text(Writer *w, const char *text)
{
        advance(w, cbor_encode_string_start(strlen(text), w->p, w->n_left));
        write_raw(w, text, strlen(text));
}

static void write_uint(Writer *w, const char *key, uint64_t value)
{
        write_text(w, key);
        advance(w, cbor_encode_uint(value, w->p, w->n_left));
}

static int finish(const Writer *w, size_t buffer_size, size_t *ret_size)
{
        if (w->full)
                return -ENOBUFS;
        *ret_size = buffer_size - w->n_left;
        return 0;
}

static bool token_is_valid(const char *token)
{
        return !token || text_is_token(token, STREAM_CLIENT_TOKEN_MAX, ":_-");
}

static bool ranges_are_valid(const StreamRequest *request)
{
        return token_is_valid(request->client_token) && request->stream_version >= -1 &&
               request->stream_version <= UINT16_MAX && request->block_bytes >= STREAM_BLOCK_MIN_BYTES &&
               request->block_bytes <= STREAM_BLOCK_MAX_BYTES && request->first_block <= STREAM_N_BLOCKS_MAX &&
               request->n_blocks >= 1 && request->n_blocks <= STREAM_N_BLOCKS_MAX;
}

static int check_request(const StreamRequest *request)
{
        size_t n_bytes = ((size_t)request->n_bits + 7) / 8;
        uint64_t n_wanted = request->n_blocks, n_span = request->n_blocks;

        if (!ranges_are_valid(request))
                return -EINVAL;
        if (request->bitmap) {
                n_span = request->n_bits;
                if (n_span == 0 || n_bytes > STREAM_BITMAP_MAX_BYTES)
                        return -EINVAL;
                /* The service refuses the request as a whole for one bit behind the end of the file. */
                if (request->n_bits % 8 != 0 && request->bitmap[n_bytes - 1] >> (request->n_bits % 8) != 0)
                        return -EINVAL;
                n_wanted = 0;
                for (size_t i = 0; i < n_bytes; i++)
                        n_wanted += (unsigned)__builtin_popcount(request->bitmap[i]);
                if (n_wanted == 0)
                        return -EINVAL;
                n_wanted = MIN2(n_wanted, request->n_blocks);
        }
        if (request->first_block + n_span > STREAM_N_BLOCKS_MAX)
                return -EINVAL;
        return n_wanted * request->block_bytes > STREAM_ANSWER_MAX_BYTES ? -E2BIG : 0;
}

int stream_request_format(const StreamRequest *request, uint8_t *buffer, size_t buffer_size, size_t *ret_size)
{
        Writer w = {.p = buffer, .n_left = buffer_size};
        size_t n_bytes = ((size_t)request->n_bits + 7) / 8;
        size_t n_pairs =
                4U + (request->client_token != NULL) + (request->stream_version >= 0) + (request->bitmap != NULL);
        int r;

        r = check_request(request);
        if (r < 0)
                return r;

        advance(&w, cbor_encode_map_start(n_pairs, w.p, w.n_left));
        if (request->client_token) {
                write_text(&w, "c");
                write_text(&w, request->client_token);
        }
        if (request->stream_version >= 0)
                write_uint(&w, "s", (uint64_t)request->stream_version);
        write_uint(&w, "f", request->file_id);
        write_uint(&w, "l", request->block_bytes);
        write_uint(&w, "o", request->first_block);
        /* With a bitmap too: a request without `n` was reported to fail. */
        write_uint(&w, "n", request->n_blocks);
        if (request->bitmap) {
                write_text(&w, "b");
                advance(&w, cbor_encode_bytestring_start(n_bytes, w.p, w.n_left));
                write_raw(&w, request->bitmap, n_bytes);
        }
        return finish(&w, buffer_size, ret_size);
}

int stream_describe_format(const char *client_token, uint8_t *buffer, size_t buffer_size, size_t *ret_size)
{
        Writer w = {.p = buffer, .n_left = buffer_size};

        if (!token_is_valid(client_token))
                return -EINVAL;
        advance(&w, cbor_encode_map_start(client_token ? 1 : 0, w.p, w.n_left));
        if (client_token) {
                write_text(&w, "c");
                write_text(&w, client_token);
        }
        return finish(&w, buffer_size, ret_size);
}
