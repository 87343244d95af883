/* The write-back of an image: chunks, windows, and reading back behind them. One mechanism for every kind of target. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>

#include "base/file-util.h"
#include "kind.h"

/* Larger chunks cost memory and win nothing; larger windows have the loop wait longer at a time, and the pipe run dry. */
#define CHUNK_BYTES  (UINT64_C(256) << 10)
#define WINDOW_BYTES (UINT64_C(2) << 20)
/* The block below which nothing is read back while bytes of it are still to come; no page is smaller. */
#define BLOCK_BYTES UINT64_C(4096)

/*   0 ... readable ... settled ... started ... pushed ... written ... size
 *   |             |read ahead |in flight   |in the cache|in chunk     */
struct TargetWriter {
        int fd;
        char *label;
        uint64_t size;
        uint64_t written;
        uint64_t pushed;  /* handed to the kernel */
        uint64_t started; /* write-back was asked for */
        uint64_t settled; /* written back, dropped from the cache, asked for again */
        uint64_t readable;
        uint64_t durable;
        uint8_t *chunk; /* [pushed, written) */
        uint8_t *there; /* what lies where the chunk is to go; NULL: never looked at */
        bool is_failed; /* after a failed sync nobody knows what is on the storage: no way on */
};

static uint64_t round_down(uint64_t n, uint64_t step)
{
        return n - n % step;
}

static uint64_t round_up(uint64_t n, uint64_t step)
{
        return round_down(n + step - 1, step);
}

static void advise(TargetWriter *w, uint64_t from, uint64_t to, int advice)
{
        uint64_t first = round_down(from, BLOCK_BYTES);

        (void)posix_fadvise(w->fd, (off_t)first, (off_t)(round_up(to, BLOCK_BYTES) - first), advice);
}

/* Hints only: where the cache cannot be dropped, reading back is as good as the kernel allows. */
static void drop_cache(TargetWriter *w, uint64_t from, uint64_t to)
{
        advise(w, from, to, POSIX_FADV_DONTNEED);
}

static int fail_io(TargetWriter *w, const char *act, uint64_t offset, int error, Failure *reterr)
{
        w->is_failed = true;
        return fail(reterr, error == -ENOSPC || error == -EDQUOT ? FAILURE_NO_SPACE : FAILURE_TARGET_IO, -error,
                    "%s %s at offset %" PRIu64 " failed: %s", act, w->label, offset, strerror(-error));
}

int target_writer_open(const Target *target, const TargetWriterParams *params, TargetWriter **ret, Failure *reterr)
{
        _cleanup_(target_writer_freep) TargetWriter *w = NULL;
        OpenedTarget opened = {.fd = -1};
        int r;

        if (params->size_bytes == 0 || params->resume_bytes > params->size_bytes)
                return -EINVAL;
        /* Offsets are signed: beyond this nothing can be asked about, not even whether it would fit. */
        if (params->size_bytes > INT64_MAX - WINDOW_BYTES)
                return fail(reterr, FAILURE_IMAGE_TOO_LARGE, EFBIG, "no target holds %" PRIu64 " bytes",
                            params->size_bytes);
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->fd = -1;
        w->size = params->size_bytes;
        w->chunk = aligned_alloc(BLOCK_BYTES, CHUNK_BYTES);
        if (!w->chunk)
                return -ENOMEM;
        if (params->skip_equal) {
                w->there = malloc(CHUNK_BYTES);
                if (!w->there)
                        return -ENOMEM;
        }
        r = target->kind->open(target, params, &opened, reterr);
        if (r < 0)
                return r;
        w->fd = opened.fd;
        w->label = strdup(opened.label);
        if (!w->label)
                return -ENOMEM;
        assert(opened.resume_bytes <= params->resume_bytes);
        w->written = w->pushed = w->started = w->settled = w->readable = w->durable = opened.resume_bytes;
        drop_cache(w, 0, w->settled);
        *ret = TAKE_PTR(w);
        return 0;
}

TargetWriter *target_writer_free(TargetWriter *w)
{
        if (!w)
                return NULL;
        close_fd(w->fd);
        free(w->there);
        free(w->chunk);
        free(w->label);
        free(w);
        return NULL;
}

/* Waits until everything before `to` is written back. */
static int settle(TargetWriter *w, uint64_t to, Failure *reterr)
{
        int r = 0;

        if (to <= w->settled)
                return 0;
        if (sync_file_range(w->fd, (off_t)w->settled, (off_t)(to - w->settled),
                            SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER) < 0)
                r = -errno;
        /* A file system that cannot do ranges can do the whole. */
        if (r == -ENOSYS || r == -EOPNOTSUPP || r == -EINVAL || r == -ESPIPE)
                r = fdatasync(w->fd) < 0 ? -errno : 0;
        if (r < 0)
                return fail_io(w, "writing back", w->settled, r, reterr);
        drop_cache(w, w->settled, to);
        /* The storage reads it again while we write on: a window later the verify cursor need not wait for it. */
        advise(w, w->settled, to, POSIX_FADV_WILLNEED);
        w->readable = w->settled;
        w->settled = to;
        return 0;
}

