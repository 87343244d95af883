"""Everything a test can do to the cloud's answers, as one list of rules.

    cloud.faults.on("stream.block", drop(), match=lambda e: e.index == 3, times=1)
    cloud.faults.on("job.answer", drop(), match=lambda e: e.operation == "update", times=1)
    cloud.faults.on("http.reply", in_turn(status(503), status(500)))

A rule names a point, an action and optionally which events it is for. The service fires an `Event` at each point;
every matching rule acts on it, in the order the rules were made, and then the event goes the way it now says. An
action is any callable taking the event; those below cover what AWS and networks do to a device.

Points and what their events carry besides `point`, `thing` and `topic`:

    job.request     operation, job_id, payload (bytes): may be dropped or refused with (code, message)
    job.answer      operation, job_id, accepted, payload (dict): answers to the device
    job.notify      operation ("notify", "notify-next"), payload (dict)
    stream.request  operation ("get", "describe"), stream, payload (bytes), blocks (list of block numbers about to be
                    sent, to be reordered or thinned out): may be dropped or refused
    stream.block    stream, file, index, data, token; `raw` replaces the encoded message
    stream.answer   operation, stream, accepted, payload (dict): descriptions and rejections
    shadow.request  operation ("get", "update", "delete"), payload (bytes): may be dropped or refused
    shadow.answer   operation, payload (dict)
    http.reply      method, path, headers_in, range, status, headers (dict), body, object; cut, stall, rate, reset
"""

import itertools
import random
import threading
from dataclasses import dataclass
from typing import Callable, Optional

POINTS = ("job.request", "job.answer", "job.notify", "stream.request", "stream.block", "stream.answer", "shadow.request",
          "shadow.answer", "http.reply")


class Event:
    """One thing about to happen. `copies` 0 drops it, 2 doubles it; `delay` is in seconds."""

    def __init__(self, point, thing, topic, **facts):
        self.point, self.thing, self.topic = point, thing, topic
        self.copies, self.delay, self.refusal, self.note = 1, 0.0, None, ""
        self.__dict__.update(facts)

    @property
    def dropped(self):
        return self.copies == 0

    def mark(self, what):
        self.note = f"{self.note}, {what}" if self.note else what


@dataclass
class Rule:
    point: str
    action: Callable[[Event], None]
    match: Optional[Callable[[Event], bool]] = None
    times: Optional[int] = None
    skip: int = 0
    hits: int = 0           # how often it acted: a test should look, for a fault that never struck proves nothing
    active: bool = True

    def off(self):
        self.active = False


class Faults:
    def __init__(self, loop, on_error):
        self._loop, self._on_error = loop, on_error
        self._rules, self._lock = [], threading.Lock()

    def on(self, point, action, *, match=None, times=None, skip=0):
        """Adds a rule: act on matching events, passing over the first `skip`, at most `times`. Returns the Rule."""
        if point not in POINTS:
            raise ValueError(f"no such point: {point} (there are {', '.join(POINTS)})")
        rule = Rule(point, action, match, times, skip)
        with self._lock:
            self._rules = [*self._rules, rule]
        return rule

    def clear(self):
        with self._lock:
            self._rules = []

    def any(self, point):
        return any(r.point == point and r.active for r in self._rules)

    def fire(self, event):
        """Lets the rules act on the event and returns it."""
        for rule in self._rules:
            if not rule.active or rule.point != event.point:
                continue
            try:
                if rule.match and not rule.match(event):
                    continue
                with self._lock:
                    if rule.skip > 0:
                        rule.skip -= 1
                        continue
                    if rule.times is not None and rule.hits >= rule.times:
                        continue
                    rule.hits += 1
                rule.action(event)
            except Exception as error:      # noqa: a mistake in a test's action must fail that test
                self._on_error(error, f"fault at {event.point}")
        return event

    def deliver(self, event, send):
        """Calls send() as often and as late as the event now says."""
        for _ in range(event.copies):
            if event.delay > 0:
                self._loop.after(event.delay, send)
            else:
                send()


# Actions for any point.

def drop():
    """The message is lost."""
    def act(e):
        e.copies = 0
        e.mark("dropped")
    return act


def duplicate(n=2):
    def act(e):
        e.copies = n
        e.mark(f"sent {n} times")
    return act


def delay(seconds):
    """Late, and so behind whatever is sent meanwhile."""
    def act(e):
        e.delay += seconds
        e.mark(f"delayed {seconds} s")
    return act


