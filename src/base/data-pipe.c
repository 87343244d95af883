#include "base/data-pipe.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum {
        RING_OFFSET = 4096,
        LINE_BYTES = 64, /* or the two sides would take each other's cache lines away */
        /* The reader is woken for so much, or for the end: what a slow network brings may lie there meanwhile. */
        BELL_BYTES = 64 * 1024,
};

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

typedef struct Shared {
        alignas(LINE_BYTES) _Atomic uint32_t written;
        alignas(LINE_BYTES) _Atomic uint32_t taken;
        alignas(LINE_BYTES) _Atomic uint32_t reader_waits;
        alignas(LINE_BYTES) _Atomic uint32_t writer_waits;
} Shared;
_Static_assert(sizeof(Shared) <= RING_OFFSET, "the counts lie before the ring");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "a lock would be this process's alone");

struct DataPipe {
        int fd;
        bool is_writer;
        bool closed; /* the other side has */
        Shared *shared;
        uint8_t *ring;
        uint32_t ring_bytes;
        uint32_t count; /* as we have told it; what lies in the shared memory may be anything */
        _Atomic uint32_t *ours, *we_wait, *they_wait;
        const _Atomic uint32_t *theirs;
};

static int map(DataPipe *p, int memory_fd, size_t n_bytes)
{
        void *at = mmap(NULL, RING_OFFSET + n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);

        if (at == MAP_FAILED)
                return -errno;
        p->shared = at;
        p->ring = (uint8_t *)at + RING_OFFSET;
        p->ring_bytes = (uint32_t)n_bytes;
        p->ours = p->is_writer ? &p->shared->written : &p->shared->taken;
        p->theirs = p->is_writer ? &p->shared->taken : &p->shared->written;
        p->we_wait = p->is_writer ? &p->shared->writer_waits : &p->shared->reader_waits;
        p->they_wait = p->is_writer ? &p->shared->reader_waits : &p->shared->writer_waits;
        return 0;
}

/* The descriptor is taken in any case. */
static DataPipe *pipe_make(int fd, bool is_writer)
{
        DataPipe *p = malloc(sizeof(*p));

        if (p)
                *p = (DataPipe){.fd = fd, .is_writer = is_writer};
        else
                close_fd(fd);
        return p;
}

DataPipe *data_pipe_free(DataPipe *p)
{
        if (!p)
                return NULL;
        if (p->shared)
                (void)munmap(p->shared, RING_OFFSET + (size_t)p->ring_bytes);
        close_fd(p->fd);
        free(p);
        return NULL;
}

/* ---- making one ---- */

static int memory_make(size_t n_bytes)
{
        _cleanup_close_ int fd = memfd_create("otad-data-pipe", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

        if (fd < 0 && errno == EINVAL)
                fd = memfd_create("otad-data-pipe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0 || ftruncate(fd, (off_t)(RING_OFFSET + n_bytes)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int send_memory(int fd, int memory_fd)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {
                .header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))}};
        char byte = 0;
        struct iovec carrier = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {
                .msg_iov = &carrier, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

        memcpy(CMSG_DATA(&control.header), &memory_fd, sizeof(int));
        return sendmsg(fd, &message, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int data_pipe_new(size_t n_bytes, DataPipe **ret, int *ret_writer_fd)
{
        _cleanup_close_ int memory_fd = -1, writer_fd = -1;
        _cleanup_(data_pipe_freep) DataPipe *p = NULL;
        size_t n_ring = DATA_PIPE_BYTES_MIN;
        int fds[2], r;

        while (n_ring <= MIN2(n_bytes, (size_t)DATA_PIPE_BYTES_MAX) / 2)
                n_ring *= 2;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        writer_fd = fds[1];
        p = pipe_make(fds[0], false);
        if (!p)
                return -ENOMEM;
        memory_fd = memory_make(n_ring);
        if (memory_fd < 0)
                return memory_fd;
        r = map(p, memory_fd, n_ring);
        if (r < 0)
                return r;
        r = send_memory(p->fd, memory_fd);
        if (r < 0)
                return r;
        atomic_store(p->we_wait, 1);
        *ret_writer_fd = TAKE_FD(writer_fd);
        *ret = TAKE_PTR(p);
        return 0;
}

/* ---- opening one ---- */

static int receive_memory(int fd)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(2 * sizeof(int))]; /* one more than there is to be */
        } control = {0};
        char byte;
        struct iovec carrier = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {
                .msg_iov = &carrier, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        const struct cmsghdr *header;
        int fds[2];
        size_t n_fds;

        if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
                return errno == EAGAIN ? -EBADMSG : -errno;
        header = CMSG_FIRSTHDR(&message);
        if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                return -EBADMSG;
        n_fds = MIN2((header->cmsg_len - CMSG_LEN(0)) / sizeof(int), ELEMENTSOF(fds));
        memcpy(fds, CMSG_DATA(header), n_fds * sizeof(int));
        if (n_fds == 1)
                return fds[0];
        for (size_t i = 0; i < n_fds; i++)
                close_fd(fds[i]);
        return -EBADMSG;
}

