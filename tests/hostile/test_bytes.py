"""What an attacker who holds otad would like to have activated, and what becomes of it: never more than a slot that does
not run, marked bad."""

import os
import threading
import time

import pytest

from cloud.pki import Signer
from gateway import make_image

from .data_pipe import READER_WAITS, TAKEN, WRITER_WAITS, WRITTEN, DataPipe
from .device import SIZE, bits
from .wire import BEGIN, Refused

IMAGE = make_image("2.0.0", SIZE)
OTHER = make_image("3.0.0", SIZE)
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"


def refused(call, *args, **options):
    with pytest.raises(Refused) as caught:
        call(*args, **options)
    return caught.value


# name: (how the file of Begin() is made, word of the error at Begin(); None: Begin() takes it, so that Verify() must not)
FILES = {
    "no signature": (lambda d: d.file(IMAGE, algorithm="none", signature=b""), "signature-missing"),
    "an algorithm without a signature": (lambda d: d.file(IMAGE, signature=b""), INVALID),
    "a signature without an algorithm": (lambda d: d.file(IMAGE, algorithm="none"), INVALID),
    "an empty algorithm": (lambda d: d.file(IMAGE, algorithm="", signature=b""), INVALID),
    "an algorithm nobody knows": (lambda d: d.file(IMAGE, algorithm="sha512-ecdsa"), INVALID),
    "an algorithm that is not configured": (lambda d: d.file(IMAGE, algorithm="sha1-ecdsa"), "algorithm-refused"),
    "an algorithm of another kind of key": (lambda d: d.file(IMAGE, algorithm="sha256-rsa"), "key-mismatch"),
    "a signature of one byte": (lambda d: d.file(IMAGE, signature=b"0"), "signature-malformed"),
    "a signature of zeros": (lambda d: d.file(IMAGE, signature=bytes(70)), "signature-malformed"),
    "a signature with a byte behind it": (lambda d: d.file(IMAGE, signature=d.file(IMAGE)[3] + b"\0"),
                                          "signature-malformed"),
    "a signature beyond every bound": (lambda d: d.file(IMAGE, signature=bytes(100_000)), INVALID),
    "r and s of 0": (lambda d: d.file(IMAGE, signature=bytes.fromhex("3006020100020100")),
                     "signature-malformed"),
    "r and s of 1": (lambda d: d.file(IMAGE, signature=bytes.fromhex("3006020101020101")), None),
    "a stranger's certificate": (lambda d: d.file(IMAGE, signer=d.stranger, cert="stranger.pem"),
                                 "certificate-unknown"),
    "a stranger's signature": (lambda d: d.file(IMAGE, signer=d.stranger), None),
    "a stranger's signature, no name": (lambda d: d.file(IMAGE, signer=d.stranger, cert=""), None),
    "the signature of another image": (lambda d: d.file(OTHER), None),
    "no bytes": (lambda d: d.file(IMAGE, size=0), "image-empty"),
    "a byte more than the slot has": (lambda d: d.file(IMAGE, size=(1 << 20) + 1), "image-too-large"),
    "2^63 bytes": (lambda d: d.file(IMAGE, size=1 << 63), "image-too-large"),
    "2^64 - 1 bytes, which is -1": (lambda d: d.file(IMAGE, size=(1 << 64) - 1), "image-too-large"),
    "a target that is not configured": (lambda d: d.file(IMAGE, target="data"), "target-unknown"),
    "the other slot's name": (lambda d: d.file(IMAGE, target="A"), "target-unknown"),
    "a target with a path": (lambda d: d.file(IMAGE, target="../rootfs"), INVALID),
    "an absolute target": (lambda d: d.file(IMAGE, target="/dev/sda"), INVALID),
    "a target without a name": (lambda d: d.file(IMAGE, target=""), INVALID),
    "a target with a line end": (lambda d: d.file(IMAGE, target="rootfs\n"), INVALID),
    "a target name that is too long": (lambda d: d.file(IMAGE, target="r" * 65), INVALID),
    "a certificate above the store": (lambda d: d.file(IMAGE, cert="../stranger.pem", signer=d.stranger), "certificate-unknown"),
    "a certificate two above": (lambda d: d.file(IMAGE, cert="../../stranger.pem", signer=d.stranger), "certificate-unknown"),
    "the store itself as certificate": (lambda d: d.file(IMAGE, cert=".."), "certificate-unknown"),
    "a dot as certificate": (lambda d: d.file(IMAGE, cert="."), "certificate-unknown"),
    "a certificate by its full path": (lambda d: d.file(IMAGE, cert=str(d.stranger.path), signer=d.stranger),
                                      "certificate-unknown"),
    "a hidden certificate": (lambda d: d.file(IMAGE, cert=".codesign.pem"), "certificate-unknown"),
    "a certificate name with control characters": (lambda d: d.file(IMAGE, cert="a\x1b[2Jb"), INVALID),
    "a certificate name with C1 controls": (lambda d: d.file(IMAGE, cert="a\x9bb"), INVALID),
    "a certificate name that is too long": (lambda d: d.file(IMAGE, cert="c" * 256), INVALID),
}