/* Asks for the write-back of each window that is full, and waits for the one before the last. */
static int pace(TargetWriter *w, Failure *reterr)
{
        for (;;) {
                uint64_t end = round_down(w->started, WINDOW_BYTES) + WINDOW_BYTES, full = w->started;
                int r;

                if (w->pushed < end)
                        return 0;
                /* An error of this shows again where the window is waited for. */
                (void)sync_file_range(w->fd, (off_t)full, (off_t)(end - full), SYNC_FILE_RANGE_WRITE);
                w->started = end;
                r = settle(w, full - MIN2(full, WINDOW_BYTES), reterr);
                if (r < 0)
                        return r;
        }
}

/* What cannot be read, or is not there yet, is written. */
static bool is_there(TargetWriter *w, size_t n)
{
        if (!w->there)
                return false;
        advise(w, w->written, MIN2(w->written + WINDOW_BYTES, w->size), POSIX_FADV_WILLNEED);
        return pread_full(w->fd, w->there, n, w->pushed) == (ssize_t)n && memcmp(w->there, w->chunk, n) == 0;
}

static int push(TargetWriter *w, Failure *reterr)
{
        size_t n = (size_t)(w->written - w->pushed);
        int r;

        if (n == 0)
                return 0;
        r = is_there(w, n) ? 0 : pwrite_full(w->fd, w->chunk, n, w->pushed);
        if (r < 0)
                return fail_io(w, "writing", w->pushed, r, reterr);
        w->pushed = w->written;
        return 0;
}

/* After a flush in between, a shorter chunk brings the next one back into line. */
static uint64_t chunk_end(const TargetWriter *w)
{
        return MIN2(round_down(w->pushed, CHUNK_BYTES) + CHUNK_BYTES, w->size);
}

void *target_writer_room(TargetWriter *w, size_t *ret_bytes)
{
        *ret_bytes = w->is_failed ? 0 : (size_t)(chunk_end(w) - w->written);
        return w->chunk + (w->written - w->pushed);
}

int target_writer_filled(TargetWriter *w, size_t n_bytes, Failure *reterr)
{
        int r;

        if (w->is_failed)
                return fail(reterr, FAILURE_TARGET_IO, EIO, "writing %s failed before", w->label);
        assert(n_bytes <= chunk_end(w) - w->written);
        w->written += n_bytes;
        if (w->written < chunk_end(w))
                return 0;
        r = push(w, reterr);
        return r < 0 ? r : pace(w, reterr);
}

int target_writer_write(TargetWriter *w, const void *data, size_t n_data, Failure *reterr)
{
        const uint8_t *bytes = data;

        if (n_data > w->size - w->written)
                return fail(reterr, FAILURE_IMAGE_TOO_LARGE, EFBIG,
                            "more bytes for %s than the %" PRIu64 " that were announced", w->label, w->size);
        do {
                size_t n;
                uint8_t *room = target_writer_room(w, &n);
                int r;

                n = MIN2(n, n_data);
                memcpy(room, bytes, n);
                r = target_writer_filled(w, n, reterr);
                if (r < 0)
                        return r;
                bytes += n;
                n_data -= n;
        } while (n_data > 0);
        return 0;
}

int target_writer_flush(TargetWriter *w, Failure *reterr)
{
        int r;

        if (w->is_failed)
                return fail(reterr, FAILURE_TARGET_IO, EIO, "writing %s failed before", w->label);
        r = push(w, reterr);
        if (r < 0)
                return r;
        if (w->durable == w->pushed)
                return 0;
        if (fdatasync(w->fd) < 0)
                return fail_io(w, "syncing", w->durable, -errno, reterr);
        drop_cache(w, w->settled, w->pushed);
        advise(w, w->settled, w->pushed, POSIX_FADV_WILLNEED);
        w->started = w->settled = w->readable = w->durable = w->pushed;
        return 0;
}

ssize_t target_writer_read(TargetWriter *w, void *data, size_t n_data, uint64_t offset, Failure *reterr)
{
        uint64_t readable = target_writer_readable(w);
        ssize_t n;

        if (offset >= readable)
                return 0;
        n_data = (size_t)MIN2((uint64_t)MIN2(n_data, (size_t)SSIZE_MAX), readable - offset);
        n = pread_full(w->fd, data, n_data, offset);
        if (n < 0)
                return fail(reterr, FAILURE_TARGET_IO, (int)-n, "reading back %s at offset %" PRIu64 " failed: %s",
                            w->label, offset, strerror((int)-n));
        if ((size_t)n < n_data)
                return fail(reterr, FAILURE_TARGET_IO, EIO, "%s ends at %" PRIu64 " though %" PRIu64 " were written",
                            w->label, offset + (uint64_t)n, readable);
        drop_cache(w, offset, offset + (uint64_t)n);
        return n;
}

uint64_t target_writer_size(const TargetWriter *w)
{
        return w->size;
}

uint64_t target_writer_written(const TargetWriter *w)
{
        return w->written;
}

uint64_t target_writer_durable(const TargetWriter *w)
{
        return w->durable;
}

uint64_t target_writer_readable(const TargetWriter *w)
{
        return w->readable == w->size ? w->size : round_down(w->readable, BLOCK_BYTES);
}
