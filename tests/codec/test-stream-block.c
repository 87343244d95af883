#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "codec/stream-block.h"
#include "mangle.h"
#include "unit.h"
#include "vectors.h"

#define BYTES(literal) (const uint8_t *)(literal), sizeof(literal) - 1

static void test_data_vectors(void **state)
{
        static const struct {
                const char *message;
                size_t n;
        } vectors[] = {{V4_DATA, sizeof(V4_DATA) - 1}, {V5_DATA, sizeof(V5_DATA) - 1}};
        uint8_t v6[274];
        StreamBlock block;

        (void)state;
        assert_int_equal(vectors[0].n, 69);
        assert_int_equal(vectors[1].n, 68);
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                const uint8_t *message = (const uint8_t *)vectors[i].message;

                assert_int_equal(stream_block_parse(message, vectors[i].n, &block, NULL), 0);
                assert_int_equal(block.block, 1);
                assert_int_equal(block.file_id, 0);
                assert_int_equal(block.n_payload, 44);
                assert_memory_equal(block.payload, LAST_44, 44);
                /* not a copy: it points into the message */
                assert_true(block.payload > message && block.payload + 44 <= message + vectors[i].n);
                assert_string_equal(block.client_token, "otad-1");
        }

        memcpy(v6, V6_HEAD, 17);
        for (size_t i = 0; i < 256; i++)
                v6[17 + i] = (uint8_t)(i % 251);
        v6[273] = 0xff;
        assert_int_equal(stream_block_parse(v6, sizeof(v6), &block, NULL), 0);
        assert_int_equal(block.block, 0);
        assert_int_equal(block.n_payload, 256);
        assert_ptr_equal(block.payload, v6 + 17);
        assert_string_equal(block.client_token, "");
}

static void test_largest_block(void **state)
{
        static const char head[] = "\xa4\x61\x66\x18\xff\x61\x69\x1a\x00\x01\x7f\xff\x61\x6c\x1a\x00\x02\x00\x00\x61"
                                   "\x70\x5a\x00\x02\x00";
        uint8_t *message = calloc(1, 25 + 1 + STREAM_BLOCK_MAX_BYTES + 1);
        const char *error;
        StreamBlock block;

        (void)state;
        assert_non_null(message);
        memcpy(message, head, 25);
        assert_int_equal(stream_block_parse(message, 26 + STREAM_BLOCK_MAX_BYTES, &block, &error), 0);
        assert_int_equal(block.n_payload, STREAM_BLOCK_MAX_BYTES);
        assert_int_equal(block.block, 98303);
        assert_int_equal(block.file_id, 255);
        message[25] = 1;
        assert_int_equal(stream_block_parse(message, 27 + STREAM_BLOCK_MAX_BYTES, &block, &error), -EBADMSG);
        assert_string_equal(error, "p is empty or longer than 128 KiB");
        free(message);
}

static void test_description_vectors(void **state)
{
        static const struct {
                const char *message;
                size_t n;
        } vectors[] = {{V8_DESCRIPTION, sizeof(V8_DESCRIPTION) - 1},
                       {V8_DESCRIPTION_OPEN, sizeof(V8_DESCRIPTION_OPEN) - 1}};
        StreamDescription d;

        (void)state;
        assert_int_equal(vectors[0].n, 32);
        assert_int_equal(vectors[1].n, 35);
        for (size_t i = 0; i < ELEMENTSOF(vectors); i++) {
                assert_int_equal(
                        stream_description_parse((const uint8_t *)vectors[i].message, vectors[i].n, &d, NULL), 0);
                assert_int_equal(d.version, 1);
                assert_string_equal(d.description, "demo");
                assert_string_equal(d.client_token, "otad-2");
                assert_int_equal(d.n_files, 1);
                assert_int_equal(d.files[0].file_id, 0);
                assert_int_equal(d.files[0].size_bytes, 300);
        }
        assert_int_equal(stream_description_parse(BYTES("\xa1\x61\x72\x80"), &d, NULL), 0);
        assert_int_equal(d.version, -1);
        assert_int_equal(d.n_files, 0);
        assert_string_equal(d.description, "");
}

