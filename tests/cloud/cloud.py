"""A stand-in for AWS IoT Core, whole: broker, Jobs, streams and storage, for tests and for trying out by hand.

    with Cloud(tmp_path) as cloud:
        thing = cloud.add_thing("gateway-1")                    # thing.ca, thing.cert, thing.key; cloud.port
        signer = cloud.add_signer("codesign")
        job = cloud.create_ota_update("gateway-1", [OtaFile("rootfs.img", image, signer)], ["HTTP"])
        ... start the device ...
        cloud.wait_for(job, "SUCCEEDED", timeout=20)
        cloud.assert_clean()

It refuses what AWS refuses, and records as a violation what AWS would refuse, discard or close the connection for.
Everything listens on the loopback; every process and thread started here ends with close().
"""

import collections
import itertools
import json
import re
import time
from pathlib import Path

from . import conduct, mqtt
from .broker import Broker
from .faults import Faults
from .https import HttpsServer
from .job_queue import TERMINAL, Job, Rules
from .jobs import JOB_ID, JobsService, Raw
from .loop import Loop
from .ota import MAX_DOCUMENT, create_update, fill_in
from .pki import Authority, Signer
from .record import Record
from .shadow import ShadowService
from .storage import Storage
from .streams import StreamsService

THING_NAME = re.compile(r"[a-zA-Z0-9:_-]{1,128}")
REQUESTS = ["$aws/things/+/jobs/get", "$aws/things/+/jobs/start-next", "$aws/things/+/jobs/+/get",
            "$aws/things/+/jobs/+/update", "$aws/things/+/streams/+/get/+", "$aws/things/+/streams/+/describe/+",
            "$aws/things/+/shadow/name/$package/+"]
SAME_REQUEST = 10       # more identical requests within a second are a loop


class WrongEnd(AssertionError):
    """An execution ended, but not as the test waits for."""


