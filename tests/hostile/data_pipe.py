"""The writing end of a data pipe by hand (include/base/data-pipe.h), for an attacker: every byte of the shared memory is ours.

    pipe = DataPipe(fd)
    pipe.feed(data)                     # as an honest otad does it
    pipe.counts[WRITTEN] = 12345        # or otherwise
"""

import mmap
import os
import socket
import time

OFFSET = 4096
WRITTEN, TAKEN, READER_WAITS, WRITER_WAITS = 0, 64 // 4, 128 // 4, 192 // 4


class DataPipe:
    def __init__(self, fd):
        self.socket = socket.socket(fileno=fd)
        self.socket.setblocking(False)
        _, (memory,), _, _ = socket.recv_fds(self.socket, 1, 1)
        self.memory_fd = memory
        self.size = os.fstat(memory).st_size - OFFSET
        self.memory = mmap.mmap(memory, OFFSET + self.size)
        self.counts = memoryview(self.memory)[:OFFSET].cast("I")
        self._written = 0

    def ring_bell(self):
        """BrokenPipeError: the reader has closed."""
        try:
            self.socket.send(b"\0")
        except BlockingIOError:
            pass

    def write(self, data):
        """How many went in; 0: none now."""
        n = min(len(data), self.size - (self._written - self.counts[TAKEN]) % (1 << 32))
        at = self._written % self.size
        first = min(n, self.size - at)
        self.memory[OFFSET + at:OFFSET + at + first] = data[:first]
        self.memory[OFFSET:OFFSET + n - first] = data[first:n]
        self._written = (self._written + n) % (1 << 32)
        self.counts[WRITTEN] = self._written
        self.ring_bell()
        return n

    def feed(self, data, timeout=10):
        """All of it."""
        at, deadline = 0, time.monotonic() + timeout
        while at < len(data):
            n = self.write(data[at:at + 65536])
            at += n
            if n == 0:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the pipe took {at} of {len(data)} bytes")
                time.sleep(0.002)

    def close(self):
        self.counts.release()
        self.memory.close()
        os.close(self.memory_fd)
        self.socket.close()
