"""What is measured, each as rows for the table: (what, value, unit, compared with, ratio, target)."""

import contextlib
import itertools
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

from rig import MIB, THING, Broken, Image, Machine, Memory, Slot, descendants, memory_of
import peers

HERE = Path(__file__).resolve().parent
AWS_BYTES_PER_SEC = 512 * 1024
AWS_FILE = 24 * MIB
LINK_BYTES_PER_SEC = 25 * 10**6        # of a gateway with 200 Mbit/s
FAST = {"aws-limits": False}
MEMORY = "peak memory of all processes together, each page once"
BARE_WINDOWS = (1 * MIB, 2 * MIB, 4 * MIB)


class Row:
    """One line: `value` is the median; `target` is a limit on the ratio or, without a ratio, on the value."""

    def __init__(self, case, name, values, unit, *, ratio=None, against="", target=None, at_least=False, cpu=None):
        self.case, self.name, self.values, self.unit = case, name, list(values), unit
        self.ratio, self.against, self.target, self.at_least, self.cpu = ratio, against, target, at_least, cpu

    @property
    def value(self):
        return statistics.median(self.values)

    @property
    def verdict(self):
        if self.target is None:
            return ""
        measured = self.value if self.ratio is None else self.ratio
        return "holds" if (measured >= self.target if self.at_least else measured <= self.target) else "NOT reached"


def compile_tools(folder):
    """The benchmark's own programs. Returns their folder."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        raise Broken("there is no C compiler for the benchmark's own programs")
    for name in ("fast-stream", "bare-client", "delay-proxy"):
        libraries = [] if name == "delay-proxy" else ["-lmosquitto"]
        subprocess.run([compiler, "-O2", "-std=gnu11", "-D_GNU_SOURCE", HERE / f"{name}.c", "-o", folder / name, *libraries],
                       check=True)
    return folder


@contextlib.contextmanager
def helper(*command):
    """A program of ours that tells one line when it is ready, and ends with its standard input.

    Gives a list: that line, and once it has ended, what it said last.
    """
    process = subprocess.Popen([str(c) for c in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline().strip()
        if not line:
            raise Broken(f"{command[0]} did not start")
        lines = [line]
        yield lines
    finally:
        process.stdin.close()
        with contextlib.suppress(UnboundLocalError):
            lines.append(process.stdout.read().strip())
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# HTTPS

def settle():
    """What the one before has left to be written is not written in the next one's time."""
    os.sync()
    time.sleep(0.2)


class Otad:
    """As a competitor is. `ends`: seconds from the last byte to the verdict, of each run."""
    name, checked = "otad", True

    def __init__(self, stage, slots):
        self._stage, self._slots, self.ends = stage, slots, []

    def run(self, image):
        with Machine(self._stage, self._slots) as machine:
            machine.wait_subscribed()
            time.sleep(0.2)
            result = machine.update(image, "HTTP")
        self.ends.append(result["verify"])
        return result["whole"], result["cpu"]


def https(stage, size, runs, say, bytes_per_sec=None):
    """otad, its peers and the limits by turns; `bytes_per_sec`: what the link brings, else all that the machine can."""
    case = f"HTTPS {size // MIB} MiB" + (f" at {bytes_per_sec // 10**6} MB/s" if bytes_per_sec else "")
    folder = stage.new_folder("https")
    with contextlib.ExitStack() as stack:
        stack.enter_context(stage.link(bytes_per_sec))
        slots = [stack.enter_context(contextlib.closing(Slot(folder, n, size + MIB))) for n in "AB"]
        images = [Image(folder / f"image-{i}", size, stage.signer) for i in range(2)]
        others = peers.present(peers.LIMITS + peers.PEERS, stage, slots[1], folder, images, say)
        for competitor in others:
            stack.callback(competitor.close)
        if bytes_per_sec:       # what is limited so is no limit any more
            others = [c for c in others if not isinstance(c, tuple(peers.LIMITS))]
        takers = [Otad(stage, slots)] + others
        seconds, cpu = {t.name: [] for t in takers}, {t.name: [] for t in takers}
        turns = itertools.cycle(reversed(images))
        for n in range(runs):       # each round begins with another, so that nobody always comes after the same one
            for taker in takers[n % len(takers):] + takers[:n % len(takers)]:
                turn = next(turns) if taker.checked else images[0]      # never what lies there already
                settle()
                one, two = taker.run(turn)
                if taker.checked:
                    turn.check(slots[1].path)
                seconds[taker.name].append(one)
                cpu[taker.name].append(two)
        seconds["otad, last byte to verified"] = takers[0].ends
        where = "block device (loop, direct I/O)" if slots[1].is_device else "regular file"
        for image in images:
            image.path.unlink()
    return _https_rows(f"{case} to a {where}", size, seconds, cpu, bytes_per_sec is not None)