def refuse(code, message="refused by a test"):
    """A request is answered with this rejection code, whatever it says."""
    def act(e):
        e.refusal = (code, message)
        e.mark(f"refused with {code}")
    return act


def edit(change):
    """change(payload) alters the message's dict in place; what it returns is of no meaning."""
    def act(e):
        change(e.payload)
        e.mark("edited")
    return act


def replace(payload):
    """Another message altogether: a dict, or bytes sent as they are."""
    def act(e):
        e.payload = payload
        e.mark("replaced")
    return act


def in_turn(*actions):
    """The first event gets the first action, the second the second ...; None lets one pass, as does the end."""
    rest = iter(actions)

    def act(e):
        action = next(rest, None)
        if action:
            action(e)
    return act


def every(n, action):
    """Acts on each n-th event only."""
    counter = itertools.count(1)

    def act(e):
        if next(counter) % n == 0:
            action(e)
    return act


# Actions for stream.request and stream.block.

def backwards():
    """The blocks of each answer come last one first."""
    return lambda e: e.blocks.reverse()


def shuffle(seed=1):
    return lambda e, r=random.Random(seed): r.shuffle(e.blocks)


def corrupt(offset=0, mask=0x01):
    """One byte of a block differs from the file's."""
    def act(e):
        data = bytearray(e.data)
        data[offset] ^= mask
        e.data = bytes(data)
        e.mark("corrupted")
    return act


def shorten(n=1):
    """The block lacks its last n bytes; its length member agrees with what is left."""
    def act(e):
        e.data = bytes(e.data[:-n])
        e.mark("shortened")
    return act


def relabel(file=None, index=None):
    """The block says it is of another file, or another block."""
    def act(e):
        e.file = e.file if file is None else file
        e.index = e.index if index is None else index
        e.mark("relabelled")
    return act


def raw(data):
    """These bytes are sent instead of the encoded block."""
    def act(e):
        e.raw = data
        e.mark("replaced")
    return act


# Actions for http.reply.

def status(code, body=None, **headers):
    """Another status; 403 and 400 have the bodies S3 gives for an expired link and an expired token (P§3.5)."""
    def act(e):
        e.status = code
        e.headers.pop("ETag", None)
        e.headers.pop("Content-Range", None)
        e.headers.update({k.replace("_", "-"): v for k, v in headers.items()})
        e.body = memoryview(body if body is not None else error_body(code))
        e.headers["Content-Type"] = "application/xml"
        e.mark(f"status {code}")
    return act


def expired():
    return status(403, s3_error("AccessDenied", "Request has expired"))


def expired_token():
    return status(400, s3_error("ExpiredToken", "The provided token has expired."))


def s3_error(code, message):
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
            "<RequestId>0A49CE4060975EAC</RequestId></Error>").encode()


def error_body(code):
    known = {400: ("BadRequest", "Bad request"), 403: ("AccessDenied", "Access Denied"),
             404: ("NoSuchKey", "The specified key does not exist."),
             412: ("PreconditionFailed", "At least one of the pre-conditions you specified did not hold"),
             416: ("InvalidRange", "The requested range is not satisfiable"),
             500: ("InternalError", "We encountered an internal error. Please try again."),
             503: ("SlowDown", "Please reduce your request rate.")}
    return s3_error(*known.get(code, ("Error", f"Status {code}")))


def cut(after):
    """The connection closes after that many bytes of the body."""
    def act(e):
        e.cut = after
        e.mark(f"cut after {after} bytes")
    return act


def stall(after, seconds):
    """Silence for a while after that many bytes of the body."""
    def act(e):
        e.stall = (after, seconds)
        e.mark(f"stalled after {after} bytes")
    return act


def slow(bytes_per_second):
    def act(e):
        e.rate = bytes_per_second
        e.mark(f"slowed to {bytes_per_second} B/s")
    return act


def whole():
    """A Range request is answered with 200 and the whole object."""
    def act(e):
        if e.object is not None and e.status == 206:
            e.status, e.body = 200, e.object.view()
            e.headers.pop("Content-Range", None)
            e.mark("range ignored")
    return act


def header(name, value):
    """Sets one header of the reply (None removes it)."""
    def act(e):
        e.headers.pop(name, None)
        if value is not None:
            e.headers[name] = value
        e.mark(f"{name} set")
    return act


def redirect(url, code=302):
    return status(code, b"", Location=url)


def reset():
    """The connection is closed without any answer."""
    def act(e):
        e.reset = True
        e.mark("reset")
    return act
