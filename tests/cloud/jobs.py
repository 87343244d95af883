"""The Jobs API of AWS IoT over MQTT: requests of a thing in, answers and notifications out (P§2.1 to P§2.7).

Every request is checked as AWS checks it and answered on `.../accepted` or `.../rejected` with the codes of P§2.4;
each refusal that a correct device would not have earned is a violation too. State lives in job_queue.py.
"""

import json
import re
import time
import unicodedata

from .faults import Event
from .job_queue import JobQueue, Update

STATUSES = ("IN_PROGRESS", "SUCCEEDED", "FAILED", "REJECTED")
JOB_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DETAIL_KEY = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
MAX_DETAILS, MAX_DETAIL_VALUE, MAX_TOKEN, MAX_LISTED = 10, 1024, 64, 10
MEMBERS = {
    "get": {"clientToken"},
    "start-next": {"clientToken", "statusDetails", "stepTimeoutInMinutes"},
    "describe": {"clientToken", "executionNumber", "includeJobDocument"},
    "update": {"clientToken", "status", "statusDetails", "expectedVersion", "executionNumber",
               "includeJobExecutionState", "includeJobDocument", "stepTimeoutInMinutes"},
}


class Raw(bytes):
    """A job document put into messages byte for byte, however broken it is."""


class Refusal(Exception):
    """A request that is answered with a rejection. `fault` says whether it is the device's (a violation kind)."""

    def __init__(self, code, message, fault=None, execution=None):
        super().__init__(message)
        self.code, self.message, self.fault, self.execution = code, message, fault, execution


def encode(payload):
    """JSON as the service writes it; a Raw document goes in as it is."""
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload)
    raw = []

    def mark(value):
        raw.append(value)
        return f"\0{len(raw) - 1}"
    text = json.dumps(_swap_raw(payload, mark), separators=(",", ":"), ensure_ascii=False)
    data = text.encode("utf-8", "surrogatepass")
    for index, value in enumerate(raw):
        data = data.replace(b'"\\u0000%d"' % index, value)
    return data


def _swap_raw(value, mark):
    if isinstance(value, Raw):
        return mark(value)
    if isinstance(value, dict):
        return {k: _swap_raw(v, mark) for k, v in value.items()}
    return value


