"""Streams: the vectors of the wire, every limit and its code, short last blocks, the two formats, throttling."""

import base64
import json
import time

import cbor2
import pytest

from cloud import OtaFile, faults
from cloud.streams import Pace, block_pieces, encode_indefinite, rejection

IMAGE = bytes(k % 251 for k in range(300))


def hexed(text):
    return bytes.fromhex(text.replace("\n", " "))


@pytest.fixture
def stream(cloud, device):
    """A stream of two files: 300 bytes, and 640 KB (2500 blocks of 256)."""
    big = bytes(range(256)) * 2500
    cloud.streams.create("s1", {0: cloud.storage.put("a", IMAGE), 1: cloud.storage.put("b", big)}, "demo")
    device.subscribe("streams/s1/data/+", "streams/s1/rejected/+", "streams/s1/description/+")
    return Stream(device)


class Stream:
    def __init__(self, device):
        self.device = device

    def ask(self, payload, n=1, operation="get", form="cbor"):
        if not isinstance(payload, bytes):
            payload = cbor2.dumps(payload) if form == "cbor" else json.dumps(payload).encode()
        self.device.publish(f"streams/s1/{operation}/{form}", payload)
        answers = [self.device.receive() for _ in range(n)]
        return answers[0] if n == 1 else answers

    def code(self, payload, form="cbor"):
        topic, answer = self.ask(payload, form=form)
        assert topic == f"streams/s1/rejected/{form}"
        answer = cbor2.loads(answer) if form == "cbor" else answer
        assert answer["o"] == answer["code"] and answer["m"] == answer["message"]
        return answer["code"]

    def blocks(self, payload, n):
        answers = self.ask(payload, n)
        return [cbor2.loads(p)["i"] for _, p in ([answers] if n == 1 else answers)]


# The numbers are those of the vectors published with the protocol reference.

def test_v1_consecutive(cloud, device, stream):
    cloud.streams.create("s1", {0: cloud.storage.put("image", bytes(647324))})
    request = hexed("a5 61 63 66 6f 74 61 64 2d 31 61 66 00 61 6c 19 10 00 61 6f 00 61 6e 18 1f")
    answers = stream.ask(request, 31)
    assert [cbor2.loads(p)["i"] for _, p in answers] == list(range(31))
    assert all(cbor2.loads(p)["c"] == "otad-1" for _, p in answers)
    cloud.assert_clean()


def test_v2_bitmap(cloud, stream):
    request = hexed("a7 61 63 61 31 61 73 01 61 66 01 61 6c 19 01 00 61 6f 14 61 6e 18 20 61 62 43 13 00 80")
    assert stream.blocks(request, 4) == [20, 21, 24, 43]
    cloud.assert_clean()


def test_v3_agent_asks_one_of_ten(cloud, device, stream):
    cloud.streams.create("s1", {0: cloud.storage.put("ten", bytes(40960))})
    request = hexed("a6 61 63 63 72 64 79 61 66 00 61 6c 19 10 00 61 6f 00 61 62 42 ff 03 61 6e 01")
    assert stream.blocks(request, 1) == [0] and device.quiet()
    cloud.assert_clean()


def test_v4_last_block(stream):
    _, answer = stream.ask({"c": "otad-1", "f": 0, "l": 256, "o": 1, "n": 1})
    assert answer == hexed("bf 61 66 00 61 69 01 61 6c 18 2c 61 70 58 2c") + bytes(range(5, 0x31)) + hexed(
        "61 63 66 6f 74 61 64 2d 31 ff")
    assert len(answer) == 69


def test_v5_same_thing_said_otherwise():
    v5 = hexed("a5 61 63 66 6f 74 61 64 2d 31 61 66 00 61 6c 18 2c 61 69 01 61 70 58 2c") + bytes(range(5, 0x31))
    assert cbor2.loads(v5) == cbor2.loads(b"".join(block_pieces(0, 1, IMAGE[256:], "otad-1"))) and len(v5) == 68


def test_v6_first_block_without_token(stream):
    _, answer = stream.ask({"f": 0, "l": 256, "n": 1})
    assert answer == hexed("bf 61 66 00 61 69 00 61 6c 19 01 00 61 70 59 01 00") + IMAGE[:256] + b"\xff"
    assert len(answer) == 274


def test_v7_v8_describe(stream):
    cut = {"c": "otad-2", "s": 1, "d": "demo", "r": [{"f": 0, "z": 300}]}
    assert encode_indefinite(cut) == hexed("bf 61 63 66 6f 74 61 64 2d 32 61 73 01 61 64 64 64 65 6d 6f 61 72 9f bf "
                                           "61 66 00 61 7a 19 01 2c ff ff ff")
    topic, answer = stream.ask(hexed("a1 61 63 66 6f 74 61 64 2d 32"), operation="describe")
    assert topic == "streams/s1/description/cbor"
    assert cbor2.loads(answer) == {**cut, "r": [{"f": 0, "z": 300}, {"f": 1, "z": 640000}]}


