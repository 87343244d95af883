"""How a device may behave on its connection, watched through the broker's log.

AWS IoT closes a connection, or discards, for things an ordinary broker lets pass (P§1.3, P§1.4, P§1.5, P§5). This
watch reads mosquitto's log line by line, records a violation for each of them and, where AWS would close, has the
connection closed.
"""

import collections
import re
import time

MAX_PAYLOAD, MAX_TOPIC, MAX_SLASHES = 131072, 256, 7
MAX_FILTERS, MAX_SUBSCRIPTIONS, MAX_PUBLISHES = 8, 50, 100
MAX_CLIENT_ID = 128
CONNECT_BURST = 3       # as many CONNECTs within as many seconds are taken for a quick restart, not a loop

JOB_ID = r"[a-zA-Z0-9_-]{1,64}"
REQUEST = re.compile(rf"\$aws/things/[^/]+/(jobs/(get|start-next|\$next/get|{JOB_ID}/(get|update))"
                     r"|streams/[a-zA-Z0-9_-]{1,128}/(get|describe)/(cbor|json)"
                     r"|shadow/name/\$package/(get|update|delete))")
STREAM_GET = re.compile(r"\$aws/things/[^/]+/streams/[^/]+/get/(cbor|json)")

NEW = re.compile(r"New client connected from (\S+) as (.*) \(p(\d), c(\d), k(\d+)(?:, u'(.*)')?\)\.")
PUBLISH = re.compile(r"(Received|Denied|Dropped too large) PUBLISH from (.*) "
                     r"\(d(\d), q(\d), r(\d), m\d+, '(.*)', \.\.\. \((\d+) bytes\)\)")
FILTER = re.compile(r"\t(.*) \(QoS (\d)\)")
WILL = re.compile(r"Will message specified \(\d+ bytes\) \(r(\d), q(\d)\)\.")
ENDED = re.compile(r"Client (.*) (closed its connection|disconnected|disconnected: .*|disconnected due to .*"
                   r"|already connected, .*|has exceeded timeout, disconnecting)\.$")
BROKEN = re.compile(r"Bad socket read/write on client (.*): (.*)\.$")


class Client:
    def __init__(self, thing):
        self.thing = thing
        self.filters, self.clean, self.online = set(), True, False
        self.publishes, self.connects = collections.deque(), collections.deque()
        self.rate_told = 0.0


