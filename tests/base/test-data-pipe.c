#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/data-pipe.h"
#include "base/time-util.h"
#include "unit.h"

enum {
        RING = 256 * 1024,
        BELL = 64 * 1024, /* so much wakes the reader */
        OFFSET = 4096,
        SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL,
        LONG = 8 * 1000 * 1000,
};

typedef struct Ends {
        DataPipe *reader, *writer;
} Ends;

static void make(Ends *e, size_t n_bytes)
{
        int fd;

        assert_int_equal(data_pipe_new(n_bytes, &e->reader, &fd), 0);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(data_pipe_open(fd, &e->writer), 0);
}

static void drop(Ends *e)
{
        e->reader = data_pipe_free(e->reader);
        e->writer = data_pipe_free(e->writer);
}

static bool rings(const DataPipe *pipe)
{
        struct pollfd fd = {.fd = data_pipe_fd(pipe), .events = POLLIN};

        return poll(&fd, 1, 0) == 1;
}

/* Any byte is told by where it lies, and neighbours in the ring differ. */
static uint8_t byte_at(uint64_t offset)
{
        return (uint8_t)(offset * 31 + offset / 4093);
}

static uint8_t *bytes_from(uint64_t offset, size_t n)
{
        uint8_t *data = malloc(n);

        assert_non_null(data);
        for (size_t i = 0; i < n; i++)
                data[i] = byte_at(offset + i);
        return data;
}

static bool are_bytes_from(const uint8_t *data, uint64_t offset, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (data[i] != byte_at(offset + i))
                        return false;
        return true;
}

/* Counts that wrap around the ring many times, by steps that have nothing in common with its size. */
static void test_bytes_in_order(void **state)
{
        _cleanup_free_ uint8_t *got = malloc(RING);
        uint64_t sent = 0, received = 0;
        Ends e;

        make(&e, RING);
        assert_int_equal(data_pipe_look(e.reader), -EAGAIN);
        for (unsigned i = 0; received < 10 * (uint64_t)RING; i++) {
                size_t n_try = 1 + (i * 7919) % (RING + 5000), n_take;
                _cleanup_free_ uint8_t *data = bytes_from(sent, n_try);
                ssize_t n = data_pipe_write(e.writer, data, n_try);

                assert_true(n > 0 || n == -EAGAIN);
                assert_true(n == -EAGAIN || (size_t)n == MIN2(n_try, RING - (size_t)(sent - received)));
                sent += n > 0 ? (uint64_t)n : 0;
                n = data_pipe_look(e.reader);
                assert_int_equal(n, sent - received);
                n_take = MIN2((size_t)n, 1 + (i * 104729) % RING);
                data_pipe_read(e.reader, got, n_take);
                assert_true(are_bytes_from(got, received, n_take));
                received += n_take;
        }
        drop(&e);
}

static void test_end(void **state)
{
        char got[3];
        Ends e;

        make(&e, RING);
        assert_int_equal(data_pipe_write(e.writer, "abc", 3), 3);
        assert_false(rings(e.reader));
        e.writer = data_pipe_free(e.writer);
        assert_true(rings(e.reader));
        assert_false(data_pipe_on_bell(e.reader));
        assert_int_equal(data_pipe_look(e.reader), 3);
        data_pipe_read(e.reader, got, 3);
        assert_memory_equal(got, "abc", 3);
        assert_int_equal(data_pipe_look(e.reader), 0);
        assert_int_equal(data_pipe_look(e.reader), 0);
        drop(&e);
}

static void test_reader_has_gone(void **state)
{
        Ends e;

        make(&e, RING);
        assert_int_equal(data_pipe_write(e.writer, "abc", 3), 3);
        e.reader = data_pipe_free(e.reader);
        assert_true(rings(e.writer));
        assert_false(data_pipe_on_bell(e.writer));
        assert_int_equal(data_pipe_write(e.writer, "d", 1), -EPIPE);
        drop(&e);
}

/* A bell for whoever waits, once, and none for who does not. */
static void test_bells(void **state)
{
        _cleanup_free_ uint8_t *data = calloc(1, RING + 1);
        Ends e;

        make(&e, RING);
        assert_int_equal(data_pipe_write(e.writer, data, BELL - 1), BELL - 1);
        assert_false(rings(e.reader));
        assert_int_equal(data_pipe_write(e.writer, data, 1), 1);
        assert_true(rings(e.reader));
        assert_true(data_pipe_on_bell(e.reader));
        assert_false(rings(e.reader));
        /* It is at work now, and looks before it waits. */
        assert_int_equal(data_pipe_write(e.writer, data, BELL), BELL);
        assert_false(rings(e.reader));

        /* What did not go in waits for a sixteenth of the ring. */
        assert_int_equal(data_pipe_write(e.writer, data, RING), RING - 2 * BELL);
        assert_int_equal(data_pipe_write(e.writer, data, 1), -EAGAIN);
        data_pipe_read(e.reader, data, RING / 16 - 1);
        assert_false(rings(e.writer));
        data_pipe_read(e.reader, data, 1);
        assert_true(rings(e.writer));
        assert_true(data_pipe_on_bell(e.writer));
        data_pipe_read(e.reader, data, RING / 4);
        assert_false(rings(e.writer)); /* which waits no more */
        drop(&e);
}

