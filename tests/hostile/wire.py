"""D-Bus by hand, for an attacker: every byte of a message to otad-installer is ours to choose.

    with Wire(socket_path) as wire:
        state = State(*wire.call("GetState"))
        wire.call("Begin", "ssta(stsays)", [...])          # raises Refused with the error's name and text
        wire.send(raw_bytes, fds)                           # or what no library would send

Little-endian, peer to peer, SASL EXTERNAL. Source: D-Bus Specification, "Message Protocol", "Authentication Protocol".
"""

import array
import os
import socket
import struct
import time

PATH, INTERFACE = "/org/otad1/installer", "org.otad1.Installer"
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
ALIGN = {"y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8, "d": 8, "s": 4, "o": 4, "g": 1, "a": 4,
         "h": 4, "(": 8, "{": 8, "v": 1}
NUMBER = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
STATE = "sstsssbbssta(sstttt)"
BEGIN = "ssta(stsays)"


class Refused(Exception):
    """An error came back: `name` without "org.otad1.Error." where it is one of ours."""

    def __init__(self, name, text):
        super().__init__(f"{name}: {text}")
        self.name, self.text = name.removeprefix("org.otad1.Error."), text

    @property
    def word(self):
        return self.text.partition(" ")[0]


class Hung(Exception):
    """No answer in time."""


class Gone(Exception):
    """The other side has closed the connection."""


def split(signature):
    """The single complete types of a signature."""
    out, at = [], 0
    while at < len(signature):
        end = _end(signature, at)
        out.append(signature[at:end])
        at = end
    return out


def _end(signature, at):
    if signature[at] == "a":
        return _end(signature, at + 1)
    if signature[at] not in "({":
        return at + 1
    depth = 0
    while True:
        depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(signature[at], 0)
        at += 1
        if depth == 0:
            return at


class Writer:
    def __init__(self):
        self.data = bytearray()

    def pad(self, n):
        self.data += bytes(-len(self.data) % n)

    def put(self, kind, value):
        code = kind[0]
        self.pad(ALIGN[code])
        if code in NUMBER:
            self.data += struct.pack("<" + NUMBER[code], value)
        elif code in "so":
            raw = value if isinstance(value, bytes) else value.encode()
            self.data += struct.pack("<I", len(raw)) + raw + b"\0"
        elif code == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif code == "v":
            inner, inside = value
            self.put("g", inner)
            self.put(inner, inside)
        elif code == "a":
            self._array(kind[1:], value)
        else:
            for inner, inside in zip(split(kind[1:-1]), value, strict=True):
                self.put(inner, inside)

    def _array(self, kind, values):
        at = len(self.data)
        self.data += bytes(4)
        self.pad(ALIGN[kind[0]])
        start = len(self.data)
        if kind == "y":
            self.data += bytes(values)
        else:
            for value in values:
                self.put(kind, value)
        self.data[at:at + 4] = struct.pack("<I", len(self.data) - start)


class Reader:
    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def get(self, kind):
        code = kind[0]
        self.at += -self.at % ALIGN[code]
        if code in NUMBER:
            form = "<" + NUMBER[code]
            value, = struct.unpack_from(form, self.data, self.at)
            self.at += struct.calcsize(form)
            return value
        if code in "so":
            return self._text(self.get("u"))
        if code == "g":
            return self._text(self.get("y"))
        if code == "v":
            return self.get(self.get("g"))
        if code == "a":
            size = self.get("u")
            self.at += -self.at % ALIGN[kind[1]]
            end, values = self.at + size, []
            while self.at < end:
                values.append(self.get(kind[1:]))
            return values
        return tuple(self.get(inner) for inner in split(kind[1:-1]))

    def _text(self, n):
        value = bytes(self.data[self.at:self.at + n]).decode()
        self.at += n + 1
        return value


def message(kind, serial, *, member=None, path=PATH, interface=INTERFACE, signature="", body=b"", n_fds=0, fields=None,
            body_size=None):
    """A message's bytes. `body_size` lies about the body's length; `fields` are more header fields, (code, (type, value))."""
    header = [(1, ("o", path)), (2, ("s", interface)), (3, ("s", member)), (8, ("g", signature)),
              (9, ("u", n_fds))] + (fields or [])
    header = [f for f in header if f[1][1]]
    writer = Writer()
    writer.data += struct.pack("<cBBBII", b"l", kind, 0, 1, len(body) if body_size is None else body_size, serial)
    writer.put("a(yv)", header)
    writer.pad(8)
    return bytes(writer.data) + bytes(body)


