"""Fixtures for the stand-in's own tests: a cloud per test, and a device made of paho with the thing's certificate."""

import json
import queue
import socket
import ssl

import paho.mqtt.client as paho
import pytest

from cloud import Cloud

RESPONSES = ["jobs/notify", "jobs/notify-next", "jobs/+/get/+", "jobs/+/update/+", "jobs/start-next/+", "jobs/get/+"]


class Device:
    """A thing on the wire: publishes what it is told, keeps what it receives in order."""

    def __init__(self, cloud, thing, client_id=None, clean=True, will=None):
        self.cloud, self.thing = cloud, thing
        self.prefix = f"$aws/things/{thing.name}/"
        self.inbox, self._acks, self._subacks = queue.Queue(), {}, queue.Queue()
        self.client = paho.Client(client_id or thing.name, clean_session=clean)
        self.client.tls_set(thing.ca, thing.cert, thing.key, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.on_socket_open = lambda c, u, sock: sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connected, self.disconnected = queue.Queue(), queue.Queue()
        self.client.on_connect = lambda c, u, flags, rc: self.connected.put((rc, flags))
        self.client.on_disconnect = self._on_disconnect
        self.client.on_subscribe = lambda c, u, mid, granted: self._subacks.put(granted)
        self.client.on_message = lambda c, u, m: self.inbox.put((m.topic, m.payload))
        if will:
            self.client.will_set(*will)

    def _on_disconnect(self, client, userdata, rc):
        client.disconnect()         # paho would connect again by itself; a test says when
        self.disconnected.put(rc)

    def connect(self):
        self.client.connect("localhost", self.cloud.port)
        self.client.loop_start()
        self.connected.get(timeout=5)
        return self

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, *filters, qos=1):
        self.client.subscribe([(self.prefix + f, qos) for f in filters])
        return self._subacks.get(timeout=5)

    def publish(self, topic, payload=b"{}", qos=1, retain=False):
        data = json.dumps(payload) if isinstance(payload, (dict, list)) else payload
        self.client.publish(self.prefix + topic, data, qos, retain)

    def receive(self, timeout=5):
        """The next message as (topic behind the thing's prefix, payload); JSON is decoded."""
        topic, payload = self.inbox.get(timeout=timeout)
        assert topic.startswith(self.prefix)
        short = topic[len(self.prefix):]
        return short, payload if short.endswith("/cbor") else json.loads(payload)

    def call(self, topic, payload=None):
        """Publishes a request and returns its answer: (verdict, payload), skipping notifications."""
        self.publish(topic, {} if payload is None else payload)
        while True:
            got, answer = self.receive()
            if got in (f"{topic}/accepted", f"{topic}/rejected"):
                return got.rsplit("/", 1)[1], answer

    def quiet(self, seconds=0.05):
        """That nothing more has come: the broker has answered something later meanwhile."""
        self.cloud.sync()
        try:
            raise AssertionError(f"unexpected message {self.inbox.get(timeout=seconds)}")
        except queue.Empty:
            return True


@pytest.fixture
def cloud(tmp_path):
    with Cloud(tmp_path / "cloud") as running:
        yield running


@pytest.fixture
def make_device(cloud):
    devices = []

    def make(name="dev-7", subscribe=RESPONSES, **options):
        device = Device(cloud, cloud.add_thing(name), **options).connect()
        devices.append(device)
        if subscribe:
            device.subscribe(*subscribe)
        cloud.sync()        # what the broker's log says of it is known, too
        return device
    yield make
    for device in devices:
        device.close()


@pytest.fixture
def device(make_device):
    return make_device()