static void test_description_many(void **state)
{
        uint8_t message[512] = "\xa1\x61\x72\x98\x32";
        StreamDescription d;
        const char *error;
        size_t n = 5;

        (void)state;
        for (unsigned i = 0; i < STREAM_FILES_MAX + 1; i++, n += 7)
                memcpy(message + n, "\xa2\x61\x66\x05\x61\x7a\x09", 7);
        assert_int_equal(stream_description_parse(message, n - 7, &d, &error), 0);
        assert_int_equal(d.n_files, STREAM_FILES_MAX);
        assert_int_equal(d.files[STREAM_FILES_MAX - 1].size_bytes, 9);
        message[4] = 0x33;
        assert_int_equal(stream_description_parse(message, n, &d, &error), -EBADMSG);
        assert_string_equal(error, "r has more than 50 files");
}

static void test_rejection_vectors(void **state)
{
        static const char *const codes[] = {
                "InvalidTopic",
                "InvalidJson",
                "InvalidCbor",
                "InvalidRequest",
                "Unauthorized",
                "BlockSizeOutOfBounds",
                "OffsetOutOfBounds",
                "BlockCountLimitExceeded",
                "BlockBitmapLimitExceeded",
                "ResourceNotFound",
                "VersionMismatch",
                "ETagMismatch",
                "InternalError",
        };
        StreamRejection rejection;

        (void)state;
        assert_int_equal(sizeof(V9_REJECTED) - 1, 107);
        assert_int_equal(stream_rejection_parse(BYTES(V9_REJECTED), &rejection, NULL), 0);
        assert_int_equal(rejection.code, STREAM_REJECTION_RESOURCE_NOT_FOUND);
        assert_string_equal(rejection.code_text, "ResourceNotFound");
        assert_string_equal(rejection.message, "no such file");
        assert_string_equal(rejection.client_token, "otad-1");

        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                uint8_t message[64] = "\xa1\x61\x6f\x78";
                size_t n = strlen(codes[i]);

                message[4] = (uint8_t)n;
                memcpy(message + 5, codes[i], n);
                assert_int_equal(stream_rejection_parse(message, 5 + n, &rejection, NULL), 0);
                assert_int_equal(rejection.code, i + 1);
                assert_string_equal(stream_rejection_code_to_string(rejection.code), codes[i]);
                assert_string_equal(rejection.message, "");
                assert_string_equal(rejection.client_token, "");
        }

        /* long keys win, in either order */
        assert_int_equal(stream_rejection_parse(BYTES("\xa2\x64"
                                                      "code"
                                                      "\x61"
                                                      "A"
                                                      "\x61o\x61"
                                                      "B"),
                                                &rejection, NULL),
                         0);
        assert_string_equal(rejection.code_text, "A");
        assert_int_equal(rejection.code, STREAM_REJECTION_UNKNOWN);
        assert_int_equal(stream_rejection_parse(BYTES("\xa2\x61o\x61"
                                                      "B"
                                                      "\x64"
                                                      "code"
                                                      "\x61"
                                                      "A"),
                                                &rejection, NULL),
                         0);
        assert_string_equal(rejection.code_text, "A");
        /* hostile text is escaped */
        assert_int_equal(stream_rejection_parse(BYTES("\xa2\x61o\x62\x1b"
                                                      "B"
                                                      "\x61m\x63"
                                                      "a\n\xff"),
                                                &rejection, NULL),
                         0);
        assert_string_equal(rejection.code_text, "\\x1bB");
        assert_string_equal(rejection.message, "a\\x0a\\xff");
}

typedef enum Parser {
        BLOCK,
        REJECTION,
        DESCRIPTION,
} Parser;