def marshal(signature, values):
    writer = Writer()
    for kind, value in zip(split(signature), values, strict=True):
        writer.put(kind, value)
    return bytes(writer.data)


class Wire:
    """One connection. `authenticate` False: nothing is sent yet."""

    def __init__(self, path, *, authenticate=True, timeout=10):
        self.timeout = timeout
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self._serial, self._data, self._fds = 0, bytearray(), []
        self.signals = []
        if authenticate:
            self.authenticate()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()
        for fd in self._fds:
            os.close(fd)
        self._fds = []

    def authenticate(self):
        uid = str(os.geteuid()).encode().hex()
        self.socket.sendall(b"\0AUTH EXTERNAL " + uid.encode() + b"\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n")
        while self._data.count(b"\r\n") < 2:
            self._receive(time.monotonic() + self.timeout)
        answer, fds, rest = bytes(self._data).split(b"\r\n", 2)
        assert answer.startswith(b"OK ") and fds == b"AGREE_UNIX_FD", self._data
        self._data = bytearray(rest)

    def send(self, data, fds=()):
        """These bytes, whole or as far as the other side takes them before it closes."""
        try:
            if fds:
                sent = self.socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
                data = data[sent:]
            self.socket.sendall(data)
        except TimeoutError:
            raise Hung("the other side does not read") from None
        except (BrokenPipeError, ConnectionResetError):
            raise Gone from None

    def start(self, member, signature="", values=(), **options):
        """Sends a call. Returns its serial."""
        self._serial += 1
        self.send(message(CALL, self._serial, member=member, signature=signature, body=marshal(signature, values),
                          **options))
        return self._serial

    def call(self, member, signature="", values=(), *, timeout=None, **options):
        """What the call answers, as a tuple; Refused, Hung or Gone else. A descriptor comes as such, ours to close."""
        return self.wait(self.start(member, signature, values, **options), timeout)

    def wait(self, serial, timeout=None):
        deadline = time.monotonic() + (timeout or self.timeout)
        while True:
            kind, fields, body, signature = self._next(deadline)
            if kind == SIGNAL:
                self.signals.append((fields[3], body))
            elif fields.get(5) == serial and kind == RETURN:
                return tuple(self._fds.pop(0) if t == "h" else v for t, v in zip(split(signature), body))
            elif fields.get(5) == serial:
                raise Refused(fields.get(4, ""), body[0] if body else "")

    def _receive(self, deadline):
        self.socket.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
        except TimeoutError:
            raise Hung(f"no answer; after {bytes(self._data)!r}") from None
        except ConnectionResetError:
            raise Gone from None
        finally:
            self.socket.settimeout(self.timeout)
        for level, kind, raw in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds += array.array("i", raw[:len(raw) - len(raw) % 4])
        if not data:
            raise Gone
        self._data += data

    def _next(self, deadline):
        while True:
            data = self._data
            if len(data) >= 16:
                n_body, _, n_fields = struct.unpack_from("<III", data, 4)
                head = 16 + n_fields + -n_fields % 8
                if len(data) >= head + n_body:
                    break
            self._receive(deadline)
        fields = dict(Reader(data, 12).get("a(yv)"))
        signature = fields.get(8, "")
        reader = Reader(bytes(data[head:head + n_body]))
        body = [reader.get(kind) for kind in split(signature)]
        kind = data[1]
        del self._data[:head + n_body]
        return kind, fields, body, signature

    def is_closed(self, timeout=0.0):
        """Whether the other side has closed, within so many seconds; what it says meanwhile is passed over."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._receive(deadline)
            except Hung:
                return False
            except Gone:
                return True


class State:
    """GetState's answer by names."""

    NAMES = ("session", "job_id", "attempt", "state", "word", "detail", "reboot_needed", "without_signature",
             "previous_version", "version", "selftest_left_usec", "files")

    def __init__(self, values):
        self.__dict__.update(zip(self.NAMES, values, strict=True))
