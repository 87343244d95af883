"""One whole update on a simulated gateway whose programs may be ended at any of their system calls.

    rig = Rig(case, Crash("otad-installer", 1, 37), build)
    outcome = rig.run()         # outcome.problems: what must not be, in words

The programs run with shim.c preloaded, which numbers their calls. A point is (program, which start of it, number of the
call, before or after it). What happens then is `how`:

    process   the program is gone, and what it has started; it is started again, as its unit would
    both      the other program as well
    machine   the machine restarts, with all that was written so far on its storage
    power     the power is cut: what was not synced may be lost, see storage.py
"""

import collections
import contextlib
import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from cloud import Cloud, OtaFile
from cloud.job_queue import TERMINAL
from e2e.scene import PROTOCOLS, REASONS
from gateway import Gateway, make_image
from gateway.config import merge
from gateway.programs import Program

from .storage import Storage

HERE = Path(__file__).resolve().parent
PROGRAMS = ("otad-installer", "otad")
CHECKPOINT = 1 << 20            # the least the configuration allows
PATIENCE = 40                   # seconds for an update, on a machine that is busy with others
THING = "gateway-1"


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    is_ab: bool
    protocol: str
    size: int = 96 * 1024
    tries: int = 1              # of the boot loader
    fails: str = ""             # the error that such an update ends with, when nothing else happens to it
    is_file: bool = False       # a file, too, in the same job

    def image(self, name):
        return make_image("1.1.0", self.size, selftest="fail" if self.fails == "selftest-failed" else None, seed=name)

    @property
    def files(self):
        """The names that the job has for them."""
        return ("rootfs.img", "app") if self.is_file else ("rootfs.img",) if self.is_ab else ("app",)


CASES = {c.name: c for c in (
    Case("ab-mqtt", True, "mqtt"),
    Case("ab-https", True, "https", tries=2),
    Case("file-mqtt", False, "mqtt"),
    Case("file-https", False, "https"),
    Case("ab-and-file", True, "mqtt", is_file=True),
    Case("ab-rollback", True, "https", tries=2, fails="selftest-failed"),
    Case("file-rollback", False, "https", fails="selftest-failed"),
    Case("ab-mqtt-checkpoints", True, "mqtt", size=2_500_000),
    Case("file-https-checkpoints", False, "https", size=2_500_000),
)}


@dataclasses.dataclass(frozen=True)
class Crash:
    program: str
    start: int
    call: int
    after: bool = False
    how: str = "process"
    end: str = "kept"           # of a power cut: which of Storage.ends()

    def __str__(self):
        return f"{self.program}:{self.start}:{self.call}:{'after' if self.after else 'before'}:{self.how}" + \
               (f":{self.end}" if self.how == "power" else "")

    @classmethod
    def parse(cls, text):
        program, start, call, when, how, *end = text.split(":")
        return cls(program, int(start), int(call), when == "after", how, *end)


@dataclasses.dataclass
class Outcome:
    case: str
    crash: Crash | None
    reached: bool = False
    at: str = ""                # the call it was
    status: str = ""
    seconds: float = 0
    problems: list = dataclasses.field(default_factory=list)
    report: str = ""
    log: bytes = b""            # the shim's record
    full_log: bytes = b""       # with the calls of the end, when both programs are told to stop
    storage: object = None      # as it was before all that
    ends: tuple = ()            # of the power cut: what there was to choose from


def build_shim(folder):
    """Compiles shim.c into a folder. Returns its path."""
    path = Path(folder) / "shim.so"
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC",
                    "-o", str(path), str(HERE / "shim.c"), "-ldl"], check=True)
    return path


