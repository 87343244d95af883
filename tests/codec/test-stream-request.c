#include <cbor.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "codec/stream-block.h"
#include "unit.h"
#include "vectors.h"

static void assert_bytes(const StreamRequest *request, const char *expected, size_t n_expected)
{
        uint8_t buffer[STREAM_REQUEST_MAX_BYTES];
        size_t n = 0;

        assert_int_equal(stream_request_format(request, buffer, sizeof(buffer), &n), 0);
        assert_int_equal(n, n_expected);
        assert_memory_equal(buffer, expected, n);

        /* A buffer that is a byte too small, at every size, is said to be. */
        for (size_t size = 0; size < n_expected; size++) {
                uint8_t *small = malloc(size > 0 ? size : 1);

                assert_non_null(small);
                assert_int_equal(stream_request_format(request, small, size, &n), -ENOBUFS);
                free(small);
        }
}

static void test_vectors(void **state)
{
        const StreamRequest v1 = {
                .client_token = "otad-1", .stream_version = -1, .block_bytes = 4096, .n_blocks = 31};
        const StreamRequest v2 = {.client_token = "1",
                                  .stream_version = 1,
                                  .file_id = 1,
                                  .block_bytes = 256,
                                  .first_block = 20,
                                  .n_blocks = 32,
                                  .bitmap = (const uint8_t *)"\x13\x00\x80",
                                  .n_bits = 24};

        (void)state;
        assert_bytes(&v1, V1_GET, sizeof(V1_GET) - 1);
        assert_bytes(&v2, V2_GET_BITMAP, sizeof(V2_GET_BITMAP) - 1);
}

/* One value of a map with one-letter keys, printed. */
static const cbor_item_t *value_of(const cbor_item_t *map, char key)
{
        for (size_t i = 0; i < cbor_map_size(map); i++) {
                const struct cbor_pair *pair = &cbor_map_handle(map)[i];

                if (cbor_string_length(pair->key) == 1 && cbor_string_handle(pair->key)[0] == (unsigned char)key)
                        return pair->value;
        }
        return NULL;
}

/* The agent orders its keys another way, so here the two are compared member by member. */
static void test_agent_vector(void **state)
{
        const StreamRequest request = {.client_token = "rdy",
                                       .stream_version = -1,
                                       .block_bytes = 4096,
                                       .n_blocks = 1,
                                       .bitmap = (const uint8_t *)"\xff\x03",
                                       .n_bits = 10};
        uint8_t buffer[STREAM_REQUEST_MAX_BYTES];
        struct cbor_load_result result;
        cbor_item_t *ours, *theirs;
        size_t n;

        (void)state;
        assert_int_equal(stream_request_format(&request, buffer, sizeof(buffer), &n), 0);
        assert_int_equal(n, sizeof(V3_GET_AGENT) - 1);
        ours = cbor_load(buffer, n, &result);
        theirs = cbor_load((const unsigned char *)V3_GET_AGENT, sizeof(V3_GET_AGENT) - 1, &result);
        assert_non_null(ours);
        assert_non_null(theirs);
        assert_int_equal(cbor_map_size(ours), cbor_map_size(theirs));
        for (const char *key = "flon"; *key; key++)
                assert_int_equal(cbor_get_int(value_of(ours, *key)), cbor_get_int(value_of(theirs, *key)));
        assert_true(cbor_isa_bytestring(value_of(ours, 'b')));
        assert_int_equal(cbor_bytestring_length(value_of(ours, 'b')), 2);
        assert_memory_equal(cbor_bytestring_handle(value_of(ours, 'b')), "\xff\x03", 2);
        assert_memory_equal(cbor_string_handle(value_of(ours, 'c')), "rdy", 3);
        cbor_decref(&ours);
        cbor_decref(&theirs);
}

static const uint8_t zeros[STREAM_BITMAP_MAX_BYTES + 1], ones[64] = {[0 ... 63] = 0xff};

typedef struct Case {
        StreamRequest request;
        int r;
} Case;

#define TOKEN_64 "0123456789012345678901234567890123456789012345678901234567890123"

