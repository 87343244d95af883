"""What no D-Bus library would send, and too much of what it would: the installer stays, answers others, and stays small."""

import fcntl
import os
import random
import resource
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

from gateway import make_image

from .device import SIZE
from .wire import BEGIN, CALL, RETURN, SIGNAL, STATE, Gone, Hung, Refused, State, Wire, marshal, message

IMAGE = make_image("2.0.0", SIZE)
NO_METHOD = "org.freedesktop.DBus.Error.UnknownMethod"
INVALID = "org.freedesktop.DBus.Error.InvalidArgs"
PEERS_MAX = 16                          # include/link/peer-bus.h
AUTH_SECONDS = 5                        # PEER_BUS_AUTH_TIMEOUT_MSEC


def rss_kib(device):
    for line in Path(f"/proc/{device.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def n_fds(device):
    return len(os.listdir(f"/proc/{device.pid}/fd"))


def n_queued(wire):
    """Bytes we have sent and the other side has not read."""
    return struct.unpack("i", fcntl.ioctl(wire.socket, termios.TIOCOUTQ, bytes(4)))[0]


def is_sanitized(device):
    return b"__asan_init" in Path(f"/proc/{device.pid}/exe").read_bytes()


# Types

WRONG_TYPES = [
    ("GetState", "s", ["x"]), ("GetState", "t", [1]), ("Verify", "u", [1]), ("Commit", "b", [1]), ("Release", "s", [""]),
    ("Write", "", []), ("Write", "u", [0]), ("Write", "tu", [0, 0]), ("Write", "utt", [0, 0, 0]), ("Write", "ss", ["0", "0"]),
    ("Write", "ix", [-1, -1]), ("Write", "it", [-1, 0]), ("Write", "ux", [0, -1]), ("Write", "ud", [0, 1e300]),
    ("Write", "vv", [("u", 0), ("t", 0)]), ("Write", "(ut)", [(0, 0)]), ("Write", "au", [[0, 0]]),
    ("RollBack", "", []), ("RollBack", "s", ["cancelled"]), ("RollBack", "st", ["cancelled", 0]), ("RollBack", "sss", ["a", "b", "c"]),
    ("Begin", "", []), ("Begin", "sst", ["job#1", "job", 1]), ("Begin", "ssta(sts)", ["job#1", "job", 1, []]),
    ("Begin", "ssta(stsays)s", ["job#1", "job", 1, [], ""]), ("Begin", "sssa(stsays)", ["job#1", "job", "1", []]),
    ("Begin", "sstas", ["job#1", "job", 1, ["rootfs"]]), ("Begin", "sstv", ["job#1", "job", 1, ("s", "")]),
    ("Begin", "sstaa(stsays)", ["job#1", "job", 1, [[]]]), ("Begin", "ssta(sxsays)", ["job#1", "job", 1, [("rootfs", -1, "none", [], "")]]),
    ("Begin", "ssta(stsayo)", ["job#1", "job", 1, [("rootfs", 1, "none", [], "/x")]]),
]


def test_wrong_types(device, wire, tally):
    tally(len(WRONG_TYPES))
    before = device.fingerprint()
    for member, signature, values in WRONG_TYPES:
        with pytest.raises(Refused) as refused:
            wire.call(member, signature, values)
        assert refused.value.name == INVALID, (member, signature, refused.value)
    device.expect_unharmed(before)


def test_calls_there_are_none_of(device, wire):
    before = device.fingerprint()
    for options in ({"member": "Install"}, {"member": "verify"}, {"member": "GetState", "interface": "org.otad1.Manager"},
                    {"member": "GetState", "path": "/"}, {"member": "GetState", "path": "/org/otad1/installer/x"},
                    {"member": "Set", "interface": "org.freedesktop.DBus.Properties"},
                    {"member": "Progress"}, {"member": "StateChanged"}):
        member = options.pop("member")
        with pytest.raises(Refused) as refused:
            wire.call(member, **options)
        assert refused.value.name.rsplit(".", 1)[1] in ("UnknownMethod", "UnknownObject", "UnknownInterface", "InvalidArgs",
                                                       "InvalidSignature"), refused.value
    assert wire.call("Ping", interface="org.freedesktop.DBus.Peer") == ()
    device.expect_unharmed(before)


def test_signals_and_answers_nobody_asked_for(device, wire):
    """What the installer itself would say, said to it."""
    before = device.fingerprint()
    state = list(wire.call("GetState"))
    state[3] = "testing"
    wire.send(message(SIGNAL, 7, member="StateChanged", signature=STATE, body=marshal(STATE, state)))
    wire.send(message(SIGNAL, 8, member="Progress", signature="uttt", body=marshal("uttt", [0, 1, 1, 1])))
    wire.send(message(RETURN, 9, fields=[(5, ("u", 1))]))
    wire.send(message(SIGNAL, 10, member="Disconnected", path="/org/freedesktop/DBus/Local",
                      interface="org.freedesktop.DBus.Local"))
    try:
        assert State(wire.call("GetState")).state == "idle"
    except Gone:
        pass                                    # taken for the end of the connection: its own loss
    device.expect_unharmed(before)


# Bytes

def header(order=b"l", kind=CALL, flags=0, version=1, n_body=0, serial=1, n_fields=0):
    return struct.pack("<cBBBIII", order, kind, flags, version, n_body, serial, n_fields)


GOOD = message(CALL, 5, member="GetState")
NESTED = "a" * 33 + "s"
BAD_BYTES = {
    "zeros": bytes(64), "ones": b"\xff" * 64, "text": b"GET / HTTP/1.1\r\n\r\n", "another byte order": b"B" + GOOD[1:],
    "an unknown byte order": b"x" + GOOD[1:], "a version nobody knows": GOOD[:3] + b"\x02" + GOOD[4:],
    "an unknown kind": GOOD[:1] + b"\x09" + GOOD[2:], "kind 0": GOOD[:1] + b"\x00" + GOOD[2:], "serial 0": message(CALL, 0, member="GetState"),
    "no fields": header() , "a body of 4 GiB": header(n_body=0xffffffff), "fields of 4 GiB": header(n_fields=0xffffffff),
    "more than 128 MiB": header(n_body=1 << 27), "fields of 64 MiB": header(n_fields=(1 << 26) + 1),
    "a body there is less of": message(CALL, 5, member="Write", signature="ut", body=marshal("ut", [0, 0]), body_size=8) + GOOD,
    "a body without a signature": message(CALL, 5, member="GetState", body=b"12345678"),
    "a signature without a body": message(CALL, 5, member="Write", signature="ut"),
    "a signature nested too deep": message(CALL, 5, member="GetState", signature=NESTED, body=bytes(4)),
    "a signature that is none": message(CALL, 5, member="GetState", signature="(((", body=bytes(4)),
    "an array beyond the body": message(CALL, 5, member="Begin", signature="ay", body=struct.pack("<I", 1 << 25)),
    "an array of 64 MiB and more": message(CALL, 5, member="Begin", signature="ay", body=struct.pack("<I", (1 << 26) + 1)),
    "a string beyond the body": message(CALL, 5, member="RollBack", signature="ss", body=struct.pack("<I", 0xfffffff0)),
    "a string with a NUL": message(CALL, 5, member="RollBack", signature="ss",
                                   body=marshal("s", [b"cance\0led"]) + bytes(2) + marshal("s", [b"x"])),
    "a string that is no UTF-8": message(CALL, 5, member="RollBack", signature="s", body=marshal("s", [b"\xff\xfe\xed\xa0\x80"])),
    "a string without an end": message(CALL, 5, member="RollBack", signature="s", body=struct.pack("<I", 4) + b"abcde"),
    "padding that is not 0": message(CALL, 5, member="Write", signature="ut", body=b"\0\0\0\0\1\1\1\1" + bytes(8)),
    "a bool of 2": message(CALL, 5, member="Commit", signature="b", body=struct.pack("<I", 2)),
    "a path that is none": message(CALL, 5, member="GetState", path="org/otad1"), "a path upwards": message(CALL, 5, member="GetState", path="/org/../otad1"),
    "a member with a slash": message(CALL, 5, member="../GetState"), "an interface without a dot": message(CALL, 5, member="GetState", interface="x"),
    "no member": message(CALL, 5), "a field twice": message(CALL, 5, member="GetState", fields=[(3, ("s", "Commit"))]),
    "a field of another type": message(CALL, 5, fields=[(3, ("u", 7))]), "a descriptor there is none of": message(CALL, 5, member="GetState", n_fds=250),
    "half a message": GOOD[:40], "one byte": b"l",
}


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes(device, wire, name):
    """An error, or the end of that connection; never of anything else."""
    before = device.fingerprint()
    try:
        wire.send(BAD_BYTES[name])
        wire.is_closed(0.05)
    except Gone:
        pass
    wire.close()
    device.expect_unharmed(before)


def test_random_bytes(device, tally):
    """A few hundred messages, each with some bits changed."""
    tally(400)
    before, chance = device.fingerprint(), random.Random(3)
    good = [GOOD, message(CALL, 2, member="Write", signature="ut", body=marshal("ut", [0, 0])),
            message(CALL, 3, member="Begin", signature=BEGIN, body=marshal(BEGIN, ["job#1", "job", 1, [device.file(IMAGE)]])),
            message(CALL, 4, member="RollBack", signature="ss", body=marshal("ss", ["cancelled", "x"]))]
    wire = device.connect()
    for _ in range(400):
        data = bytearray(chance.choice(good))
        for _ in range(chance.randint(1, 6)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 0x7f, 0x80, 0xff, chance.randrange(256)))
        try:
            wire.send(bytes(data))
            if wire.is_closed(0.001):
                raise Gone
        except Gone:
            wire.close()
            wire = device.connect()
    wire.close()
    assert not device.hook_calls("activate")
    device.check()
    assert device.fingerprint() == before or device.loader.primary == "A"
    device.expect_unharmed(before)


