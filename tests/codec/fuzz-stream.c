/* A CBOR message below `streams`, read as each kind. */
#include <stdlib.h>

#include "codec/stream-block.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
        StreamDescription description;
        StreamRejection rejection;
        const char *error = NULL;
        StreamBlock block;

        if (stream_block_parse(data, n_data, &block, &error) < 0) {
                if (!error)
                        abort();
        } else if (block.payload < data || block.payload + block.n_payload > data + n_data || block.n_payload < 1 ||
                   block.n_payload > STREAM_BLOCK_MAX_BYTES || block.block >= STREAM_N_BLOCKS_MAX)
                abort();

        error = NULL;
        if (stream_rejection_parse(data, n_data, &rejection, &error) < 0 && !error)
                abort();
        error = NULL;
        if (stream_description_parse(data, n_data, &description, &error) < 0 && !error)
                abort();
        return 0;
}