def test_v9_rejected():
    assert encode_indefinite(dict(rejection("ResourceNotFound", "no such file", "otad-1"))) == hexed(
        "bf 64 63 6f 64 65 70 52 65 73 6f 75 72 63 65 4e 6f 74 46 6f 75 6e 64 61 6f 70 52 65 73 6f 75 72 63 65 4e 6f 74"
        "46 6f 75 6e 64 67 6d 65 73 73 61 67 65 6c 6e 6f 20 73 75 63 68 20 66 69 6c 65 61 6d 6c 6e 6f 20 73 75 63 68 20"
        "66 69 6c 65 6b 63 6c 69 65 6e 74 54 6f 6b 65 6e 66 6f 74 61 64 2d 31 61 63 66 6f 74 61 64 2d 31 ff")


def test_bitmap_as_text_is_refused(cloud, stream):
    request = hexed("a7 61 63 61 31 61 73 01 61 66 01 61 6c 19 01 00 61 6f 14 61 6e 18 20 61 62 66 31 33 30 30 38 30")
    assert stream.code(request) == "InvalidCbor"
    assert [v.kind for v in cloud.violations] == ["stream-request"]


@pytest.mark.parametrize("request_, code", [
    (b"\xff", "InvalidCbor"), (b"", "InvalidCbor"), (cbor2.dumps([1]), "InvalidCbor"),
    ({"l": 256, "n": 1}, "InvalidRequest"), ({"f": 0, "n": 1}, "InvalidRequest"),
    ({"f": "0", "l": 256, "n": 1}, "InvalidCbor"), ({"f": 0, "l": 256, "n": -1}, "InvalidCbor"),
    ({"f": 256, "l": 256, "n": 1}, "InvalidRequest"), ({"f": 0, "l": 256, "n": 1, "c": "x" * 65}, "InvalidRequest"),
    ({"f": 0, "l": 256, "n": 1, "s": 65536}, "InvalidRequest"),
    ({"f": 0, "l": 255, "n": 1}, "BlockSizeOutOfBounds"), ({"f": 0, "l": 131073, "n": 1}, "BlockSizeOutOfBounds"),
    ({"f": 0, "l": 256, "o": 98305, "n": 1}, "OffsetOutOfBounds"),
    ({"f": 0, "l": 256, "n": 98305}, "BlockCountLimitExceeded"),
    ({"f": 1, "l": 256, "b": b"\x01" + bytes(12287)}, "BlockBitmapLimitExceeded"),
    ({"f": 0, "l": 256, "n": 3}, "InvalidRequest"), ({"f": 0, "l": 256, "o": 2, "n": 1}, "InvalidRequest"),
    ({"f": 0, "l": 256}, "InvalidRequest"), ({"f": 0, "l": 256, "b": b"\x04"}, "InvalidRequest"),
    ({"f": 0, "l": 256, "b": b"\x07", "n": 1}, "InvalidRequest"), ({"f": 0, "l": 256, "b": b"\x00"}, "InvalidRequest"),
    ({"f": 2, "l": 256, "n": 1}, "ResourceNotFound"),
])
def test_every_refusal(cloud, stream, request_, code):
    assert stream.code(request_) == code
    assert len(cloud.violations) == 1 and cloud.violations[0].kind in ("stream-request", "unknown-stream")


def test_what_a_device_cannot_know_is_no_violation(cloud, stream):
    assert stream.code({"f": 0, "l": 256, "n": 1, "s": 2, "c": "t"}) == "VersionMismatch"
    cloud.streams.streams["s1"].authorized = False
    assert stream.code({"f": 0, "l": 256, "n": 1}) == "Unauthorized"
    cloud.streams.streams["s1"].authorized = True
    cloud.streams.streams["s1"].files[0].object.replace(b"other")
    assert stream.code({"f": 0, "l": 256, "n": 1}) == "ETagMismatch"
    cloud.assert_clean()


def test_unknown_stream_and_topic(cloud, device):
    device.subscribe("streams/+/rejected/cbor")
    device.publish("streams/none/get/cbor", cbor2.dumps({"f": 0, "l": 256, "n": 1}))
    assert cbor2.loads(device.receive()[1])["code"] == "ResourceNotFound"
    device.publish("streams/none/fetch/cbor", b"")
    assert cbor2.loads(device.receive()[1])["code"] == "InvalidTopic"
    cloud.sync()
    assert [v.kind for v in cloud.violations] == ["unknown-stream", "invalid-topic"]