AUTH = {
    "nothing at all": b"", "no NUL first": b"AUTH EXTERNAL 30\r\nBEGIN\r\n", "anonymous": b"\0AUTH ANONYMOUS\r\nBEGIN\r\n",
    "another user": b"\0AUTH EXTERNAL " + b"4242".hex().encode() + b"\r\nBEGIN\r\n", "cookies": b"\0AUTH DBUS_COOKIE_SHA1 30\r\nBEGIN\r\n",
    "begins at once": b"\0BEGIN\r\n" + GOOD, "a line without an end": b"\0AUTH " + b"A" * 100_000, "binary": b"\0" + bytes(range(256)) * 100,
    "ten thousand lines": b"\0" + b"AUTH X\r\n" * 10_000, "half of it": b"\0AUTH EXTERNAL",
}


def test_authentication(device, tally):
    """All at once; each is let in only by its kernel-given user, and dropped when it does not come to an end."""
    tally(len(AUTH))
    before, wires = device.fingerprint(), {}
    for name, data in AUTH.items():
        wires[name] = device.connect(authenticate=False)
        try:
            wires[name].send(data)
        except (Gone, Hung):
            pass
    started = time.monotonic()
    assert State(device.connect().call("GetState")).state == "idle"         # nobody else waits for them
    for name, wire in wires.items():
        assert wire.is_closed(AUTH_SECONDS + 10), name
    assert time.monotonic() - started < AUTH_SECONDS + 10
    device.expect_unharmed(before)