@pytest.mark.parametrize("name", FILES)
def test_file(device, wire, name):
    make, expected = FILES[name]
    before = device.fingerprint()
    if expected:
        error = refused(device.begin, wire, make(device))
        assert expected in (error.word, error.name), error
    else:
        device.begin(wire, make(device))
        device.write(wire, IMAGE)
        error = refused(wire.call, "Verify")
        assert error.word in ("signature-invalid", "signature-malformed"), error
        assert refused(wire.call, "Activate").name == "OutOfTurn"
        assert device.loader.state("B") == "bad"
        state = device.state(wire)
        assert (state.state, state.word) == ("rolled-back", error.word)
    device.expect_unharmed(before)
    device.expect_works()


NAMES = {
    "a session with slashes": ("../../tmp/x#1", "job", INVALID), "a session of dots": ("..", "job", INVALID),
    "an empty session": ("", "job", INVALID), "a session with a line end": ("job#1\nstate=committed", "job", INVALID),
    "a session with an equals sign": ("job#1=", "job", INVALID), "a session with blanks": ("job #1", "job", INVALID),
    "a session that is too long": ("j" * 89, "job", INVALID), "a job with a slash": ("job#1", "a/b", INVALID),
    "a job of dots": ("job#1", "..", INVALID), "a job with a line end": ("job#1", "a\nb", INVALID),
    "an empty job": ("job#1", "", INVALID), "a job that is too long": ("job#1", "j" * 65, INVALID),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(device, wire, name):
    session, job, expected = NAMES[name]
    before = device.fingerprint()
    error = refused(device.begin, wire, device.file(IMAGE), session=session, job=job)
    assert error.name == expected
    assert not device.state(wire).session
    device.expect_unharmed(before)


def test_number_of_files(device, wire):
    before = device.fingerprint()
    file = device.file(IMAGE)
    assert refused(device.begin, wire).name == INVALID
    assert refused(device.begin, wire, *[file] * 11).name == INVALID
    assert refused(device.begin, wire, *[file] * 10_000).name == INVALID
    assert refused(device.begin, wire, file, file).word == "target-repeated"
    device.expect_unharmed(before)
    device.expect_works()


# Bytes

@pytest.mark.parametrize("data", [bits(IMAGE), OTHER, bytes(SIZE), IMAGE[:-1] + b"\0"],
                         ids=["one bit", "another image", "zeros", "last byte"])
def test_other_bytes_than_signed(device, wire, data):
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    device.write(wire, data)
    assert refused(wire.call, "Verify").word == "signature-invalid"
    assert refused(wire.call, "Activate").name == "OutOfTurn"
    device.expect_unharmed(before)


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
def test_part_or_more_of_what_was_signed(device, wire, size):
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE, size=size))
    device.write(wire, (IMAGE + b"\0")[:size])
    assert refused(wire.call, "Verify").word == "signature-invalid"
    device.expect_unharmed(before)