def _https_rows(case, size, seconds, cpu, is_capped):
    def ratio(mine, other):
        return statistics.median(mine) / statistics.median(other)
    rows = [Row(case, name, values, "s", cpu=statistics.median(cpu[name]) if name in cpu else None)
            for name, values in seconds.items()]
    otad = seconds["otad"]
    for name, target in (("SWUpdate", None if is_capped else 0.5), ("curl | dd", 1.0)):
        if name in seconds:
            rows.append(Row(case, f"otad / {name}", otad, "s", ratio=ratio(otad, seconds[name]), against=name, target=target))
    limits = [k.name for k in peers.LIMITS if k.name in seconds]
    if limits:
        slowest = max(limits, key=lambda n: statistics.median(seconds[n]))
        rows.append(Row(case, f"otad / slowest limit ({slowest})", otad, "s", ratio=ratio(otad, seconds[slowest]),
                        against=slowest, target=1.5))
    if "SWUpdate" in cpu:
        rows.append(Row(case, "CPU seconds, otad / SWUpdate", [c / (size / MIB) for c in cpu["otad"]], "CPU s/MiB",
                        ratio=ratio(cpu["otad"], cpu["SWUpdate"]), against="SWUpdate", target=1.0))
    return rows


# MQTT streams

class Streams:
    """One image on a stream service that is as fast as the broker takes it."""

    def __init__(self, stage, folder, tools, size, slots):
        self.stage, self.tools, self.size, self.slots = stage, tools, size, slots
        self.images = [Image(folder / f"stream-{size}-{i}", size, stage.signer) for i in range(2)]
        self._turn = 0

    def _service(self, image, lose=0):
        b = self.stage.cloud.broker
        return helper(self.tools / "fast-stream", b.service_port, b.SERVICE_USER, b.password, image.path, lose)

    def _path(self, round_trip, bytes_per_sec):
        if round_trip is None:
            return contextlib.nullcontext([self.stage.cloud.port])
        return helper(self.tools / "delay-proxy", self.stage.cloud.port, round_trip, bytes_per_sec or 0)

    def bare(self, block, window):
        """Bytes a second."""
        t = self.stage.thing
        with self._service(self.images[0]):
            done = subprocess.run([self.tools / "bare-client", "localhost", str(self.stage.cloud.port), t.ca, t.cert, t.key,
                                   THING, "bench-stream", str(self.size), str(block), str(window)], capture_output=True,
                                  text=True, timeout=150)
        if done.returncode != 0:
            raise Broken(f"bare-client: {done.stderr}")
        return self.size / float(done.stdout)

    def otad(self, config, *, round_trip=None, bytes_per_sec=None, lose=0):
        """Bytes a second from the first request to the last byte handed on; and the whole update's result."""
        self._turn += 1
        image = self.images[self._turn % 2]
        with self._service(image, lose) as service, self._path(round_trip, bytes_per_sec) as path:
            with Machine(self.stage, self.slots, config=config, port=int(path[0])) as machine:
                machine.wait_subscribed()
                time.sleep(0.2 + (round_trip or 0) / 250)
                result = machine.update(image, "MQTT", timeout=180)
        image.check(self.slots[1].path)
        self.said = service[-1]
        if lose and not 0 < self._lost() < self.size:
            raise Broken(f"no block was lost: {self.said}")
        return self.size / result["fetch"], result

    def _lost(self):
        return int(self.said.split()[-2])

    def loss(self):
        """Of the last run, in words."""
        sent = int(self.said.split(", ")[1].split()[0])
        return f"{self._lost()} of {sent + self._lost()} blocks lost"


def mqtt(stage, folder, tools, runs, quick, say):
    rows = []
    with contextlib.ExitStack() as stack:
        slots = [stack.enter_context(contextlib.closing(Slot(folder, f"m{n}", AWS_FILE + MIB))) for n in "AB"]
        rows += _mqtt_near(Streams(stage, folder, tools, AWS_FILE, slots), runs)
        say("MQTT without delay is done")
        rows += _mqtt_far(Streams(stage, folder, tools, (2 if quick else 8) * MIB, slots), runs, quick)
        say("MQTT with delay and AWS's limits is done")
        rows += _mqtt_far_free(Streams(stage, folder, tools, AWS_FILE, slots), runs, quick)
    return rows


