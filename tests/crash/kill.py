#!/usr/bin/python3
"""kill -9 at every system call of both programs that changes something, in whole updates of every kind."""

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    __package__ = "crash"

from crash.rig import Crash
from crash.sweep import HEARD, count_calls, main, thin_out, while_downloading

# What is tried first where not everything is: that which makes something safe, makes it known, or begins something.
INTERESTING = ("fsync", "fdatasync", "io_fdsync", "renameat", "unlinkat", "linkat", "posix_spawn", "sendmsg", "ftruncate")
BOUNDED = {False: 40, True: 20}     # points of one kind of update, and of one that is only about checkpoints
WAYS = ("process", "both", "machine")


def points(calls, long):
    """Every call before it is made, and after it where somebody else heard of it. In the long form each of them in
    each way, otherwise the ways take turns: mostly the process alone, as that is what happens mostly."""
    out = []
    for at, call in enumerate(calls):
        for after in (False, True) if call.name in HEARD else (False,):
            ways = WAYS if long else (WAYS[0] if at % 4 < 2 else WAYS[at % 4 - 1],)
            out += [(call, Crash(call.program, call.start, call.number, after, how)) for how in ways]
    return out


def choose(case, build, shim, long):
    calls, _ = count_calls(case, build, shim)
    is_short = "checkpoints" in case
    if is_short:
        calls = while_downloading(calls)
    found = points(calls, long)
    chosen = found if long else thin_out(found, lambda p: p[0].name in INTERESTING, BOUNDED[is_short])
    return [crash for _, crash in chosen], len(found), calls


if __name__ == "__main__":
    sys.exit(main(__doc__, "crash points", choose))
