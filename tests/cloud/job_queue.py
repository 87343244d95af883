"""Jobs and their executions on things: states, order, versions, timers, retries, notifications due.

The part of AWS IoT Jobs that has no wire: who may go from which state to which (P§2.5), what `$next` is (P§2.6),
when a change must be notified (the table of P§2.6), and what time-outs, retries, cancel and delete do (P§2.7).
jobs.py puts the MQTT interface over it.
"""

import contextlib
import itertools
import time
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional

TERMINAL = frozenset({"SUCCEEDED", "FAILED", "TIMED_OUT", "REJECTED", "REMOVED", "CANCELED"})
MAX_RETRIES = 10


class JobError(ValueError):
    """AWS would refuse this call of the operator's."""


@dataclass
class Rules:
    """What AWS leaves undocumented. Each default is the stricter or likelier reading; a test may try the other."""
    rejected_after_start: bool = False      # IN_PROGRESS -> REJECTED
    end_from_queued: bool = False           # QUEUED -> SUCCEEDED or FAILED without IN_PROGRESS between
    notify_on_start: bool = False           # `notify` also when the head becomes IN_PROGRESS
    notify_before_answer: bool = False      # notifications of an update overtake its answer
    version_before_state: bool = False      # a stale update of an ended execution: VersionMismatch instead
    merge_details: bool = False             # statusDetails added to the stored map instead of replacing it
    first_version: int = 1
    milliseconds: bool = False              # timestamps in ms, as some examples of the guide show


@dataclass
class Update:
    """One line of an execution's history: an update the device sent, or what the service or operator did."""
    time: float
    by: str                             # "device", "service", "operator"
    status: Optional[str]               # asked for
    details: Optional[Dict[str, str]]
    version: int                        # after it
    code: Optional[str] = None          # of the rejection, None if it was accepted
    request: Optional[dict] = None

    def __str__(self):
        what = f"refused with {self.code}" if self.code else f"version {self.version}"
        clock = time.strftime("%H:%M:%S", time.localtime(self.time)) + f".{int(self.time % 1 * 1000):03d}"
        return f"{clock} {self.by}: {self.status} {self.details or ''} ({what})"


@dataclass
class Execution:
    job: "Job"
    thing: str
    number: int
    order: int
    status: str = "QUEUED"
    details: Optional[Dict[str, str]] = None
    version: int = 1
    queued_at: float = 0.0
    started_at: Optional[float] = None
    updated_at: float = 0.0
    ended_by: Optional[str] = None
    history: List[Update] = field(default_factory=list)
    progress_deadline: Optional[float] = None       # monotonic
    step_deadline: Optional[float] = None
    timer: Any = None

    @property
    def key(self):
        return self.job.id, self.number

    @property
    def ended(self):
        return self.status in TERMINAL

    @property
    def statuses(self):
        """The states it went through, as accepted."""
        return [u.status for u in self.history if not u.code]

    def deadline(self):
        return min((d for d in (self.progress_deadline, self.step_deadline) if d is not None), default=None)

    def __str__(self):
        head = f"{self.job.id} on {self.thing}, execution {self.number}: {self.status} {self.details or ''}"
        return "\n  ".join([head, *map(str, self.history)])


@dataclass
class Job:
    id: str
    things: List[str]
    document: Callable[[Execution], Any]    # made anew for each delivery
    timeout_minutes: Optional[float] = None
    retries: Dict[str, int] = field(default_factory=dict)
    status: str = "IN_PROGRESS"
    ota: Any = None                         # what CreateOTAUpdate made: stream id, files

    def __str__(self):
        return self.id