static const Case cases[] = {
        {{.block_bytes = 256, .n_blocks = 1}, 0},
        {{.block_bytes = 255, .n_blocks = 1}, -EINVAL},
        {{.block_bytes = 131072, .n_blocks = 1}, 0},
        {{.block_bytes = 131073, .n_blocks = 1}, -EINVAL},
        {{.block_bytes = 131072, .n_blocks = 2}, -E2BIG},
        {{.block_bytes = 256, .n_blocks = 512}, 0},
        {{.block_bytes = 256, .n_blocks = 513}, -E2BIG},
        {{.block_bytes = 256, .n_blocks = 0}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = UINT32_MAX}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .first_block = 98303}, 0},
        {{.block_bytes = 256, .n_blocks = 2, .first_block = 98303}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .first_block = UINT32_MAX}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .stream_version = 65535}, 0},
        {{.block_bytes = 256, .n_blocks = 1, .stream_version = 65536}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .stream_version = -2}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .client_token = TOKEN_64}, 0},
        {{.block_bytes = 256, .n_blocks = 1, .client_token = TOKEN_64 "x"}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .client_token = ""}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .client_token = "a\"b"}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .file_id = 255}, 0},
        /* bitmaps */
        {{.block_bytes = 4096, .n_blocks = 32, .bitmap = ones, .n_bits = 32}, 0},
        {{.block_bytes = 4096, .n_blocks = 33, .bitmap = ones, .n_bits = 40}, -E2BIG},
        {{.block_bytes = 4096, .n_blocks = 32, .bitmap = ones, .n_bits = 512}, 0},
        {{.block_bytes = 4096, .n_blocks = 500, .bitmap = ones, .n_bits = 16}, 0},
        {{.block_bytes = 4096, .n_blocks = 1, .bitmap = ones, .n_bits = 0}, -EINVAL},
        {{.block_bytes = 4096, .n_blocks = 1, .bitmap = zeros, .n_bits = 8}, -EINVAL},
        {{.block_bytes = 4096, .n_blocks = 1, .bitmap = (const uint8_t *)"\x1f", .n_bits = 5}, 0},
        {{.block_bytes = 4096, .n_blocks = 1, .bitmap = (const uint8_t *)"\x3f", .n_bits = 5}, -EINVAL},
        {{.block_bytes = 4096, .n_blocks = 1, .bitmap = (const uint8_t *)"\x80", .n_bits = 7}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .first_block = 98296, .bitmap = ones, .n_bits = 8}, 0},
        {{.block_bytes = 256, .n_blocks = 1, .first_block = 98297, .bitmap = ones, .n_bits = 8}, -EINVAL},
        {{.block_bytes = 256, .n_blocks = 1, .bitmap = zeros, .n_bits = 8 * (STREAM_BITMAP_MAX_BYTES + 1)}, -EINVAL},
};

static void test_cases(void **state)
{
        uint8_t buffer[STREAM_REQUEST_MAX_BYTES];

        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t n = 0;
                int r = stream_request_format(&cases[i].request, buffer, sizeof(buffer), &n);

                if (r != cases[i].r)
                        fail_msg("request %zu: %d, not %d", i, r, cases[i].r);
                assert_true((r == 0) == (n > 0));
        }
}

/* The largest request there can be fits what the header says is enough. */
static void test_largest(void **state)
{
        static uint8_t bitmap[STREAM_BITMAP_MAX_BYTES];
        StreamRequest request = {.client_token = TOKEN_64,
                                 .stream_version = 65535,
                                 .file_id = 255,
                                 .block_bytes = 256,
                                 .n_blocks = 512,
                                 .bitmap = bitmap,
                                 .n_bits = 8 * STREAM_BITMAP_MAX_BYTES};
        uint8_t buffer[STREAM_REQUEST_MAX_BYTES];
        size_t n = 0;

        (void)state;
        bitmap[STREAM_BITMAP_MAX_BYTES - 1] = 0x80;
        assert_int_equal(stream_request_format(&request, buffer, sizeof(buffer), &n), 0);
        assert_true(n > STREAM_BITMAP_MAX_BYTES && n <= STREAM_REQUEST_MAX_BYTES);
        assert_int_equal(buffer[n - 1], 0x80);
}

static void test_describe(void **state)
{
        uint8_t buffer[STREAM_DESCRIBE_MAX_BYTES];
        size_t n;

        (void)state;
        assert_int_equal(stream_describe_format("otad-2", buffer, sizeof(buffer), &n), 0);
        assert_int_equal(n, sizeof(V7_DESCRIBE) - 1);
        assert_memory_equal(buffer, V7_DESCRIBE, n);
        assert_int_equal(stream_describe_format("otad-2", buffer, n - 1, &n), -ENOBUFS);
        assert_int_equal(stream_describe_format(NULL, buffer, sizeof(buffer), &n), 0);
        assert_int_equal(n, 1);
        assert_int_equal(buffer[0], 0xa0);
        assert_int_equal(stream_describe_format(TOKEN_64, buffer, sizeof(buffer), &n), 0);
        assert_int_equal(stream_describe_format(TOKEN_64 "x", buffer, sizeof(buffer), &n), -EINVAL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_vectors), cmocka_unit_test(test_agent_vector), cmocka_unit_test(test_cases),
                cmocka_unit_test(test_largest), cmocka_unit_test(test_describe),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
