"""Resume to the block: after kill -9 and after a power cut little is fetched twice, and nothing on a target is trusted.

What is fetched twice is counted at both ends: what otad hands over to the target, by the shim, and for streams the
blocks that the cloud sends, where what was under way is sent again, too. The update is over three checkpoints long.
"""

import dataclasses

import pytest

from cloud import faults

from .rig import CASES, CHECKPOINT, Crash, Rig
from .sweep import SYNCS, n_delivered, read_calls, while_downloading

SIZE = 3_500_000
WINDOW = 256 * 1024         # how much may be under way by a stream: it was not here yet, and is asked for again
BYTES_PER_SECOND = 4_000_000
UNCOUNTED = 64 * 1024       # an otad that is ended from outside may have handed over so much since its last call

each_case = pytest.mark.parametrize("case", ["ab-mqtt", "ab-https", "file-mqtt", "file-https"])
each_end = pytest.mark.parametrize("program, how, end", [
    ("otad", "process", ""), ("otad-installer", "process", ""), ("otad-installer", "machine", ""),
    ("otad-installer", "power", "lost"), ("otad-installer", "power", "torn-512"), ("otad", "power", "lost")])


class Seen:
    n_sent = 0      # bytes of blocks that the cloud has sent


def make_rig(name, crash, build, shim, seen=None, **options):
    seen = seen or Seen()

    def prepare(cloud, gateway):
        cloud.faults.on("http.reply", faults.slow(BYTES_PER_SECOND))

        def count(event):
            seen.n_sent += len(event.data)
        cloud.faults.on("stream.block", count)
    case = dataclasses.replace(CASES[name], size=SIZE)
    # A slot is not written again where it is right already: what was written and not synced before the crash is such.
    return Rig(case, crash, build, shim=shim, prepare=prepare, settings={"download": {
        "window-bytes": WINDOW, "block-bytes": 65536, "skip-equal": case.is_ab}}, **options)


@pytest.fixture(scope="module")
def calls(build, shim):
    """The calls of an undisturbed download of each kind."""
    found = {}

    def get(name):
        if name not in found:
            outcome = make_rig(name, None, build, shim).run()
            assert not outcome.problems, outcome.report
            assert n_delivered(outcome.log) == SIZE
            found[name] = while_downloading(read_calls(outcome.log))
        return found[name]
    return get


def points(calls, program, how, end):
    """Three points of the download: early, in the middle of it, and just before a checkpoint is safe."""
    mine = [c for c in calls if c.program == program]
    syncs = [c for c in mine if c.name in SYNCS]
    chosen = [mine[len(mine) // 5], syncs[-1] if syncs else mine[len(mine) // 2], mine[len(mine) * 4 // 5]]
    return [Crash(program, 1, c.number, how=how, end=end or "kept") for c in chosen]


def hit(crash, run):
    """Runs an update with this crash, or with an earlier one: where the machine is slow, a download takes fewer calls.
    Returns the crash, and the outcome."""
    while not (outcome := run(crash)).reached:
        assert crash.call > 1, outcome.report
        crash = dataclasses.replace(crash, call=crash.call * 3 // 4)
    return crash, outcome


@each_end
@each_case
def test_at_most_a_checkpoint_is_fetched_twice(build, shim, calls, case, program, how, end):
    def run(crash):
        seen.n_sent = 0
        return make_rig(case, crash, build, shim, seen).run()
    seen = Seen()
    for point in points(calls(case), program, how, end):
        crash, outcome = hit(point, run)
        assert not outcome.problems, f"{crash}: {outcome.problems}\n{outcome.report}"
        assert outcome.status == "SUCCEEDED"
        twice = n_delivered(outcome.log) - SIZE
        least = 0 if how == "process" else -UNCOUNTED
        assert least <= twice <= CHECKPOINT, f"{crash}: {twice} bytes were handed over twice"
        if "mqtt" in case:
            twice = seen.n_sent - SIZE
            assert 0 <= twice <= CHECKPOINT + WINDOW, f"{crash}: {twice} bytes were sent by the cloud twice"


@each_case
@pytest.mark.parametrize("program, how, end", [("otad-installer", "process", ""), ("otad-installer", "machine", ""),
                                               ("otad-installer", "power", "lost"), ("otad", "both", "")])
def test_a_byte_that_changed_meanwhile_is_found(build, shim, calls, case, program, how, end):
    """One bit of what was safe on the target long ago, while the download goes on."""
    def wreck(gateway):
        nonlocal delivered
        delivered = n_delivered(gateway.record)
        path = gateway.slots["B"] if gateway.slots else gateway.folder / "root" / ".app.otad-new"
        if delivered < SIZE:
            with open(path, "r+b") as target:
                target.seek(100_000)
                byte = target.read(1)
                target.seek(100_000)
                target.write(bytes([byte[0] ^ 1]))

    def run(crash):
        outcome = make_rig(case, crash, build, shim, wreck=wreck, true_error="signature-invalid").run()
        outcome.reached &= delivered < SIZE
        return outcome
    delivered = 0
    crash, outcome = hit(points(calls(case), program, how, end)[2], run)
    assert not outcome.problems, f"{crash}: {outcome.problems}\n{outcome.report}"