class Conduct:
    """kick(client_id, clean) closes a connection; invalid_topic(thing, topic) answers a request to no operation."""

    def __init__(self, record, kick, invalid_topic, service_ids=("stand-in",)):
        self._record, self._kick, self._invalid_topic = record, kick, invalid_topic
        self._service_ids = set(service_ids)
        self._clients = {}
        self._expected_kicks = collections.Counter()
        self._list, self._list_of, self._newest = None, None, None
        self._seen_marks = set()

    def kicked_on_purpose(self, client_id):
        """The next take-over of this client id is ours and no violation of the device's."""
        self._expected_kicks[client_id] += 1

    def filters(self, client_id):
        client = self._clients.get(client_id)
        return set(client.filters) if client else set()

    def connected(self, client_id):
        client = self._clients.get(client_id)
        return bool(client and client.online)

    def is_clean(self, client_id):
        """Whether the client asked for a clean session; a persistent one survives being closed."""
        client = self._clients.get(client_id)
        return client is None or client.clean

    def saw(self, mark):
        return mark in self._seen_marks

    def line(self, text):
        """One line of the log, in the order the broker did things."""
        try:
            self._line(text)
        except Exception as error:      # noqa: the log thread must live on and the test must hear of it
            self._record.failure(error, f"log line {text!r}")

    def _line(self, text):
        if self._list is not None and (text.startswith("\t") or not text.startswith("Sending ")):
            entry = FILTER.fullmatch(text)
            if entry:
                self._list.append((entry[1], int(entry[2])))
            elif text.startswith("\t"):
                self._list.append((text[1:], 0))
            return
        if text.startswith("Sending SUBACK to ") and self._list is not None:
            self._subscribed(self._list_of, self._list)
            self._list = None
        elif text.startswith("Sending UNSUBACK to ") and self._list is not None:
            self._unsubscribed(self._list_of, self._list)
            self._list = None
        elif text.startswith("Received SUBSCRIBE from ") or text.startswith("Received UNSUBSCRIBE from "):
            self._list, self._list_of = [], text.split(" from ", 1)[1]
        elif "PUBLISH from" in text:
            match = PUBLISH.fullmatch(text)
            if match:
                self._published(*match.groups())
        elif text.startswith("New client connected"):
            match = NEW.fullmatch(text)
            if match:
                self._new(*match.groups())
        elif text.startswith("Will message specified"):
            match = WILL.fullmatch(text)
            if match and match[1] == "1":
                self._violation(self._newest, "retain", "a retained will")
        elif text.startswith(("Client ", "Bad socket")):
            self._gone(text)
        elif text.startswith("OpenSSL Error"):
            self._record.message("event", None, "tls-error", text)

    def _violation(self, client_id, kind, detail, close=True):
        client = self._clients.get(client_id)
        self._record.violation(kind, detail, client.thing if client else client_id)
        if close and client:
            self._kick(client_id, client.clean)

    def _new(self, address, client_id, protocol, clean, keep_alive, thing):
        if client_id in self._service_ids or thing == "stand-in":
            return
        client = self._clients.setdefault(client_id, Client(thing))
        client.thing, client.clean, client.online = thing, clean == "1", True
        if client.clean:
            client.filters.clear()
        self._record.message("event", thing, "connected", {"client_id": client_id, "clean": client.clean,
                             "keep_alive": int(keep_alive), "protocol": int(protocol), "from": address})
        if client_id != thing:
            self._violation(client_id, "client-id", f"client id {client_id!r} is not the thing's name {thing!r}")
        elif len(client_id.encode()) > MAX_CLIENT_ID or client_id.startswith("$"):
            self._violation(client_id, "client-id", f"client id {client_id!r} is not allowed")
        now = time.monotonic()
        client.connects.append(now)
        while client.connects[0] < now - CONNECT_BURST:
            client.connects.popleft()
        if len(client.connects) > CONNECT_BURST:
            self._violation(client_id, "connect-rate", f"{len(client.connects)} CONNECTs within {CONNECT_BURST} s, "
                            "AWS takes one a second", close=False)
        self._newest = client_id

    def _gone(self, text):
        match = ENDED.fullmatch(text) or BROKEN.fullmatch(text)
        if not match:
            return
        client_id, how = match.groups()
        if client_id in self._service_ids:
            return
        client = self._clients.get(client_id)
        thing = client.thing if client else None
        if how.startswith("already connected"):
            if self._expected_kicks[client_id]:
                self._expected_kicks[client_id] -= 1
                how = "closed by the cloud"
            elif client:
                self._violation(client_id, "duplicate-client-id", "a second connection with the same client id",
                                close=False)
        elif "exceeded timeout" in how:
            self._violation(client_id, "keep-alive", "no packet within 1.5 times the keep-alive", close=False)
        elif how.startswith("disconnected due to"):     # "disconnected: ..." is the network's doing, a reset say
            self._violation(client_id, "protocol-error", how, close=False)
        if client and client.online:
            client.online = False
            self._record.message("event", thing, "disconnected", {"client_id": client_id, "how": how})

    def _subscribed(self, client_id, filters):
        client = self._clients.get(client_id)
        if not client:
            return
        self._record.message("event", client.thing, "subscribe", [list(f) for f in filters])
        if len(filters) > MAX_FILTERS:
            self._violation(client_id, "filters-per-subscribe", f"{len(filters)} filters in one SUBSCRIBE")
        for name, qos in filters:
            if qos > 1:
                self._violation(client_id, "qos2", f"SUBSCRIBE with QoS 2 to {name}")
            if not self._name_is_fine(client_id, name):
                continue
            if not self._policy_allows(client.thing, name):
                self._violation(client_id, "policy-subscribe", f"no policy allows to subscribe to {name}")
                continue
            client.filters.add(name)
        if len(client.filters) > MAX_SUBSCRIPTIONS:
            self._violation(client_id, "subscriptions", f"{len(client.filters)} subscriptions on one connection")

    def _unsubscribed(self, client_id, filters):
        client = self._clients.get(client_id)
        if client:
            client.filters.difference_update(name for name, _ in filters)
            self._record.message("event", client.thing, "unsubscribe", [name for name, _ in filters])

    @staticmethod
    def _policy_allows(thing, name):
        own = f"$aws/things/{thing}/"
        return name.startswith((own + "jobs/", own + "streams/", own + "shadow/name/$package/"))

    def _name_is_fine(self, client_id, name):
        if len(name.encode()) > MAX_TOPIC:
            self._violation(client_id, "topic-length", f"{len(name.encode())} bytes: {name}")
        elif name.count("/") > MAX_SLASHES:
            self._violation(client_id, "topic-levels", f"more than {MAX_SLASHES} slashes: {name}")
        else:
            return True
        return False

    def _published(self, fate, client_id, dup, qos, retain, topic, size):
        client = self._clients.get(client_id)
        if not client:
            if topic.startswith("stand-in/mark/"):
                self._seen_marks.add(topic)
                with self._record.changed:
                    self._record.changed.notify_all()
            elif fate != "Received":
                self._record.violation("internal-error", f"the broker did not take a message for {topic}: {fate}")
            return
        if int(size) > MAX_PAYLOAD:
            self._violation(client_id, "payload-size", f"{size} bytes to {topic}")
        if qos == "2":
            self._violation(client_id, "qos2", f"PUBLISH with QoS 2 to {topic}")
        if retain == "1":
            self._violation(client_id, "retain", f"retained message on {topic}")
        if not self._name_is_fine(client_id, topic):
            return
        if fate == "Denied":
            self._violation(client_id, "policy-publish", f"no policy allows to publish to {topic}")
        elif not REQUEST.fullmatch(topic):
            self._violation(client_id, "invalid-topic", f"no operation listens to {topic}", close=False)
            self._invalid_topic(client.thing, topic)
        if not STREAM_GET.fullmatch(topic):
            self._rate(client_id, client)

    def _rate(self, client_id, client):
        """Counts what the device sends of itself; stream requests follow the pace of our answers instead."""
        now = time.monotonic()
        client.publishes.append(now)
        while client.publishes[0] < now - 1:
            client.publishes.popleft()
        if len(client.publishes) > MAX_PUBLISHES and now > client.rate_told + 1:
            client.rate_told = now
            self._violation(client_id, "publish-rate", f"{len(client.publishes)} publishes within a second, "
                            f"AWS discards what is over {MAX_PUBLISHES}", close=False)
