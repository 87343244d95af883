"""A socket in the place of journald's, and programs that believe that their stderr is the journal's.

libsystemd sends entries to /run/systemd/journal/socket, so a program is started in a mount namespace where a folder of
ours lies there. Source of the form: systemd, "Native Journal Protocol"."""

import os
import socket
import struct
import threading

WRAPPER = """#!/bin/sh
# Runs {program} with stderr as the journal's, and {folder} in the place of /run/systemd/journal.
JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)
export JOURNAL_STREAM
exec unshare --map-root-user --mount sh -ec '
	mount -t tmpfs none /run
	mkdir -p /run/systemd/journal
	mount --bind {folder} /run/systemd/journal
	exec {program} "$@"' sh "$@"
"""


def parse(data):
    """One entry: a dict of its fields."""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, has_value, value = line.partition(b"=")
        if not has_value:
            size = struct.unpack_from("<Q", data)[0]
            value, data = data[8:8 + size], data[9 + size:]
        assert name.decode() not in fields, name
        fields[name.decode()] = value.decode()
    return fields


class Journal:
    """`entries`: what was sent so far, in order."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.entries = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "socket"))
        os.chmod(folder / "socket", 0o666)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                return
            self.entries.append(parse(data))

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.folder / "socket"))

    def wrap(self, program):
        """A Program of the gateway writes to this journal from its next start on."""
        script = self.folder / f"run-{program.name}"
        script.write_text(WRAPPER.format(program=program.path, folder=self.folder))
        script.chmod(0o755)
        program.path = script

    def find(self, event):
        return [e for e in list(self.entries) if e.get("OTAD_EVENT") == event]
