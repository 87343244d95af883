"""Local sessions, and the way back after the commit, as an attacker in otad would use them."""

import os
from contextlib import contextmanager

import pytest

from gateway import make_image

from .device import SIZE
from .test_order import answer, rolled_back
from .wire import Refused

IMAGE = make_image("2.0.0", SIZE)
NOBODY = 65534
LOCAL = {"session": "local#install-1", "job": "local"}
REVERT = "sas"


def revert(wire, targets=("rootfs",), session="local#rollback-1"):
    return answer(wire, "Revert", REVERT, [session, list(targets)])


@contextmanager
def user(uid):
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def committed(device):
    """The device runs 2.0.0 from B, and A holds what ran before."""
    wire = device.connect()
    device.begin(wire, device.file(IMAGE), **LOCAL)
    device.write(wire, IMAGE)
    wire.call("Verify")
    wire.call("Activate")
    device.reboot()
    wire = device.connect()
    device.wait(lambda: device.state(wire).state == "idle", what="end of the update")
    assert device.slot == "B" and device.loader.state("A") == device.loader.state("B") == "good"
    return wire


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_not_back_for_otad(make_device):
    """An older version that nobody looks at again: whoever has otad's user does not get it. Root does."""
    device = make_device(config={"installer": {"peer-user": "nobody"}})
    root = committed(device)
    device.runtime.chmod(0o755)
    with user(NOBODY):
        wire = device.connect()
    before = device.fingerprint()
    assert device.state(wire).state == "idle"           # it may talk to the installer, otherwise
    with pytest.raises(Refused, match="for root only"):
        wire.call("Revert", REVERT, ["local#rollback-1", ["rootfs"]])
    for member in ("Activate", "Reboot", "Commit"):
        assert answer(wire, member) == "OutOfTurn"
    assert device.state(root).state == "idle" and device.loader.primary == "B"
    assert device.loader.state("A") == "good" and device.fingerprint() == before
    assert revert(root) == "ok"
    # Begun by root, it is the installer's record that counts; otad may not hurry it past its trial.
    assert answer(wire, "Commit") == answer(wire, "SelfTest") == "OutOfTurn"


@pytest.mark.parametrize("session, targets", [
    ("job#1", ["rootfs"]), ("local#1", ["rootfs"]), ("", ["rootfs"]), ("local#x" + "x" * 90, ["rootfs"]),
    ("local#rollback-1", []), ("local#rollback-1", ["rootfs"] * 11), ("local#rollback-1", ["../../etc"]),
    ("local#rollback-1", ["a" * 65]), ("local#rollback-1", [""]), ("local#\n", ["rootfs"])])
def test_bad_words(device, wire, session, targets):
    before = device.fingerprint()
    with pytest.raises(Refused) as refused:
        wire.call("Revert", REVERT, [session, targets])
    assert refused.value.name.endswith("InvalidArgs")
    assert device.state(wire).state == "idle"
    device.expect_unharmed(before)


def test_back_in_wrong_states(device, wire):
    """Nothing was committed, a target twice, none of that name, and while a session is at hand."""
    (device.folder / "boot" / "B.ok").write_text("0\n")
    before = device.fingerprint()
    assert revert(wire) == "Nothing"
    assert revert(wire, ["rootfs", "rootfs"]) == "target-repeated"
    assert revert(wire, ["nobody"]) == "target-unknown"
    device.begin(wire, device.file(IMAGE))
    assert revert(wire) == "Busy"
    device.expect_unharmed(before)


def test_a_local_session_needs_a_signature_too(device, wire):
    before = device.fingerprint()
    other = make_image("3.0.0", SIZE)
    with pytest.raises(Refused):
        device.begin(wire, ("rootfs", SIZE, "none", b"", ""), **LOCAL)
    device.begin(wire, device.file(IMAGE), **LOCAL)
    device.write(wire, other)
    assert answer(wire, "Verify") == "signature-invalid"
    device.wait(lambda: device.state(wire).state == "idle", what="end of the update")
    assert answer(wire, "Activate") == "OutOfTurn"
    device.expect_unharmed(before)


def test_a_local_session_is_tested_too(device, wire):
    """An older image, well signed, brought in by way of a local session: started, tested, and left again."""
    old = make_image("0.9.0", SIZE)
    device.begin(wire, device.file(old), **LOCAL)
    device.write(wire, old)
    wire.call("Verify")
    wire.call("Activate")
    device.reboot()
    device.wait(lambda: device.n_boots == 3 and device.slot == "A", what="reboot back")
    wire = device.connect()
    device.wait(lambda: device.state(wire).state == "idle", what="end of the update")
    assert device.version == "1.0.0" and not device.hook_calls("commit")


def test_who_leaves_a_local_session(device):
    """Again and again, at each step: the installer is free for the next one each time."""
    for steps in range(4):
        wire = device.connect()
        device.begin(wire, device.file(IMAGE), session=f"local#x-{steps}", job="local")
        if steps > 0:
            device.write(wire, IMAGE[:SIZE // 2] if steps == 1 else IMAGE, close=steps != 1)
        if steps > 2:
            wire.call("Verify")
        wire.close()
        other = device.connect()
        device.wait(lambda: device.state(other).state == "idle", what="end of the update")
        other.close()
    assert not device.hook_calls("activate")


def test_a_job_outlives_its_connection(device):
    """What is otad's is not ended by a local client that comes and goes."""
    wire = device.connect()
    device.begin(wire, device.file(IMAGE))
    other = device.connect()
    assert answer(other, "Begin", "ssta(stsays)", ["local#x-1", "local", 1, [device.file(IMAGE)]]) == "Busy"
    other.close()
    wire.close()
    with device.connect() as fresh:
        assert device.state(fresh).state == "downloading"


def test_history_is_bounded(device, wire):
    """A hundred entries, texts and all; asked for by many at once."""
    for n in range(3):
        device.begin(wire, device.file(IMAGE), session=f"job#{n}", attempt=n)
        wire.call("RollBack", "ss", ["cancelled-locally", "x" * 500])
        assert rolled_back(device, wire)
        wire.call("Release")
    for _ in range(50):
        entries, = wire.call("GetHistory")
        assert len(entries) == 3 and all(len(e[7]) < 200 for e in entries)
