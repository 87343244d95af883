"""The stage of the benchmark: one cloud, slots on a block device, and otad with its installer on them, watched.

Both programs are real and so is every byte on its way; only the boot loader and the hooks are scripts that do nothing,
because their time belongs to whoever writes them. An update is followed up to "installed": downloaded, written,
synced, read back, hashed, its signature checked. Then the machine is thrown away.
"""

import array
import contextlib
import getpass
import hashlib
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cloud import Cloud, OtaFile, broker, cloud as cloud_module, faults     # noqa: E402
from gateway.config import render                                   # noqa: E402
from gateway.programs import find_program                           # noqa: E402

THING = "bench-1"
MIB = 1 << 20
SPARE = 1 * MIB         # a slot is this much larger than its image
BOOT = """#!/bin/sh
case $1 in
get-primary|get-current) echo A ;;
get-state) read -r state <"$0-$2"; echo "$state" ;;
set-state) echo "$3" >"$0-$2" ;;
esac
"""
HOOK = "#!/bin/sh\nexit 0\n"
STATE_LINE = re.compile(r"Job (\S+): (\S+) -> (\S+)")


class Broken(RuntimeError):
    """What was to be measured did not happen, or brought something else than it should."""


def random_file(path, size):
    """Bytes that no disk and no network can make smaller."""
    with open(path, "wb") as file:
        for at in range(0, size, 4 * MIB):
            file.write(os.urandom(min(4 * MIB, size - at)))
    return path


