/*
 * stream-block: the CBOR messages of AWS IoT MQTT-based file delivery.
 *
 * Decoding copies no payload: a block points into the message it came in. It takes definite and indefinite maps, keys
 * in any order and integers of any width, and skips unknown keys with values of at most STREAM_DEPTH_MAX levels. A
 * known key twice, a string of indefinite length as the value of a known key, and bytes behind the map are refused.
 *
 * Errors of all parsers: -EBADMSG; *reterr (NULL is fine) is static text that says why, fit for a log line.
 *
 * Sources: AWS IoT Developer Guide, "Using AWS IoT MQTT-based file delivery in devices"; RFC 8949 (CBOR). Real data
 * messages are indefinite maps; real rejections carry short and long keys at once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

enum {
        STREAM_BLOCK_MIN_BYTES = 256,
        STREAM_BLOCK_MAX_BYTES = 128 * 1024,
        STREAM_ANSWER_MAX_BYTES = 128 * 1024, /* all blocks of one request together; more is not sent */
        STREAM_N_BLOCKS_MAX = 98304,
        STREAM_FILE_MAX_BYTES = 98304 * 256,                      /* 24 MiB: a larger file comes over HTTPS only */
        STREAM_BITMAP_MAX_BYTES = 12287,                          /* "less than 12288 bytes" */
        STREAM_REQUEST_MAX_BYTES = STREAM_BITMAP_MAX_BYTES + 128, /* a request is never longer */
        STREAM_DESCRIBE_MAX_BYTES = 128,
        STREAM_CLIENT_TOKEN_MAX = 64, /* bytes */
        STREAM_FILES_MAX = 50,
        STREAM_DESCRIPTION_MAX = 128, /* bytes kept of it */
        STREAM_CODE_MAX = 64,         /* bytes */
        STREAM_MESSAGE_MAX = 512,     /* bytes */
        STREAM_DEPTH_MAX = 16,
};

/*
 * GetStream. Block numbers count from the start of the file in units of `block_bytes`.
 *
 * Without a bitmap: `n_blocks` blocks from `first_block` on. With one: bit k (least significant first) of byte j wants
 * block first_block + 8j + k, and `n_blocks` is the most that will be answered.
 */
typedef struct StreamRequest {
        const char *client_token; /* [a-zA-Z0-9:_-], at most STREAM_CLIENT_TOKEN_MAX; NULL: none. Borrowed */
        int32_t stream_version;   /* 0 to 65535; -1: not sent, so not checked */
        uint8_t file_id;
        uint32_t block_bytes; /* STREAM_BLOCK_MIN_BYTES to STREAM_BLOCK_MAX_BYTES */
        uint32_t first_block;
        uint32_t n_blocks;     /* at least 1; always sent */
        const uint8_t *bitmap; /* (n_bits + 7) / 8 bytes, borrowed; NULL: none */
        uint32_t n_bits;       /* so that first_block + n_bits is no more than the blocks of the file */
} StreamRequest;

/*
 * *ret_size bytes are in `buffer` on success. -EINVAL: a field out of its range, no bit or a bit from `n_bits` on set,
 * a block beyond STREAM_N_BLOCKS_MAX. -E2BIG: asks for more than STREAM_ANSWER_MAX_BYTES. -ENOBUFS.
 */
_must_use_ int stream_request_format(const StreamRequest *request, uint8_t *buffer, size_t buffer_size,
                                     size_t *ret_size);

/* DescribeStream; `client_token` as above. -EINVAL, -ENOBUFS. */
_must_use_ int stream_describe_format(const char *client_token, uint8_t *buffer, size_t buffer_size,
                                      size_t *ret_size);

/* One block. Whether it is wanted, and as long as it has to be, is the caller's to know. */
typedef struct StreamBlock {
        const uint8_t *payload; /* points into the message */
        uint32_t n_payload;     /* 1 to STREAM_BLOCK_MAX_BYTES; the same as the member `l` */
        uint32_t block;         /* 0 to STREAM_N_BLOCKS_MAX - 1, absolute: its offset is block * block_bytes */
        uint8_t file_id;
        char client_token[STREAM_CLIENT_TOKEN_MAX + 1]; /* "" where there is none */
} StreamBlock;

_must_use_ int stream_block_parse(const uint8_t *message, size_t n_message, StreamBlock *ret, const char **reterr);

typedef enum StreamRejectionCode {
        STREAM_REJECTION_UNKNOWN,
        STREAM_REJECTION_INVALID_TOPIC,
        STREAM_REJECTION_INVALID_JSON,
        STREAM_REJECTION_INVALID_CBOR,
        STREAM_REJECTION_INVALID_REQUEST,
        STREAM_REJECTION_UNAUTHORIZED,
        STREAM_REJECTION_BLOCK_SIZE_OUT_OF_BOUNDS,
        STREAM_REJECTION_OFFSET_OUT_OF_BOUNDS,
        STREAM_REJECTION_BLOCK_COUNT_LIMIT_EXCEEDED,
        STREAM_REJECTION_BLOCK_BITMAP_LIMIT_EXCEEDED,
        STREAM_REJECTION_RESOURCE_NOT_FOUND,
        STREAM_REJECTION_VERSION_MISMATCH,
        STREAM_REJECTION_ETAG_MISMATCH,
        STREAM_REJECTION_INTERNAL_ERROR,
        _STREAM_REJECTION_MAX,
} StreamRejectionCode;

/* The long keys win where short and long ones differ. Texts are escaped and cut. */
typedef struct StreamRejection {
        StreamRejectionCode code;
        char code_text[STREAM_CODE_MAX + 1];
        char message[STREAM_MESSAGE_MAX + 1];           /* "" where there is none */
        char client_token[STREAM_CLIENT_TOKEN_MAX + 1]; /* "" where there is none */
} StreamRejection;

_must_use_ int stream_rejection_parse(const uint8_t *message, size_t n_message, StreamRejection *ret,
                                      const char **reterr);
const char *stream_rejection_code_to_string(StreamRejectionCode code); /* "ResourceNotFound"; "unknown" */

typedef struct StreamFile {
        uint8_t file_id;
        uint64_t size_bytes;
} StreamFile;

typedef struct StreamDescription {
        int32_t version;                              /* for StreamRequest; -1: not given */
        char description[STREAM_DESCRIPTION_MAX + 1]; /* escaped and cut; "" where there is none */
        StreamFile files[STREAM_FILES_MAX];           /* more of them: -EBADMSG */
        size_t n_files;
        char client_token[STREAM_CLIENT_TOKEN_MAX + 1]; /* "" where there is none */
} StreamDescription;

_must_use_ int stream_description_parse(const uint8_t *message, size_t n_message, StreamDescription *ret,
                                        const char **reterr);