class Cloud:
    """See the module's text. `seconds_per_minute` makes job and step time-outs run faster; `rules` picks between
    readings of what AWS does not document; `kick` closes connections as AWS does; `throttle` limits streams; `host` is
    the name that a device elsewhere (in a virtual machine) has for this one."""

    def __init__(self, folder, *, rules=None, seconds_per_minute=60.0, kick=True, throttle=False, port=None,
                 https_port=0, host="localhost"):
        self.host = host
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = Authority(self.folder / "pki")
        self.ca = self.https_ca = self.authority.path
        self.record = Record(self.folder / "messages.jsonl")
        self.things = {}
        self._kick_enabled, self._serial = kick, itertools.count(1)
        self._recent = collections.defaultdict(collections.deque)
        self._settings = (rules or Rules(), seconds_per_minute, throttle, port, https_port)
        self._loop = self.broker = self.https = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.close()

    def start(self):
        rules, minute, throttle, port, https_port = self._settings
        try:
            self._loop = Loop(self.record.failure)
            self.faults = Faults(self._loop, self.record.failure)
            self._broker_setup(port)
            self.storage = Storage()
            self.jobs = JobsService(self.record, self._loop, self.faults, self._link.publish, rules, minute)
            self.streams = StreamsService(self.record, self._loop, self.faults, self._link.publish_many, throttle)
            self.shadow = ShadowService(self.record, self.faults, self._link.publish)
            self.https = HttpsServer(self.record, self.faults, self.storage, *self.authority.server(self.host), https_port,
                                     self.host)
            self.broker.start()
        except BaseException:
            self.close()
            raise
        return self

    def close(self):
        """Ends every process and thread. Safe to call twice."""
        if self.broker:
            self.broker.stop()
        if self.https:
            self.https.close()
        if self._loop:
            self._loop.close()
        self.broker = self.https = self._loop = None
        self.record.close()

    def _broker_setup(self, port):
        self.conduct = conduct.Conduct(self.record, self._kick, self._invalid_topic)
        self.broker = Broker(self.folder / "broker", self.authority, port=port, host=self.host,
                             on_line=self.conduct.line,
                             on_up=lambda service_port: self._link.open(service_port),
                             on_down=lambda: self._link.close(),
                             on_died=lambda text: self.record.violation("internal-error", text))
        self._link = mqtt.Link(self._loop, self.broker.SERVICE_USER, self.broker.password, REQUESTS, self._dispatch,
                               lambda: self.record.violation("internal-error", "the services lost the broker"))

    # Where to connect to

    @property
    def port(self):
        return self.broker.port

    @property
    def messages(self):
        return self.record.messages

    @property
    def violations(self):
        return self.record.violations

    # Devices and certificates

    def add_thing(self, name, kind="p256", authority=None):
        """A thing with its certificate. Returns ThingFiles(name, ca, cert, key)."""
        if not THING_NAME.fullmatch(name):
            raise ValueError(f"not a thing name: {name!r}")
        thing = (authority or self.authority).thing(name, kind)
        self.things[name] = thing
        return thing

    def add_signer(self, name="codesign", **options):
        """A code signer; options as for pki.Signer. Returns it: `path` is the certificate for the device."""
        return Signer(self.folder / "pki" / "signers", name, **options)

    # The operator's side

    def create_ota_update(self, things, files, protocols=("MQTT",), *, update_id=None, timeout_minutes=None,
                          retries=None, url_expires=1800, edit=None):
        """CreateOTAUpdate. `edit(document)` may alter each delivered document in place.

        Returns the Job: `.id`, and in `.ota` the stream's id, the files and their stored objects.
        """
        update_id = update_id or f"update-{next(self._serial)}"
        update = create_update(update_id, files, protocols, self.storage, self.streams, url_expires, edit)
        return self._create(f"AFR_OTA-{update_id}", things, lambda execution: update.document(self.storage),
                            timeout_minutes, retries, ota=update)

    def create_job(self, things, document, *, job_id=None, timeout_minutes=None, retries=None, url_expires=3600):
        """CreateJob with any JSON document, or with bytes that go into messages as they are, however broken."""
        job_id = job_id or f"job-{next(self._serial)}"
        if isinstance(document, (bytes, bytearray)):
            return self._create(job_id, things, lambda execution: Raw(document), timeout_minutes, retries)
        if len(json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")) > MAX_DOCUMENT:
            raise ValueError(f"a job document has {MAX_DOCUMENT} bytes at most")
        return self._create(job_id, things, lambda execution: fill_in(document, self.storage, url_expires),
                            timeout_minutes, retries)

    def _create(self, job_id, things, document, timeout_minutes, retries, ota=None):
        things = [things] if isinstance(things, str) else [getattr(t, "name", t) for t in _listed(things)]
        if not JOB_ID.fullmatch(job_id):
            raise ValueError(f"not a job id: {job_id!r}")
        return self.jobs.queue.create(Job(job_id, things, document, timeout_minutes, dict(retries or {}), ota=ota))

    def cancel(self, job, force=False):
        """CancelJob. Without force, executions in progress run on."""
        self.jobs.queue.cancel(str(job), force)

    def cancel_execution(self, thing, job, force=False):
        self.jobs.queue.cancel_execution(getattr(thing, "name", thing), str(job), force)

    def delete(self, job, force=False):
        self.jobs.queue.delete(str(job), force)

    def remove(self, thing, job):
        """The thing leaves the job's target group: its execution becomes REMOVED."""
        self.jobs.queue.remove(getattr(thing, "name", thing), str(job))

    def time_out(self, thing, job):
        """As if the execution's timer ran off now."""
        self.jobs.queue.time_out(self.execution(thing, job))

    # Looking and waiting

    def execution(self, thing, job, number=None):
        """An execution (the latest without a number): status, details, version, history. None if there is none."""
        with self.record.changed:
            return self.jobs.queue.find(getattr(thing, "name", thing), str(job), number)

    def wait_for(self, job, statuses, timeout=20, thing=None, number=None):
        """Waits till the job's execution has one of the statuses (a word, or several) and returns the execution.

        A retried job is waited for in its latest execution. Ends at once with WrongEnd when the execution has ended
        otherwise, with TimeoutError when time is up; both carry the execution's history and the last messages.
        """
        statuses = {statuses} if isinstance(statuses, str) else set(statuses)
        thing = getattr(thing, "name", thing) or self._only_thing(job)

        def look():
            execution = self.execution(thing, job, number)
            if execution and execution.status not in statuses and execution.status in TERMINAL:
                raise WrongEnd(f"waited for {' or '.join(sorted(statuses))}, but: {execution}\n{self.record.tail()}")
            return execution if execution and execution.status in statuses else None
        try:
            return self.record.wait_until(look, timeout, f"{'/'.join(sorted(statuses))} of {job} on {thing}")
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.execution(thing, job, number)}") from None

    def wait_until(self, predicate, timeout=20, what="what the test waits for"):
        """Waits till predicate() is true; it is asked again after each message and change of state."""
        return self.record.wait_until(predicate, timeout, what)

    def find_messages(self, direction=None, topic=None, since=0):
        """Messages so far, by direction and a regular expression searched in the topic, from an index on."""
        with self.record.changed:
            return [m for m in self.messages[since:] if (direction is None or m.direction == direction)
                    and (topic is None or re.search(topic, m.topic))]

    def wait_message(self, direction=None, topic=None, since=0, timeout=20):
        """Waits for a message and returns the first that fits."""
        found = self.wait_until(lambda: self.find_messages(direction, topic, since), timeout,
                                f"{direction or ''} message on {topic}")
        return found[0]

    def wait_connected(self, thing, timeout=20):
        name = getattr(thing, "name", thing)
        self.wait_until(lambda: self.conduct.connected(name), timeout, f"connection of {name}")

    def sync(self):
        """Returns when everything the broker had logged by now has been looked at."""
        if self.broker and self.broker.running:
            mark = f"stand-in/mark/{next(self._serial)}"
            if self._link.publish(mark, b""):
                self.wait_until(lambda: self.conduct.saw(mark), 10, "end of the broker's log")

    def assert_clean(self, allow=()):
        """Fails on any violation whose kind matches none of the patterns in `allow`."""
        self.sync()
        self.record.assert_clean(allow)

    def report(self):
        """All executions and their histories in plain words."""
        with self.record.changed:
            return "\n".join(str(e) for j in self.jobs.queue.jobs.values() for t in j.things
                             for e in self.jobs.queue.executions(t, j.id)) or "no jobs"

    def _only_thing(self, job):
        with self.record.changed:
            things = self.jobs.queue.jobs[str(job)].things
        if len(things) != 1:
            raise ValueError(f"{job} has {len(things)} things: say which")
        return things[0]

    # What happens to connections

    def disconnect(self, thing):
        """Closes a device's connection as AWS may at any time, its session kept if it is persistent."""
        name = getattr(thing, "name", thing)
        self._take_over(name, self.conduct.is_clean(name))

    def _kick(self, client_id, clean):
        if self._kick_enabled and self._loop:
            self._loop.soon(lambda: self._take_over(client_id, clean))

    def _take_over(self, client_id, clean):
        if self.conduct.connected(client_id):
            self.conduct.kicked_on_purpose(client_id)
            self.broker.disconnect(client_id, clean)

    def _invalid_topic(self, thing, topic):
        if topic.startswith(f"$aws/things/{thing}/jobs/"):
            self._loop.soon(lambda: self.jobs.invalid_topic(thing, topic))
        elif topic.startswith(f"$aws/things/{thing}/streams/"):
            self._loop.soon(lambda: self.streams.invalid_topic(thing, topic))

    def _dispatch(self, topic, payload):
        _, _, thing, service, path = topic.split("/", 4)
        self._note_repetition(thing, topic, payload)
        {"jobs": self.jobs, "streams": self.streams, "shadow": self.shadow}[service].handle(thing, path, payload)

    def _note_repetition(self, thing, topic, payload):
        recent, now = self._recent[thing], time.monotonic()
        recent.append((now, topic, payload))
        while recent[0][0] < now - 1:
            recent.popleft()
        same = sum(1 for _, t, p in recent if t == topic and p == payload)
        if same == SAME_REQUEST + 1:
            self.record.violation("repetition", f"the same request {same} times within a second on {topic}", thing)


def _listed(things):
    return things if isinstance(things, (list, tuple, set)) else [things]