def drop_cache(path):
    """What is read of it next comes from the storage."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def digest_of(path, size, cached=True):
    if not cached:
        drop_cache(path)
    digest, left = hashlib.sha256(), size
    with open(path, "rb", buffering=0) as file:
        while left > 0:
            data = file.read(min(MIB, left))
            if not data:
                break
            digest.update(data)
            left -= len(data)
    return digest.hexdigest()


class Image:
    """A file with its digest, and where a signer is given its signature; all made before any clock runs."""

    def __init__(self, path, size, signer=None):
        self.path, self.size = random_file(path, size), size
        self.sha256 = digest_of(path, size)
        self.signature = None
        if signer:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                self.signature = signer.sign(view)

    def check(self, path):
        """That it lies on `path`, asked of the storage and not of the page cache."""
        if digest_of(path, self.size, cached=False) != self.sha256:
            raise Broken(f"{path} does not hold the image")


class Slot:
    """Where everybody writes to: a loop device over a file with direct I/O, else the file itself.

    `fill`: written once before, so that nobody pays for allocating it; for measurements of time.
    """

    def __init__(self, folder, name, size, fill=True):
        self.file = Path(folder) / f"slot-{name}"
        with open(self.file, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
            for _ in range(0, size if fill else 0, MIB):
                file.write(bytes(MIB))
            os.fsync(file.fileno())
        self.path, self.is_device = self.file, False
        losetup = shutil.which("losetup") or shutil.which("losetup", path="/usr/sbin:/sbin")
        if losetup and os.geteuid() == 0:
            made = subprocess.run([losetup, "--find", "--show", "--direct-io=on", self.file], capture_output=True,
                                  text=True)
            if made.returncode == 0:
                self.path, self.is_device, self._losetup = Path(made.stdout.strip()), True, losetup

    def close(self):
        if self.is_device:
            subprocess.run([self._losetup, "--detach", self.path], check=False)
        self.file.unlink(missing_ok=True)


class Daemon:
    """A program, and when it wrote which line."""

    def __init__(self, name, arguments, cwd="/"):
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self.name, self.lines, self.cpu_seconds = name, [], None
        self._news = threading.Condition()
        self._process = subprocess.Popen([*guard, *map(str, arguments)], stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=cwd)
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for raw in self._process.stderr:
            with self._news:
                self.lines.append((time.monotonic(), raw.decode(errors="replace").rstrip()))
                self._news.notify_all()

    def wait_line(self, pattern, timeout, since=0):
        """When a line with the pattern came, and its match."""
        deadline, at = time.monotonic() + timeout, since
        with self._news:
            while True:
                for when, line in self.lines[at:]:
                    found = re.search(pattern, line)
                    if found:
                        return when, found
                at = len(self.lines)
                left = deadline - time.monotonic()
                if left <= 0 or (self._process.poll() is not None and not self._reader.is_alive()):
                    raise Broken(f"{self.name} never said /{pattern}/; its last words:\n" +
                                 "\n".join(line for _, line in self.lines[-20:]))
                self._news.wait(min(left, 0.2))

    def cpu(self):
        """User and system seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def pss(self):
        """Bytes of proportional set size: what it holds alone, and its share of what it shares."""
        try:
            for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
        except OSError:
            pass
        return 0

    def wakeups(self):
        """Voluntary context switches: how often it went to sleep, so how often it woke."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                return int(line.split()[1])
        return 0

    def close(self, signum=signal.SIGTERM):
        if self._process.poll() is None:
            self._process.send_signal(signum)
            try:
                self._process.wait(8)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(5)


def niceness(unit):
    """As the unit has it: how a service is started is part of how fast it is."""
    text = (Path(__file__).resolve().parents[2] / "systemd" / unit).read_text()
    return next((line.partition("=")[2] for line in text.splitlines() if line.startswith("Nice=")), "0")


PAGE = os.sysconf("SC_PAGE_SIZE")
PRESENT, FRAME = 1 << 63, (1 << 55) - 1


def frames(pid):
    """The physical pages a process has in memory. Empty where we may not see them: only root may, and they read as 0."""
    found = set()
    with contextlib.suppress(OSError), open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if line.endswith(("[vsyscall]", "[vvar]", "[vdso]", "[vvar_vclock]")):
                continue
            first, last = (int(a, 16) // PAGE for a in line.split()[0].split("-"))
            data = array.array("Q", os.pread(pagemap.fileno(), (last - first) * 8, first * 8)
                               if last - first <= 1 << 16 else b"")
            found.update(entry & FRAME for entry in data if entry & PRESENT)
    found.discard(0)
    return found


def memory_of(daemons):
    """Bytes that the processes take together, and each, and how that was counted.

    Pss is what a page costs shared by however many have it, so it is flattered by anybody else on the machine who uses
    the same libraries. Where the kernel lets us see, each page the processes have counts once and in full instead.
    """
    sets = {d.name: frames(d.pid) for d in daemons}
    if sets and any(sets.values()):     # one may just have ended
        return len(set().union(*sets.values())) * PAGE, {n: len(s) * PAGE for n, s in sets.items()}, "pages"
    each = {d.name: d.pss() for d in daemons}
    return sum(each.values()), each, "Pss"


class Seen:
    """A process that is not ours to start or end, only to look at."""

    def __init__(self, pid):
        self.pid, self.name = pid, str(pid)

    pss = Daemon.pss


def descendants(name, pid=None):
    """Processes called `name` below this one, whoever started them."""
    found = []
    for task in Path(f"/proc/{pid or os.getpid()}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                with contextlib.suppress(OSError):
                    if Path(f"/proc/{child}/comm").read_text().strip() == name:
                        found.append(Seen(int(child)))
                    found += descendants(name, int(child))
    return found


class Memory(threading.Thread):
    """The most memory that several processes together had, looked at every few milliseconds.

    `daemons`: a list, or what gives one when it is called.
    """

    def __init__(self, daemons, every=0.004):
        super().__init__(daemon=True)
        self._daemons = daemons if callable(daemons) else lambda: daemons
        self._every, self._done = every, threading.Event()
        self.peak, self.peak_of, self.unit = 0, {}, None

    def run(self):
        while not self._done.is_set():
            together, each, self.unit = memory_of(self._daemons())
            self.peak = max(self.peak, together)
            for name, value in each.items():
                self.peak_of[name] = max(self.peak_of.get(name, 0), value)
            self._done.wait(self._every)

    def stop(self):
        self._done.set()
        self.join()
        return self.peak


class Stage:
    """The cloud, its signer, and a folder for everything; one for the whole run.

    The broker logs less than in the tests (it would be the slowest part), and streams are left to `streams`: a service
    of the benchmark's own, or None for the tests' one, which is written in Python.
    """

    def __init__(self, folder, build, own_streams=True):
        self.folder, self.build = Path(folder), build
        self._patched = (broker.CONFIG, cloud_module.REQUESTS)
        broker.CONFIG = broker.CONFIG.replace("log_type all", "log_type error\nlog_type warning\nlog_type notice\n"
                                              "log_type information").replace("persistence true", "persistence false")
        if own_streams:
            cloud_module.REQUESTS = [r for r in cloud_module.REQUESTS if "/streams/" not in r]
        self.cloud = Cloud(self.folder / "cloud", kick=False).start()
        self.thing = self.cloud.add_thing(THING)
        self.signer = self.cloud.add_signer("codesign")
        self.bundle = self._bundle()
        self._serial = 0

    def _bundle(self):
        """What a gateway trusts image stores by: all authorities of the distribution, and ours."""
        path, system = self.folder / "bundle.pem", Path("/etc/ssl/certs/ca-certificates.crt")
        path.write_bytes((system.read_bytes() if system.exists() else b"") + Path(self.cloud.https_ca).read_bytes())
        return path

    @contextlib.contextmanager
    def link(self, bytes_per_sec):
        """Meanwhile the image store brings no more than that."""
        rule = self.cloud.faults.on("http.reply", faults.slow(bytes_per_sec)) if bytes_per_sec else None
        try:
            yield
        finally:
            if rule:
                rule.off()

    def close(self):
        broker.CONFIG, cloud_module.REQUESTS = self._patched
        self.cloud.close()

    def new_folder(self, name):
        self._serial += 1
        path = self.folder / f"{name}-{self._serial}"
        path.mkdir()
        return path


class Machine:
    """otad and otad-installer with fresh state. `port`: of the broker, or of a proxy before it."""

    def __init__(self, stage, slots, *, config=None, port=None, installer=True):
        self.stage, self.slots = stage, slots
        self.folder = stage.new_folder("machine")
        self.runtime = Path(tempfile.mkdtemp(prefix="otad-"))
        self._write(config or {}, port or stage.cloud.port)
        arguments = ["--config", self.folder / "otad.conf"]
        self.installer = self.otad = None
        if installer:
            self.installer = Daemon("otad-installer", [find_program("otad-installer", stage.build), *arguments])
            self._wait_for(self.runtime / "installer.sock")
        self.started = time.monotonic()
        self.otad = Daemon("otad", ["nice", "-n", niceness("otad.service"), find_program("otad", stage.build), *arguments])

    def _wait_for(self, path):
        deadline = time.monotonic() + 10
        while not path.exists():
            if time.monotonic() > deadline:
                raise Broken(f"{path} was never there:\n" + "\n".join(line for _, line in self.installer.lines))
            time.sleep(0.002)

    def _write(self, changes, port):
        folder, thing = self.folder, self.stage.thing
        for name in ("state", "installer-state"):
            (folder / name).mkdir(mode=0o700)
        (folder / "trust").mkdir()
        shutil.copyfile(self.stage.signer.path, folder / "trust" / self.stage.signer.path.name)
        for name, text in (("hook", HOOK), ("boot", BOOT)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        for slot in "AB":
            (folder / f"boot-{slot}").write_text("good\n")
        (folder / "os-release").write_text("IMAGE_VERSION=1.0.0\n")
        settings = {
            "thing-name": thing.name,
            "broker": {"endpoint": "localhost", "port": port, "root-ca": str(thing.ca), "cert": str(thing.cert),
                       "key": str(thing.key)},
            "download": {"https-ca": str(self.stage.bundle), **changes},
            "signing": {"trust-store": str(folder / "trust")},
            "version": {"file": str(folder / "os-release"), "key": "IMAGE_VERSION"},
            "targets": [{"name": "rootfs", "type": "ab", "match": "rootfs.img", "boot": str(folder / "boot"),
                         "slots": [{"name": n, "device": str(s.path)} for n, s in zip("AB", self.slots)]}],
            "hook": {"script": str(folder / "hook")},
            "installer": {"peer-user": getpass.getuser()},
            "paths": {"state": str(folder / "state"), "installer-state": str(folder / "installer-state"),
                      "runtime": str(self.runtime)},
            "control": {"bus": "none"},
        }
        (folder / "otad.conf").write_text(render(settings))

    def wait_subscribed(self, timeout=30):
        self.stage.cloud.wait_connected(THING, timeout)

    def update(self, image, protocol, timeout=120):
        """Has the image installed. Returns seconds: {"whole", "fetch", "verify"}, "whole" from the job's creation on.

        "fetch" is from the download's first request to the last byte handed to the installer.
        """
        file = OtaFile("rootfs.img", image.path, self.stage.signer, signature=image.signature)
        at = len(self.otad.lines)
        cpu = self.cpu()
        began = time.monotonic()
        job = self.stage.cloud.create_ota_update(THING, [file], [protocol])
        try:
            fetching = self._wait_state("downloading", timeout, at)
            fetched = self._wait_state("verifying", timeout, at)
            done = self._wait_state("installed", timeout, at)
        except Broken as error:
            raise Broken(f"{error}\n" + "\n".join(line for _, line in self.installer.lines[-10:])) from None
        self.job = job
        return {"whole": done - began, "fetch": fetched - fetching, "verify": done - fetched,
                "before": fetching - began, "cpu": self.cpu() - cpu}

    def _wait_state(self, state, timeout, since):
        when, found = self.otad.wait_line(rf"Job .* -> ({state}|rolling-back|rolled-back)", timeout, since)
        if found[1] != state:
            raise Broken(f"waited for {state}:\n" + "\n".join(line for _, line in self.otad.lines[-10:]))
        return when

    def cpu(self):
        return sum(d.cpu() for d in (self.installer, self.otad) if d)

    def close(self):
        for daemon in (self.otad, self.installer):
            if daemon:
                daemon.close(signal.SIGKILL)
        with contextlib.suppress(Exception):        # what is left of the job is of no interest
            self.stage.cloud.cancel(self.job, force=True)
        with contextlib.suppress(Exception):
            self.stage.cloud.delete(self.job, force=True)
        shutil.rmtree(self.runtime, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