/* Nothing is lost between two who wait for each other, on the smallest ring. */
static void test_two_processes(void **state)
{
        static const size_t sizes[] = {DATA_PIPE_BYTES_MIN, RING};

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                uint64_t deadline = now_usec() + 60 * USEC_PER_SEC, received = 0;
                DataPipe *reader;
                int fd, status;
                ssize_t n;
                pid_t child;

                assert_int_equal(data_pipe_new(sizes[i], &reader, &fd), 0);
                child = fork();
                assert_true(child >= 0);
                if (child == 0) {
                        uint64_t sent = 0;
                        DataPipe *writer;

                        reader = data_pipe_free(reader);
                        if (data_pipe_open(fd, &writer) < 0)
                                _exit(1);
                        while (sent < LONG) {
                                size_t n_try = (size_t)MIN2((uint64_t)16000, LONG - sent);
                                uint8_t *data = bytes_from(sent, n_try);

                                n = data_pipe_write(writer, data, n_try);
                                free(data);
                                if (n == -EAGAIN) {
                                        struct pollfd wait = {.fd = data_pipe_fd(writer), .events = POLLIN};

                                        if (poll(&wait, 1, 30000) != 1 || !data_pipe_on_bell(writer))
                                                _exit(2);
                                } else if (n < 0) {
                                        _exit(3);
                                } else {
                                        sent += (uint64_t)n;
                                }
                        }
                        data_pipe_free(writer);
                        _exit(0);
                }
                close(fd);
                while ((n = data_pipe_look(reader)) != 0) {
                        uint8_t got[10000];

                        assert_true(n == -EAGAIN || n > 0);
                        if (n == -EAGAIN) {
                                struct pollfd wait = {.fd = data_pipe_fd(reader), .events = POLLIN};

                                assert_true(now_usec() < deadline);
                                assert_int_equal(poll(&wait, 1, 30000), 1);
                                (void)data_pipe_on_bell(reader);
                                continue;
                        }
                        n = MIN2(n, (ssize_t)sizeof(got));
                        data_pipe_read(reader, got, (size_t)n);
                        assert_true(are_bytes_from(got, received, (size_t)n));
                        received += (uint64_t)n;
                }
                assert_int_equal(received, LONG);
                assert_int_equal(waitpid(child, &status, 0), child);
                assert_int_equal(status, 0);
                data_pipe_free(reader);
        }
}

/* ---- those who do not keep to it ---- */

static void send_fds(int to, const int *fds, size_t n_fds)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(3 * sizeof(int))];
        } control = {.header = {.cmsg_level = SOL_SOCKET,
                                .cmsg_type = SCM_RIGHTS,
                                .cmsg_len = CMSG_LEN(n_fds * sizeof(int))}};
        char byte = 0;
        struct iovec carrier = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {.msg_iov = &carrier,
                                 .msg_iovlen = 1,
                                 .msg_control = n_fds > 0 ? &control : NULL,
                                 .msg_controllen = n_fds > 0 ? CMSG_SPACE(n_fds * sizeof(int)) : 0};

        memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        assert_int_equal(sendmsg(to, &message, 0), 1);
}

static int make_memory(off_t n_bytes, int seals)
{
        int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, n_bytes), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
        return fd;
}

static void test_no_data_pipe(void **state)
{
        static const struct {
                off_t n_bytes;
                size_t n_fds;
                int seals;
                int expected;
        } rows[] = {
                {OFFSET + RING, 1, SEALS, 0},
                {OFFSET + RING, 0, SEALS, -EBADMSG},
                {OFFSET + RING, 2, SEALS, -EBADMSG},
                {OFFSET + RING, 3, SEALS, -EBADMSG},
                {OFFSET + RING, 1, F_SEAL_GROW | F_SEAL_SEAL, -EBADMSG},
                {OFFSET + RING - 1, 1, SEALS, -EBADMSG},
                {OFFSET + RING + 4096, 1, SEALS, -EBADMSG},
                {OFFSET + DATA_PIPE_BYTES_MIN / 2, 1, SEALS, -EBADMSG},
                {OFFSET, 1, SEALS, -EBADMSG},
                {0, 1, SEALS, -EBADMSG},
        };
        DataPipe *pipe = NULL;
        int fds[2];

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                int memory = make_memory(rows[i].n_bytes, rows[i].seals);

                assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
                send_fds(fds[0], (int[]){memory, memory, memory}, rows[i].n_fds);
                assert_int_equal(data_pipe_open(fds[1], &pipe), rows[i].expected);
                if (rows[i].expected == 0)
                        data_pipe_free(pipe);
                close(memory);
                close(fds[0]);
        }
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        assert_int_equal(data_pipe_open(fds[1], &pipe), -ENOTSOCK);
        close(fds[0]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        assert_int_equal(data_pipe_open(fds[1], &pipe), -EBADMSG); /* nothing was sent */
        close(fds[0]);
}

