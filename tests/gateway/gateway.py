"""A simulated gateway: two slots, a boot loader, hooks, a network to spoil, and otad on it as on a real one.

    with Gateway(tmp_path / "gateway", cloud) as gateway:
        gateway.trust_signer(signer)
        gateway.power_on()
        ... queue a job, wait for it ...
        assert gateway.slot == "B" and gateway.version == "1.1.0"

The machine is real where it matters (the programs, their config, files, sockets, scripts) and played where a test
cannot have the real thing: power, boot loader, kernel, and what the booted image is like (image.py).
"""

import concurrent.futures
import fcntl
import hashlib
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path

from . import config as config_file
from .image import HEADER_MAX, make_image, read_header
from .loader import SLOTS, Loader
from .programs import Bus, Program, find_program
from .proxy import Proxy

BIN = Path(__file__).resolve().parent.parent / "bin"
STARTS_MAX = 8      # of the loader in a row, before the machine counts as dead


class Gateway:
    """`slot_size` 0: no A/B target. `files`: names of file targets. `config`: changes over config.defaults().

    `bus`: a D-Bus daemon of its own, for otactl. `tries`: of the boot loader, for a slot on trial. `build`: where
    the programs are. `first`: which of the two daemons is started first.
    """

    def __init__(self, folder, cloud, thing="gateway-1", *, build=None, slot_size=1 << 20, files=(), config=None,
                 version="1.0.0", tries=1, bus=False, first="otad-installer"):
        programs = {name: find_program(name, build) for name in ("otad-installer", "otad")}
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True)
        self.cloud, self.thing = cloud, cloud.add_thing(thing)
        self.trust = self._make_folder("trust", 0o755)
        self.release = self.folder / "os-release"
        self.runtime = Path(tempfile.mkdtemp(prefix="otad-"))       # elsewhere, because a socket's name must be short
        self.first = first
        self.problems, self.panics, self.n_boots = [], [], 0
        self._make_disk(slot_size, files, version)
        self.loader = Loader(self.folder / "boot", tries)
        self._make_scripts()
        self.proxy = Proxy((cloud.host, cloud.port))
        self._bus = Bus(self.runtime) if bus else None
        self.bus_address = self._bus.address if bus else "none"
        self.settings = config_file.merge(config_file.defaults(self), config)
        self.config = self.folder / "otad.conf"
        self.write_config()
        self._build = build
        options = ["--config", self.config, "--log-level", "debug"]
        self.programs = {name: Program(name, path, options, self.folder / f"{name}.log")
                         for name, path in programs.items()}
        self._start_machine()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # What it is made of

    def _make_folder(self, name, mode):
        folder = self.folder / name
        folder.mkdir()
        folder.chmod(mode)
        return folder

    def _make_disk(self, slot_size, files, version):
        for name in ("state", "installer-state"):
            self._make_folder(name, 0o700)
        root = self._make_folder("root", 0o755)
        self.slots = {}
        factory = make_image(version, min(slot_size, 65536)) if slot_size else b""
        for name in SLOTS if slot_size else ():
            self.slots[name] = self.folder / f"slot-{name}"
            with open(self.slots[name], "wb") as file:
                file.write(factory)
                file.truncate(slot_size)
        self.files = {name: root / name for name in files}
        for name, path in self.files.items():
            path.write_bytes(make_image(version, 4096, seed=name))
            path.chmod(0o755)
            (self.folder / f"{name}-release").write_text(f"VERSION={version}\n")
        if not self.slots:
            self.release.write_text(f"IMAGE_VERSION={version}\n")

    def _make_scripts(self):
        (self.folder / "hook").symlink_to(BIN / "hook")
        (self.folder / "boot-script").symlink_to(BIN / "boot-file")
        (self.folder / "hook-plan.json").write_text("[]")
        (self.folder / "running").write_text("")
        os.mkfifo(self.folder / "reboot")

    def write_config(self, changes=None):
        """Writes otad.conf, after changing the settings; a program reads it when it is started next."""
        self.settings = config_file.merge(self.settings, changes)
        self.config.write_text("# A simulated gateway's; written by tests/gateway\n" +
                               config_file.render(self.settings))

    def trust_signer(self, signer, name=None):
        """Puts a signer's certificate in the trust store."""
        path = self.trust / (name or signer.path.name)
        shutil.copyfile(signer.path, path)
        path.chmod(0o644)

    # The machine: one thread that owns the processes, and does one thing after the other

    def _start_machine(self):
        self._work = queue.Queue()
        self._fifo = os.open(self.folder / "reboot", os.O_RDWR | os.O_CLOEXEC)
        self._machine = threading.Thread(target=self._run_machine, name="machine", daemon=True)
        self._button = threading.Thread(target=self._watch_reboot, name="reboot", daemon=True)
        self._machine.start()
        self._button.start()

    def _run_machine(self):
        while True:
            work, future = self._work.get()
            try:
                result = work()
                if future:
                    future.set_result(result)
            except StopIteration:
                future.set_result(None)
                return
            except BaseException as error:      # noqa: told to whoever asked, or noted
                if future:
                    future.set_exception(error)
                else:
                    self.problems.append(f"the machine failed: {error!r}")

    def _do(self, work, timeout=60):
        future = concurrent.futures.Future()
        self._work.put((work, future))
        return future.result(timeout)

    def _watch_reboot(self):
        while True:
            data = os.read(self._fifo, 1)
            if data != b"\n":
                return
            boot = self.n_boots
            self._work.put((lambda b=boot: self._reboot() if b == self.n_boots and self._is_on() else None, None))

    def close(self):
        """Ends both programs, orderly, and everything else that was started here. Safe to call twice."""
        if self._machine.is_alive():
            self._do(self._shut_down)
            os.write(self._fifo, b"q")
            self._button.join(5)

            def stop():
                raise StopIteration
            self._do(stop)
            self._machine.join(5)
            os.close(self._fifo)
        self.proxy.close()
        if self._bus:
            self._bus.close()
        shutil.rmtree(self.runtime, ignore_errors=True)

    def _is_on(self):
        return any(p.running for p in self.programs.values())

    def _boot(self):
        self.n_boots += 1
        (self.folder / "boot-id").write_text(f"{uuid.uuid4()}\n")
        header = {"IMAGE_VERSION": None}
        slot = self._choose_slot() if self.slots else None
        if self.slots:
            if slot is None:
                return
            self.loader.started(slot)
            with open(self.slots[slot], "rb") as image:
                (self.folder / "running").write_bytes(image.read(HEADER_MAX))
            header = read_header(self.slots[slot])
            self.release.write_text(f'NAME="Simulated gateway"\nIMAGE_VERSION="{header["IMAGE_VERSION"]}"\n')
        if header.get("BOOT") == "no-network":
            self.proxy.refuse()
        elif self._no_network:
            self.proxy.open()
        self._no_network = header.get("BOOT") == "no-network"
        for name in sorted(self.programs, key=lambda n: n != self.first):
            self.programs[name].start(f" (boot {self.n_boots}, slot {slot})")

    _no_network = False

    def _choose_slot(self):
        """The loader's choice, over again as long as the kernel in it panics at once."""
        for _ in range(STARTS_MAX):
            slot = self.loader.choose()
            if slot is None:
                break
            header = read_header(self.slots[slot])
            if header.get("BOOT") != "panic" and "IMAGE_VERSION" in header:
                return slot
            self.panics.append(slot)
        self.problems.append(f"the machine is dead: nothing can be started (order {self.loader.order})")
        return None

    def _shut_down(self, signum=signal.SIGTERM):
        for name in ("otad", "otad-installer"):
            self.programs[name].end(signum)

    def _reboot(self):
        self._shut_down()
        self._boot()

    # What a person or the power company does to it

    def power_on(self):
        self._do(self._boot)

    def power_off(self):
        self._do(self._shut_down)

    def power_cut(self):
        """Both programs are gone between two instructions. power_on() is the next start."""
        self._do(lambda: self._shut_down(signal.SIGKILL))

    def reboot(self):
        self._do(self._reboot)

    def start(self, name):
        self._do(self.programs[name].start)

    def end(self, name, signum=signal.SIGTERM):
        self._do(lambda: self.programs[name].end(signum))

    def restart(self, name, signum=signal.SIGTERM):
        """Ends a program and starts it again, as systemd does."""
        def work():
            self.programs[name].end(signum)
            self.programs[name].start()
        self._do(work)

    def signal(self, name, signum):
        self._do(lambda: self.programs[name].signal(signum))

    def plan_hook(self, stage, *, times=None, target=None, **what):
        """What the hook does otherwise than usual: exit, reason, sleep, signal, child, quiet (see tests/bin/hook)."""
        with open(self.folder / "hook-plan.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)        # the hook counts down in it
            path = self.folder / "hook-plan.json"
            plans = json.loads(path.read_text())
            plans.append({"stage": stage, "times": times, "target": target, **what})
            path.with_suffix(".new").write_text(json.dumps(plans))
            path.with_suffix(".new").rename(path)

    def forget_plans(self):
        """The hook does as usual again."""
        (self.folder / "hook-plan.json").write_text("[]")

    def otactl(self, *arguments, timeout=30):
        """Runs otactl on this machine. Returns the subprocess.CompletedProcess, output as text."""
        return subprocess.run([str(find_program("otactl", self._build)), "--config", str(self.config), *arguments],
                              capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)

    # Looking

    @property
    def slot(self):
        """The slot that runs."""
        return self.loader.current

    @property
    def other_slot(self):
        return SLOTS[1 - SLOTS.index(self.slot)]

    @property
    def version(self):
        """Of the software that runs, as it tells itself."""
        for line in self.release.read_text().splitlines():
            if line.startswith("IMAGE_VERSION="):
                return line.partition("=")[2].strip('"')
        return None

    def digest(self, what):
        """SHA-256 of a slot ("A") or a file target (its name); None where there is no such file."""
        path = self.slots.get(what) or self.files[what]
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None

    def holds(self, slot, image):
        """Whether a slot begins with these bytes."""
        with open(self.slots[slot], "rb") as file:
            return file.read(len(image)) == image

    def hook_calls(self, stage=None):
        """The hook's calls so far, each a dict: stage, time and the OTAD_ variables."""
        path = self.folder / "hook-calls.jsonl"
        # A line may be on its way just now.
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        calls = [json.loads(line) for line in lines]
        return [c for c in calls if stage in (None, c["stage"])]

    def output(self, name="otad"):
        """Everything a program has written so far."""
        return self.programs[name].output()

    def check(self):
        """Raises where something went wrong that no test asks for: a program gone, slow to end, a dead machine."""
        if self._machine.is_alive():
            for program in self.programs.values():
                self._do(program.check)
        found = self.problems + [p for program in self.programs.values() for p in program.problems + program.bugs()]
        if found:
            raise AssertionError("on the gateway:\n  " + "\n  ".join(found))

    def wait(self, predicate, timeout=10, what="what the test waits for"):
        """Waits till predicate() is true and returns its value."""
        deadline = time.monotonic() + timeout
        while True:
            value = predicate()
            if value:
                return value
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {what} within {timeout} s")
            time.sleep(0.01)

    def wait_output(self, name, text, timeout=10, since=0):
        """Waits till a program has written a text. `since`: after that many characters of its output."""
        return self.wait(lambda: text in self.output(name)[since:], timeout, f"'{text}' in the output of {name}")

    def wait_written(self, image, n_bytes, slot=None, timeout=10):
        """Waits till the first n_bytes of an image lie on the slot that does not run."""
        slot = slot or self.other_slot
        return self.wait(lambda: self.holds(slot, image[:n_bytes]), timeout, f"{n_bytes} bytes on slot {slot}")

    def report(self, n_lines=80):
        """The end of what every program wrote, for a failed test."""
        parts = []
        for program in self.programs.values():
            lines = program.output().splitlines()[-n_lines:]
            parts.append(f"===== {program.name} ({program.log})\n" + "\n".join(lines))
        calls = [f"{c['stage']} {c['OTAD_TARGET']} {c['OTAD_RESULT']} {c['OTAD_REASON']}" for c in self.hook_calls()]
        parts.append("===== hook\n" + "\n".join(calls))
        if self.slots:
            parts.append("===== boot script\n" + "\n".join(self.loader.calls()[-30:]))
        return "\n".join(parts)