def _mqtt_near(streams, runs):
    case = "MQTT 24 MiB, no delay, aws-limits = false"
    bare, mine, whole = [], {32768: [], 65536: []}, []
    for _ in range(runs):
        bare.append(max(streams.bare(65536, w) for w in BARE_WINDOWS))
        for block in mine:
            speed, result = streams.otad({**FAST, "block-bytes": block})
            mine[block].append(speed)
            if block == 32768:
                whole.append(result["whole"])
    rows = [Row(case, "bare client, the best of three windows", [v / 1e6 for v in bare], "MB/s")]
    for block, speeds in mine.items():
        rows.append(Row(case, f"otad, block-bytes = {block}", [v / 1e6 for v in speeds], "MB/s",
                        ratio=statistics.median(speeds) / statistics.median(bare), against="bare client", target=0.5,
                        at_least=True))
    return rows + [Row(case, "otad, job to verified", whole, "s")]


def _mqtt_far(streams, runs, quick):
    rows, cap = [], AWS_BYTES_PER_SEC
    for round_trip in (80,) if quick else (20, 80, 300):
        case = f"MQTT {streams.size // MIB} MiB, {round_trip} ms, 512 KiB/s, default config"
        free = [streams.otad({}, round_trip=round_trip, bytes_per_sec=cap)[0] for _ in range(max(1, runs // 3))]
        rows.append(Row(case, "otad", [v / 1024 for v in free], "KiB/s", ratio=statistics.median(free) / cap,
                        against="the cap", target=0.9, at_least=True))
        lossy = [streams.otad({}, round_trip=round_trip, bytes_per_sec=cap, lose=10)[0] for _ in range(max(1, runs // 3))]
        rows.append(Row(case, f"otad, {streams.loss()}", [v / 1024 for v in lossy], "KiB/s",
                        ratio=statistics.median(lossy) / statistics.median(free), against="without loss", target=0.8,
                        at_least=True))
    return rows


def _mqtt_far_free(streams, runs, quick):
    rows = []
    for round_trip in (80,) if quick else (20, 80, 300):
        case = f"MQTT 24 MiB, {round_trip} ms, no cap, aws-limits = false"
        free = [streams.otad(FAST, round_trip=round_trip)[0] for _ in range(max(1, runs // 2))]
        rows.append(Row(case, "otad", [v / 1e6 for v in free], "MB/s", target=6.0 if round_trip == 80 else None,
                        at_least=True))
        lossy = [streams.otad(FAST, round_trip=round_trip, lose=10)[0] for _ in range(max(1, runs // 2))]
        rows.append(Row(case, f"otad, {streams.loss()}", [v / 1e6 for v in lossy], "MB/s",
                        ratio=statistics.median(lossy) / statistics.median(free), against="without loss", target=0.8,
                        at_least=True))
    return rows


# Memory, idling, starting

def peak_memory(stage, folder, size, protocol, config=None, streams=None):
    """Of both programs together, and of each, over a whole update. `streams`: the service to have beside it."""
    with contextlib.ExitStack() as stack:
        slots = [stack.enter_context(contextlib.closing(Slot(folder, f"p{n}", n_bytes, fill=False)))
                 for n, n_bytes in (("A", MIB), ("B", size + MIB))]
        image = Image(folder / f"pss-{size}", size, stage.signer)
        stack.callback(image.path.unlink)
        if streams:
            b = stage.cloud.broker
            stack.enter_context(helper(streams / "fast-stream", b.service_port, b.SERVICE_USER, b.password, image.path, 0))
        machine = stack.enter_context(Machine(stage, slots, config=config))
        machine.wait_subscribed()
        memory = Memory([machine.otad, machine.installer])
        memory.start()
        machine.update(image, protocol)
        peak = memory.stop()
        image.check(slots[1].path)
        return peak, memory.peak_of


def _swupdate_memory(stage, folder, size, say):
    """The same count for SWUpdate, all its processes."""
    with contextlib.ExitStack() as stack:
        slot = stack.enter_context(contextlib.closing(Slot(folder, "pB", size + MIB)))
        image = Image(folder / f"pss-swupdate-{size}", size)
        stack.callback(image.path.unlink)
        for competitor in peers.present([peers.Swupdate], stage, slot, folder, [image], say):
            watch = Memory(lambda: descendants("swupdate"))
            watch.start()
            try:
                competitor.run(image)
            finally:
                watch.stop()
            return [Row(MEMORY, f"SWUpdate, HTTPS {size // MIB} MiB", [watch.peak / MIB], "MiB")]
    return []


def memory(stage, folder, tools, sizes, say):
    rows, peaks = _swupdate_memory(stage, folder, sizes[0], say), []
    growth = []
    for size in sizes:
        peak, each = peak_memory(stage, folder, size, "HTTP")
        peaks.append(peak)
        say(f"peak memory, HTTPS {size // MIB} MiB: " + ", ".join(f"{n} {v / MIB:.1f}" for n, v in each.items()))
        rows.append(Row(MEMORY, f"HTTPS {size // MIB} MiB", [peak / MIB], "MiB", target=15.0))
    growth.append(Row(MEMORY, "HTTPS, largest less smallest", [(max(peaks) - min(peaks)) / MIB], "MiB", target=1.0))
    peaks = []
    for size in (8 * MIB, AWS_FILE):
        peak, each = peak_memory(stage, folder, size, "MQTT", FAST, tools)
        peaks.append(peak)
        say(f"peak memory, MQTT {size // MIB} MiB: " + ", ".join(f"{n} {v / MIB:.1f}" for n, v in each.items()))
        rows.append(Row(MEMORY, f"MQTT {size // MIB} MiB, aws-limits = false", [peak / MIB], "MiB",
                        target=15.0))
    growth.append(Row(MEMORY, "MQTT, largest less smallest", [(max(peaks) - min(peaks)) / MIB], "MiB", target=1.0))
    return rows + growth


def idle(stage, folder, seconds):
    """otad alone, the installer not running, as after its idle exit."""
    with contextlib.ExitStack() as stack:
        slots = [stack.enter_context(contextlib.closing(Slot(folder, f"i{n}", MIB))) for n in "AB"]
        machine = stack.enter_context(Machine(stage, slots))
        machine.wait_subscribed()
        time.sleep(7)           # by then the link to the installer rests
        before, cpu = machine.otad.wakeups(), machine.otad.cpu()
        time.sleep(seconds)
        wakeups, cpu = machine.otad.wakeups() - before, machine.otad.cpu() - cpu
        alone, _, unit = memory_of([machine.otad])
        both, _, _ = memory_of([machine.otad, machine.installer])
        pss = machine.otad.pss()
    return [Row("idle", f"otad ({unit})", [alone / MIB], "MiB", target=9.0),
            Row("idle", "otad (Pss, libraries shared with whoever runs here)", [pss / MIB], "MiB"),
            Row("idle", f"otad and otad-installer ({unit})", [both / MIB], "MiB"),
            Row("idle", f"wake-ups of otad in {seconds} s", [wakeups], "times", target=1.0),
            Row("idle", f"CPU seconds of otad in {seconds} s", [cpu], "s")]


def start(stage, folder, runs):
    """From exec to the last SUBACK, against mosquitto_sub with the same certificate and topics."""
    case, mine, theirs = "start to subscribed", [], []
    topic = f"$aws/things/{THING}/jobs/notify-next"
    t = stage.thing
    with contextlib.ExitStack() as stack:
        slots = [stack.enter_context(contextlib.closing(Slot(folder, f"s{n}", MIB))) for n in "AB"]
        for _ in range(runs):
            at = len(stage.cloud.messages)
            with Machine(stage, slots) as machine:
                began = machine.started
                # The first thing otad asks, once it is subscribed and has the installer's answer.
                stage.cloud.wait_until(lambda: stage.cloud.find_messages("device", "/jobs/get", since=at), 20, "first request")
                mine.append(time.monotonic() - began)
            if shutil.which("mosquitto_sub"):
                command = ["mosquitto_sub", "-E", "-h", "localhost", "-p", stage.cloud.port, "--cafile", t.ca, "--cert", t.cert,
                           "--key", t.key, "-i", THING, "-q", "1", "-t", topic]
                theirs.append(peers.timed(list(map(str, command)))[0])     # -E: ends with its SUBACK
    rows = [Row(case, "otad, to its first request for jobs", [v * 1000 for v in mine], "ms")]
    if theirs:
        rows.append(Row(case, "mosquitto_sub, to its SUBACK and end", [v * 1000 for v in theirs], "ms"))
        rows.append(Row(case, "difference", [(statistics.median(mine) - statistics.median(theirs)) * 1000], "ms", target=50.0))
    return rows
