"""A recorded disk: QEMU's blklogwrites notes every write and every flush that the machine issued. Played again, it gives
the disk as it would be after a power cut at any of them, also with writes lost that had not been flushed.

The log's format is that of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst).
"""

import random
import struct
from dataclasses import dataclass
from pathlib import Path

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
SUPER, HEAD = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
SECTOR = 512


@dataclass
class Write:
    """`data` is None for a bare flush, and a length for a discard, which reads as zeros afterwards."""
    start: int
    data: bytes
    flush: bool
    durable: bool       # FUA: on the medium when it is answered

    def apply(self, disk):
        if self.data:
            disk.write(self.start, self.data)


def read_log(path):
    """The writes of a log, in order. It ends where the machine was cut off."""
    with open(path, "rb") as log:
        magic, _, _, sector = SUPER.unpack(log.read(SUPER.size).ljust(SUPER.size, b"\0"))
        if magic != MAGIC:
            raise ValueError(f"{path} is no log of writes")
        position = sector
        while True:
            log.seek(position)
            head = log.read(HEAD.size)      # the number in the superblock is brought up to date now and then only
            if not head.strip(b"\0"):
                return
            first, n_sectors, flags, _ = HEAD.unpack(head)
            position += sector
            data = b""
            if flags & DISCARD:
                data = bytes(n_sectors * sector)
            elif n_sectors:
                log.seek(position)
                data = log.read(n_sectors * sector)
                position += n_sectors * sector
            yield Write(first * sector, data, bool(flags & FLUSH), bool(flags & FUA))


class Parts:
    """Some partitions of a disk, in memory: name -> bytearray. Writes elsewhere are ignored."""

    def __init__(self, places, content):
        self.places, self.content = places, content

    @classmethod
    def read(cls, disk, places):
        """`places`: name -> (offset, size)."""
        content = {}
        with open(disk, "rb") as f:
            for name, (start, size) in places.items():
                f.seek(start)
                content[name] = bytearray(f.read(size))
        return cls(places, content)

    def copy(self):
        return Parts(self.places, {name: bytearray(data) for name, data in self.content.items()})

    def where(self, start):
        for name, (first, size) in self.places.items():
            if first <= start < first + size:
                return name
        return None

    def write(self, start, data):
        name = self.where(start)
        if name:
            first, size = self.places[name]
            end = min(start - first + len(data), size)
            self.content[name][start - first:end] = data[:end - (start - first)]


@dataclass
class Cut:
    number: int         # how many writes had been issued
    what: str           # what became of those not flushed: all kept, all lost, some
    parts: Parts


def choose(writes, parts, often, at_most, seed):
    """The numbers of all writes to the parts named in `often`, and of at most so many of those to other parts."""
    places = [(number, parts.where(write.start)) for number, write in enumerate(writes, 1) if write.data]
    rest = [number for number, name in places if name and name not in often]
    chosen = random.Random(seed).sample(rest, min(at_most, len(rest)))
    return {number for number, name in places if name in often} | set(chosen)


def cuts(writes, parts, seed, chosen=None):
    """For each write to one of the parts (or each that is chosen, by number): the state just after it; and, where writes are
    unflushed, with all of them lost, and with some. `parts` is used up."""
    chance = random.Random(seed)
    durable, pending = parts.copy(), []
    for number, write in enumerate(writes, 1):
        if write.flush:
            for earlier in pending:
                earlier.apply(durable)
            pending = []
        if not write.data:
            continue
        write.apply(parts)
        if write.durable:
            write.apply(durable)
        else:
            pending.append(write)
        if not parts.where(write.start) or (chosen is not None and number not in chosen):
            continue
        yield Cut(number, "kept", parts)
        relevant = [w for w in pending if parts.where(w.start)]
        if relevant:
            yield Cut(number, "lost", durable)
        if len(relevant) > 1:
            some = durable.copy()
            for earlier in relevant:
                if chance.random() < 0.5:
                    earlier.apply(some)
            yield Cut(number, "some", some)


def save(content, path):
    """As a sparse file."""
    with open(path, "wb") as f:
        f.truncate(len(content))
        step = 1 << 16
        zeros = bytes(step)
        for start in range(0, len(content), step):
            piece = content[start:start + step]
            if piece != zeros[:len(piece)]:
                f.seek(start)
                f.write(piece)
    return Path(path)
