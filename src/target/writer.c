/* The write-back of an image: chunks, what of them is under way, and reading back behind them. For every kind of target. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "block-io.h"
#include "kind.h"

/* One of each is filled or hashed while the other is on its way. More, and larger ones, gain little and cost memory. */
enum {
        CHUNK_BYTES = 512 * 1024,
        N_CHUNKS = 2,
        N_READS = 2,
        HUGE_PAGE_BYTES = 2 * 1024 * 1024, /* on most machines */
};

typedef struct Chunk {
        BlockOp op;
        uint8_t *data;
        uint64_t offset; /* of what is under way */
} Chunk;

typedef struct Ahead {
        BlockOp op;
        uint8_t *data;
        size_t n_data;
} Ahead;

/*   0 ... durable ... landed ... pushed ... written ... size
 *                  |on the way |in the chunk
 *   0 ... given ... asked ... landed: read back
 */
struct TargetWriter {
        BlockIo *io;
        char *label;
        void *memory; /* of all chunks */
        uint64_t size;
        uint64_t written;
        uint64_t pushed; /* handed to the storage */
        uint64_t durable;
        /* Each has its place in the file, so that blocks of it are blocks of the storage. */
        Chunk chunks[N_CHUNKS];
        unsigned at;    /* the one that is being filled */
        uint8_t *there; /* what lies where the chunk is to go; NULL: never looked at */
        BlockOp look;

        BlockOp sync;
        uint64_t sync_to; /* what will be durable; not above `durable`: no sync is wanted */
        bool is_syncing;

        Ahead reads[N_READS];
        unsigned first, n_ahead; /* the one that is given next, and how many are to be given */
        bool is_held;            /* the one before them, given last: the caller still looks at it */
        uint64_t given, asked;

        bool is_failed; /* after a failed sync nobody knows what is on the storage: no way on */
};

static int fail_io(TargetWriter *w, const char *act, uint64_t offset, int error, Failure *reterr)
{
        w->is_failed = true;
        return fail(reterr, error == -ENOSPC || error == -EDQUOT ? FAILURE_NO_SPACE : FAILURE_TARGET_IO, -error,
                    "%s %s at offset %" PRIu64 " failed: %s", act, w->label, offset, strerror(-error));
}

/* In one piece, on a huge page where the kernel has one: then a transfer is a single segment for the storage, and there is
 * one page to be held for it, not 128. */
static int get_memory(TargetWriter *w, bool skip_equal)
{
        const size_t n = (N_CHUNKS + N_READS + (skip_equal ? 1 : 0)) * (size_t)CHUNK_BYTES;
        uint8_t *next;

        if (posix_memalign(&w->memory, HUGE_PAGE_BYTES, n) != 0)
                return -ENOMEM;
        next = w->memory;
        (void)madvise(next, n - n % HUGE_PAGE_BYTES, MADV_HUGEPAGE);
        for (unsigned i = 0; i < N_CHUNKS; i++, next += CHUNK_BYTES)
                w->chunks[i].data = next;
        for (unsigned i = 0; i < N_READS; i++, next += CHUNK_BYTES)
                w->reads[i].data = next;
        w->there = skip_equal ? next : NULL;
        return 0;
}

int target_writer_open(const Target *target, const TargetWriterParams *params, TargetWriter **ret, Failure *reterr)
{
        _cleanup_(target_writer_freep) TargetWriter *w = NULL;
        OpenedTarget opened = {.fd = -1};
        int r;

        if (params->size_bytes == 0 || params->resume_bytes > params->size_bytes)
                return -EINVAL;
        /* Offsets are signed: beyond this nothing can be asked about, not even whether it would fit. */
        if (params->size_bytes > INT64_MAX - CHUNK_BYTES)
                return fail(reterr, FAILURE_IMAGE_TOO_LARGE, EFBIG, "no target holds %" PRIu64 " bytes",
                            params->size_bytes);
        w = calloc(1, sizeof(*w));
        if (!w)
                return -ENOMEM;
        w->size = params->size_bytes;
        r = get_memory(w, params->skip_equal);
        if (r < 0)
                return r;
        r = target->kind->open(target, params, &opened, reterr);
        if (r < 0)
                return r;
        r = block_io_new(opened.fd, &w->io);
        if (r < 0)
                return r;
        w->label = strdup(opened.label);
        if (!w->label)
                return -ENOMEM;
        assert(opened.resume_bytes <= params->resume_bytes);
        w->written = w->pushed = w->durable = opened.resume_bytes;
        *ret = TAKE_PTR(w);
        return 0;
}

