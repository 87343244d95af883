"""What a power cut leaves of what programs wrote: a model of files, built from the record the shim made (shim.c).

Nothing is safe before it is synced. Data and size of a file are made safe by fsync or fdatasync of that file, its mode
by fsync; a name in a folder by fsync of that folder, and by nothing else. Until then each single change may be there
after the cut or not, in any mixture: that is more than any one file system does to its users, and what all of them
together are allowed to do.

    storage = Storage(folders, files)           # what is there now, safe
    storage.play(log)                           # what was done, and what of it was synced
    for name, disk in storage.ends().items():   # what may be there after a cut now
        storage.lay_out(disk)
"""

import copy
import os
import random
import stat

SECTOR = 512


def records(log):
    """The lines of a shim's record, each with the data that follows it, which may look like anything."""
    at = 0
    while at < len(log):
        end = log.index(b"\n", at)
        line, at, data = log[at:end], end + 1, b""
        if line.startswith(b"+w "):
            length = int(line.rsplit(b" ", 1)[1])
            data, at = log[at:at + length], at + length
        yield line.decode(errors="replace"), data


class Change:
    """One change that is not safe yet. `of`: the inode it belongs to, or a folder, or None once it is safe."""

    def __init__(self, of, kind, *what):
        self.of, self.kind, self.what = of, kind, what
        self.is_under_way = False       # no sync that begins before it has arrived makes it safe


class Inode:
    def __init__(self, data=b"", mode=0o600):
        self.data, self.mode = data, mode       # what is safe of it


