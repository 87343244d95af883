/*
 * block-io: reads and writes past the page cache, several under way at once.
 *
 * Whole blocks go directly and asynchronously (O_DIRECT, libaio). Where a place or a kernel has no such thing, and for what
 * is no whole block, each call writes through the page cache, waits, and drops the pages. Either way what has been
 * written is with the device, though perhaps in its volatile cache, and what is read comes from the device.
 *
 * Waits are as long as the device takes, as those of write() are: the service's watchdog is their deadline.
 */
#pragma once

#include <libaio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

/* No block of a storage that direct I/O takes is larger, and no page is smaller. Buffers are aligned to it. */
#define BLOCK_BYTES UINT64_C(4096)

typedef struct BlockIo BlockIo;

/* One call. Must stay where it is, like its data, until it is over; begins as {}. */
typedef struct BlockOp {
        BlockIo *io;
        struct iocb call;
        void *data;
        size_t n_data;
        uint64_t offset;
        bool is_under_way;
        int result; /* once it is over: 0 or -errno */
} BlockOp;

/* Takes over fd, which is open for reading and writing. -errno. */
_must_use_ int block_io_new(int fd, BlockIo **ret);
/* Closes. Nothing may be under way. NULL is fine; returns NULL. */
BlockIo *block_io_free(BlockIo *io);
DEFINE_CLEANUP(BlockIo *, block_io_free);

/* Each begins a call, or has made it when it returns; only a write may have any offset and length. */
void block_io_write(BlockIo *io, BlockOp *op, void *data, size_t n_data, uint64_t offset);
/* -ENODATA: the place ends before that. `data` has room for whole blocks. */
void block_io_read(BlockIo *io, BlockOp *op, void *data, size_t n_data, uint64_t offset);
/* What was written, and is over, becomes durable. */
void block_io_sync(BlockIo *io, BlockOp *op);

/* Takes note of what is over meanwhile, of every BlockIo. */
void block_io_look(void);
/* Until any call is over, of which at least one must be under way. */
_must_use_ int block_io_wait_for_any(void);
/* Until it is over. Its result. */
_must_use_ int block_io_wait(BlockOp *op);

static inline uint64_t block_round_down(uint64_t n)
{
        return n - n % BLOCK_BYTES;
}

static inline uint64_t block_round_up(uint64_t n)
{
        return block_round_down(n + BLOCK_BYTES - 1);
}
