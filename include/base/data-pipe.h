/*
 * data-pipe: a pipe whose bytes lie in memory that both processes share.
 *
 * What a pipe of the kernel costs for each byte, two copies and a page made and given back, took a sixth of the processor
 * time of an update. Here the writer copies into a ring and the reader out of it, and the kernel is asked only to wake one
 * who waits.
 *
 * The reader makes it. The descriptor it gets for the writer is one end of a socket pair, in which the memory already lies
 * (SCM_RIGHTS, unix(7)): so it goes over the wire as a single descriptor. A byte in the socket, whatever it is, is a bell;
 * its hang-up is the end. The memory is sealed against growing and shrinking (memfd_create(2)).
 *
 *   offset 0     uint32_t  written: bytes put in so far, modulo 2^32      the writer's
 *   offset 64    uint32_t  taken: bytes taken out so far, modulo 2^32     the reader's
 *   offset 128   uint32_t  1: the reader wants a bell for new bytes       set by the reader, cleared by whoever rings
 *   offset 192   uint32_t  1: the writer wants a bell for new room        set by the writer, cleared by whoever rings
 *   offset 4096  the ring; its size is what is left, a power of two
 *
 * Neither side believes the other: a count that cannot be ends the pipe, and nothing of it can lead beyond the ring. But
 * bytes may change at any time while they lie there, so the reader judges only what it has copied out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/cleanup.h"

typedef struct DataPipe DataPipe;

enum { DATA_PIPE_BYTES_MIN = 4096, DATA_PIPE_BYTES_MAX = 1 << 30 };

/* The reading end. `n_bytes` is rounded down to a power of two. *ret_writer_fd is the caller's, to be sent and closed. */
_must_use_ int data_pipe_new(size_t n_bytes, DataPipe **ret, int *ret_writer_fd);
/* The writing end. The descriptor is the pipe's from here on, also on failure. -EBADMSG, -ENOTSOCK: that is no data pipe. */
_must_use_ int data_pipe_open(int fd, DataPipe **ret);
/* Closes this end; bytes that are in it stay for the reader. NULL is fine; returns NULL. */
DataPipe *data_pipe_free(DataPipe *pipe);
DEFINE_CLEANUP(DataPipe *, data_pipe_free);

/*
 * To be watched for EPOLLIN; then data_pipe_on_bell(), and on with reading or writing until -EAGAIN: no other bell rings
 * before. False: the other side has closed, and the descriptor needs no watching any more.
 */
int data_pipe_fd(const DataPipe *pipe);
bool data_pipe_on_bell(DataPipe *pipe);

/* Bytes that lie there for the reader; 0: the writer has closed, and all is read. -EAGAIN: none now. -EBADMSG: an impossible
 * count, and there is no way on. */
_must_use_ ssize_t data_pipe_look(DataPipe *pipe);
/* So many of them. */
void data_pipe_read(DataPipe *pipe, void *data, size_t n_data);
/* Bytes taken; fewer than n_data, or -EAGAIN: more once a bell has rung. -EPIPE: the reader has closed. -EBADMSG. */
_must_use_ ssize_t data_pipe_write(DataPipe *pipe, const void *data, size_t n_data);