static int parse(Parser parser, const uint8_t *message, size_t n_message, const char **reterr)
{
        StreamDescription description;
        StreamRejection rejection;
        StreamBlock block;
        int r = -EINVAL;

        switch (parser) {
        case BLOCK:
                r = stream_block_parse(message, n_message, &block, reterr);
                if (r == 0) {
                        assert_true(block.payload >= message);
                        assert_true(block.payload + block.n_payload <= message + n_message);
                        assert_true(block.n_payload >= 1 && block.n_payload <= STREAM_BLOCK_MAX_BYTES);
                        assert_true(block.block < STREAM_N_BLOCKS_MAX);
                }
                break;
        case REJECTION:
                r = stream_rejection_parse(message, n_message, &rejection, reterr);
                assert_true(r != 0 || rejection.code < _STREAM_REJECTION_MAX);
                break;
        case DESCRIPTION:
                r = stream_description_parse(message, n_message, &description, reterr);
                assert_true(r != 0 || description.n_files <= STREAM_FILES_MAX);
                break;
        }
        return r;
}

typedef struct Case {
        Parser parser;
        const char *message;
        size_t n;
        const char *error; /* NULL: fine */
} Case;

#define CASE(parser, message, error)                        \
        {                                                   \
                parser, message, sizeof(message) - 1, error \
        }

#define F    "\x61\x66\x00"
#define L    "\x61\x6c\x01"
#define I    "\x61\x69\x00"
#define P    "\x61\x70\x41\x58"
#define OPEN "\xbf"
#define END  "\xff"
#define FLIP F L I P