int data_pipe_open(int fd, DataPipe **ret)
{
        _cleanup_(data_pipe_freep) DataPipe *p = pipe_make(fd, true);
        _cleanup_close_ int memory_fd = -1;
        struct stat st;
        off_t n_ring;
        int r;

        if (!p)
                return -ENOMEM;
        memory_fd = receive_memory(fd);
        if (memory_fd < 0)
                return memory_fd;
        if (fstat(memory_fd, &st) < 0)
                return -errno;
        n_ring = st.st_size - RING_OFFSET;
        if ((fcntl(memory_fd, F_GET_SEALS) & SEALS) != SEALS || n_ring < DATA_PIPE_BYTES_MIN ||
            n_ring > DATA_PIPE_BYTES_MAX || (n_ring & (n_ring - 1)) != 0)
                return -EBADMSG;
        r = map(p, memory_fd, (size_t)n_ring);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}

/* ---- its use ---- */

int data_pipe_fd(const DataPipe *p)
{
        return p->fd;
}

bool data_pipe_on_bell(DataPipe *p)
{
        char bells[256]; /* who rings more often is heard again */
        ssize_t n = recv(p->fd, bells, sizeof(bells), MSG_DONTWAIT);

        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                p->closed = true;
        return !p->closed;
}

/* A full socket has bells enough, and whoever has closed needs none. */
static void ring_bell(DataPipe *p)
{
        if (atomic_load(p->they_wait) && atomic_exchange(p->they_wait, 0))
                (void)send(p->fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Bytes that lie in the ring. */
static int64_t n_inside(const DataPipe *p)
{
        uint32_t theirs = atomic_load(p->theirs), n = p->is_writer ? p->count - theirs : theirs - p->count;

        return n <= p->ring_bytes ? (int64_t)n : -EBADMSG;
}

static int64_t n_usable(const DataPipe *p)
{
        int64_t n = n_inside(p);

        return n < 0 || !p->is_writer ? n : p->ring_bytes - n;
}

/* How many bytes may be read or written; 0: none, and a bell will ring. */
static int64_t look(DataPipe *p)
{
        int64_t n = n_usable(p);

        if (n != 0)
                return n;
        atomic_store(p->we_wait, 1);
        return n_usable(p); /* or what came before the other side saw that would be missed */
}

/* Where the next bytes lie: up to the end of the ring, and on from its start. */
static size_t up_to_end(const DataPipe *p, size_t n_data, uint8_t **ret)
{
        uint32_t at = p->count & (p->ring_bytes - 1);

        *ret = p->ring + at;
        return MIN2(n_data, (size_t)(p->ring_bytes - at));
}

static void advance(DataPipe *p, size_t n_data)
{
        p->count += (uint32_t)n_data;
        atomic_store(p->ours, p->count);
}

ssize_t data_pipe_look(DataPipe *p)
{
        bool closed = p->closed; /* asked first: what was written before the end is seen */
        int64_t n = look(p);

        assert(!p->is_writer);
        if (n == 0)
                return closed ? 0 : -EAGAIN;
        return (ssize_t)n;
}

void data_pipe_read(DataPipe *p, void *data, size_t n_data)
{
        uint8_t *from;
        size_t n_first = up_to_end(p, n_data, &from);

        assert(!p->is_writer && n_data <= p->ring_bytes);
        memcpy(data, from, n_first);
        memcpy((uint8_t *)data + n_first, p->ring, n_data - n_first);
        advance(p, n_data);
        /* Soon, and then often, so that the writer is at work while what it has brought is written and judged. */
        if (n_usable(p) <= p->ring_bytes - p->ring_bytes / 16)
                ring_bell(p);
}

ssize_t data_pipe_write(DataPipe *p, const void *data, size_t n_data)
{
        const uint8_t *bytes = data;
        size_t n_done = 0;

        assert(p->is_writer);
        if (p->closed)
                return -EPIPE;
        while (n_done < n_data) {
                int64_t n = look(p);
                size_t n_now, n_first;
                uint8_t *to;

                if (n < 0)
                        return (ssize_t)n;
                if (n == 0)
                        break;
                n_now = MIN2(n_data - n_done, (size_t)n);
                n_first = up_to_end(p, n_now, &to);
                memcpy(to, bytes + n_done, n_first);
                memcpy(p->ring, bytes + n_done + n_first, n_now - n_first);
                advance(p, n_now);
                n_done += n_now;
        }
        if (n_inside(p) >= MIN2(BELL_BYTES, (int64_t)p->ring_bytes / 4))
                ring_bell(p);
        return n_done > 0 ? (ssize_t)n_done : -EAGAIN;
}