/* What the other side has of it, by hand. */
static uint32_t *receive_memory(int fd)
{
        union {
                struct cmsghdr header;
                char space[CMSG_SPACE(sizeof(int))];
        } control = {0};
        char byte;
        struct iovec carrier = {.iov_base = &byte, .iov_len = 1};
        struct msghdr message = {
                .msg_iov = &carrier, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        uint32_t *at;
        int memory;

        assert_int_equal(recvmsg(fd, &message, 0), 1);
        assert_int_equal(control.header.cmsg_type, SCM_RIGHTS);
        memcpy(&memory, CMSG_DATA(&control.header), sizeof(int));
        assert_int_equal(ftruncate(memory, 100), -1);
        at = mmap(NULL, OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        assert_ptr_not_equal(at, MAP_FAILED);
        close(memory);
        return at;
}

enum { WRITTEN = 0, TAKEN = 64 / 4, READER_WAITS = 128 / 4, WRITER_WAITS = 192 / 4 };

static void test_impossible_counts(void **state)
{
        static const uint32_t wrong[] = {RING + 1, 1U << 31, UINT32_MAX, UINT32_MAX - RING};
        uint32_t *counts;
        DataPipe *pipe;
        char got[1];
        int fd, memory, fds[2];

        assert_int_equal(data_pipe_new(RING, &pipe, &fd), 0);
        counts = receive_memory(fd);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                counts[WRITTEN] = wrong[i];
                assert_int_equal(data_pipe_look(pipe), -EBADMSG);
        }
        /* Our own count is ours, whatever they write there. */
        counts[WRITTEN] = 2;
        counts[TAKEN] = 1234;
        assert_int_equal(data_pipe_look(pipe), 2);
        data_pipe_read(pipe, got, 1);
        assert_int_equal(data_pipe_look(pipe), 1);
        assert_int_equal(counts[TAKEN], 1);
        munmap(counts, OFFSET);
        close(fd);
        data_pipe_free(pipe);

        memory = make_memory(OFFSET + RING, SEALS);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        send_fds(fds[0], &memory, 1);
        assert_int_equal(data_pipe_open(fds[1], &pipe), 0);
        counts = mmap(NULL, OFFSET, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
        assert_ptr_not_equal(counts, MAP_FAILED);
        assert_int_equal(data_pipe_write(pipe, "ab", 2), 2);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                counts[TAKEN] = 2 - wrong[i];
                assert_int_equal(data_pipe_write(pipe, "c", 1), -EBADMSG);
        }
        munmap(counts, OFFSET);
        close(memory);
        close(fds[0]);
        data_pipe_free(pipe);
}

/* Bells without end, and a socket that takes none, hold nobody up. */
static void test_many_bells(void **state)
{
        _cleanup_free_ uint8_t *data = calloc(1, RING);
        size_t n_bells = 0;
        DataPipe *pipe;
        uint32_t *counts;
        ssize_t n;
        int fd;

        assert_int_equal(data_pipe_new(RING, &pipe, &fd), 0);
        counts = receive_memory(fd);
        while ((n = send(fd, data, 4096, MSG_DONTWAIT)) > 0)
                n_bells += (size_t)n;
        for (; n_bells > 0;
             n_bells -= MIN2(n_bells, 256)) { /* not all at once, or it would have no time for anything else */
                assert_true(rings(pipe));
                assert_true(data_pipe_on_bell(pipe));
        }
        assert_false(rings(pipe));
        /* The other way, until nothing fits: whoever waits has bells enough. */
        for (unsigned i = 0; i < 5000; i++) {
                counts[WRITTEN]++;
                counts[WRITER_WAITS] = 1;
                assert_int_equal(data_pipe_look(pipe), 1);
                data_pipe_read(pipe, data, 1);
        }
        assert_int_equal(data_pipe_look(pipe), -EAGAIN);
        assert_int_equal(counts[READER_WAITS], 1);
        munmap(counts, OFFSET);
        close(fd);
        data_pipe_free(pipe);
}

static void test_sizes(void **state)
{
        static const size_t rows[][2] = {{0, DATA_PIPE_BYTES_MIN},
                                         {DATA_PIPE_BYTES_MIN, DATA_PIPE_BYTES_MIN},
                                         {DATA_PIPE_BYTES_MIN * 2 - 1, DATA_PIPE_BYTES_MIN},
                                         {RING, RING},
                                         {RING + 100000, RING}};

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_free_ uint8_t *data = calloc(1, rows[i][1] + 1);
                Ends e;

                make(&e, rows[i][0]);
                assert_int_equal(data_pipe_write(e.writer, data, rows[i][1] + 1), rows[i][1]);
                drop(&e);
        }
}

int main(void)
{
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bytes_in_order),  cmocka_unit_test(test_end),
                cmocka_unit_test(test_reader_has_gone), cmocka_unit_test(test_bells),
                cmocka_unit_test(test_two_processes),   cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_no_data_pipe),    cmocka_unit_test(test_impossible_counts),
                cmocka_unit_test(test_many_bells),
        };

        return cmocka_run_group_tests_name("data-pipe", tests, NULL, NULL);
}