static const Case cases[] = {
        CASE(BLOCK, OPEN FLIP END, NULL),
        CASE(BLOCK, "\xa4" P I L F, NULL),
        CASE(BLOCK, "\xb8\x04" FLIP, NULL),
        CASE(BLOCK, "\xbb\x00\x00\x00\x00\x00\x00\x00\x04" FLIP, NULL),
        /* integers and lengths of any width */
        CASE(BLOCK,
             "\xa4\x61\x66\x18\x00\x61\x6c\x19\x00\x01\x61\x69\x1a\x00\x00\x00\x00\x61\x70\x5b\x00\x00\x00\x00\x00"
             "\x00\x00\x01X",
             NULL),
        CASE(BLOCK, "\xa4" F "\x61\x6c\x1b\x00\x00\x00\x00\x00\x00\x00\x01" I P, NULL),
        CASE(BLOCK, "\xa4\x78\x01\x66\x00" L I P, NULL),
        /* unknown keys and values of every kind */
        CASE(BLOCK, OPEN "\x61z\x00" FLIP END, NULL),
        CASE(BLOCK, OPEN "\x01\x20" FLIP END, NULL),
        CASE(BLOCK,
             OPEN "\x61z\xf6"
                  "\x61y\xf7"
                  "\x61x\xf5" FLIP END,
             NULL),
        CASE(BLOCK,
             OPEN "\x61z\xf9\x3c\x00"
                  "\x61y\xfa\x00\x00\x00\x00"
                  "\x61x\xfb\x00\x00\x00\x00\x00\x00\x00\x00" FLIP END,
             NULL),
        CASE(BLOCK, OPEN "\x61z\x82\x01\xa1\x02\x03" FLIP END, NULL),
        CASE(BLOCK, OPEN "\x61z\x9f\x01\xbf\x02\x03\xff\xff" FLIP END, NULL),
        CASE(BLOCK,
             OPEN "\x61z\x5f\x41"
                  "a"
                  "\x40\xff" FLIP END,
             NULL),
        CASE(BLOCK,
             OPEN "\x61z\x7f\x61"
                  "a"
                  "\xff" FLIP END,
             NULL),
        CASE(BLOCK, OPEN "\x61z\xc1\x00" FLIP END, NULL),
        CASE(BLOCK,
             OPEN "\x7f\x61"
                  "a"
                  "\xff\x00" FLIP END,
             NULL),
        CASE(BLOCK, OPEN "\x80\x00\x80\x00" FLIP END, NULL),
        CASE(BLOCK, OPEN "\x61z\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x00" FLIP END, NULL),
        CASE(BLOCK, OPEN "\x61z\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x81\x00" FLIP END,
             "nested too deeply"),
        CASE(BLOCK, OPEN "\x61z\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1\x00" FLIP END,
             "nested too deeply"),
        /* not a message */
        CASE(BLOCK, "", "ends too early"),
        CASE(BLOCK, "\x00", "not a map"),
        CASE(BLOCK, "\x80", "not a map"),
        CASE(BLOCK, "\xf6", "not a map"),
        CASE(BLOCK, "\xff", "not a map"),
        CASE(BLOCK, "{\"f\":0}", "ends too early"),
        CASE(BLOCK, "\xd9\xd9\xf7\xa4" FLIP, "not a map"),
        CASE(BLOCK, "\x1c", "not CBOR"),
        CASE(BLOCK, "\xa4\x61\x66\x1f", "not CBOR"),
        CASE(BLOCK, "\xa0", "one of f, l, i and p is missing"),
        CASE(BLOCK, OPEN END, "one of f, l, i and p is missing"),
        CASE(BLOCK, OPEN F L I END, "one of f, l, i and p is missing"),
        CASE(BLOCK, OPEN F L P END, "one of f, l, i and p is missing"),
        CASE(BLOCK, OPEN F I P END, "one of f, l, i and p is missing"),
        CASE(BLOCK, OPEN L I P END, "one of f, l, i and p is missing"),
        CASE(BLOCK, OPEN FLIP, "ends too early"),
        CASE(BLOCK, "\xa5" FLIP, "ends too early"),
        CASE(BLOCK, "\xa3" FLIP, "one of f, l, i and p is missing"),
        CASE(BLOCK, "\xbb\xff\xff\xff\xff\xff\xff\xff\xff" FLIP, "ends too early"),
        CASE(BLOCK, OPEN FLIP END "\x00", "something follows the map"),
        CASE(BLOCK, "\xa4" FLIP END, "something follows the map"),
        CASE(BLOCK, OPEN FLIP F END, "a key is there twice"),
        CASE(BLOCK, OPEN FLIP P END, "a key is there twice"),
        CASE(BLOCK, OPEN "\x61z" END, "a break where a value is due"),
        CASE(BLOCK, OPEN F "\x61\x6c" END, "l is not a number to 131072"),
        CASE(BLOCK, "\xa4\xff" FLIP, "a break where a value is due"),
        CASE(BLOCK, OPEN "\x61z\x82\x01\xff" FLIP END, "a break where a value is due"),
        CASE(BLOCK,
             OPEN "\x61z\x5f\x61"
                  "a"
                  "\xff" FLIP END,
             "a string has a chunk of another type"),
        CASE(BLOCK, OPEN "\x61z\x7f\x5f" FLIP END, "a string has a chunk of another type"),
        CASE(BLOCK, OPEN "\x61z\x9b\xff\xff\xff\xff\xff\xff\xff\xff" FLIP END, "ends too early"),
        CASE(BLOCK, OPEN "\x61z\xbb\x80\x00\x00\x00\x00\x00\x00\x00" FLIP END, "ends too early"),
        CASE(BLOCK, OPEN "\x61z\x9b\x00\x00\x00\x01\x00\x00\x00\x00" FLIP END, "ends too early"),
        CASE(BLOCK, OPEN "\x61z\x5b\x00\x00\x00\x01\x00\x00\x00\x01z" FLIP END, "ends too early"),
        CASE(BLOCK, OPEN "\x61z\x9b\x00\x00\x00\x00\xff\xff\xff\xff" FLIP END, "a break where a value is due"),
        CASE(BLOCK, OPEN "\x61z\x5b\xff\xff\xff\xff\xff\xff\xff\xff" FLIP END, "ends too early"),
        /* values */
        CASE(BLOCK, OPEN "\x61\x66\x19\x01\x00" L I P END, "f is not a number from 0 to 255"),
        CASE(BLOCK, OPEN "\x61\x66\x20" L I P END, "f is not a number from 0 to 255"),
        CASE(BLOCK,
             OPEN "\x61\x66\x61"
                  "0" L I P END,
             "f is not a number from 0 to 255"),
        CASE(BLOCK, OPEN "\x61\x66\xf9\x00\x00" L I P END, "f is not a number from 0 to 255"),
        CASE(BLOCK, OPEN F "\x61\x6c\x02" I P END, "l is not the length of p"),
        CASE(BLOCK, OPEN F "\x61\x6c\x00" I P END, "l is not the length of p"),
        CASE(BLOCK, OPEN F "\x61\x6c\x1a\x00\x02\x00\x01" I P END, "l is not a number to 131072"),
        CASE(BLOCK, OPEN F L "\x61\x69\x1a\x00\x01\x80\x00" P END, "i is not a number to 98303"),
        CASE(BLOCK, OPEN F L "\x61\x69\x1b\xff\xff\xff\xff\xff\xff\xff\xff" P END, "i is not a number to 98303"),
        CASE(BLOCK, OPEN F L "\x61\x69\x39\x00\x00" P END, "i is not a number to 98303"),
        CASE(BLOCK, OPEN F "\x61\x6c\x00" I "\x61\x70\x40" END, "p is empty or longer than 128 KiB"),
        CASE(BLOCK, OPEN F L I "\x61\x70\x61X" END, "p is not a byte string of definite length"),
        CASE(BLOCK, OPEN F L I "\x61\x70\x5f\x41X\xff" END, "p is not a byte string of definite length"),
        CASE(BLOCK, OPEN F L I "\x61\x70\xd5\x41X" END, "p is not a byte string of definite length"),
        CASE(BLOCK, OPEN F L I "\x61\x70\x42X", "ends too early"),
        CASE(BLOCK, OPEN FLIP "\x61\x63\x01" END, "the client token is not a text of definite length"),
        CASE(BLOCK,
             OPEN FLIP "\x61\x63\x41"
                       "a" END,
             "the client token is not a text of definite length"),
        CASE(BLOCK,
             OPEN FLIP "\x61\x63\x7f\x61"
                       "a"
                       "\xff" END,
             "the client token is not a text of definite length"),
        CASE(BLOCK,
             OPEN FLIP "\x61\x63\x62"
                       "a\x00" END,
             "the client token is not UTF-8 without NUL"),
        CASE(BLOCK, OPEN FLIP "\x61\x63\x61\xff" END, "the client token is not UTF-8 without NUL"),
        CASE(BLOCK,
             OPEN FLIP "\x61\x63\x78\x40"
                       "0123456789012345678901234567890123456789012345678901234567890123" END,
             NULL),
        CASE(BLOCK,
             OPEN FLIP "\x61\x63\x78\x41"
                       "01234567890123456789012345678901234567890123456789012345678901234" END,
             "the client token is longer than 64 bytes"),
        /* rejections */
        CASE(REJECTION, "\xa1\x61o\x60", NULL),
        CASE(REJECTION, "\xa2\x61o\x61X\x61z\x81\x00", NULL),
        CASE(REJECTION, "\xa0", "the code is missing"),
        CASE(REJECTION, "\xa1\x61m\x61X", "the code is missing"),
        CASE(REJECTION, "\xa1\x61o\x01", "the code is not a text of definite length"),
        CASE(REJECTION,
             "\xa1\x64"
             "code"
             "\x7f\x61X\xff",
             "the code is not a text of definite length"),
        CASE(REJECTION, "\xa2\x61o\x61X\x61m\x41X", "the message is not a text of definite length"),
        CASE(REJECTION, "\xa2\x61o\x61X\x61o\x61X", "a key is there twice"),
        CASE(REJECTION,
             "\xa2\x61o\x61X\x6b"
             "clientToken\x05",
             "the client token is not a text of definite length"),
        CASE(REJECTION, "\xa1\x61o\x61Xx", "something follows the map"),
        CASE(REJECTION, "\x81\x61o", "not a map"),
        /* descriptions */
        CASE(DESCRIPTION, "\xa2\x61r\x80\x61z\x00", NULL),
        CASE(DESCRIPTION, "\xa1\x61r\x9f\xff", NULL),
        CASE(DESCRIPTION,
             "\xa1\x61r\x81\xa3\x61"
             "f"
             "\x01\x61z\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x61y\xa0",
             NULL),
        CASE(DESCRIPTION, "\xa0", "r is missing"),
        CASE(DESCRIPTION, "\xa1\x61r\xa0", "not an array"),
        CASE(DESCRIPTION, "\xa1\x61r\x81\x00", "a file in r is not a map"),
        CASE(DESCRIPTION,
             "\xa1\x61r\x81\xa1\x61"
             "f"
             "\x01",
             "a file in r lacks f or z"),
        CASE(DESCRIPTION, "\xa1\x61r\x81\xa1\x61z\x01", "a file in r lacks f or z"),
        CASE(DESCRIPTION,
             "\xa1\x61r\x81\xa1\x61"
             "f"
             "\x19\x01\x00",
             "f is not a number from 0 to 255"),
        CASE(DESCRIPTION, "\xa1\x61r\x81\xa1\x61z\x20", "z is not a number"),
        CASE(DESCRIPTION,
             "\xa1\x61r\x82\xa2\x61"
             "f"
             "\x01\x61z\x01\xff",
             "a file in r is not a map"),
        CASE(DESCRIPTION, "\xa1\x61s\x1a\x00\x01\x00\x00", "s is not a number from 0 to 65535"),
        CASE(DESCRIPTION,
             "\xa1\x61"
             "d"
             "\x00",
             "d is not a text of definite length"),
        CASE(DESCRIPTION, "\xa2\x61r\x80\x61r\x80", "a key is there twice"),
        CASE(DESCRIPTION, "\xa1\x61r\x80\x00", "something follows the map"),
};

