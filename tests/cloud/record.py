"""What happened: every message, every connection, every breach of AWS's rules, in one record.

`messages` is the truth a failed test is read from; the same lines go to a JSON-lines file as they happen.
`violations` holds what AWS would have refused, discarded or closed the connection for, and any failure of the
stand-in itself, so that neither can pass unnoticed. One lock guards this and all the services' state; whoever waits
for something waits on its condition.
"""

import fnmatch
import json
import threading
import time
import traceback
from dataclasses import dataclass, field
from typing import Any, Optional


@dataclass
class Message:
    """One thing that went over a wire. `direction`: device (to the cloud), cloud (to the device), http, event."""
    time: float
    direction: str
    thing: Optional[str]
    topic: str
    payload: Any
    size: int = 0
    note: str = ""

    def as_json(self):
        return json.dumps(self.__dict__, default=_readable)

    def __str__(self):
        text = json.dumps(self.payload, default=_readable)
        return f"{self.direction:6} {self.topic} {text[:400]}" + (f" [{self.note}]" if self.note else "")


@dataclass
class Violation:
    """One breach: `kind` is a fixed word (README lists them), `detail` is for the reader."""
    kind: str
    detail: str
    thing: Optional[str] = None
    time: float = field(default_factory=time.time)

    def __str__(self):
        return f"{self.kind}: {self.detail}" + (f" (thing {self.thing})" if self.thing else "")


class Unclean(AssertionError):
    """Raised by assert_clean: the device, or the stand-in, did what it must not."""


def _readable(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex() if len(value) <= 64 else f"<{len(value)} bytes>"
    return str(value)


class Record:
    def __init__(self, path=None):
        self.changed = threading.Condition(threading.RLock())
        self.messages = []
        self.violations = []
        self.started = time.time()
        self._file = open(path, "a", buffering=1, encoding="utf-8") if path else None

    def close(self):
        with self.changed:
            if self._file:
                self._file.close()
                self._file = None

    def message(self, direction, thing, topic, payload, size=0, note=""):
        entry = Message(time.time(), direction, thing, topic, payload, size, note)
        with self.changed:
            self.messages.append(entry)
            if self._file:
                self._file.write(entry.as_json() + "\n")
            self.changed.notify_all()
        return entry

    def violation(self, kind, detail, thing=None):
        entry = Violation(kind, detail, thing)
        with self.changed:
            self.violations.append(entry)
            if self._file:
                self._file.write(json.dumps({"violation": entry.__dict__}) + "\n")
            self.changed.notify_all()

    def failure(self, error, where):
        """An exception in a thread of the stand-in: no test may pass over it."""
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.violation("internal-error", f"{where}: {trace}")

    def assert_clean(self, allow=()):
        """Fails unless each violation's kind matches one of the patterns in `allow`."""
        with self.changed:
            bad = [v for v in self.violations if not any(fnmatch.fnmatchcase(v.kind, p) for p in allow)]
        if bad:
            raise Unclean("the cloud would have refused:\n  " + "\n  ".join(map(str, bad)))

    def wait_until(self, predicate, timeout, what):
        """Waits till predicate() is true and returns its value; on time-out raises with the last messages."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                value = predicate()
                if value:
                    return value
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no {what} within {timeout} s; {self.tail()}")
                self.changed.wait(min(left, 1.0))

    def tail(self, n=15):
        with self.changed:
            lines = [f"  {m.time - self.started:8.3f} {m}" for m in self.messages[-n:]]
            lines += [f"  violation: {v}" for v in self.violations[-5:]]
        return "last messages:\n" + ("\n".join(lines) or "  (none)")
