"""The two daemons as processes: started, watched, ended; nothing else is ever signalled."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent.parent
SUBDIRS = {"otad": "agent", "otad-installer": "installer", "otactl": "cli"}
# What no log may hold: our own bugs as a sanitizer or assert() tells them.
BUGS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion `")


def find_program(name, build=None):
    """The program in meson's build folder: `build`, or the environment's OTAD_BUILD, or build/ at the top."""
    folder = REPO / (build or os.environ.get("OTAD_BUILD") or "build")
    for path in (folder / "src" / SUBDIRS[name] / name, folder / name):
        if path.is_file():
            return path
    raise FileNotFoundError(f"there is no {name} in {folder}: build it first (meson setup {folder.name} && "
                            f"ninja -C {folder.name}), or say where it is with --build or OTAD_BUILD")


def descendants(pid):
    """The processes a process has started, and those they have, each with its start time, as a pid may come again."""
    found = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return found        # it has just ended
    for task in tasks:
        try:
            children = [int(p) for p in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [(child, start_time(child)), *descendants(child)]
    return found


def stat_fields(pid):
    """Of proc(5), from the state on; ("gone",) for a process that is not there."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ("gone",)


def start_time(pid):
    fields = stat_fields(pid)
    return fields[19] if len(fields) > 19 else None


def is_alive(process):
    pid, started = process
    fields = stat_fields(pid)
    return len(fields) > 19 and fields[19] == started and fields[0] != "Z"


def wait_until(is_so, seconds):
    deadline = time.monotonic() + seconds
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.001)


def end_leftovers(leftovers):
    """What a unit's control group is for: nothing outlives the daemon it belongs to. One that is between its fork and
    its exec still holds the daemon's locks, so they have to be gone before the daemon may start again."""
    for leftover in leftovers:
        if is_alive(leftover):
            try:
                os.kill(leftover[0], signal.SIGKILL)
            except ProcessLookupError:
                pass
    wait_until(lambda: not any(map(is_alive, leftovers)), 5)


class Program:
    """One daemon, which may be started again and again. All its output goes to one file.

    Must be used from one thread that lives as long as the programs may: setpriv has the kernel end them when that
    thread dies, so a test runner that is itself killed leaves nothing behind.
    """

    STOP_SECONDS = 8

    def __init__(self, name, path, arguments, log):
        self.name, self.path, self.log = name, path, Path(log)
        self.arguments = [str(a) for a in arguments]
        self._process = None
        self.n_starts = 0
        self.problems = []

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid if self._process else None

    def start(self, note=""):
        self.check()
        if self.running:
            return
        self.n_starts += 1
        self._started = time.monotonic()
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with open(self.log, "ab", buffering=0) as log:
            log.write(f"----- start {self.n_starts} of {self.name}{note}\n".encode())
            self._process = subprocess.Popen([*guard, str(self.path), *self.arguments], stdin=subprocess.DEVNULL,
                                             stdout=log, stderr=log, cwd="/", start_new_session=True)

    def end(self, signum=signal.SIGTERM):
        """Ends it. On SIGTERM it has to go orderly and in time; what it does else is a problem a test will see."""
        self.check()
        process, self._process = self._process, None
        if process is None:
            return
        # It is to start nothing more while we look: it has stopped (T), or will before it runs its next line (D).
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: stat_fields(process.pid)[0] in ("T", "D", "Z", "gone"), 1)
        started_by_it = descendants(process.pid)
        process.send_signal(signum)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(self.STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.problems.append(f"{self.name} did not end within {self.STOP_SECONDS} s of signal {signum}")
            process.kill()
            process.wait()
        end_leftovers(started_by_it)
        # One that has hardly begun to run may not have said yet what it does on SIGTERM.
        young = time.monotonic() - self._started < 2 and process.returncode == -signal.SIGTERM
        if signum == signal.SIGTERM and process.returncode != 0 and not young:
            self.problems.append(f"{self.name} ended with {process.returncode} on SIGTERM, not with 0")

    def signal(self, signum):
        """For SIGSTOP, SIGCONT and the like."""
        if self.running:
            self._process.send_signal(signum)

    def check(self):
        """Notes it where the program has ended by itself."""
        process = self._process
        if process is not None and process.poll() is not None:
            self.problems.append(f"{self.name} ended by itself with {process.returncode}")
            self._process = None

    def output(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def bugs(self):
        return [f"{self.name}: {line}" for line in self.output().splitlines() if any(b in line for b in BUGS)]


class Bus:
    """A D-Bus daemon of our own, for otactl to talk to otad over."""

    CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={socket}</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>
<allow user="*"/></policy></busconfig>
"""

    def __init__(self, folder):
        self.socket = Path(folder) / "bus"
        self.address = f"unix:path={self.socket}"
        config = Path(folder) / "bus.conf"
        config.write_text(self.CONFIG.format(socket=self.socket))
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self._process = subprocess.Popen([*guard, "dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile"],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.close()
                raise RuntimeError("dbus-daemon would not start")
            time.sleep(0.005)

    def close(self):
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