def test_at_most_128_kb_are_sent(cloud, device, stream):
    assert stream.blocks({"f": 1, "l": 32768, "b": b"\x7f"}, 4) == [0, 1, 2, 3]
    assert device.quiet()
    cloud.assert_clean(allow=["stream-request-size"])
    assert [v.kind for v in cloud.violations] == ["stream-request-size"]


def test_many_small_blocks_are_told(cloud, stream):
    assert len(stream.blocks({"f": 1, "l": 256, "n": 101}, 101)) == 101
    assert [v.kind for v in cloud.violations] == ["stream-burst"]


def test_block_too_large_for_a_message(cloud, device, stream):
    device.publish("streams/s1/get/cbor", cbor2.dumps({"f": 1, "l": 131072, "n": 1}))
    cloud.wait_until(lambda: cloud.violations, 5)
    assert [v.kind for v in cloud.violations] == ["block-message-size"] and device.quiet()
    assert len(stream.ask({"f": 1, "l": 65536, "n": 1})[1]) < 131072


def test_json(cloud, stream):
    topic, answer = stream.ask({"c": "j", "f": 0, "l": 256, "o": 1, "n": 1}, form="json")
    assert topic == "streams/s1/data/json"
    assert answer == {"c": "j", "f": 0, "i": 1, "l": 44, "p": base64.b64encode(IMAGE[256:]).decode()}
    assert stream.ask({"f": 0, "l": 256, "b": "Ag=="}, form="json")[1]["i"] == 1
    assert stream.code({"f": 0, "l": 256, "b": "Ag="}, form="json") == "InvalidJson"
    assert stream.ask({}, operation="describe", form="json")[1]["s"] == 1
    assert stream.code(b"{", form="json") == "InvalidJson"


def test_24_mb_and_ten_files(cloud):
    full = cloud.storage.put("full", bytes(24 * 1024 * 1024))
    assert cloud.streams.create("full", {0: full})
    for objects in ({0: cloud.storage.put("over", bytes(24 * 1024 * 1024 + 1))}, {i: full for i in range(11)}, {}):
        with pytest.raises(ValueError):
            cloud.streams.create("x", objects)
    with pytest.raises(ValueError):
        cloud.create_ota_update("dev-7", [OtaFile("big", bytes(24 * 1024 * 1024 + 1))], ["MQTT"])


def test_faults_at_blocks(cloud, device, stream):
    ask = {"f": 1, "l": 256, "n": 3}
    cloud.faults.on("stream.request", faults.backwards(), times=1)
    assert stream.blocks(ask, 3) == [2, 1, 0]
    cloud.faults.on("stream.block", faults.drop(), match=lambda e: e.index == 1, times=1)
    assert stream.blocks(ask, 2) == [0, 2] and device.quiet()
    cloud.faults.on("stream.block", faults.duplicate(), times=1)
    assert stream.blocks(ask, 4) == [0, 0, 1, 2]
    cloud.faults.on("stream.block", faults.delay(0.05), times=1)
    assert stream.blocks(ask, 3) == [1, 2, 0]
    cloud.faults.on("stream.block", faults.in_turn(faults.corrupt(3), faults.shorten(6), faults.relabel(file=9)))
    answers = [cbor2.loads(p) for _, p in stream.ask(ask, 3)]
    assert answers[0]["p"] == b"\0\1\2\2" + bytes(range(4, 256)) and answers[1]["l"] == 250 and answers[2]["f"] == 9
    rule = cloud.faults.on("stream.block", faults.raw(b"\xff"), times=1)
    assert stream.ask({"f": 1, "l": 256, "n": 1})[1] == b"\xff" and rule.hits == 1
    cloud.faults.clear()
    cloud.faults.on("stream.request", faults.refuse("InternalError"), times=1)
    assert stream.code(ask) == "InternalError"
    cloud.faults.on("stream.request", faults.drop(), times=1)
    device.publish("streams/s1/get/cbor", cbor2.dumps(ask))
    assert device.quiet()
    cloud.assert_clean()


def test_throttle_is_aws_like():
    pace = Pace()
    waits = [pace.admit(65536) for _ in range(101)]
    assert waits[100] is None and waits[0] == pytest.approx(0.125, abs=0.01)
    assert waits[8] - waits[0] == pytest.approx(1.0, abs=0.01)


def test_throttled_download(cloud, stream):
    cloud.streams.throttle = True
    started = time.monotonic()
    assert stream.blocks({"f": 1, "l": 32768, "n": 4}, 4) == [0, 1, 2, 3]
    assert 0.2 < time.monotonic() - started < 2
    cloud.assert_clean()
