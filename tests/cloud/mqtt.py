"""The services' own end of MQTT 3.1.1: one connection to the broker, as small as its job.

AWS's Jobs and streams sit behind the broker; here they sit behind this link on the broker's private listener. It
sends gathered buffers, so a stream block goes from the image to the socket without a copy, and it reads on the
services' loop. Acks of its own QoS 1 messages are not awaited: the broker is on the loopback and alive, or it is
down on purpose.
"""

import socket
import struct
import threading

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
DISCONNECT_PACKET = b"\xe0\x00"


class LinkError(OSError):
    """The private listener did not take us: the stand-in is broken, not the device."""


def text(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(data)) + data


def remaining(length):
    out = bytearray()
    while True:
        length, digit = divmod(length, 128)
        out.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(out)


def connect_packet(client_id, user, password, clean=True):
    flags = 0xC0 | (0x02 if clean else 0)
    body = text("MQTT") + bytes([4, flags]) + struct.pack("!H", 0) + text(client_id) + text(user) + text(password)
    return bytes([CONNECT << 4]) + remaining(len(body)) + body


def publish_head(topic, n_payload, packet_id):
    """Everything before the payload of a QoS 1 PUBLISH."""
    body = text(topic) + struct.pack("!H", packet_id)
    return b"\x32" + remaining(len(body) + n_payload) + body


def send_all(sock, buffers):
    """Writes a list of buffers with as few system calls as the kernel allows."""
    views = [memoryview(b) for b in buffers if len(b)]
    while views:
        sent = sock.sendmsg(views[:512])
        while views and sent >= len(views[0]):
            sent -= len(views.pop(0))
        if sent:
            views[0] = views[0][sent:]


def seize(port, client_id, user, password, clean):
    """Takes over the session of `client_id` and leaves: the broker closes that client's connection (P§1.3)."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
        sock.sendall(connect_packet(client_id, user, password, clean) + DISCONNECT_PACKET)
        while sock.recv(256):
            pass


class Link:
    """on_message(topic, payload) runs on the loop; on_lost() tells that the broker went away by itself."""

    def __init__(self, loop, user, password, filters, on_message, on_lost, client_id="stand-in"):
        self._loop, self._filters = loop, filters
        self._user, self._password, self._client_id = user, password, client_id
        self._on_message, self._on_lost = on_message, on_lost
        self._sock, self._buffer = None, bytearray()
        self._send_lock, self._packet_id = threading.Lock(), 0

    def open(self, port):
        """Connects and subscribes; returns when the broker has accepted both."""
        sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(connect_packet(self._client_id, self._user, self._password))
        if self._await(sock, CONNACK)[1] != 0:
            raise LinkError("the broker refused the services' connection")
        body = struct.pack("!H", 1) + b"".join(text(f) + b"\x00" for f in self._filters)
        sock.sendall(bytes([SUBSCRIBE << 4 | 2]) + remaining(len(body)) + body)
        if max(self._await(sock, SUBACK)[2:]) > 2:
            raise LinkError("the broker refused the services' subscriptions")
        sock.settimeout(None)
        self._buffer.clear()
        self._sock = sock
        self._loop.watch(sock, lambda: self._read(sock))

    def close(self):
        sock, self._sock = self._sock, None
        if sock:
            self._loop.forget(sock)
            sock.close()

    def publish(self, topic, *pieces):
        """Sends one message made of buffers. False if the broker is down."""
        return self.publish_many(topic, [pieces])

    def publish_many(self, topic, messages):
        """Sends several messages on one topic; each is a sequence of buffers."""
        with self._send_lock:
            if not self._sock:
                return False
            buffers = []
            for pieces in messages:
                self._packet_id = self._packet_id % 65535 + 1
                buffers.append(publish_head(topic, sum(map(len, pieces)), self._packet_id))
                buffers.extend(pieces)
            try:
                send_all(self._sock, buffers)
            except OSError:
                return False
        return True

    @staticmethod
    def _await(sock, kind):
        head = sock.recv(2, socket.MSG_WAITALL)
        if len(head) < 2 or head[0] >> 4 != kind:
            raise LinkError(f"the broker answered {head.hex()} instead of packet {kind}")
        return sock.recv(head[1], socket.MSG_WAITALL)

    def _read(self, sock):
        try:
            data = sock.recv(1 << 18, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            if sock is self._sock:
                self.close()
                self._on_lost()
            return
        self._buffer += data
        while self._packet():
            pass

    def _packet(self):
        buffer, length, shift, at = self._buffer, 0, 0, 1
        while True:
            if at >= len(buffer):
                return False
            length |= (buffer[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not buffer[at - 1] & 0x80:
                break
        if len(buffer) < at + length:
            return False
        kind, body = buffer[0], bytes(buffer[at:at + length])
        del buffer[:at + length]
        if kind >> 4 == PUBLISH:                     # subscribed with QoS 0, so there is no packet id
            n_topic = struct.unpack_from("!H", body)[0]
            self._on_message(body[2:2 + n_topic].decode(), body[2 + n_topic:])
        return True
