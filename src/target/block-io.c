#include "block-io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file-util.h"

enum { UNDER_WAY_MAX = 16 };

struct BlockIo {
        int fd;
        int direct_fd; /* the same place by direct I/O; -1: there is none */
};

/* One for the life of the process: to give it back takes the kernel as long as a small update. */
static io_context_t context;

int block_io_new(int fd, BlockIo **ret)
{
        _cleanup_(block_io_freep) BlockIo *io = malloc(sizeof(*io));
        char path[64];

        if (!io) {
                close_fd(fd);
                return -ENOMEM;
        }
        *io = (BlockIo){.fd = fd, .direct_fd = -1};
        /* A descriptor of its own, or what is no whole block could not be written. */
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        if (context || io_setup(UNDER_WAY_MAX, &context) >= 0)
                io->direct_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        *ret = TAKE_PTR(io);
        return 0;
}

BlockIo *block_io_free(BlockIo *io)
{
        if (!io)
                return NULL;
        close_fd(io->direct_fd);
        close_fd(io->fd);
        free(io);
        return NULL;
}

static void drop_cache(BlockIo *io, uint64_t offset, size_t n_data)
{
        uint64_t first = block_round_down(offset), end = block_round_up(offset + n_data);

        (void)posix_fadvise(io->fd, (off_t)first, (off_t)(end - first), POSIX_FADV_DONTNEED);
}

static int write_through(BlockIo *io, const void *data, size_t n_data, uint64_t offset)
{
        int r;

        if (n_data == 0)
                return 0;
        r = pwrite_full(io->fd, data, n_data, offset);
        if (r < 0)
                return r;
        if (sync_file_range(io->fd, (off_t)offset, (off_t)n_data,
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) < 0)
                r = -errno;
        /* A file system that cannot do ranges can do the whole. */
        if (r == -ENOSYS || r == -EOPNOTSUPP || r == -EINVAL || r == -ESPIPE)
                r = fdatasync(io->fd) < 0 ? -errno : 0;
        drop_cache(io, offset, n_data);
        return r;
}

static int read_through(BlockIo *io, void *data, size_t n_data, uint64_t offset)
{
        ssize_t n;

        drop_cache(io, offset, n_data);
        n = pread_full(io->fd, data, n_data, offset);
        if (n < 0)
                return (int)n;
        return (size_t)n < n_data ? -ENODATA : 0;
}

/* `done`: the bytes, or -errno. What could not be done directly may be done otherwise; if not, this tells the reason. */
static void finish(BlockOp *op, long done)
{
        BlockIo *io = op->io;

        op->is_under_way = false;
        switch (op->call.aio_lio_opcode) {
        case IO_CMD_PWRITE:
                op->result = done == (long)op->n_data ? 0 : write_through(io, op->data, op->n_data, op->offset);
                return;
        case IO_CMD_PREAD:
                op->result = done >= (long)op->n_data ? 0 : read_through(io, op->data, op->n_data, op->offset);
                return;
        default:
                /* Never a second time: a sync that failed has forgotten what was not written. */
                op->result = (int)done;
                return;
        }
}

static void begin(BlockIo *io, BlockOp *op)
{
        struct iocb *call = &op->call;
        int r = -EOPNOTSUPP;

        op->io = io;
        if (io->direct_fd >= 0)
                r = io_submit(context, 1, &call);
        op->is_under_way = r == 1;
        if (op->is_under_way)
                return;
        if (op->call.aio_lio_opcode == IO_CMD_FDSYNC)
                finish(op, fdatasync(io->fd) < 0 ? -errno : 0);
        else
                finish(op, r);
}

void block_io_write(BlockIo *io, BlockOp *op, void *data, size_t n_data, uint64_t offset)
{
        size_t head = (size_t)MIN2((uint64_t)n_data, block_round_up(offset) - offset);
        size_t whole = (size_t)block_round_down(n_data - head);
        uint8_t *bytes = data;
        int r;

        r = write_through(io, bytes, head, offset);
        if (r >= 0)
                r = write_through(io, bytes + head + whole, n_data - head - whole, offset + head + whole);
        op->result = r;
        if (r < 0 || whole == 0)
                return;
        op->data = bytes + head;
        op->n_data = whole;
        op->offset = offset + head;
        io_prep_pwrite(&op->call, io->direct_fd, op->data, whole, (long long)op->offset);
        begin(io, op);
}

void block_io_read(BlockIo *io, BlockOp *op, void *data, size_t n_data, uint64_t offset)
{
        op->data = data;
        op->n_data = n_data;
        op->offset = offset;
        io_prep_pread(&op->call, io->direct_fd, data, (size_t)block_round_up(n_data), (long long)offset);
        begin(io, op);
}

void block_io_sync(BlockIo *io, BlockOp *op)
{
        io_prep_fdsync(&op->call, io->direct_fd);
        begin(io, op);
}

/* Of `n_least` calls at least the end is waited for. */
static int take_ended(long n_least)
{
        struct io_event events[UNDER_WAY_MAX];
        int n = 0;

        if (!context)
                return 0;
        do
                n = io_getevents(context, n_least, UNDER_WAY_MAX, events, n_least > 0 ? NULL : &(struct timespec){0});
        while (n == -EINTR);
        for (int i = 0; i < n; i++) {
                BlockOp *op = (BlockOp *)((char *)events[i].obj - offsetof(BlockOp, call));

                finish(op, (long)events[i].res);
        }
        return MIN2(n, 0);
}

void block_io_look(void)
{
        (void)take_ended(0);
}

int block_io_wait_for_any(void)
{
        return take_ended(1);
}

int block_io_wait(BlockOp *op)
{
        while (op->is_under_way) {
                int r = take_ended(1);

                if (r < 0)
                        return r;
        }
        return op->result;
}