/* Whatever came of it: the kernel is done with our memory. */
static void wait_for_all(TargetWriter *w)
{
        BlockOp *ops[N_CHUNKS + N_READS + 1] = {&w->sync};

        for (unsigned i = 0; i < N_CHUNKS; i++)
                ops[1 + i] = &w->chunks[i].op;
        for (unsigned i = 0; i < N_READS; i++)
                ops[1 + N_CHUNKS + i] = &w->reads[i].op;
        for (unsigned i = 0; i < ELEMENTSOF(ops); i++)
                if (block_io_wait(ops[i]) < 0)
                        continue;
}

TargetWriter *target_writer_free(TargetWriter *w)
{
        if (!w)
                return NULL;
        wait_for_all(w);
        w->io = block_io_free(w->io);
        free(w->memory);
        free(w->label);
        free(w);
        return NULL;
}

/* What lies before this has been written. What failed has not, and is found when its chunk is to be used again. */
static uint64_t landed(const TargetWriter *w)
{
        uint64_t to = w->pushed;

        for (unsigned i = 0; i < N_CHUNKS; i++)
                if (w->chunks[i].op.is_under_way || w->chunks[i].op.result < 0)
                        to = MIN2(to, w->chunks[i].offset);
        return to;
}

static int wait_for(TargetWriter *w, Chunk *chunk, Failure *reterr)
{
        int r = block_io_wait(&chunk->op);

        return r < 0 ? fail_io(w, "writing", chunk->offset, r, reterr) : 0;
}

static int wait_for_sync(TargetWriter *w, Failure *reterr)
{
        int r = block_io_wait(&w->sync);

        if (r < 0)
                return fail_io(w, "syncing", w->durable, r, reterr);
        if (w->is_syncing)
                w->durable = w->sync_to;
        w->is_syncing = false;
        return 0;
}

/* As far as that goes without waiting. A storage makes durable what it has: so first all of it must have landed. */
static int go_on_syncing(TargetWriter *w, Failure *reterr)
{
        block_io_look();
        if (w->sync_to > w->durable && !w->is_syncing && landed(w) >= w->sync_to) {
                w->is_syncing = true;
                block_io_sync(w->io, &w->sync);
        }
        return w->is_syncing && !w->sync.is_under_way ? wait_for_sync(w, reterr) : 0;
}

static void read_ahead(TargetWriter *w)
{
        const uint64_t readable = target_writer_readable(w);

        for (; w->n_ahead < N_READS - (w->is_held ? 1 : 0) && w->asked < readable; w->n_ahead++) {
                Ahead *read = &w->reads[(w->first + w->n_ahead) % N_READS];

                read->n_data = (size_t)MIN2(readable - w->asked, (uint64_t)CHUNK_BYTES);
                block_io_read(w->io, &read->op, read->data, read->n_data, w->asked);
                w->asked += read->n_data;
        }
}

/* What cannot be read, or is not there yet, is written. */
static bool is_there(TargetWriter *w, const uint8_t *data, size_t n)
{
        uint64_t first = block_round_down(w->pushed);
        size_t lead = (size_t)(w->pushed - first);

        if (!w->there)
                return false;
        block_io_read(w->io, &w->look, w->there, lead + n, first);
        return block_io_wait(&w->look) >= 0 && memcmp(w->there + lead, data, n) == 0;
}

static uint64_t chunk_start(const TargetWriter *w)
{
        return w->pushed - w->pushed % CHUNK_BYTES;
}

static uint64_t chunk_end(const TargetWriter *w)
{
        return MIN2(chunk_start(w) + CHUNK_BYTES, w->size);
}

/* Hands over what is in the chunk. Once it is full, goes on to the one that has been under way for longest, and may be so
 * still. */
