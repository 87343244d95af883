"""Many points at once: which there are, which are tried, and what came of them."""

import argparse
import collections
import multiprocessing
import os
import shutil
import time
from pathlib import Path

from .rig import CASES, Crash, Rig, build_shim, make_folder
from .storage import records

REPO = Path(__file__).resolve().parent.parent.parent
# The calls after which the world is another one for somebody else at once: also tried just after they took effect.
SYNCS = ("fdatasync", "io_fdsync")
HEARD = ("sendto", "sendmsg", "posix_spawn")


class Call:
    """One call of the counting run. `is_file`: it changed, or synced, a file that the storage model knows. `hands_over`: bytes
    of the image have gone into the data pipe before the next."""

    def __init__(self, program, start, number, name, what):
        self.program, self.start, self.number, self.name, self.what = program, start, number, name, what
        self.is_file = self.hands_over = False

    def __str__(self):
        return f"{self.name} {self.what}"


def read_calls(log):
    """The calls of a shim's record, start by start."""
    calls, starts = [], collections.Counter()
    for line, _ in records(log):
        if line.startswith("+"):
            if line[1] == "p":
                calls[-1].hands_over = True
            elif line[1] != "y":
                calls[-1].is_file = True
            continue
        program, number, name, what = line.split(" ", 3)
        starts[program] += number == "1"
        calls.append(Call(program, starts[program], int(number), name, what))
    return calls


def n_delivered(log):
    """How many bytes of the image otad has handed over, those that it handed over twice counted twice."""
    return sum(int(line.split(" ")[2]) for line, _ in records(log) if line.startswith("+p otad "))


def call_at(log, crash):
    """What the call was that a crash hit."""
    for call in read_calls(log):
        if (call.program, call.start, call.number) == (crash.program, crash.start, crash.call):
            return str(call)
    return "not reached"


def thin_out(points, is_interesting, most):
    """At most so many: all interesting ones first, if they fit, and of the others every k-th."""
    first = [p for p in points if is_interesting(p)]
    others = [p for p in points if not is_interesting(p)]
    out = []
    for group in (first, others):
        room = most - len(out)
        if room > 0 and group:
            step = max(1.0, len(group) / room)
            out += [group[int(i * step)] for i in range(int(len(group) / step))]
    return out


def _run(work):
    case, crash, build, shim = work
    outcome = Rig(CASES[case], crash, build, shim=shim).run()
    if crash:
        outcome.at = call_at(outcome.log, crash)
    return without_log(outcome)


def without_log(outcome):
    """Before it is sent to another process."""
    outcome.log, outcome.full_log, outcome.storage = b"", b"", None
    return outcome


def count_calls(case, build, shim, with_data=False):
    """One update that nothing happens to. Returns its calls and the record; raises where even this fails."""
    rig = Rig(CASES[case], None, build, shim=shim, with_data=with_data)
    outcome = rig.run()
    if outcome.problems:
        raise AssertionError(f"{case} fails without any crash: {outcome.problems}\n{outcome.report}")
    return read_calls(outcome.log), outcome


class Sweep:
    """Runs points in parallel and tells how they went. `name`: what one is called in the last line."""

    def __init__(self, name, build, jobs, show=3):
        self.name, self.build, self.jobs, self.show = name, build, jobs, show
        self.outcomes = []

    def run(self, points, shim):
        """`points`: (case, crash). Returns whether all went well."""
        began, n_shown = time.monotonic(), 0
        work = [(case, crash, self.build, str(shim)) for case, crash in points]
        with multiprocessing.get_context("spawn").Pool(self.jobs) as pool:
            for outcome in pool.imap_unordered(_run, work):
                self.outcomes.append(outcome)
                if outcome.problems:
                    n_shown += 1
                    print(f"\nFAILED {outcome.case} {outcome.crash}, at {outcome.at}:", flush=True)
                    for problem in outcome.problems:
                        print(f"  {problem}")
                    if n_shown <= self.show:
                        print(outcome.report)
        self.tell(time.monotonic() - began)
        return not any(o.problems for o in self.outcomes)

    def tell(self, seconds):
        for case in sorted({o.case for o in self.outcomes}):
            mine = [o for o in self.outcomes if o.case == case]
            ends = collections.Counter(o.status or "no end" for o in mine)
            print(f"  {case}: {len(mine)} tried, {sum(not o.reached for o in mine)} not reached any more, "
                  f"{', '.join(f'{n} {status}' for status, n in ends.most_common())}")
        slowest = sorted(self.outcomes, key=lambda o: -o.seconds)[:3]
        print("  slowest: " + ", ".join(f"{o.case} {o.crash} ({o.at}) {o.seconds:.1f} s" for o in slowest))
        failed = sum(bool(o.problems) for o in self.outcomes)
        print(f"{self.name}: {len(self.outcomes)} tried in {seconds:.0f} s: "
              f"{len(self.outcomes) - failed} passed, {failed} failed", flush=True)


def while_downloading(calls):
    """The calls from the first byte that is handed over to when all is safe on the target."""
    first = next(i for i, c in enumerate(calls) if c.hands_over)
    last = max(i for i, c in enumerate(calls) if c.name in SYNCS) + 6     # the record that says so, too
    return calls[first:last]


def main(description, name, choose):
    """The command line of kill.py and power.py. `choose(case, calls, outcome, long)`: the crashes to be tried."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--long", action="store_true", help="all points, not a choice that takes a minute")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this kind of update")
    parser.add_argument("--point", action="append", help="only this point, as a failure is reported")
    parser.add_argument("--list", action="store_true", help="shows the points and tries none")
    parser.add_argument("--build", default=os.environ.get("OTAD_BUILD", str(REPO / "build")),
                        help="meson's build folder")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    folder = make_folder()
    try:
        shim = build_shim(folder)
        points = []
        for case in options.case or CASES:
            if options.point:
                points += [(case, Crash.parse(text)) for text in options.point]
                continue
            chosen, n_points, calls = choose(case, options.build, shim, options.long)
            print(f"{case}: {len(calls)} calls that change something, {n_points} points, {len(chosen)} to be tried",
                  flush=True)
            points += [(case, crash) for crash in chosen]
            if options.list:
                names = {(c.program, c.start, c.number): c for c in calls}
                for crash in chosen:
                    print(f"  {crash} {names[crash.program, crash.start, crash.call]}")
        if options.list:
            return 0
        return 0 if Sweep(name, Path(options.build).absolute(), options.jobs).run(points, shim) else 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