class JobQueue:
    """notify(thing, "notify" | "notify-next") is called, with the lock held, after each change that asks for it."""

    def __init__(self, lock, loop, notify, rules=None, seconds_per_minute=60.0):
        self.lock, self._loop, self._notify = lock, loop, notify
        self.rules = rules or Rules()
        self.minute = seconds_per_minute
        self.jobs, self.forgotten = {}, set()       # forgotten: (thing, job id) of deleted executions
        self._executions = {}                       # (thing, job id) -> list, by number
        self._order = itertools.count(1)

    # Looking

    def executions(self, thing, job_id):
        return self._executions.get((thing, job_id), [])

    def find(self, thing, job_id, number=None):
        """The execution with that number, or the latest; None if there is none."""
        for execution in reversed(self.executions(thing, job_id)):
            if number in (None, execution.number):
                return execution
        return None

    def pending(self, thing):
        """What the thing still has to do, in the order of `$next`: IN_PROGRESS first, then by queue time."""
        waiting = [e for (t, _), es in self._executions.items() if t == thing for e in es if not e.ended]
        return sorted(waiting, key=lambda e: (e.status != "IN_PROGRESS", e.order))

    def head(self, thing):
        return next(iter(self.pending(thing)), None)

    # The operator's side

    def create(self, job):
        with self.lock:
            if job.id in self.jobs:
                raise JobError(f"job {job.id} exists already")
            if sum(job.retries.values()) > MAX_RETRIES or not set(job.retries) <= {"FAILED", "TIMED_OUT", "ALL"}:
                raise JobError(f"retries are for FAILED, TIMED_OUT or ALL, {MAX_RETRIES} at most: {job.retries}")
            if job.timeout_minutes is not None and not 1 <= job.timeout_minutes <= 10080:
                raise JobError("a job's time-out is 1 to 10080 minutes")
            self.jobs[job.id] = job
            for thing in job.things:
                self._queue(job, thing, 1)
        return job

    def cancel(self, job_id, force=False):
        """CancelJob: QUEUED executions end; IN_PROGRESS ones too if forced."""
        with self.lock:
            job = self._job(job_id)
            job.status = "CANCELED"
            for thing in job.things:
                execution = self.find(thing, job.id)
                if execution and not execution.ended and (force or execution.status == "QUEUED"):
                    self._end(execution, "CANCELED", "operator")

    def cancel_execution(self, thing, job_id, force=False):
        """CancelJobExecution: refused for one IN_PROGRESS unless forced."""
        with self.lock:
            execution = self._execution(thing, job_id)
            if execution.ended or (execution.status == "IN_PROGRESS" and not force):
                raise JobError(f"execution is {execution.status}")
            self._end(execution, "CANCELED", "operator")

    def delete(self, job_id, force=False):
        with self.lock:
            job = self._job(job_id)
            running = [e for t in job.things for e in self.executions(t, job.id) if e.status == "IN_PROGRESS"]
            if running and not force:
                raise JobError(f"job {job.id} is in progress on {len(running)} things")
            del self.jobs[job.id]
            for thing in job.things:
                with self.changing(thing):
                    for execution in self._executions.pop((thing, job.id), []):
                        self._stop_timer(execution)
                    self.forgotten.add((thing, job.id))

    def remove(self, thing, job_id):
        """The thing left the job's target group."""
        with self.lock:
            execution = self._execution(thing, job_id)
            if not execution.ended:
                self._end(execution, "REMOVED", "service")

    # The device's side (jobs.py has checked the request)

    def may_enter(self, execution, status):
        if execution.ended:
            return False
        if execution.status == "QUEUED":
            return status in ("IN_PROGRESS", "REJECTED") or self.rules.end_from_queued
        return status != "REJECTED" or self.rules.rejected_after_start

    def start(self, execution, details=None, step_minutes=None, request=None):
        """start-next: a QUEUED execution takes the details and starts; one that runs keeps its own."""
        with self.changing(execution.thing):
            if execution.status == "QUEUED":
                self._set(execution, "IN_PROGRESS", details, "device", request)
            self._set_step(execution, step_minutes)

    def update(self, execution, status, details, step_minutes, request):
        with self.changing(execution.thing):
            if details is not None and self.rules.merge_details:
                details = {**(execution.details or {}), **details}
            self._set(execution, status, details, "device", request)
            if not execution.ended:
                self._set_step(execution, step_minutes)
        self._maybe_retry(execution)

    def time_out(self, execution):
        """What a step or in-progress timer does when it runs off."""
        with self.lock:
            if not execution.ended:
                self._end(execution, "TIMED_OUT", "service")

    # Inside

    @contextlib.contextmanager
    def changing(self, thing):
        """Around every change: tells what of P§2.6 the change asks to be notified."""
        with self.lock:
            before = self.pending(thing)
            head, keys = (before[0].key, before[0].status) if before else None, {e.key for e in before}
            yield
            after = self.pending(thing)
            new_head = (after[0].key, after[0].status) if after else None
            started = self.rules.notify_on_start and head and new_head and head != new_head
            if {e.key for e in after} != keys or started:
                self._notify(thing, "notify")
            if (head and head[0]) != (new_head and new_head[0]):
                self._notify(thing, "notify-next")
            self.lock.notify_all()

    def _job(self, job_id):
        if str(job_id) not in self.jobs:
            raise JobError(f"no such job: {job_id}")
        return self.jobs[str(job_id)]

    def _execution(self, thing, job_id):
        execution = self.find(thing, str(job_id))
        if not execution:
            raise JobError(f"no execution of {job_id} on {thing}")
        return execution

    def _queue(self, job, thing, number):
        now = time.time()
        execution = Execution(job, thing, number, next(self._order), queued_at=now, updated_at=now,
                              version=self.rules.first_version)
        execution.history.append(Update(now, "service", "QUEUED", None, execution.version))
        with self.changing(thing):
            self._executions.setdefault((thing, job.id), []).append(execution)

    def _set(self, execution, status, details, by, request=None):
        now = time.time()
        starts = status == "IN_PROGRESS" and execution.status == "QUEUED"
        execution.status = status
        execution.version += 1
        execution.updated_at = now
        if details is not None:
            execution.details = dict(details)
        execution.history.append(Update(now, by, status, details, execution.version, request=request))
        if starts:
            execution.started_at = now
            if execution.job.timeout_minutes is not None:
                execution.progress_deadline = time.monotonic() + execution.job.timeout_minutes * self.minute
                self._arm(execution)
        if execution.ended:
            execution.ended_by = by
            execution.started_at = execution.started_at or now
            self._stop_timer(execution)
            self._finish_job(execution.job)

    def _end(self, execution, status, by):
        with self.changing(execution.thing):
            self._set(execution, status, None, by)
        self._maybe_retry(execution)

    def _maybe_retry(self, execution):
        job = execution.job
        if execution.status not in ("FAILED", "TIMED_OUT") or job.status == "CANCELED" or job.id not in self.jobs:
            return
        ended = [e.status for e in self.executions(execution.thing, job.id)]
        left = (job.retries.get("ALL", 0) - len([s for s in ended if s in ("FAILED", "TIMED_OUT")])
                if "ALL" in job.retries else job.retries.get(execution.status, 0) - ended.count(execution.status))
        if left >= 0 and job.retries:
            job.status = "IN_PROGRESS"
            self._queue(job, execution.thing, execution.number + 1)

    def _finish_job(self, job):
        if job.status == "IN_PROGRESS" and all(e.ended for t in job.things for e in self.executions(t, job.id)):
            job.status = "COMPLETED"

    def _set_step(self, execution, minutes):
        if minutes is not None:
            execution.step_deadline = None if minutes == -1 else time.monotonic() + minutes * self.minute
            self._arm(execution)

    def _arm(self, execution):
        self._stop_timer(execution)
        deadline = execution.deadline()
        if deadline is not None:
            execution.timer = self._loop.after(max(0.0, deadline - time.monotonic()), lambda: self.time_out(execution))

    @staticmethod
    def _stop_timer(execution):
        if execution.timer:
            execution.timer.cancel()
            execution.timer = None