static void test_cases(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const Case *c = &cases[i];
                const char *error = "nothing";
                int r = parse(c->parser, (const uint8_t *)c->message, c->n, &error);

                if (!c->error && r != 0)
                        fail_msg("message %zu: %s", i, error);
                if (c->error && (r != -EBADMSG || strcmp(error, c->error) != 0))
                        fail_msg("message %zu: \"%s\", not \"%s\"", i, error, c->error);
                assert_int_equal(parse(c->parser, (const uint8_t *)c->message, c->n, NULL), r);
        }
}

static void try_message(const uint8_t *data, size_t n_data)
{
        for (Parser parser = BLOCK; parser <= DESCRIPTION; parser++) {
                const char *error = NULL;
                int r = parse(parser, data, n_data, &error);

                assert_true(r == 0 || (r == -EBADMSG && error));
        }
}

static void test_mangled(void **state)
{
        uint8_t v6[274] = V6_HEAD;

        (void)state;
        mangle(V4_DATA, sizeof(V4_DATA) - 1, try_message);
        mangle(V5_DATA, sizeof(V5_DATA) - 1, try_message);
        v6[273] = 0xff;
        mangle(v6, sizeof(v6), try_message);
        mangle(V8_DESCRIPTION, sizeof(V8_DESCRIPTION) - 1, try_message);
        mangle(V8_DESCRIPTION_OPEN, sizeof(V8_DESCRIPTION_OPEN) - 1, try_message);
        mangle(V9_REJECTED, sizeof(V9_REJECTED) - 1, try_message);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                mangle(cases[i].message, cases[i].n, try_message);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_data_vectors),
                cmocka_unit_test(test_largest_block),
                cmocka_unit_test(test_description_vectors),
                cmocka_unit_test(test_description_many),
                cmocka_unit_test(test_rejection_vectors),
                cmocka_unit_test(test_cases),
                cmocka_unit_test(test_mangled),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
