#!/usr/bin/python3
"""A power cut at every change of a file by either program, with every kind of loss of what was not synced."""

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "crash"

from crash.rig import Crash
from crash.sweep import count_calls, main, thin_out, while_downloading

BOUNDED = {False: 40, True: 20}     # cuts of one kind of update, and of one that is only about checkpoints


def choose(case, build, shim, long):
    """A cut before each call that changes or syncs a file. What may be there after it depends on what was not synced
    then: this is worked out on the record of an update that nothing happens to."""
    calls, outcome = count_calls(case, build, shim, with_data=True)
    is_short = "checkpoints" in case
    if is_short:
        calls = while_downloading(calls)
    found = []
    for call in calls:
        if not call.is_file:
            continue
        storage = outcome.storage.copy()
        storage.play(outcome.log, (call.program, call.start, call.number))
        found += [(call, Crash(call.program, call.start, call.number, how="power", end=end))
                  for end in storage.ends(8 if long else 0, f"{call.start} {call.number}")]
    chosen = found if long else thin_out(found, lambda p: p[1].end == "lost", BOUNDED[is_short])
    return [crash for _, crash in chosen], len(found), calls


if __name__ == "__main__":
    sys.exit(main(__doc__, "power cuts", choose))