@pytest.mark.parametrize("offset", [0, 1, 65536, SIZE - 1])
def test_swapped_after_they_were_read_back(device, wire, offset):
    """Good bytes are hashed while the rest comes in; then Write() goes back and puts other ones in their place."""
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    device.write(wire, IMAGE)
    time.sleep(0.1)                                     # the cursor has read it all
    device.write(wire, bits(IMAGE)[offset:] if offset < SIZE // 2 else b"\0", offset=offset)
    assert refused(wire.call, "Verify").word == "signature-invalid"
    device.expect_unharmed(before)


def test_swapped_by_a_pipe_that_is_kept(device, wire):
    """The pipe of before verification: what is written into it afterwards goes nowhere."""
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    pipe = device.write(wire, IMAGE, close=False)
    wire.call("Verify")
    device.wait(lambda: device.holds("B", IMAGE), what="image")
    with pytest.raises(BrokenPipeError):
        pipe.feed(bits(IMAGE))
    pipe.close()
    assert refused(wire.call, "Write", "ut", [0, 0]).name == "OutOfTurn"
    assert device.holds("B", IMAGE)
    device.expect_unharmed(before)
    assert wire.call("Activate") == (1,)                # what is activated is what was signed
    assert device.holds("B", IMAGE)


def test_two_pipes_for_one_file(device, wire):
    """The second waits for the first, and bytes of both are never mixed unseen."""
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    first = device.write(wire, IMAGE[:1000], close=False)
    serial = wire.start("Write", "ut", [0, 1000])
    error = refused(wire.call, "Write", "ut", [0, 1000])        # a third does not even wait
    assert error.name == "Busy"
    first.feed(bits(IMAGE)[1000:2000])
    first.close()
    second = DataPipe(*wire.wait(serial))                       # it goes back to where it was asked for
    second.feed(IMAGE[1000:])
    second.close()
    wire.call("Verify")
    assert device.holds("B", IMAGE)
    device.expect_unharmed(before)


def test_more_bytes_than_said(device, wire):
    """What follows the size is not written, and the pipe is closed."""
    before = device.fingerprint()
    with open(device.slots["B"], "rb") as slot:
        tail = slot.read()[SIZE:]
    device.begin(wire, device.file(IMAGE))
    pipe = DataPipe(*wire.call("Write", "ut", [0, 0]))
    with pytest.raises((BrokenPipeError, TimeoutError)):
        pipe.feed(IMAGE + b"X" * 3_000_000, timeout=5)
    pipe.close()
    wire.call("Verify")
    with open(device.slots["B"], "rb") as slot:
        assert slot.read() == IMAGE + tail
    device.expect_unharmed(before)


@pytest.mark.parametrize("count", [1 << 31, (1 << 32) - 1, 2_000_000])
def test_impossible_count(device, wire, count):
    """More bytes than the ring has: the pipe is closed, what was there before counts, and no byte from beyond is read."""
    before = device.fingerprint()
    file = device.file(IMAGE)
    device.begin(wire, file)
    pipe = device.write(wire, IMAGE[:100_000], close=False)
    device.wait(lambda: pipe.counts[TAKEN] == 100_000, what="first bytes")
    pipe.counts[WRITTEN] = (100_000 + count) % (1 << 32)
    pipe.ring_bell()
    device.wait(lambda: refused(wire.call, "Verify").name == "OutOfTurn", what="end of the pipe")
    with pytest.raises(BrokenPipeError):
        pipe.feed(IMAGE * 20)
    pipe.close()
    assert device.begin(device.connect(), file) == [100_000]
    device.write(wire, IMAGE[100_000:], offset=100_000)
    wire.call("Verify")
    device.expect_unharmed(before)


def test_what_is_not_ours_to_write(device, wire):
    """The reader's own count, and both wishes for a bell, at all times anything: at most the attacker waits in vain."""
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    pipe = device.write(wire, IMAGE[:70_000], close=False)
    for value in (0, 1, 1 << 31, (1 << 32) - 1):
        pipe.counts[TAKEN] = pipe.counts[READER_WAITS] = pipe.counts[WRITER_WAITS] = value
        for _ in range(300):
            pipe.ring_bell()
    with pytest.raises(PermissionError):        # or it would be a SIGBUS there
        os.ftruncate(pipe.memory_fd, 0)
    pipe.counts[TAKEN] = 70_000
    pipe.feed(IMAGE[70_000:])
    pipe.close()
    wire.call("Verify")
    assert device.holds("B", IMAGE)
    device.expect_unharmed(before)


def test_bytes_that_change_while_they_are_read(make_device):
    """What is judged was read from the target: the bytes in the ring may be any at any time."""
    device = make_device(slot_size=4_000_000)
    image = make_image("2.0.0", 3_000_000)
    wire, stop = device.connect(), threading.Event()
    before = device.fingerprint()
    device.begin(wire, device.file(image))
    pipe = device.write(wire, b"", close=False)

    def flicker():
        while not stop.is_set():
            pipe.memory[-pipe.size:] = os.urandom(pipe.size)
    thread = threading.Thread(target=flicker)
    thread.start()
    try:
        pipe.feed(image)
    finally:
        stop.set()
        thread.join(15)
    pipe.close()
    with pytest.raises(Refused) as error:
        wire.call("Verify")
    assert error.value.word == "signature-invalid" and not device.holds("B", image)
    device.expect_unharmed(before)


def test_offsets(device, wire):
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    for offset in (1, SIZE, SIZE + 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1):
        assert refused(wire.call, "Write", "ut", [0, offset]).name == "OutOfTurn", offset
    for file in (1, 9):
        assert refused(wire.call, "Write", "ut", [file, 0]).name == "OutOfTurn", file
    for file in (10, 255, 1 << 31, (1 << 32) - 1):
        assert refused(wire.call, "Write", "ut", [file, 0]).name == INVALID, file
    device.write(wire, IMAGE)
    assert refused(wire.call, "Write", "ut", [0, SIZE + 1]).name == "OutOfTurn"
    wire.call("Verify")
    device.expect_unharmed(before)


def test_pipe_closed_half_way(device, wire):
    """What was received is kept; nothing of it counts before it is whole."""
    before = device.fingerprint()
    file = device.file(IMAGE)
    device.begin(wire, file)
    for _ in range(50):                                 # opened and closed again and again
        os.close(wire.call("Write", "ut", [0, 0])[0])
    device.write(wire, IMAGE[:12345])
    assert refused(wire.call, "Verify").name == "OutOfTurn"
    assert refused(wire.call, "Activate").name == "OutOfTurn"
    wire.close()
    again = device.connect()
    assert device.begin(again, file) == [12345]
    device.write(again, IMAGE[12345:], offset=12345)
    again.call("Verify")
    assert device.holds("B", IMAGE)
    device.expect_unharmed(before)


def test_file_target(make_device):
    """The same for a file: what runs is not touched, and nothing is left beside it."""
    device = make_device(slot_size=0, files=["app"])
    device.slots = {}
    wire = device.connect()
    app = device.files["app"]
    before, listing = app.read_bytes(), sorted(os.listdir(app.parent))
    image = make_image("2.0.0", 5000)
    device.begin(wire, device.file(image, target="app"))
    device.write(wire, bits(image))
    assert refused(wire.call, "Verify").word == "signature-invalid"
    assert app.read_bytes() == before and sorted(os.listdir(app.parent)) == listing
    wire.call("Release")
    for size in (1 << 62, (1 << 64) - 1):
        error = refused(device.begin, wire, device.file(image, target="app", size=size), session=f"s#{size % 7}")
        assert error.word in ("no-space", "image-too-large"), error
    assert app.read_bytes() == before and sorted(os.listdir(app.parent)) == listing
    assert not device.hook_calls("activate")


def test_signer_without_code_signing(device, wire):
    """Trusted by somebody's mistake, but not made for code."""
    device.trust_signer(Signer(device.folder.parent, "server", wrong_usage=True))
    before = device.fingerprint()
    wrong = Signer(device.folder.parent, "server")
    error = refused(device.begin, wire, device.file(IMAGE, signer=wrong, cert="server.pem"))
    assert error.word == "certificate-usage"
    device.expect_unharmed(before)


def test_trust_withdrawn_between_begin_and_verify(device, wire):
    device.begin(wire, device.file(IMAGE))
    device.write(wire, IMAGE)
    (device.trust / "codesign.pem").unlink()
    before = device.fingerprint()
    assert refused(wire.call, "Verify").word == "certificate-unknown"
    device.expect_unharmed(before)


def test_begin_says_nothing_of_other_files(device, wire):
    """What Begin() was given cannot be changed by a second one of the same name: size, signature, certificate."""
    before = device.fingerprint()
    file = device.file(IMAGE)
    device.begin(wire, file)
    for other in (device.file(OTHER), ("rootfs", SIZE - 1, *file[2:]), (*file[:4], ""), file[:3] + (b"0", file[4])):
        assert refused(wire.call, "Begin", BEGIN, ["job#1", "job", 1, [other]]).name == "OutOfTurn"
    assert refused(device.begin, wire, file, attempt=2).name == "OutOfTurn"
    device.write(wire, OTHER)
    assert refused(wire.call, "Verify").word == "signature-invalid"
    device.expect_unharmed(before)