def test_slow_loris(device):
    """Connections that take all seats and send a byte now and then: gone after the deadline, however busy they look."""
    before = device.fingerprint()
    wires = [device.connect(authenticate=False) for _ in range(PEERS_MAX)]
    slow = b"\0AUTH EXTERNAL " + b"3" * 1000
    started, open_ones = time.monotonic(), set(wires)
    at = 0
    while open_ones and time.monotonic() - started < AUTH_SECONDS + 3:
        for wire in list(open_ones):
            try:
                wire.send(slow[at:at + 1])
            except (Gone, OSError):
                open_ones.discard(wire)
        at += 1
        time.sleep(0.05)
    assert not open_ones and time.monotonic() - started > AUTH_SECONDS - 1
    assert State(device.connect().call("GetState")).state == "idle"
    device.expect_unharmed(before)
    device.expect_works()


# Much

def test_a_thousand_connections(device):
    before, first = device.fingerprint(), device.connect()
    first.call("GetState")
    n_before, sockets = n_fds(device), []
    for _ in range(1000):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(str(device.socket))
        sockets.append(sock)
    assert State(first.call("GetState")).state == "idle"                    # who is in is served
    assert n_fds(device) <= n_before + 3 * PEERS_MAX
    for sock in sockets:
        sock.close()
    device.wait(lambda: n_fds(device) <= n_before, what="end of the connections")
    first.close()
    device.expect_unharmed(before)