def make_folder():
    """Where syncing costs nothing, if there is such a place: what is lost in a cut is decided by us."""
    return Path(tempfile.mkdtemp(prefix="otad-crash-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))


@contextlib.contextmanager
def between_calls(record):
    """No program is amid a call that it has made but not written down yet."""
    with open(record, "rb") as log:
        deadline = time.monotonic() + 5
        while True:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("a program has been in one call for 5 s") from None
            time.sleep(0.0002)
        yield


class CrashProgram(Program):
    """A daemon with the shim, ended by it in the start and at the call that were asked for."""

    def __init__(self, program, shim, folder, crash, with_data):
        super().__init__(program.name, "/usr/bin/env", [], program.log)
        self.crash = crash if crash and crash.program == program.name else None
        self.record = folder / "calls"
        self._command = [str(program.path), *program.arguments]
        self._variables = [f"LD_PRELOAD={shim}", f"CRASH_LOG={self.record}", f"CRASH_ROOT={folder}",
                           f"CRASH_DATA={int(with_data)}"]
        self.started_at = 0.0
        self.is_down = False        # by the shim, and nobody has done anything about it yet
        self.n_crashes = 0

    def start(self, note=""):
        armed = []
        if self.crash and self.n_starts + 1 == self.crash.start and not self.running:
            armed = [f"CRASH_AT={self.crash.call}", f"CRASH_AFTER={int(self.crash.after)}"]
        self.arguments = [*self._variables, *armed, *self._command]
        if not self.running:
            self.started_at = time.time()
        super().start(note)

    @property
    def has_died(self):
        """By the shim; what else ends it is a problem."""
        return self._process is not None and self._process.poll() == -signal.SIGKILL and self.crash is not None \
            and self.n_starts == self.crash.start

    def check(self):
        if self._process is None or self._process.poll() is None:
            return      # looked at once only: it may die at any moment
        if self.has_died:
            self.bury()
        super().check()

    def end(self, signum=signal.SIGTERM):
        """As usual, but it may be killed on the way out."""
        before = len(self.problems)
        super().end(signum)
        killed = f"{self.name} ended with -9 on SIGTERM, not with 0"
        if killed in self.problems[before:] and self.crash and self.n_starts == self.crash.start:
            self.problems.remove(killed)
            self.n_crashes += 1

    def bury(self):
        """The shim has killed what it had started, too, as systemd does when the main process of a unit is gone."""
        self._process.wait()
        self._process = None
        self.is_down = True
        self.n_crashes += 1


class CrashGateway(Gateway):
    def __init__(self, folder, cloud, case, crash, shim, with_data, **options):
        self.case, self.crash, self.with_data = case, crash, with_data
        self.harm = []              # what was wrong at the moment of the crash
        self.ends = ()
        self.wreck = None
        super().__init__(folder, cloud, THING, **options)
        self.factory = {slot: self.digest(slot) for slot in self.slots}
        self.old_files = {name: path.read_bytes() for name, path in self.files.items()}
        (self.folder / "hook").unlink()
        (self.folder / "hook").symlink_to(HERE / "hook")
        self.programs = {name: CrashProgram(program, shim, self.folder, crash, with_data)
                         for name, program in self.programs.items()}
        self.storage = None
        if with_data:
            folders = [self.folder / "state", self.folder / "installer-state", self.folder / "root"]
            self.storage = Storage(folders, self.slots.values())

    @property
    def record(self):
        path = self.folder / "calls"
        return path.read_bytes() if path.exists() else b""

    def _reboot(self):
        before = self.n_crashes
        self._shut_down()
        if self.n_crashes > before and self.crash.how == "power":
            self._cut()
        elif self.with_data:
            with open(self.folder / "calls", "ab") as record:
                record.write(b"+y\n")
        for program in self.programs.values():
            program.is_down = False
        self._boot()

    @property
    def n_crashes(self):
        return sum(p.n_crashes for p in self.programs.values())

    def check_soon(self):
        """check(), but not each time: it takes as long as many looks."""
        self._n_looks += 1
        if self._n_looks % 25 == 0:
            self.check()

    _n_looks = 0

    def recover(self):
        """After the crash: looks whether harm is done, then starts what is to be started."""
        self._do(self._recover)

    def _recover(self):
        for program in self.programs.values():
            program.check()
        down = [p for p in self.programs.values() if p.is_down]
        if not down:
            return
        how = self.crash.how
        if how != "process":
            with between_calls(self.folder / "calls"):
                self._shut_down(signal.SIGKILL)
        if how == "power":
            self._cut()
        self.look()
        if self.wreck:
            self.wreck(self)
        for program in down:
            program.is_down = False
        if how in ("machine", "power"):
            self._boot()
            return
        for name in PROGRAMS:
            self.programs[name].start(" (again)")

    def _cut(self):
        self.storage.play(self.record)
        self.harm += [f"the model of the storage is wrong: {d}" for d in self.storage.differences()]
        ends = self.storage.ends(8, str(self.crash))
        self.ends = tuple(ends)
        self.storage.lay_out(ends.get(self.crash.end) or ends["lost" if "lost" in ends else "kept"])

    def look(self):
        """What must be true at any moment, whatever comes after it."""
        image = self.case.image("rootfs.img")
        for slot in self.slots:
            is_factory, is_new = self.digest(slot) == self.factory[slot], self.holds(slot, image)
            if slot == "A" and not is_factory:
                self.harm.append("slot A, from which the machine ran, was changed")
            if self.loader.state(slot) == "good" and not is_factory and not is_new:
                self.harm.append(f"slot {slot} is neither the old nor the new software and not marked bad")
        if self.slots and self.loader.primary is None:
            self.harm.append("there is nothing the boot loader would start")
        elif self.slots:
            slot = self.loader.primary
            if self.digest(slot) != self.factory[slot] and not self.holds(slot, image):
                self.harm.append(f"the boot loader would start slot {slot}, which is not whole")
        for name, path in self.files.items():
            content = path.read_bytes() if path.exists() else None
            if content not in (self.old_files[name], self.case.image(name)):
                self.harm.append(f"{path.name} is neither the old nor the new version but " +
                                 ("gone" if content is None else f"{len(content)} other bytes"))


class Rig:
    """`settings`: changes of the gateway's configuration. `prepare`: called with the cloud and the gateway before the
    power is on; `wreck`: with the gateway after the crash, before anything is started again. `true_error`: the job is
    to fail with it. `deaf`: see Storage."""

    def __init__(self, case, crash=None, build=None, *, shim, with_data=False, settings=None, prepare=None, wreck=None,
                 true_error=None, deaf=""):
        self.case, self.crash = case, crash
        self.prepare, self.wreck, self.true_error, self.deaf = prepare, wreck, true_error, deaf
        self.build, self.shim = build, shim
        self.with_data = with_data or bool(crash and crash.how == "power")
        self.settings = merge({"download": {"checkpoint-bytes": CHECKPOINT, "stall-sec": 15,
                                            "block-bytes": 65536 if case.size > 1 << 20 else 16384},
                               "jobs": {"refresh-sec": 3600},      # nobody is to be saved by asking now and then
                               "selftest": {"timeout-sec": 30}, "reboot": {"timeout-sec": 20},
                               "hook": {"timeout-sec": 20}}, settings)

    def run(self):
        outcome = Outcome(self.case.name, self.crash)
        folder = make_folder()
        began = time.monotonic()
        cloud = gateway = None
        try:
            cloud = Cloud(folder / "cloud").start()
            signer = cloud.add_signer("codesign")
            case = self.case
            gateway = CrashGateway(folder / "gateway", cloud, case, self.crash, self.shim, self.with_data,
                                   build=self.build, config=self.settings, tries=case.tries,
                                   slot_size=max(case.size, 1 << 17) if case.is_ab else 0,
                                   files=[name for name in case.files if name == "app"])
            gateway.trust_signer(signer)
            gateway.wreck = self.wreck
            if self.deaf:
                gateway.storage.deaf = self.deaf
            if self.prepare:
                self.prepare(cloud, gateway)
            gateway.power_on()
            self._update(outcome, cloud, gateway, signer)
        except Exception as error:      # noqa: one point that breaks is one problem, not the end of the sweep
            outcome.problems.append(f"{type(error).__name__}: {error}")
        finally:
            try:
                if gateway:
                    outcome.log, outcome.storage = gateway.record, gateway.storage
                    gateway.close()
                    outcome.full_log = gateway.record
                    outcome.problems += [p for p in gateway.problems if p not in outcome.problems]
                    for program in gateway.programs.values():
                        outcome.problems += [p for p in program.problems + program.bugs()
                                             if p not in outcome.problems]
                if outcome.problems:
                    outcome.report = f"{gateway.report() if gateway else ''}\n===== cloud\n" + \
                        (f"{cloud.report()}\n{cloud.record.tail(60)}" if cloud else "")
                if cloud:
                    cloud.close()
            except Exception as error:  # noqa: as above
                outcome.problems.append(f"at the end: {type(error).__name__}: {error}")
            shutil.rmtree(folder, ignore_errors=True)
        outcome.seconds = time.monotonic() - began
        return outcome

    def _update(self, outcome, cloud, gateway, signer):
        case = self.case
        files = [OtaFile(name, case.image(name), signer) for name in case.files]
        job = cloud.create_ota_update(THING, files, PROTOCOLS[case.protocol])
        self._watch(outcome, cloud, gateway, job)
        outcome.ends = gateway.ends
        Demands(case, self.crash, cloud, gateway, job, outcome, self.true_error).check()

    def _watch(self, outcome, cloud, gateway, job):
        """Until the update has come to its end, by itself."""
        deadline = time.monotonic() + PATIENCE
        armed = gateway.programs.get(self.crash.program) if self.crash else None
        grace = None
        while True:
            gateway.check_soon()
            if armed and (armed.is_down or armed.has_died):
                gateway.recover()
                grace = None
            outcome.reached = gateway.n_crashes > 0
            execution = cloud.execution(THING, job)
            if execution.status in TERMINAL and self._is_idle(gateway):
                # What is to come may still come: the last calls of all, or a program that is just being started.
                grace = grace or time.monotonic() + (0.05 if armed and not outcome.reached else 0)
                if time.monotonic() >= grace and (not outcome.reached or self._is_at_rest(cloud, gateway)):
                    return
            if time.monotonic() > deadline:
                outcome.problems.append(f"the update did not come to its end within {PATIENCE} s: {execution}")
                return
            time.sleep(0.004)

    @staticmethod
    def _is_idle(gateway):
        return not (gateway.folder / "installer-state" / "session").exists() and \
            not (gateway.folder / "state" / "outbox").exists()

    @staticmethod
    def _is_at_rest(cloud, gateway):
        """Both programs run, and otad has asked for jobs and was told that there is none."""
        if not all(p.running for p in gateway.programs.values()):
            return False
        since = gateway.programs["otad"].started_at
        return any(m.time > since for m in cloud.find_messages("cloud", "jobs/get/accepted$"))


class Demands:
    """What must be true when it is over."""

    def __init__(self, case, crash, cloud, gateway, job, outcome, true_error):
        self.case, self.crash, self.cloud, self.gateway = case, crash, cloud, gateway
        self.job, self.outcome, self.true_error = job, outcome, true_error or case.fails
        self.problems = outcome.problems

    def demand(self, is_true, text):
        if not is_true:
            self.problems.append(text)

    def check(self):
        execution = self.cloud.execution(THING, self.job)
        self.outcome.status = execution.status
        self.problems += [f"at the crash: {harm}" for harm in self.gateway.harm]
        self._cloud(execution)
        if self.true_error:
            self.demand(execution.status == "FAILED", f"the job ended {execution.status}, not FAILED")
        if execution.status == "SUCCEEDED":
            self._succeeded(execution)
        elif execution.status == "FAILED":
            self._failed(execution)
        elif not self.problems:
            self.problems.append(f"the job ended {execution.status}")
        self._gateway()
        self._hooks(execution)

    def _cloud(self, execution):
        # A simulated machine comes back faster than a real one, and before the broker has noticed that it was gone.
        # A connection that ends within a record of TLS is "out of memory" to this broker.
        self.problems += [f"the cloud would have refused: {v}" for v in self.cloud.violations
                          if v.kind not in ("connect-rate", "duplicate-client-id")
                          and "disconnected due to out of memory" not in v.detail]
        told = [s for i, s in enumerate(execution.statuses) if i == 0 or execution.statuses[i - 1] != s]
        self.demand(told == ["QUEUED", "IN_PROGRESS", execution.status], f"the cloud's history is {told}")

    def _succeeded(self, execution):
        gateway, case = self.gateway, self.case
        details = dict(execution.details)
        details.pop("receive", None)
        self.demand(details == {"reason": "accepted  v1.1.0", "updatedBy": "  v1.0.0", "phase": "committed"},
                    f"the details are {details}")
        if case.is_ab:
            self.demand(gateway.slot == "B" and gateway.holds("B", case.image("rootfs.img")),
                        "slot B does not run the image")
            self.demand(gateway.loader.state("B") == "good" and gateway.loader.primary == "B",
                        "slot B is not what the boot loader keeps to")
        if "app" in case.files:
            path = gateway.files["app"]
            self.demand(path.read_bytes() == case.image("app"), "the file is not the image")
            self.demand(path.stat().st_mode & 0o7777 == 0o755, f"the file's mode is {path.stat().st_mode:o}")

    def _failed(self, execution):
        """Only where the machine was started anew in a slot on its last trial: the boot loader went back."""
        gateway, error = self.gateway, execution.details.get("error")
        restarted = self.crash and self.crash.how in ("machine", "power")
        self.demand(error in REASONS and execution.details.get("reason") == REASONS.get(error),
                    f"the details are {execution.details}")
        true = error == self.true_error or error == "booted-old-slot" and self.case.is_ab and \
            self.case.tries == 1 and restarted
        self.demand(true, f"FAILED without a true reason: {execution.details}")
        if self.case.is_ab:
            self.demand(gateway.loader.state("B") == "bad", "the slot that failed is not marked bad")
            self.demand(gateway.slot == "A" and gateway.loader.primary == "A",
                        "the old slot is not what runs and what the boot loader keeps to")
        if "app" in self.case.files:
            self.demand(gateway.files["app"].read_bytes() == gateway.old_files["app"], "the old file is not back")

    def _gateway(self):
        gateway = self.gateway
        gateway.harm = []
        gateway.look()
        self.problems += gateway.harm
        allowed = {"history", ".lock", "lock"}
        for folder in ("state", "installer-state"):
            names = {p.name for p in (gateway.folder / folder).iterdir()} - allowed
            left = {n for n in names if not (n.startswith(".") and n.endswith(".new"))}
            self.demand(not left, f"left over in {folder}: {sorted(left)}")
        if "app" in self.case.files:
            left = sorted(p.name for p in (gateway.folder / "root").iterdir() if p.name != "app")
            self.demand(not left, f"left over beside the file: {left}")

    def _hooks(self, execution):
        """A stage is run once for each target. It may be run again where the crash of whoever ran it lay within it, or
        cut off the note that it had ended: so one stage, and once more. Both may ask for the reboot again."""
        if self.true_error and not self.case.fails:
            return
        calls = [(c["stage"], c["OTAD_TARGET"]) for c in self.gateway.hook_calls()]
        counts = collections.Counter(calls)
        stages = {stage for stage, _ in calls}
        expected = {"pre-install", "post-install", "activate", "cleanup"}
        if self.case.fails:
            expected |= {"rollback"}
        elif not self.case.is_ab or execution.status == "SUCCEEDED":
            expected |= {"selftest", "commit"}
        for name in self.case.files:
            for stage in sorted(expected):
                self.demand((stage, name.removesuffix(".img")) in counts, f"not run for {name}: {stage}, of {calls}")
        if self.case.fails and self.case.is_ab:
            counts["reboot", "rootfs"] -= 1         # one there and one back
        again = {call for call, n in counts.items() if n > 1}
        self.demand(all(counts[call] == 2 for call in again), f"run more than twice: {calls}")
        again = {stage for stage, _ in again}
        if not self.crash or not self.outcome.reached or (self.crash.program == "otad" and self.crash.how == "process"):
            self.demand(again <= {"reboot"}, f"run again though otad-installer was not touched: {calls}")
        else:
            # A trial that begins anew in another start of the machine is tested anew.
            again -= {"selftest"} if self.crash.how in ("machine", "power") else set()
            self.demand(len(again) <= 1, f"run again though the crash was not in it: {calls}")
        self.demand("rollback" not in stages or execution.status == "FAILED", f"rolled back: {calls}")
        self.demand("commit" not in stages or execution.status == "SUCCEEDED", f"committed: {calls}")
