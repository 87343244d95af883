"""The shadow named $package of each thing, over MQTT (P§3.8): what is reported in it, checked as AWS checks it.

Each refusal is a violation too, as a correct device would not have earned it; faults make refusals that are not."""

import json
import re
import time

from .faults import Event

MAX_DOCUMENT, MAX_DEPTH, MAX_TOKEN, MAX_RATE = 8192, 8, 64, 20
PACKAGE = re.compile(r"[a-zA-Z0-9._-]{1,128}")
PREFIX = "name/$package/"
OPERATIONS = ("get", "update", "delete")


class Refusal(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def depth(value):
    return 1 + max(map(depth, value.values()), default=0) if isinstance(value, dict) else 0


def merge(old, new):
    """A shadow's rule: members are merged, null takes one away."""
    out = dict(old)
    for name, value in new.items():
        if value is None:
            out.pop(name, None)
        elif isinstance(value, dict) and isinstance(out.get(name), dict):
            out[name] = merge(out[name], value)
        else:
            out[name] = merge({}, value) if isinstance(value, dict) else value
    return out


class ShadowService:
    """publish(topic, payload bytes) reaches the broker."""

    def __init__(self, record, faults, publish):
        self._record, self._faults, self._publish = record, faults, publish
        self._reported, self._versions, self._times = {}, {}, {}

    def reported(self, thing):
        """Package name -> what was reported of it."""
        return self._reported.get(thing, {})

    def handle(self, thing, path, payload):
        """One request; `path` is the topic behind `shadow/`. Returns False if it names no operation."""
        operation = path.removeprefix(PREFIX)
        if path == operation or operation not in OPERATIONS:
            return False
        topic = f"$aws/things/{thing}/shadow/{path}"
        event = self._faults.fire(Event("shadow.request", thing, topic, operation=operation, payload=payload))
        self._record.message("device", thing, topic, _readable(payload), len(payload), event.note)
        self._rate(thing)
        if event.dropped:
            return True
        request = {}
        try:
            request = self._parse(event.payload, operation)
            if event.refusal:
                raise Refusal(*event.refusal)
            answer, accepted = getattr(self, "_" + operation)(thing, request), True
        except Refusal as refusal:
            answer, accepted = {"code": refusal.code, "message": str(refusal)}, False
            if not event.refusal:
                self._record.violation("shadow-request", f"{path}: {refusal.code}: {refusal}", thing)
        answer["timestamp"] = int(time.time())
        if isinstance(request.get("clientToken"), str):
            answer["clientToken"] = request["clientToken"]
        self._answer(thing, f"{topic}/{'accepted' if accepted else 'rejected'}", operation, answer)
        if accepted and operation == "update":
            # Who subscribes to more than the two answers hears of each change once more.
            self._answer(thing, f"{topic}/documents", operation, {"current": answer, "timestamp": answer["timestamp"]})
        return True

    def _rate(self, thing):
        now = time.monotonic()
        times = [t for t in self._times.get(thing, ()) if t > now - 1] + [now]
        self._times[thing] = times
        if len(times) > MAX_RATE:
            self._record.violation("shadow-rate", f"more than {MAX_RATE} requests within a second", thing)

    @staticmethod
    def _parse(payload, operation):
        if len(payload) > MAX_DOCUMENT:
            raise Refusal(413, f"the document has {len(payload)} bytes, {MAX_DOCUMENT} are allowed")
        if operation != "update" and not payload:
            return {}
        try:
            request = json.loads(payload.decode("utf-8"))
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise Refusal(415 if isinstance(error, UnicodeDecodeError) else 400, f"invalid JSON: {error}") from None
        if not isinstance(request, dict):
            raise Refusal(400, "not a JSON object")
        known = {"clientToken", "state", "version"} if operation == "update" else {"clientToken"}
        if set(request) - known:
            raise Refusal(400, f"unknown members: {', '.join(sorted(set(request) - known))}")
        token = request.get("clientToken", "")
        if not isinstance(token, str) or len(token.encode("utf-8", "surrogatepass")) > MAX_TOKEN:
            raise Refusal(400, f"clientToken is no string of at most {MAX_TOKEN} bytes")
        return request

    def _update(self, thing, request):
        state = request.get("state")
        if not isinstance(state, dict):
            raise Refusal(400, "missing required node: state")
        if set(state) != {"reported"} or not isinstance(state["reported"], dict):
            raise Refusal(400, "a device reports: state holds reported, and nothing else")
        if depth(state["reported"]) > MAX_DEPTH:
            raise Refusal(400, f"deeper than {MAX_DEPTH} levels")
        version = request.get("version")
        if version is not None and version != self._versions.get(thing, 0):
            raise Refusal(409, "version conflict")
        for name, package in state["reported"].items():
            self._check_package(name, package)
        self._reported[thing] = merge(self.reported(thing), state["reported"])
        self._versions[thing] = self._versions.get(thing, 0) + 1
        with self._record.changed:
            self._record.changed.notify_all()
        return {"state": state, "version": self._versions[thing]}

    @staticmethod
    def _check_package(name, package):
        if not PACKAGE.fullmatch(name):
            raise Refusal(400, f"no name for a package: {name!r}")
        if package is None:
            return
        if not isinstance(package, dict) or set(package) - {"version", "attributes"}:
            raise Refusal(400, f"only version and attributes are allowed under {name}")
        if not isinstance(package.get("version", ""), str) or not isinstance(package.get("attributes", {}), dict):
            raise Refusal(400, f"version of {name} is no string, or attributes no object")

    def _get(self, thing, request):
        if thing not in self._versions:
            raise Refusal(404, "no shadow exists with name: '$package'")
        return {"state": {"reported": self.reported(thing)}, "version": self._versions[thing]}

    def _delete(self, thing, request):
        if self._versions.pop(thing, None) is None:
            raise Refusal(404, "no shadow exists with name: '$package'")
        self._reported.pop(thing, None)
        return {}

    def _answer(self, thing, topic, operation, payload):
        event = Event("shadow.answer", thing, topic, operation=operation, payload=payload)
        self._faults.fire(event)
        data = json.dumps(event.payload).encode()
        self._record.message("cloud", thing, topic, event.payload, len(data), event.note)
        self._faults.deliver(event, lambda: self._publish(topic, data))


def _readable(payload):
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "replace")
