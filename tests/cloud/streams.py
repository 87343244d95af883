"""MQTT-based file delivery: GetStream and DescribeStream in CBOR and JSON (P§4).

Blocks leave as the real service sends them: an indefinite-length CBOR map with the keys in the order f, i, l, p, c.
The image is never copied: a block is a small head, a view into the image and a small tail, handed to the socket
together. Requests are checked against every limit of P§4.2 and refused with the codes of P§4.5, whose answers carry
the long and the short keys, as real ones do.
"""

import base64
import binascii
import json
import struct
import time
from dataclasses import dataclass
from typing import Any, Dict

import cbor2

from .faults import Event

MIN_BLOCK, MAX_BLOCK, MAX_OFFSET, MAX_COUNT = 256, 131072, 98304, 98304
MAX_BITMAP, MAX_TOKEN, MAX_ANSWER = 12288, 64, 131072
MAX_FILE, MAX_FILES = 24 * 1024 * 1024, 10
MAX_MESSAGES, BYTES_PER_SECOND = 100, 512 * 1024
MAX_PAYLOAD = 131072
GET_MEMBERS, DESCRIBE_MEMBERS = set("csflonb"), set("c")


class StreamRefusal(Exception):
    def __init__(self, code, message, fault="stream-request"):
        super().__init__(message)
        self.code, self.message, self.fault = code, message, fault


@dataclass
class StreamFile:
    id: int
    object: Any         # storage.StoredObject
    etag: str           # the object's when the stream was made; another one now is ETagMismatch


@dataclass
class Stream:
    id: str
    files: Dict[int, StreamFile]
    description: str = ""
    version: int = 1
    authorized: bool = True         # False: the stream's role may not read the object any more


def uint(value, major=0):
    """The head of a CBOR item: an unsigned integer, or with another major type a length."""
    if value < 24:
        return bytes([major << 5 | value])
    for code, fmt in ((24, "!BB"), (25, "!BH"), (26, "!BI")):
        if value < 1 << (8 << (code - 24)):
            return struct.pack(fmt, major << 5 | code, value)
    return struct.pack("!BQ", major << 5 | 27, value)


def cbor_text(value):
    data = value.encode("utf-8", "surrogatepass")
    return uint(len(data), 3) + data


def block_pieces(file_id, index, data, token):
    """One data message as buffers: head, bytes of the image, tail (P§4.3, vectors V4 and V6)."""
    head = b"\xbfaf" + uint(file_id) + b"ai" + uint(index) + b"al" + uint(len(data)) + b"ap" + uint(len(data), 2)
    return head, data, (b"ac" + cbor_text(token) if token is not None else b"") + b"\xff"


def rejection(code, message, token):
    """Both key styles in one indefinite map, the token last and only if there was one (vector V9)."""
    pairs = [("code", code), ("o", code), ("message", message), ("m", message)]
    if token is not None:
        pairs += [("clientToken", token), ("c", token)]
    return pairs


def encode_indefinite(value):
    """Maps and arrays of indefinite length, as the service encodes them (vector V8)."""
    if isinstance(value, dict):
        return b"\xbf" + b"".join(cbor_text(k) + encode_indefinite(v) for k, v in value.items()) + b"\xff"
    if isinstance(value, list):
        return b"\x9f" + b"".join(map(encode_indefinite, value)) + b"\xff"
    return cbor2.dumps(value)