class JobsService:
    """publish(topic, payload bytes) reaches the broker; `queue` is the state, for whoever operates the cloud."""

    def __init__(self, record, loop, faults, publish, rules=None, seconds_per_minute=60.0):
        self._record, self._faults, self._publish = record, faults, publish
        self.queue = JobQueue(record.changed, loop, self._notify, rules, seconds_per_minute)
        self._held = None       # notifications of the request being handled
        self._operations = {"get": self._get, "start-next": self._start_next, "describe": self._describe,
                            "update": self._update}

    @property
    def rules(self):
        return self.queue.rules

    # Requests

    def handle(self, thing, path, payload):
        """One request; `path` is the topic behind `jobs/`. Returns False if it names no operation."""
        if path in ("get", "start-next"):
            operation, job_id = path, None
        elif path.count("/") == 1 and path.endswith(("/get", "/update")):
            job_id, verb = path.split("/")
            operation = "describe" if verb == "get" else "update"
            if not JOB_ID.fullmatch(job_id) and path != "$next/get":
                return False
        else:
            return False
        topic = f"$aws/things/{thing}/jobs/{path}"
        event = self._faults.fire(Event("job.request", thing, topic, operation=operation, job_id=job_id,
                                        payload=payload))
        self._record.message("device", thing, topic, _readable(payload), len(payload), event.note)
        if event.dropped:
            return True
        with self.queue.lock:
            request, self._held = {}, []
            try:
                request = self._parse(event.payload)
                self._check(operation, request, thing)
                if event.refusal:
                    raise Refusal(*event.refusal)
                answer, accepted = self._operations[operation](thing, job_id, request), True
            except Refusal as refusal:
                answer, accepted = self._rejection(refusal), False
                if refusal.fault:
                    self._record.violation(refusal.fault, f"{path}: {refusal.code}: {refusal.message}", thing)
                if operation == "update":
                    self._remember_refusal(thing, job_id, request, refusal)
            if isinstance(request.get("clientToken"), str):
                answer["clientToken"] = request["clientToken"]
            if self.rules.notify_before_answer:
                self._release()
            self._answer(thing, topic, operation, job_id, accepted, answer)
            self._release()
        return True

    def invalid_topic(self, thing, topic):
        """A publish in the Jobs namespace that maps to no operation (P§2.4)."""
        answer = {"code": "InvalidTopic", "message": "the topic maps to no operation", "timestamp": self.now()}
        self._answer(thing, topic, "unknown", None, False, answer)

    def now(self, moment=None):
        moment = time.time() if moment is None else moment
        return int(moment * 1000) if self.rules.milliseconds else int(moment)

    def _get(self, thing, job_id, request):
        pending = [(e.status, self._summary(e)) for e in self.queue.pending(thing)]
        return {"inProgressJobs": [s for status, s in pending if status == "IN_PROGRESS"][:MAX_LISTED],
                "queuedJobs": [s for status, s in pending if status == "QUEUED"][:MAX_LISTED],
                "timestamp": self.now()}

    def _start_next(self, thing, job_id, request):
        execution = self.queue.head(thing)
        if not execution:
            return {"timestamp": self.now()}
        self.queue.start(execution, request.get("statusDetails"), request.get("stepTimeoutInMinutes"), request)
        return {"timestamp": self.now(), "execution": self._describe_execution(execution, True)}

    def _describe(self, thing, job_id, request):
        number = request.get("executionNumber")
        if job_id == "$next":
            execution = self.queue.head(thing)
            if not execution:
                return {"timestamp": self.now()}
        else:
            execution = self._find(thing, job_id, number)
            if execution.ended:
                raise Refusal("TerminalStateReached", f"the execution is {execution.status}")
        return {"timestamp": self.now(),
                "execution": self._describe_execution(execution, request.get("includeJobDocument", True))}

    def _update(self, thing, job_id, request):
        status = request["status"]
        execution = self._find(thing, job_id, request.get("executionNumber"))
        expected = request.get("expectedVersion")
        stale = expected is not None and int(expected) != execution.version
        version_refusal = Refusal("VersionMismatch", f"expected {expected}, found {execution.version}",
                                  execution=execution)
        if stale and (self.rules.version_before_state or not execution.ended):
            raise version_refusal
        if not self.queue.may_enter(execution, status):
            raise Refusal("InvalidStateTransition", f"{execution.status} to {status} is not allowed",
                          fault=None if self._is_pardonable(execution, status) else "illegal-transition",
                          execution=execution)
        self.queue.update(execution, status, request.get("statusDetails"), request.get("stepTimeoutInMinutes"),
                          request)
        answer = {"timestamp": self.now()}
        if request.get("includeJobExecutionState"):
            answer["executionState"] = self._state(execution)
        if request.get("includeJobDocument"):
            answer["jobDocument"] = execution.job.document(execution)
        return answer

    @staticmethod
    def _is_pardonable(execution, status):
        """A device cannot know of a cancel or time-out yet, and says its last word again after a lost answer."""
        return execution.ended and (execution.ended_by != "device" or execution.status == status)

    def _find(self, thing, job_id, number):
        execution = self.queue.find(thing, job_id, number)
        if execution:
            return execution
        deleted = (thing, job_id) in self.queue.forgotten
        what = f"no execution {'' if number is None else number} of {job_id} for {thing}"
        raise Refusal("ResourceNotFound", what, fault=None if deleted else "unknown-job")

    def _remember_refusal(self, thing, job_id, request, refusal):
        execution = self.queue.find(thing, job_id)
        if execution:
            execution.history.append(Update(time.time(), "device", request.get("status"),
                                            request.get("statusDetails"), execution.version, refusal.code, request))

    # Checks

    @staticmethod
    def _parse(payload):
        try:
            request = json.loads(payload.decode("utf-8"))
        except (UnicodeDecodeError, ValueError) as error:
            raise Refusal("InvalidJson", f"not UTF-8 JSON: {error}", fault="invalid-json") from None
        if not isinstance(request, dict):
            raise Refusal("InvalidJson", "not a JSON object", fault="invalid-json")
        return request

    def _check(self, operation, request, thing):
        def bad(message):
            raise Refusal("InvalidRequest", message, fault="invalid-request")

        unknown = set(request) - MEMBERS[operation]
        if unknown:
            self._record.violation("unknown-member", f"{operation}: {', '.join(sorted(unknown))}", thing)
        token = request.get("clientToken", "")
        if not isinstance(token, str):
            bad("clientToken must be a string")
        if len(token.encode("utf-8", "surrogatepass")) > MAX_TOKEN or '"' in token or _control(token):
            self._record.violation("client-token", f"{operation}: more than {MAX_TOKEN} bytes, or with quotes or "
                                   f"control characters: {token!r}", thing)
        for name in ("includeJobDocument", "includeJobExecutionState"):
            if not isinstance(request.get(name, True), bool):
                bad(f"{name} must be a boolean")
        for name in ("executionNumber", "expectedVersion"):
            value = request.get(name, 0)
            digits = isinstance(value, str) and value.isascii() and value.isdigit()
            if not (_is_int(value) or digits and name == "expectedVersion"):
                bad(f"{name} must be an integer")
        if "stepTimeoutInMinutes" in request:
            minutes = request["stepTimeoutInMinutes"]
            if not _is_int(minutes) or not (1 <= minutes <= 10080 or minutes == -1 and operation == "update"):
                bad("stepTimeoutInMinutes must be 1 to 10080")
        if operation == "update" and request.get("status") not in STATUSES:
            bad(f"status must be one of {', '.join(STATUSES)}")
        if "statusDetails" in request:
            self._check_details(request["statusDetails"], bad)

    @staticmethod
    def _check_details(details, bad):
        if not isinstance(details, dict):
            bad("statusDetails must be a map")
        if len(details) > MAX_DETAILS:
            bad(f"statusDetails has {len(details)} pairs, at most {MAX_DETAILS} are allowed")
        for key, value in details.items():
            if not DETAIL_KEY.fullmatch(key):
                bad(f"statusDetails key {key!r} does not match [a-zA-Z0-9:_-]+ of 1 to 128 characters")
            if not isinstance(value, str):
                bad(f"statusDetails value of {key} is not a string")
            if not 1 <= len(value) <= MAX_DETAIL_VALUE:
                bad(f"statusDetails value of {key} has {len(value)} characters, 1 to {MAX_DETAIL_VALUE} are allowed")
            if _control(value):
                bad(f"statusDetails value of {key} holds a control character")

    # Answers

    def _summary(self, execution):
        out = {"jobId": execution.job.id, "queuedAt": self.now(execution.queued_at)}
        if execution.started_at is not None:
            out["startedAt"] = self.now(execution.started_at)
        out.update(lastUpdatedAt=self.now(execution.updated_at), versionNumber=execution.version,
                   executionNumber=execution.number)
        return out

    def _describe_execution(self, execution, with_document):
        out = {"jobId": execution.job.id, "thingName": execution.thing, "status": execution.status}
        if execution.details is not None:
            out["statusDetails"] = execution.details
        out.update(self._summary(execution))
        deadline = execution.deadline()
        if deadline is not None:
            left = (deadline - time.monotonic()) * 60 / self.queue.minute
            out["approximateSecondsBeforeTimedOut"] = max(0, int(left))
        if with_document:
            out["jobDocument"] = execution.job.document(execution)
        return out

    @staticmethod
    def _state(execution):
        out = {"status": execution.status}
        if execution.details is not None:
            out["statusDetails"] = execution.details
        out["versionNumber"] = execution.version
        return out

    def _rejection(self, refusal):
        answer = {"code": refusal.code, "message": refusal.message, "timestamp": self.now()}
        if refusal.code in ("InvalidStateTransition", "VersionMismatch") and refusal.execution:
            answer["executionState"] = self._state(refusal.execution)
        return answer

    def _answer(self, thing, topic, operation, job_id, accepted, payload):
        topic = f"{topic}/{'accepted' if accepted else 'rejected'}"
        self._send(Event("job.answer", thing, topic, operation=operation, job_id=job_id, accepted=accepted,
                         payload=payload))

    def _notify(self, thing, kind):
        if kind == "notify":
            jobs = {}
            for execution in self.queue.pending(thing)[:MAX_LISTED + 5]:
                jobs.setdefault(execution.status, []).append(self._summary(execution))
            payload = {"timestamp": self.now(), "jobs": jobs}
        else:
            payload = {"timestamp": self.now()}
            head = self.queue.head(thing)
            if head:
                payload["execution"] = self._describe_execution(head, True)
                payload["execution"].pop("thingName")
        event = Event("job.notify", thing, f"$aws/things/{thing}/jobs/{kind}", operation=kind, payload=payload)
        if self._held is None:
            self._send(event)
        else:
            self._held.append(event)

    def _release(self):
        """Sends the notifications a request gave rise to; they come after its answer."""
        held, self._held = self._held, None
        for event in held or ():
            self._send(event)

    def _send(self, event):
        self._faults.fire(event)
        data = encode(event.payload)
        self._record.message("cloud", event.thing, event.topic, _readable(data), len(data), event.note)
        self._faults.deliver(event, lambda: self._publish(event.topic, data))


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool) and -2**63 <= value < 2**63


def _control(text):
    return any(unicodedata.category(c).startswith("C") for c in text)


def _readable(payload):
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        return payload.decode("utf-8", "replace")
