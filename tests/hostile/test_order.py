"""Calls in every wrong order, by one client and by two, and what is asked for when the device is in another state."""

import os
import threading
import time
import unicodedata

import pytest

from gateway import make_image

from .device import SIZE, bits
from .wire import BEGIN, Gone, Hung, Refused

IMAGE = make_image("2.0.0", SIZE)
OLD = make_image("0.9.0", SIZE)
PLAIN = ("Verify", "Activate", "Reboot", "SelfTest", "Commit", "Release")


def answer(wire, member, *args, **options):
    """How a call ended, as a word: "ok", OutOfTurn, Busy, NotNow, or the failure's word."""
    try:
        wire.call(member, *args, **options)
        return "ok"
    except Refused as refused:
        return refused.word if refused.name == "Failed" else refused.name


def reboot(device, wire):
    """As otad asks for it; the machine may be on its way down before the answer is here."""
    try:
        wire.call("Reboot")
    except Gone:
        pass
    except Refused as refused:
        assert refused.text == "the installer stops"
    device.wait(lambda: device.n_boots == 2, what="reboot")


def rolled_back(device, wire):
    def look():
        state = device.state(wire)
        return state if state.state == "rolled-back" else None
    return device.wait(look, what="end of the rollback")


def bring_to(device, wire, state):
    """An honest way up to a state of the session, without the reboot."""
    if state == "idle":
        return
    device.begin(wire, device.file(IMAGE))
    if state == "begun":
        return
    device.write(wire, IMAGE[:SIZE // 2] if state == "half" else IMAGE)
    if state in ("half", "written"):
        return
    wire.call("Verify")
    if state == "activated":
        wire.call("Activate")


# What each call answers in each state; "-": not asked, because it is the way on from there.
TURNS = {
    "idle": dict(Verify="OutOfTurn", Activate="OutOfTurn", Reboot="OutOfTurn", SelfTest="OutOfTurn",
                 Commit="OutOfTurn", Release="ok"),
    "begun": dict(Verify="OutOfTurn", Activate="OutOfTurn", Reboot="OutOfTurn", SelfTest="OutOfTurn",
                  Commit="OutOfTurn", Release="OutOfTurn"),
    "half": dict(Verify="OutOfTurn", Activate="OutOfTurn", Reboot="OutOfTurn", SelfTest="OutOfTurn",
                 Commit="OutOfTurn", Release="OutOfTurn"),
    "written": dict(Verify="-", Activate="OutOfTurn", Reboot="OutOfTurn", SelfTest="OutOfTurn", Commit="OutOfTurn",
                    Release="OutOfTurn"),
    "installed": dict(Verify="ok", Activate="-", Reboot="OutOfTurn", SelfTest="OutOfTurn", Commit="OutOfTurn",
                      Release="OutOfTurn"),
}


@pytest.mark.parametrize("state", TURNS)
def test_out_of_turn(device, wire, state):
    """Nothing is activated before it is sealed, nothing committed before it is tested."""
    bring_to(device, wire, state)
    before = device.fingerprint()
    for member, expected in TURNS[state].items():
        if expected != "-":
            assert answer(wire, member) == expected, member
    device.expect_unharmed(before)


def test_commit_without_a_self_test(device, wire):
    """Neither before the reboot nor in the new software."""
    bring_to(device, wire, "activated")
    assert answer(wire, "SelfTest") == "OutOfTurn" and answer(wire, "Commit") == "OutOfTurn"
    device.plan_hook("reboot", quiet=True)              # the machine is started by the test
    wire.call("Reboot")
    device.reboot()
    assert device.slot == "B"
    wire = device.connect()
    assert device.state(wire).state == "testing"
    for member in ("Commit", "Reboot", "Release", "Verify"):
        assert answer(wire, member) == "OutOfTurn", member
    assert answer(wire, "Activate") == "ok"             # done already, and said so
    assert not device.hook_calls("commit")
    assert device.loader.state("B") == "bad"            # on trial still


def test_no_self_test_at_all(make_device):
    """Whoever keeps otad from testing does not keep the new software: the installer goes back by itself."""
    device = make_device(config={"selftest": {"timeout-sec": 1}})
    wire = device.connect()
    device.install(wire, IMAGE)
    reboot(device, wire)
    device.wait(lambda: device.n_boots == 3, what="reboot back")
    wire = device.connect()
    state = rolled_back(device, wire)
    assert (device.slot, state.word) == ("A", "selftest-timeout")
    assert device.loader.primary == "A" and device.loader.state("B") == "bad"


def test_an_older_signed_image(device, wire):
    """Well signed, so it is started; older, so it is not kept, whatever the attacker says meanwhile."""
    device.install(wire, OLD)
    reboot(device, wire)
    wire = device.connect()
    assert answer(wire, "Commit") == "OutOfTurn"
    assert answer(wire, "SelfTest") == "version-older"
    device.wait(lambda: device.n_boots == 3 and device.slot == "A", what="reboot back")
    wire = device.connect()
    assert device.state(wire).word == "version-older" and device.version == "1.0.0"
    assert not device.hook_calls("commit")


def test_signed_for_another_target(make_device):
    """A signature is over bytes and names no target: such an image is started, does not come up, and is left again."""
    device = make_device(files=["app"])
    app = os.urandom(5000)
    wire = device.connect()
    device.install(wire, app)
    reboot(device, wire)
    device.wait(lambda: device.panics, what="panic")
    wire = device.connect()
    state = rolled_back(device, wire)
    assert (device.slot, state.word) == ("A", "booted-old-slot")
    assert device.loader.state("B") == "bad"


# Changed on the target, by somebody who can

@pytest.mark.parametrize("when", ["written", "installed"])
def test_changed_while_the_installer_was_away(device, wire, when):
    """What this process has not read itself it reads again: a slot that was changed meanwhile is not activated."""
    bring_to(device, wire, when)
    device.end("otad-installer", 9)
    with open(device.slots["B"], "r+b") as slot:
        slot.seek(SIZE // 2)
        slot.write(b"changed")
    before = device.fingerprint()
    device.start("otad-installer")
    wire = device.connect()
    if when == "written":
        file = device.state(wire).files[0]
        device.begin(wire, device.file(IMAGE)) if file is None else None
        assert answer(wire, "Activate") == "OutOfTurn"
        assert answer(wire, "Verify") in ("signature-invalid", "OutOfTurn")
    else:
        assert answer(wire, "Activate") == "signature-invalid"
        assert device.state(wire).state == "rolled-back"
    device.expect_unharmed(before)


def test_changed_by_root_after_it_was_sealed(device, wire):
    """The limit, said in docs/security.md: between Verify() and Activate() of one process the installer takes the slot
    for what it has read. otad has no way to write there; root has, and root needs none of this."""
    bring_to(device, wire, "installed")
    for member, args in (("Write", ("ut", [0, 0])), ("Begin", (BEGIN, ["other#1", "other", 1, [device.file(OLD)]]))):
        assert answer(wire, member, *args) in ("OutOfTurn", "Busy"), member
    assert device.holds("B", IMAGE)
    before = device.fingerprint()
    device.expect_unharmed(before)


# Two of them

def test_two_sessions_at_once(device, wire):
    before = device.fingerprint()
    other = device.connect()
    mine, theirs = device.file(IMAGE), device.file(OLD)
    device.begin(wire, mine)
    for session in ("job#2", "other#1"):
        with pytest.raises(Refused, match="Busy"):
            device.begin(other, theirs, session=session)
    assert device.begin(other, mine) == [0]                         # the same one is no other
    device.write(wire, IMAGE)
    other.call("Verify")
    with pytest.raises(Refused, match="Busy"):
        device.begin(other, theirs, session="other#1")
    device.expect_unharmed(before)


@pytest.mark.parametrize("stage, member", [("pre-install", "Begin"), ("post-install", "Verify")])
def test_everything_while_a_hook_runs(device, wire, stage, member):
    """Whatever a second client asks for during a step is refused, or is the step's own answer."""
    before = device.fingerprint()
    device.plan_hook(stage, sleep=0.7, times=1)
    other = device.connect()
    file = device.file(IMAGE)
    if member == "Begin":
        serial = wire.start("Begin", BEGIN, ["job#1", "job", 1, [file]])
    else:
        device.begin(wire, file)
        device.write(wire, IMAGE)
        serial = wire.start("Verify")
    device.wait(lambda: device.hook_calls(stage), what=stage)
    for verb in PLAIN:
        if verb != member:
            assert answer(other, verb) == "Busy", verb
    assert answer(other, "Write", "ut", [0, 0]) == "OutOfTurn"
    assert answer(other, "Begin", BEGIN, ["x#1", "x", 1, [file]]) == "Busy"
    again = other.start("Begin", BEGIN, ["job#1", "job", 1, [file]]) if member == "Begin" else other.start("Verify")
    wire.wait(serial)
    other.wait(again)                                   # joined, and answered with it
    assert len(device.hook_calls(stage)) == 1
    device.expect_unharmed(before)


@pytest.mark.parametrize("stage", ["pre-install", "post-install"])
def test_caller_leaves_while_a_hook_runs(device, wire, stage):
    before = device.fingerprint()
    device.plan_hook(stage, sleep=0.3, times=1)
    if stage == "pre-install":
        wire.start("Begin", BEGIN, ["job#1", "job", 1, [device.file(IMAGE)]])
    else:
        bring_to(device, wire, "written")
        wire.start("Verify")
    device.wait(lambda: device.hook_calls(stage), what=stage)
    wire.close()
    expected = "downloading" if stage == "pre-install" else "installed"
    device.wait(lambda: device.state().state == expected, what=expected)
    device.expect_unharmed(before)


@pytest.mark.parametrize("stage", ["pre-install", "post-install"])
def test_rolled_back_while_a_hook_runs(device, wire, stage):
    before = device.fingerprint()
    device.plan_hook(stage, sleep=20, times=1)
    if stage == "pre-install":
        serial = wire.start("Begin", BEGIN, ["job#1", "job", 1, [device.file(IMAGE)]])
    else:
        bring_to(device, wire, "written")
        serial = wire.start("Verify")
    device.wait(lambda: device.hook_calls(stage), what=stage)
    assert answer(device.connect(), "RollBack", "ss", ["cancelled", "an attacker's wish"]) == "ok"
    with pytest.raises(Refused) as refused:
        wire.wait(serial)
    assert refused.value.word == "cancelled"
    assert device.state(wire).state == "rolled-back"
    device.expect_unharmed(before)


def test_both_write_and_verify_in_a_race(device, wire):
    """A second client writes other bytes whenever it is let, while the first verifies and activates. What is activated in
    the end is what was signed, or nothing."""
    stop, file = threading.Event(), device.file(IMAGE)
    device.begin(wire, file)
    other = device.connect()

    def meddle():
        bad = bits(IMAGE)
        while not stop.is_set():
            try:
                device.write(other, bad[:5000], offset=0)
            except (Refused, BrokenPipeError):
                time.sleep(0.001)
            except (Gone, Hung, OSError):
                return
    thread = threading.Thread(target=meddle)
    thread.start()
    outcomes = set()
    try:
        for _ in range(30):
            try:
                device.write(wire, IMAGE)
                wire.call("Verify")
                outcomes.add(answer(wire, "Activate"))
                break
            except Refused as refused:
                outcomes.add(refused.word)
                if refused.name == "Failed":
                    break
            except BrokenPipeError:
                pass
    finally:
        stop.set()
        thread.join(15)
    assert not thread.is_alive()
    assert device.holds("B", IMAGE) or device.loader.primary == "A", outcomes
    device.check()


# Words that end up elsewhere

HOSTILE = "x\n\x1b[31mjob#1: testing -> committed\r\n\x00\u202e\u2028\x9b" + "y" * 5000


@pytest.mark.parametrize("word", ["none", "", "no such word", "signature-invalid\n", "x" * 65])
def test_roll_back_by_no_word(device, wire, word):
    bring_to(device, wire, "begun")
    with pytest.raises(Refused, match="InvalidArgs"):
        wire.call("RollBack", "ss", [word, "detail"])
    assert device.state(wire).state == "downloading"


def test_hostile_detail(device, wire):
    """Neither log, record, history nor hook see an attacker's control characters."""
    before = device.fingerprint()
    bring_to(device, wire, "begun")
    wire.call("RollBack", "ss", ["unheard-of", HOSTILE.replace("\0", "")])
    state = device.state(wire)
    assert (state.state, state.word) == ("rolled-back", "internal")
    wire.call("Release")
    files = [device.programs["otad-installer"].log, device.folder / "installer-state" / "history"]
    for path in files:
        for line in path.read_bytes().decode().split("\n"):
            assert not any(unicodedata.category(c) in ("Cc", "Zl", "Zp") or c == "\u202e" for c in line), line
            assert not line.startswith("job#1: testing"), line
    for call in device.hook_calls():
        assert all(ord(c) >= 32 for value in call.values() if isinstance(value, str) for c in value)
        assert call["OTAD_REASON"] in ("", "internal")
    assert len(state.detail.encode()) < 512 and all(ord(c) >= 32 for c in state.detail)
    device.expect_unharmed(before)


@pytest.mark.parametrize("member", ["Verify", "Write"])
def test_pipe_that_stays_open(device, wire, member):
    """A pipe that is neither filled nor closed: whoever waits for its end gets an answer after ten seconds, and may roll back."""
    before = device.fingerprint()
    device.begin(wire, device.file(IMAGE))
    pipe = device.write(wire, IMAGE[:1000], close=False)
    started = time.monotonic()
    with pytest.raises(Refused) as refused:
        wire.call(member, *(("ut", [0, 1000]) if member == "Write" else ()), timeout=30)
    assert refused.value.name == {"Verify": "OutOfTurn", "Write": "Busy"}[member] and "was not closed" in refused.value.text
    assert 9 < time.monotonic() - started < 20
    wire.call("RollBack", "ss", ["cancelled", "enough"])
    pipe.close()
    device.expect_unharmed(before)