static int push(TargetWriter *w, Failure *reterr)
{
        Chunk *chunk = &w->chunks[w->at];
        uint8_t *data = chunk->data + (w->pushed - chunk_start(w));
        size_t n = (size_t)(w->written - w->pushed);

        if (n == 0)
                return 0;
        if (!is_there(w, data, n)) {
                chunk->offset = w->pushed;
                block_io_write(w->io, &chunk->op, data, n, w->pushed);
        }
        w->pushed = w->written;
        if (w->pushed % CHUNK_BYTES != 0)
                return wait_for(w, chunk, reterr);
        w->at = (w->at + 1) % N_CHUNKS;
        return 0;
}

/* What goes on when something has ended. */
static int go_on(TargetWriter *w, Failure *reterr)
{
        int r = go_on_syncing(w, reterr);

        read_ahead(w);
        return r;
}

int target_writer_room(TargetWriter *w, bool wait, void **ret, size_t *ret_bytes, Failure *reterr)
{
        Chunk *chunk = &w->chunks[w->at];
        int r;

        if (w->is_failed) {
                (void)fail(reterr, FAILURE_TARGET_IO, EIO, "writing %s failed before", w->label);
                return -EIO;
        }
        if (chunk->op.is_under_way) {
                r = wait ? block_io_wait_for_any() : 0;
                r = r < 0 ? fail_io(w, "writing", chunk->offset, r, reterr) : go_on(w, reterr);
                if (r < 0)
                        return r;
                if (chunk->op.is_under_way)
                        return 0;
        }
        r = wait_for(w, chunk, reterr);
        if (r < 0)
                return r;
        *ret = chunk->data + (w->written - chunk_start(w));
        *ret_bytes = (size_t)(chunk_end(w) - w->written);
        return 1;
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
        return r < 0 ? r : go_on(w, reterr);
}

int target_writer_flush(TargetWriter *w, Failure *reterr)
{
        int r;

        if (w->is_failed)
                return fail(reterr, FAILURE_TARGET_IO, EIO, "writing %s failed before", w->label);
        r = push(w, reterr);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < N_CHUNKS; i++) {
                r = wait_for(w, &w->chunks[i], reterr);
                if (r < 0)
                        return r;
        }
        r = wait_for_sync(w, reterr);
        if (r < 0 || w->durable == w->pushed)
                return r;
        w->sync_to = w->pushed;
        w->is_syncing = true;
        block_io_sync(w->io, &w->sync);
        return wait_for_sync(w, reterr);
}

int target_writer_start_sync(TargetWriter *w, Failure *reterr)
{
        if (w->is_failed)
                return fail(reterr, FAILURE_TARGET_IO, EIO, "writing %s failed before", w->label);
        if (w->sync_to <= w->durable)
                w->sync_to = w->pushed;
        return go_on_syncing(w, reterr);
}

/* What was read ahead of another offset is of no use, whatever came of it. */
static void seek(TargetWriter *w, uint64_t offset)
{
        assert(offset % BLOCK_BYTES == 0);
        wait_for_all(w);
        w->given = w->asked = offset;
        w->first = w->n_ahead = 0;
}

ssize_t target_writer_read(TargetWriter *w, uint64_t offset, bool wait, const void **ret, Failure *reterr)
{
        Ahead *read;
        int r;

        block_io_look();
        w->is_held = false;
        if (offset != w->given)
                seek(w, offset);
        read_ahead(w);
        if (w->n_ahead == 0)
                return 0;
        read = &w->reads[w->first];
        if (read->op.is_under_way && !wait)
                return 0;
        r = block_io_wait(&read->op);
        if (r == -ENODATA)
                return fail(reterr, FAILURE_TARGET_IO, EIO,
                            "%s ends before %" PRIu64 " though %" PRIu64 " bytes were written", w->label,
                            offset + read->n_data, landed(w));
        if (r < 0)
                return fail(reterr, FAILURE_TARGET_IO, -r, "reading back %s at offset %" PRIu64 " failed: %s",
                            w->label, offset, strerror(-r));
        w->first = (w->first + 1) % N_READS;
        w->n_ahead--;
        w->is_held = true;
        w->given += read->n_data;
        *ret = read->data;
        return (ssize_t)read->n_data;
}

bool target_writer_has_read(const TargetWriter *w)
{
        return w->n_ahead > 0 && !w->reads[w->first].op.is_under_way;
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
        uint64_t to = landed(w);

        return to == w->size ? to : block_round_down(to);
}