def test_comes_and_goes(device):
    before, n_before = device.fingerprint(), None
    for i in range(300):
        with device.connect() as wire:
            wire.start("GetState")
            if i % 3 == 0:
                wire.start("Begin", BEGIN, ["job#1", "job", 1, [device.file(b"x", signature=b"0")]])
        n_before = n_before or n_fds(device)
    device.wait(lambda: n_fds(device) <= n_before + 2, what="end of the connections")
    device.expect_unharmed(before)


def test_descriptors(device, wire):
    """Descriptors nobody asked for are closed again. A message that is never finished cannot heap them up either: hooks and
    boot scripts need some, and a rollback that cannot start its boot script would be no rollback."""
    before, n_before = device.fingerprint(), n_fds(device)
    limits = resource.prlimit(device.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(device.pid, resource.RLIMIT_NOFILE, (1024, limits[1]))
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
    try:
        for serial in range(2, 12):
            wire.send(message(CALL, serial, member="GetState", n_fds=200), fds)
        try:
            wire.call("GetState")
        except Gone:
            pass
        wire.close()
        device.wait(lambda: n_fds(device) < n_before, what="end of the descriptors of whole messages")
        hoarders, most = [device.connect() for _ in range(3)], 0
        for hoarder in hoarders:
            hoarder.send(header(n_body=100_000, n_fields=0))
        for _ in range(20):
            for hoarder in hoarders:
                try:
                    hoarder.send(b"\0", fds)
                except Gone:
                    pass
            most = max(most, n_fds(device))
        assert all(hoarder.is_closed(5) for hoarder in hoarders) and most < 1000
        device.wait(lambda: n_fds(device) < n_before, what="end of the descriptors of unfinished messages")
    finally:
        for fd in fds:
            os.close(fd)
    device.expect_unharmed(before)
    device.expect_works()


def test_out_of_descriptors(make_device):
    """With none left an update fails or waits, and says so; afterwards everything is as before."""
    device = make_device()
    wire = device.connect()
    device.begin(wire, device.file(IMAGE))
    before = device.fingerprint()
    limits = resource.prlimit(device.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(device.pid, resource.RLIMIT_NOFILE, (n_fds(device), limits[1]))
    with pytest.raises(Refused) as refused:
        wire.call("Write", "ut", [0, 0])
    assert (refused.value.name, State(wire.call("GetState")).state) == ("Busy", "downloading")
    resource.prlimit(device.pid, resource.RLIMIT_NOFILE, limits)
    device.write(wire, IMAGE)
    wire.call("Verify")
    device.expect_unharmed(before)


def test_thousands_of_calls_at_once(device, wire):
    """All of them for one step that takes its time: a few wait for it, the others are refused, and memory stays."""
    device.plan_hook("pre-install", sleep=1.5, times=1)
    before = device.fingerprint()
    body = marshal(BEGIN, ["job#1", "job", 1, [device.file(IMAGE)]])
    wire.send(message(CALL, 1, member="Begin", signature=BEGIN, body=body))
    device.wait(lambda: device.hook_calls("pre-install"), what="hook")
    rss, n = rss_kib(device), 20_000
    call = [message(CALL, serial, member="Begin", signature=BEGIN, body=body) for serial in range(2, n)]
    endings = {"Busy": 0, "ok": 0}

    def take(serial):
        try:
            wire.wait(serial, 20)
            endings["ok"] += 1
        except Refused as refused:
            endings[refused.name] += 1
    for at in range(0, len(call), 500):
        wire.send(b"".join(call[at:at + 500]))
        if at == 0:
            device.wait(lambda: True)
    most = rss_kib(device) - rss
    take(n - 1)
    assert most < (200_000 if is_sanitized(device) else 16_000), f"{most} KiB more"
    assert State(device.connect().call("GetState")).state == "downloading"
    device.expect_unharmed(before)


def test_who_does_not_read(device):
    """Asks and asks and takes no answer: the connection ends before its answers fill the memory; others are served."""
    before = device.fingerprint()
    greedy, other = device.connect(timeout=2), device.connect()
    rss, most, call = rss_kib(device), 0, message(CALL, 7, member="GetState") * 500
    started = time.monotonic()
    try:
        for _ in range(400):                                                # 200,000 calls
            greedy.send(call)
            most = max(most, rss_kib(device) - rss)
            if most > 250_000 or time.monotonic() - started > 15:
                break
    except (Gone, Hung):
        pass
    assert most < (200_000 if is_sanitized(device) else 32_000), f"{most} KiB more"
    assert State(other.call("GetState", timeout=5)).state == "idle"
    greedy.close()
    device.expect_unharmed(before)
    device.expect_works()


@pytest.mark.parametrize("how", ["in the authentication", "with answers unread"])
def test_ends_in_time(device, how):
    """The installer does not wait at its end for clients that hang: a restart for an update must not take minutes."""
    hung = device.connect(authenticate=how != "in the authentication", timeout=1)
    if how == "with answers unread":
        unread = 0
        while unread < 50_000:          # as many as the socket takes, and a few more
            hung.send(message(CALL, 7, member="GetState") * 50)
            unread += 50
            if n_queued(hung) > 0:
                break
            time.sleep(0.01)
    started = time.monotonic()
    device.end("otad-installer")
    assert time.monotonic() - started < 8
    device.start("otad-installer")
    device.connect()
    device.expect_works()


def test_signals_nobody_reads(device):
    """A client that listens to nothing while an update runs costs nothing but itself."""
    deaf = [device.connect() for _ in range(5)]
    wire = device.connect()
    for round_ in range(8):
        device.begin(wire, device.file(IMAGE), session=f"job#{round_ + 1}")
        wire.call("RollBack", "ss", ["cancelled", "again"])
        wire.call("Release")
    assert rss_kib(device) < 400_000
    for silent in deaf:
        assert State(silent.call("GetState")).state == "idle"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_another_user(device):
    """Who may not is dropped before a byte of theirs is read."""
    device.connect()    # it listens
    device.runtime.chmod(0o755)
    before = device.fingerprint()
    script = ("import socket, sys; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1]);"
              "s.send(b'\\0AUTH EXTERNAL 3635353334\\r\\n'); sys.exit(len(s.recv(100)))")
    done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/usr/bin/python3", "-c",
                           script, str(device.socket)], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 or "BrokenPipe" in done.stderr or "ConnectionReset" in done.stderr, done.stderr
    assert "who may not use it" in device.output("otad-installer")
    device.expect_unharmed(before)
