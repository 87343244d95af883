"""A gateway with otad-installer alone, an attacker in the place of otad, and the proof that no harm was done."""

import base64
import contextlib
import hashlib
import os
import signal
import stat
import time

from cloud.pki import Authority, Signer
from gateway import Gateway, make_image

from .data_pipe import DataPipe
from .wire import BEGIN, Refused, State, Wire

SIZE = 200_000


class NoCloud:
    """As much of a cloud as a gateway's configuration names."""
    host, port = "localhost", 1

    def __init__(self, folder):
        self.authority = Authority(folder / "pki")
        self.https_ca = self.authority.path

    def add_thing(self, name):
        return self.authority.thing(name)


class Device(Gateway):
    """`files` and the like as Gateway's. Slot A runs 1.0.0; `codesign.pem` is trusted."""

    def __init__(self, folder, **options):
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(folder / "gateway", NoCloud(folder), **options)
        del self.programs["otad"]
        self.signer = Signer(folder, "codesign")
        self.stranger = Signer(self.folder, "stranger")     # beside the trust store
        self.trust_signer(self.signer)
        self.socket = self.runtime / "installer.sock"
        self._wires = []

    def _shut_down(self, signum=signal.SIGTERM):
        self.programs["otad-installer"].end(signum)

    def close(self):
        for wire in self._wires:
            wire.close()
        super().close()

    # The attacker

    def connect(self, **options):
        """Waits till the installer listens, and connects."""
        def attempt():
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                return Wire(self.socket, **options)
        wire = self.wait(attempt, what="socket of the installer")
        self._wires.append(wire)
        return wire

    @property
    def pid(self):
        return self.programs["otad-installer"].pid

    def state(self, wire=None):
        if wire:
            return State(wire.call("GetState"))
        with Wire(self.socket) as fresh:
            return State(fresh.call("GetState"))

    def file(self, image, target="rootfs", *, size=None, algorithm="sha256-ecdsa", signature=None, cert="codesign.pem",
             signer=None):
        if signature is None:
            signature = base64.b64decode((signer or self.signer).sign(image))
        return (target, len(image) if size is None else size, algorithm, signature, cert)

    def begin(self, wire, *files, session="job#1", job="job", attempt=1, **options):
        return wire.call("Begin", BEGIN, [session, job, attempt, list(files)], **options)[0]

    def write(self, wire, data, file=0, offset=0, close=True):
        """Write() and the bytes. Returns the pipe where it is not to be closed."""
        pipe = DataPipe(*wire.call("Write", "ut", [file, offset]))
        try:
            pipe.feed(data)
        except BaseException:
            pipe.close()
            raise
        if close:
            pipe.close()
        return None if close else pipe

    def install(self, wire, image, **options):
        """As an honest otad does it, up to the reboot."""
        self.begin(wire, self.file(image, **options))
        self.write(wire, image)
        wire.call("Verify")
        return wire.call("Activate")

    # What must not have changed

    def fingerprint(self):
        """Everything there is but the slot that does not run, and what the installer keeps for itself."""
        allowed = {self.slots.get("B"), self.folder / "otad-installer.log", self.folder / "hook-calls.jsonl",
                   self.folder / "boot" / "log", self.folder / "boot" / "B.ok", self.folder / "boot" / "B.try",
                   *(self.folder / f"hook-plan.{end}" for end in ("lock", "json", "json.new"))}
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                if path in map(str, allowed) or folder == str(self.folder / "installer-state"):
                    continue
                content = b""
                if stat.S_ISREG(info.st_mode):
                    with open(path, "rb") as file:
                        content = hashlib.sha256(file.read()).digest()
                found[path] = (stat.S_IFMT(info.st_mode), info.st_mode, info.st_uid, content)
        return found

    def expect_unharmed(self, before):
        """Nothing was activated, nothing was written but the slot that does not run, and the installer is well."""
        self.check()
        assert self.loader.primary == "A" and self.loader.state("A") == "good" and self.slot == "A"
        after = self.fingerprint()
        changed = {p for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
        assert not changed, sorted(changed)
        for stage in ("activate", "reboot", "commit"):
            assert not self.hook_calls(stage), stage
        names = set(os.listdir(self.folder / "installer-state"))
        assert names <= {"session", "history", "lock"}, names
        with Wire(self.socket) as wire:     # and it still answers
            State(wire.call("GetState"))

    def expect_works(self, session="good#1", version="9.0.0"):
        """After whatever happened a good update still gets up to its reboot."""
        with Wire(self.socket) as wire:
            state = State(wire.call("GetState"))
            if state.session:
                with contextlib.suppress(Refused):
                    wire.call("RollBack", "ss", ["cancelled", "the test goes on"])
                wire.call("Release")
            image = make_image(version, SIZE)
            self.begin(wire, self.file(image), session=session, job="good")
            self.write(wire, image)
            wire.call("Verify")
            assert wire.call("Activate") == (1,)
        assert self.holds("B", image) and self.loader.primary == "B"


def bits(data):
    """The same but for one bit in the middle."""
    out = bytearray(data)
    out[len(out) // 2] ^= 1
    return bytes(out)


