"""Every boot script keeps the protocol that otad-installer relies on, and starts what it should, whatever happens."""

import os
import subprocess

import pytest

from boot.loaders import ALL, SCRIPTS, GrubOfRauc, RaspberryPi, UBoot, with_power_cut


@pytest.fixture(params=ALL, ids=lambda loader: loader.__name__)
def loader(request, tmp_path):
    return request.param(tmp_path)


def starts(loader, n):
    """Restarts, each with what otad-confirm@.service does after it."""
    slots = []
    for _ in range(n):
        slots.append(loader.start())
        loader.call("confirm")
    return slots


def install_b(loader):
    """What otad-installer does around an update of slot B."""
    assert loader.call("get-primary") == "A"
    loader.call("set-state", "B", "bad")
    assert loader.call("get-state", "B") == "bad"
    loader.call("set-primary", "B")
    assert loader.call("get-primary") == "B"


def test_fresh_machine(loader):
    assert loader.call("get-current") == "A"
    assert loader.call("get-primary") == "A"
    assert loader.call("get-state", "A") == "good"
    assert loader.call("get-state", "B") == "bad"
    assert loader.start() == "A"


def test_new_slot_is_started_and_committed(loader):
    install_b(loader)
    assert loader.start() == "B"
    assert loader.call("get-current") == "B"
    loader.call("set-state", "B", "good")
    assert loader.call("get-state", "B") == "good"
    assert starts(loader, 5) == ["B"] * 5


def test_new_slot_that_is_never_committed_is_given_up(loader):
    """Nor is it for confirm to end a trial."""
    install_b(loader)
    assert loader.start() == "B"
    loader.call("confirm")
    if isinstance(loader, RaspberryPi):     # any start that the hook has not asked for is A
        loader.runs(loader.power_on())
        assert loader.call("get-current") == "A"
        loader.call("set-primary", "A")
    assert starts(loader, loader.trial_starts + 2) == ["B"] * (loader.trial_starts - 1) + ["A"] * 3


def test_roll_back_in_the_new_slot(loader):
    install_b(loader)
    assert loader.start() == "B"
    loader.call("set-primary", "A")
    assert loader.call("get-primary") == "A"
    loader.call("set-state", "B", "bad")
    assert loader.call("get-primary") == "A"
    assert starts(loader, 5) == ["A"] * 5
    assert loader.call("get-state", "A") == "good"


def test_abandoned_before_activation(loader):
    assert loader.call("get-primary") == "A"
    loader.call("set-state", "B", "bad")
    loader.call("set-primary", "A")
    assert starts(loader, 4) == ["A"] * 4


def test_the_next_update_goes_the_other_way(loader):
    for new, old in ("B", "A"), ("A", "B"), ("B", "A"), ("A", "B"):
        assert loader.call("get-current") == old
        assert loader.call("get-primary") == old
        loader.call("set-state", new, "bad")
        loader.call("set-primary", new)
        assert loader.start() == new
        loader.call("set-state", new, "good")
        assert loader.start() == new
        loader.call("confirm")


def test_the_next_update_gives_its_trial_up(loader):
    """After one that was committed the old slot is bad again, and the way back leads to the committed one."""
    install_b(loader)
    assert loader.start() == "B"
    loader.call("set-state", "B", "good")
    loader.call("set-state", "A", "bad")
    loader.call("set-primary", "A")
    assert starts(loader, loader.trial_starts) == ["A"] * loader.trial_starts
    assert loader.power_on() == "B"


def test_calls_may_be_repeated(loader):
    for call in ("set-state", "B", "bad"), ("set-primary", "B"), ("set-state", "B", "good"), ("set-primary", "A"):
        for _ in range(2):
            loader.call(*call)
    assert loader.call("get-primary") == "A"
    assert loader.call("get-state", "B") == "good"


@pytest.mark.parametrize("call", [
    [], ["get-primary", "A"], ["set-primary"], ["set-primary", "C"], ["set-primary", ""], ["set-primary", "A B"],
    ["set-primary", "$(touch /tmp/x)"], ["get-state", "a"], ["set-state", "A", "fine"], ["set-state", "A"],
    ["set-state", "A", "good bad"], ["boot"], ["--help"]], ids=" ".join)
def test_wrong_calls_change_nothing(loader, call):
    before = snapshot(loader)
    loader.fails(*call)
    assert snapshot(loader) == before


def snapshot(loader):
    files = [loader.store] if loader.store.is_file() else sorted(loader.store.rglob("*"))
    return {path: path.read_bytes() for path in files}


def test_nothing_is_left_beside_the_store(loader):
    before = set(loader.folder.rglob("*"))
    install_b(loader)
    loader.call("set-state", "B", "good")
    assert {path for path in set(loader.folder.rglob("*")) - before if "otad-new" in path.name or "tmp" in path.name} == set()


@pytest.mark.parametrize("call", [["set-primary", "B"], ["set-state", "B", "good"], ["set-primary", "A"],
                                  ["set-state", "B", "bad"]], ids=" ".join)
@pytest.mark.parametrize("trial", [False, True], ids=["bad", "on trial"])
def test_power_cut_anywhere(loader, call, trial):
    """Cut before every outside program: the machine starts A or B, B only where it was good or on trial or is going to be,
    and the call does its work when it is repeated, as otad-installer does."""
    for nth in range(60):
        fresh = loader.folder / f"cut-{nth}"
        fresh.mkdir()
        machine = type(loader)(fresh)
        machine.call("set-state", "B", "bad")
        if trial:
            machine.call("set-primary", "B")
        cut = with_power_cut(machine, nth, *call)
        primary = machine.call("get-primary")
        if not trial and call[0] == "set-state" and call[2] == "bad":
            assert primary == "A"
        machine.call(*call)
        assert machine.call(call[0].replace("set", "get"), *call[1:-1]) == call[-1]
        assert machine.start() in "AB"
        if not cut:
            return
    pytest.fail("60 programs and no end")


def test_missing_store(loader):
    os.rename(loader.store, f"{loader.store}.away")
    for call in ["get-primary"], ["get-state", "A"], ["set-primary", "B"], ["set-state", "B", "bad"]:
        message = loader.fails(*call)
        assert str(loader.store) in message or isinstance(loader, UBoot)
    assert not os.path.exists(loader.store)


def test_called_by_a_link(loader, tmp_path):
    link = tmp_path / "elsewhere"
    link.symlink_to(SCRIPTS / loader.name)
    done = subprocess.run([link, "get-primary"], env=loader.environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "A\n"), done.stderr


def test_rauc_counts_all_starts_so_confirm_is_needed(tmp_path):
    """Why otad-confirm@.service exists: without it, the second start of a good slot would be the last resort."""
    for kind in GrubOfRauc, UBoot:
        folder = tmp_path / kind.__name__
        folder.mkdir()
        machine = kind(folder)
        for _ in range(10):
            assert machine.start() == "A"
            machine.call("confirm")
        assert machine.call("get-state", "A") == "good"