def wanted_blocks(request, n_blocks):
    """The block numbers a valid request asks for, before the 128 KB limit. Raises StreamRefusal."""
    offset, bitmap = request.get("o", 0), request.get("b")
    if bitmap is None:
        count = request.get("n", MAX_ANSWER // request["l"])
        wanted, last = range(offset, offset + count), offset + count - 1
    else:
        bits = [8 * j + k for j, byte in enumerate(bitmap) if byte for k in range(8) if byte >> k & 1]
        if not bits:
            raise StreamRefusal("InvalidRequest", "the bitmap asks for no block")
        wanted, last = [offset + bit for bit in bits[:request.get("n")]], offset + bits[-1]
    if last >= n_blocks:
        raise StreamRefusal("InvalidRequest", f"the requested data is out of the available range: block {last} of "
                            f"{n_blocks}")
    return list(wanted)


class StreamsService:
    """publish_many(topic, messages) sends messages made of buffers. With `throttle` it is as slow as AWS."""

    def __init__(self, record, loop, faults, publish_many, throttle=False):
        self._record, self._loop, self._faults, self._publish_many = record, loop, faults, publish_many
        self.streams = {}
        self.throttle = throttle
        self._paces = {}

    def create(self, stream_id, objects, description=""):
        """CreateStream: `objects` are {file id: stored object}."""
        if not 1 <= len(objects) <= MAX_FILES:
            raise ValueError(f"a stream has 1 to {MAX_FILES} files")
        for obj in objects.values():
            if obj.size > MAX_FILE:
                raise ValueError(f"{obj.key} has {obj.size} bytes, streams deliver {MAX_FILE} at most")
        files = {i: StreamFile(i, obj, obj.etag) for i, obj in objects.items()}
        self.streams[stream_id] = Stream(stream_id, files, description)
        return self.streams[stream_id]

    def handle(self, thing, path, payload):
        """One request; `path` is the topic behind `streams/`. Returns False if it names no operation."""
        parts = path.split("/")
        if len(parts) != 3 or parts[1] not in ("get", "describe") or parts[2] not in ("cbor", "json"):
            return False
        stream_id, operation, form = parts
        topic = f"$aws/things/{thing}/streams/{path}"
        prefix = f"$aws/things/{thing}/streams/{stream_id}/"
        request = token = None
        try:
            try:
                request = self._decode(form, payload)
            finally:
                self._record.message("device", thing, topic, payload if request is None else request, len(payload))
            token = self._token(request)
            self._check(operation, request)
            stream = self.streams.get(stream_id)
            if not stream:
                raise StreamRefusal("ResourceNotFound", f"no such stream: {stream_id}", fault="unknown-stream")
            if operation == "get":
                blocks, file = self._select(stream, request)
            else:
                blocks, file = [], None
            event = self._faults.fire(Event("stream.request", thing, topic, operation=operation, stream=stream_id,
                                            payload=payload, blocks=blocks))
            if event.dropped:
                self._note(thing, topic, event)
                return True
            if event.refusal:
                raise StreamRefusal(*event.refusal, fault=None)
            if operation == "describe":
                self._describe(thing, prefix, stream, token, form)
            else:
                self._faults.deliver(event, lambda: self._send_blocks(thing, prefix, stream, file, request["l"],
                                                                      event.blocks, token, form))
        except StreamRefusal as refusal:
            if refusal.fault:
                self._record.violation(refusal.fault, f"{path}: {refusal.code}: {refusal.message}", thing)
            answer = dict(rejection(refusal.code, refusal.message, token))
            self._send_answer(thing, f"{prefix}rejected/{form}", "rejected", stream_id, answer, form)
        return True

    def invalid_topic(self, thing, topic):
        """A publish below `streams/` that maps to no operation."""
        parts = topic.split("/")
        if len(parts) >= 6:
            answer = dict(rejection("InvalidTopic", "the topic maps to no operation", None))
            form = "json" if parts[-1] == "json" else "cbor"
            self._send_answer(thing, "/".join(parts[:5]) + f"/rejected/{form}", "rejected", parts[4], answer, form)

    def _note(self, thing, topic, event):
        self._record.message("event", thing, topic, None, note=event.note)

    # Requests

    def _decode(self, form, payload):
        code = "InvalidCbor" if form == "cbor" else "InvalidJson"
        try:
            request = cbor2.loads(payload) if form == "cbor" else json.loads(payload)
        except Exception as error:      # noqa: cbor2 raises many kinds
            raise StreamRefusal(code, f"undecodable: {error}") from None
        if not isinstance(request, dict):
            raise StreamRefusal(code, "not a map")
        for key, value in request.items():
            if key in ("c",):
                fine = isinstance(value, str)
            elif key == "b":
                fine = isinstance(value, bytes) if form == "cbor" else isinstance(value, str)
            elif key in ("s", "f", "l", "o", "n"):
                fine = isinstance(value, int) and not isinstance(value, bool) and value >= 0
            else:
                fine = True
            if not fine:
                raise StreamRefusal(code, f"member {key} has the wrong type")
        if form == "json" and "b" in request:
            try:
                request["b"] = base64.b64decode(request["b"], validate=True)
            except (binascii.Error, ValueError):
                raise StreamRefusal("InvalidJson", "b is not base64") from None
        return request

    @staticmethod
    def _token(request):
        token = request.get("c")
        if token is not None and len(token.encode("utf-8", "surrogatepass")) > MAX_TOKEN:
            raise StreamRefusal("InvalidRequest", f"c has more than {MAX_TOKEN} bytes")
        return token

    def _check(self, operation, request):
        unknown = set(request) - (GET_MEMBERS if operation == "get" else DESCRIBE_MEMBERS)
        if unknown:
            self._record.violation("unknown-member", f"stream {operation}: {', '.join(map(str, unknown))}")
        if operation == "describe":
            return
        for key, what in (("f", "file id"), ("l", "block size")):
            if key not in request:
                raise StreamRefusal("InvalidRequest", f"no {what}")
        if not MIN_BLOCK <= request["l"] <= MAX_BLOCK:
            raise StreamRefusal("BlockSizeOutOfBounds", f"block size must be {MIN_BLOCK} to {MAX_BLOCK}")
        if request["f"] > 255:
            raise StreamRefusal("InvalidRequest", "file id must be 0 to 255")
        if request.get("s", 0) > 65535:
            raise StreamRefusal("InvalidRequest", "stream version must be 0 to 65535")
        if request.get("o", 0) > MAX_OFFSET:
            raise StreamRefusal("OffsetOutOfBounds", f"block offset must be 0 to {MAX_OFFSET}")
        if request.get("n", 0) > MAX_COUNT:
            raise StreamRefusal("BlockCountLimitExceeded", f"number of blocks must be 0 to {MAX_COUNT}")
        if len(request.get("b", b"")) >= MAX_BITMAP:
            raise StreamRefusal("BlockBitmapLimitExceeded", f"the bitmap must have less than {MAX_BITMAP} bytes")

    def _select(self, stream, request):
        if not stream.authorized:
            raise StreamRefusal("Unauthorized", "no permission to the stream's data", fault=None)
        if request.get("s", stream.version) != stream.version:
            raise StreamRefusal("VersionMismatch", f"the stream has version {stream.version}", fault=None)
        file = stream.files.get(request["f"])
        if not file:
            raise StreamRefusal("ResourceNotFound", f"no file {request['f']} in the stream", fault="unknown-stream")
        if file.object.etag != file.etag:
            raise StreamRefusal("ETagMismatch", "the object was replaced after the stream was made", fault=None)
        size, length = file.object.size, request["l"]
        blocks = wanted_blocks(request, -(-size // length))
        total = sum(min(length, size - i * length) for i in blocks)
        if total > MAX_ANSWER:
            self._record.violation("stream-request-size", f"{total} bytes asked for at once, {MAX_ANSWER} are sent")
            sent, kept = 0, []
            for i in blocks:
                sent += min(length, size - i * length)
                if sent > MAX_ANSWER:
                    break
                kept.append(i)
            blocks = kept
        if len(blocks) > MAX_MESSAGES:
            self._record.violation("stream-burst", f"{len(blocks)} blocks asked for at once, AWS discards what is "
                                   f"over {MAX_MESSAGES} messages a second")
        return blocks, file

    # Answers

    def _describe(self, thing, prefix, stream, token, form):
        answer = {} if token is None else {"c": token}
        answer.update(s=stream.version, d=stream.description,
                      r=[{"f": f.id, "z": f.object.size} for f in stream.files.values()])
        self._send_answer(thing, f"{prefix}description/{form}", "describe", stream.id, answer, form)

    def _send_answer(self, thing, topic, operation, stream_id, answer, form):
        event = self._faults.fire(Event("stream.answer", thing, topic, operation=operation, stream=stream_id,
                                        accepted=operation != "rejected", payload=answer))
        if isinstance(event.payload, bytes):
            data = event.payload
        else:
            data = encode_indefinite(event.payload) if form == "cbor" else json.dumps(event.payload).encode()
        self._record.message("cloud", thing, topic, event.payload, len(data), event.note)
        self._faults.deliver(event, lambda: self._publish_many(topic, [(data,)]))

    def _send_blocks(self, thing, prefix, stream, file, length, blocks, token, form):
        topic = f"{prefix}data/{form}"
        view = file.object.view()
        tampered, ready = self._faults.any("stream.block"), []
        for index in blocks:
            data = view[index * length:(index + 1) * length]
            if tampered:
                self._send_tampered(thing, topic, stream, file, index, data, token, form)
                continue
            pieces = self._encode(file.id, index, data, token, form)
            if self._fits(thing, topic, file.id, index, pieces):
                ready.append(pieces)
        if ready:
            self._emit(thing, topic, ready)

    def _send_tampered(self, thing, topic, stream, file, index, data, token, form):
        event = self._faults.fire(Event("stream.block", thing, topic, stream=stream.id, file=file.id, index=index,
                                        data=data, token=token, raw=None))
        if event.raw is not None:
            pieces = (event.raw,)
        else:
            pieces = self._encode(event.file, event.index, event.data, event.token, form)
        if self._fits(thing, topic, event.file, event.index, pieces, event.note):
            self._faults.deliver(event, lambda: self._emit(thing, topic, [pieces]))

    @staticmethod
    def _encode(file_id, index, data, token, form):
        if form == "cbor":
            return block_pieces(file_id, index, data, token)
        answer = {} if token is None else {"c": token}
        answer.update(f=file_id, l=len(data), i=index, p=base64.b64encode(data).decode())
        return (json.dumps(answer).encode(),)

    def _fits(self, thing, topic, file_id, index, pieces, note=""):
        size = sum(map(len, pieces))
        self._record.message("cloud", thing, topic, {"f": file_id, "i": index}, size, note)
        if size <= MAX_PAYLOAD:
            return True
        self._record.violation("block-message-size", f"block {index} makes a message of {size} bytes, the broker "
                               f"takes {MAX_PAYLOAD}", thing)
        return False

    def _emit(self, thing, topic, messages):
        if not self.throttle:
            self._publish_many(topic, messages)
            return
        pace = self._paces.setdefault(thing, Pace())
        for pieces in messages:
            wait = pace.admit(sum(map(len, pieces)))
            if wait is None:
                self._record.message("event", thing, topic, None, note="discarded: over 100 messages a second")
            else:
                self._loop.after(wait, lambda p=pieces: self._publish_many(topic, [p]))


class Pace:
    """AWS's limits for one connection: over 100 messages a second are discarded, over 512 KB/s are late."""

    def __init__(self):
        self._sent, self._free_at = [], 0.0

    def admit(self, size):
        """Seconds to wait before sending, None to discard."""
        now = time.monotonic()
        self._sent = [t for t in self._sent if t > now - 1]
        if len(self._sent) >= MAX_MESSAGES:
            return None
        self._sent.append(now)
        self._free_at = max(self._free_at, now) + size / BYTES_PER_SECOND
        return self._free_at - now