class Storage:
    def __init__(self, folders, files=(), deaf=""):
        """`folders`: all regular files in them; `files`: single ones, which are only written in place. `deaf`: kinds of
        records that are not believed, to see whether anybody would notice: "sd" for a storage that never syncs."""
        self.deaf = deaf
        self.inodes, self.folders, self.pending = {}, {}, []
        self._covered = {}      # inode -> the changes that the sync under way makes safe
        self._numbers = {}      # inode numbers as the log has them; a number may be used again
        self._paths = {}        # folder -> path
        self._single = {}       # path -> inode
        for path in folders:
            folder = self._number(path)
            names = {}
            for entry in os.scandir(path):
                if entry.is_file(follow_symlinks=False):
                    names[entry.name] = self._add_file(entry.path)
            self.folders[folder] = names
            self._paths[folder] = str(path)
        for path in files:
            self._single[str(path)] = self._add_file(path)

    def copy(self):
        return copy.deepcopy(self)

    @staticmethod
    def _number(path):
        return os.stat(path).st_ino

    def _add_file(self, path):
        number = self._number(path)
        if number not in self._numbers:
            with open(path, "rb") as file:
                self._numbers[number] = self._new(file.read(), stat.S_IMODE(os.stat(path).st_mode))
        return self._numbers[number]

    def _new(self, data=b"", mode=0o600):
        key = len(self.inodes)
        self.inodes[key] = Inode(data, mode)
        return key

    # The record

    def play(self, log, until=None):
        """Plays the record, or what is before one call in it: (program, which start of it, number)."""
        starts = {}
        for line, data in records(log):
            if not line.startswith("+"):
                program, number, _ = line.split(" ", 2)
                starts[program] = starts.get(program, 0) + (number == "1")
                if until == (program, starts[program], int(number)):
                    return
                continue
            kind, *words = line.split(" ")
            if kind == "+w":
                self._change_inode(int(words[0]), "w", int(words[1]), data)
            elif kind[1] not in self.deaf:
                getattr(self, f"_on_{kind[1]}")(*words)

    def _change_inode(self, number, kind, *what):
        inode = self._numbers.get(number)
        if inode is not None:           # else a file that is not looked at
            self.pending.append(Change(inode, kind, *what))

    def _on_t(self, number, size):
        self._change_inode(int(number), "t", int(size))

    def _on_a(self, number, mode):
        self._change_inode(int(number), "a", int(mode, 8))

    def _on_i(self, number, offset, is_under_way=True):
        for change in reversed(self.pending):
            if change.kind == "w" and change.of == self._numbers.get(int(number)) and change.what[0] == int(offset):
                change.is_under_way = is_under_way
                return

    def _on_k(self, number, offset):
        self._on_i(number, offset, is_under_way=False)

    def _data_of(self, number):
        inode = self._numbers.get(int(number))
        return [c for c in self.pending if c.kind in "wt" and c.of == inode and not c.is_under_way]

    def _on_b(self, number):
        self._covered[int(number)] = self._data_of(number)

    def _on_e(self, number):
        covered = self._covered.pop(int(number))
        self._settle(lambda c: c in covered)

    def _on_d(self, number):
        covered = self._data_of(number)
        self._settle(lambda c: c in covered)

    def _on_s(self, number):
        covered = self._data_of(number)
        self._settle(lambda c: c in covered or c.kind == "a" and c.of == self._numbers.get(int(number)) or
                     c.kind == "n" and c.of == int(number))

    def _on_p(self, program, length):
        """What is in a pipe is on no storage."""

    def _on_y(self):
        """A kernel that goes down orderly has everything written."""
        self._settle(lambda c: True)

    def _on_c(self, folder, name, number, mode):
        if int(folder) in self.folders:
            self._numbers[int(number)] = self._new(mode=int(mode, 8))
            self._name(folder, {name: self._numbers[int(number)]})

    def _on_u(self, folder, name):
        self._name(folder, {name: None})

    def _on_r(self, folder, name, to_folder, to_name):
        if folder != to_folder:
            raise ValueError(f"{name} moved between folders: this is not modelled")
        now = self._now(folder)
        if now is not None and now.get(name) != now.get(to_name):
            self._name(folder, {name: None, to_name: now[name]})

    def _on_l(self, folder, name, to_folder, to_name):
        now = self._now(folder)
        if now is not None:
            self._name(to_folder, {to_name: now[name]})

    def _name(self, folder, names):
        if int(folder) in self.folders:
            self.pending.append(Change(int(folder), "n", names))

    def _now(self, folder):
        """The names in a folder as programs see them."""
        if int(folder) not in self.folders:
            return None
        names = dict(self.folders[int(folder)])
        for change in self.pending:
            if change.kind == "n" and change.of == int(folder):
                self._apply_names(names, change)
        return names

    @staticmethod
    def _apply_names(names, change):
        for name, inode in change.what[0].items():
            if inode is None:
                names.pop(name, None)
            else:
                names[name] = inode

    @staticmethod
    def _apply_data(data, change):
        if change.kind == "t":
            size, = change.what
            return data[:size] + bytes(size - len(data)) if size > len(data) else data[:size]
        offset, new = change.what
        if offset > len(data):
            data += bytes(offset - len(data))
        return data[:offset] + new + data[offset + len(new):]

    def _settle(self, is_safe):
        left = []
        for change in self.pending:
            if not is_safe(change):
                left.append(change)
            elif change.kind == "n":
                self._apply_names(self.folders[change.of], change)
            elif change.kind == "a":
                self.inodes[change.of].mode, = change.what
            else:
                inode = self.inodes[change.of]
                inode.data = self._apply_data(inode.data, change)
        self.pending = left

    # The cut

    def disk(self, kept):
        """What is on the storage where these of the pending changes got there: {path: (data, mode, inode)}."""
        names = {folder: dict(entries) for folder, entries in self.folders.items()}
        data, mode = {}, {}
        for change in kept:
            if change.kind == "n":
                self._apply_names(names[change.of], change)
            elif change.kind == "a":
                mode[change.of], = change.what
            else:
                data[change.of] = self._apply_data(data.get(change.of, self.inodes[change.of].data), change)

        def content(inode):
            return data.get(inode, self.inodes[inode].data), mode.get(inode, self.inodes[inode].mode), inode
        out = {path: content(inode) for path, inode in self._single.items()}
        for folder, entries in names.items():
            out.update({f"{self._paths[folder]}/{name}": content(inode) for name, inode in entries.items()})
        return out

    def _torn(self, sector):
        """The last data that was written, half of it there."""
        for at in range(len(self.pending) - 1, -1, -1):
            change = self.pending[at]
            if change.kind == "w":
                offset, data = change.what
                end = (offset + len(data) // 2) // sector * sector      # where a sector of the storage ends
                cut = Change(change.of, "w", offset, data[:max(0, end - offset)])
                return self.pending[:at] + [cut] + self.pending[at + 1:]
        return self.pending

    def ends(self, n_random=0, seed=0):
        """Every different disk among: all lost, all kept, only the last kept, the last lost, names without data, data
        without names, the last data torn at 512 and at 4096 bytes, each change lost alone and kept alone (up to 12 of
        them), and `n_random` mixtures."""
        p = self.pending
        choices = {"kept": p, "lost": [], "only-last": p[-1:], "last-lost": p[:-1],
                   "names": [c for c in p if c.kind == "n"], "data": [c for c in p if c.kind != "n"],
                   "torn-512": self._torn(SECTOR), "torn-4096": self._torn(8 * SECTOR)}
        for at in range(min(len(p), 12)):
            choices[f"without-{at}"] = p[:at] + p[at + 1:]
            choices[f"only-{at}"] = p[at:at + 1]
        chance = random.Random(seed)
        for at in range(n_random if len(p) > 2 else 0):
            choices[f"mixed-{at}"] = [c for c in p if chance.random() < 0.5]
        out, seen = {}, set()
        for name, kept in choices.items():
            disk = self.disk(kept)
            key = frozenset((path, data, mode) for path, (data, mode, _) in disk.items())
            if key not in seen:
                seen.add(key)
                out[name] = disk
        return out

    def differences(self):
        """Where what programs see now is not what the model says: the model would be wrong. A list of texts."""
        out = []
        disk = self.disk(self.pending)
        for path, (data, mode, _) in disk.items():
            try:
                with open(path, "rb") as file:
                    there = file.read()
            except OSError as error:
                out.append(f"{path}: {error.strerror}")
                continue
            if there != data:
                out.append(f"{path}: {len(there)} bytes there, {len(data)} in the model, or other ones")
            if stat.S_IMODE(os.stat(path).st_mode) != mode:
                out.append(f"{path}: mode {stat.S_IMODE(os.stat(path).st_mode):o}, in the model {mode:o}")
        for path in self._paths.values():
            out += [f"{e.path}: not in the model" for e in os.scandir(path)
                    if e.is_file(follow_symlinks=False) and e.path not in disk]
        return out

    def lay_out(self, disk):
        """Makes the files what they are on that disk."""
        for path in self._paths.values():
            for entry in list(os.scandir(path)):
                if entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)
        first = {}
        for path, (data, mode, inode) in disk.items():
            if path not in self._single and inode in first:
                os.link(first[inode], path)
                continue
            first[inode] = path
            with open(path, "r+b" if path in self._single else "wb") as file:
                file.write(data)
                file.truncate()
            os.chmod(path, mode)
