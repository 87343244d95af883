"""What is peculiar to one boot loader's store."""

import os
import re
import subprocess

import pytest

from boot.loaders import SCRIPTS, Grub, RaspberryPi, SystemdBoot, UBoot


# ---- GRUB ----

def test_grub_keeps_what_is_not_ours(tmp_path):
    machine = Grub(tmp_path)
    for call in ("set-state", "B", "bad"), ("set-primary", "B"), ("set-state", "B", "good"):
        machine.call(*call)
    assert machine.variables()["saved_entry"] == "7"
    assert machine.store.stat().st_size == 1024


def test_grub_variables_are_those_of_rauc(tmp_path):
    machine = Grub(tmp_path)
    machine.call("set-primary", "B")
    assert machine.variables() | {"ORDER": "B A", "B_OK": "1", "B_TRY": "0", "A_OK": "1", "OTAD_TRIAL": "B"} == \
        machine.variables()
    machine.call("set-state", "B", "good")
    assert machine.variables() | {"ORDER": "B A", "B_OK": "1", "B_TRY": "0", "OTAD_TRIAL": ""} == machine.variables()
    machine.call("set-state", "A", "bad")
    assert machine.variables() | {"ORDER": "B A", "A_OK": "0", "A_TRY": "0"} == machine.variables()


def test_grub_store_by_a_link_stays_a_link(tmp_path):
    """As Fedora has it: /boot/grub2/grubenv is a link to the ESP."""
    machine = Grub(tmp_path)
    link = tmp_path / "link"
    link.symlink_to(machine.store)
    machine.write_settings(GRUBENV=link)
    machine.call("set-primary", "B")
    assert link.is_symlink() and machine.variables()["ORDER"] == "B A"


def test_grub_store_is_changed_in_place(tmp_path):
    """No name, no size and no place on the medium changes: see tests/vm/test_replay.py for what a rename does on FAT."""
    machine = Grub(tmp_path)
    before = machine.store.stat()
    with open(machine.store, "rb") as held:
        machine.call("set-primary", "B")
        assert b"ORDER=B A" in held.read()
    after = machine.store.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, 1024)


def test_grub_damaged_store_is_left_as_it_is(tmp_path):
    machine = Grub(tmp_path)
    machine.store.write_bytes(b"\0" * 1024)
    assert "invalid environment block" in machine.fails("get-primary")
    machine.fails("set-primary", "B")
    assert machine.store.read_bytes() == b"\0" * 1024


def test_grub_says_how_to_begin(tmp_path):
    machine = Grub(tmp_path)
    machine.edit("create")
    assert "grub-editenv" in machine.fails("get-primary")
    machine.call("set-primary", "A")
    assert machine.call("get-primary") == "A"


def test_grub_without_room_for_another_variable(tmp_path):
    machine = Grub(tmp_path)
    machine.edit("set", "x=" + "y" * 870)
    before = machine.store.read_bytes()
    assert "cannot be changed" in machine.fails("set-primary", "B")
    assert machine.store.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["boot.conf", "cmdline", "grubenv"]


def test_grub_example_is_a_grub_script():
    subprocess.run(["grub-script-check", SCRIPTS / "grub.cfg.example"], check=True)


# ---- U-Boot ----

def test_uboot_variables_are_those_of_rauc(tmp_path):
    machine = UBoot(tmp_path)
    machine.call("set-state", "B", "bad")
    assert (machine.get("BOOT_ORDER"), machine.get("BOOT_B_LEFT")) == ("A", "0")
    machine.call("set-primary", "B")
    assert (machine.get("BOOT_ORDER"), machine.get("BOOT_B_LEFT"), machine.get("BOOT_TRIAL")) == ("B A", "3", "B")
    machine.start()
    machine.call("set-state", "B", "good")
    assert (machine.get("BOOT_ORDER"), machine.get("BOOT_B_LEFT")) == ("B A", "3")
    assert not machine.get("BOOT_TRIAL")
    assert machine.get("bootdelay") == "0"


@pytest.mark.parametrize("broken", [0, 1])
def test_uboot_lives_with_one_broken_copy(tmp_path, broken):
    """A power cut within fw_setenv costs one of the two copies."""
    machine = UBoot(tmp_path)
    machine.call("set-state", "B", "bad")
    with open(machine.store, "r+b") as store:
        store.seek(broken * machine.SIZE + 100)
        store.write(b"\xff" * 64)
    assert machine.call("get-primary") == "A"
    machine.call("set-primary", "B")
    assert machine.call("get-primary") == "B"


def test_uboot_count_that_is_none(tmp_path):
    machine = UBoot(tmp_path)
    machine.set("BOOT_B_LEFT", "many")
    assert "BOOT_B_LEFT=many" in machine.fails("get-state", "B")


def test_uboot_the_last_slot_stays_in_the_order(tmp_path):
    machine = UBoot(tmp_path)
    for slot in "AB":
        machine.call("set-state", slot, "bad")
        assert machine.get("BOOT_ORDER")
    assert "no slot" in machine.fails("get-primary")


def test_uboot_tries_may_be_set(tmp_path):
    machine = UBoot(tmp_path)
    machine.write_settings(FW_ENV_CONFIG=machine.config, TRIES=1)
    machine.call("set-state", "B", "bad")
    machine.call("set-primary", "B")
    assert [machine.start(), machine.start()] == ["B", "A"]


@pytest.fixture
def sandboxed(tmp_path, monkeypatch):
    """A machine with fw_setenv as in otad-installer's sandbox, which works in what systemd-run starts only; and whose calls
    are noted."""
    machine, tools = UBoot(tmp_path), tmp_path / "tools"
    tools.mkdir()
    (tools / "fw_setenv").write_text("#!/bin/sh\necho 'Error storing the env' >&2\nexit 9\n")
    (tools / "systemd-run").write_text(f"#!/bin/sh\necho \"$*\" >>{tmp_path}/calls\n[ ! -e {tmp_path}/refused ] || "
                                       "{ echo 'Failed to connect to bus' >&2; exit 1; }\n"
                                       "while [ \"${1#--}\" != \"$1\" ]; do shift; done\n"
                                       f"PATH={os.environ['PATH']} exec \"$@\"\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return machine


def test_uboot_environment_that_the_sandbox_keeps_away(sandboxed, tmp_path):
    (tmp_path / "systemd").mkdir()
    sandboxed.call("set-state", "B", "bad")
    sandboxed.call("set-primary", "B")
    assert (sandboxed.get("BOOT_ORDER"), sandboxed.get("BOOT_B_LEFT"), sandboxed.get("BOOT_TRIAL")) == ("B A", "3", "B")
    sandboxed.call("set-state", "B", "good")
    assert sandboxed.call("get-primary") == "B" and not sandboxed.get("BOOT_TRIAL")
    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"--quiet --wait --collect --pipe fw_setenv -c {sandboxed.config} BOOT_ORDER B A" in calls
    assert calls[-1] == f"--quiet --wait --collect --pipe fw_setenv -c {sandboxed.config} BOOT_TRIAL"


def test_uboot_environment_that_nobody_can_write(sandboxed, tmp_path):
    (tmp_path / "systemd").mkdir()
    (tmp_path / "refused").touch()
    message = sandboxed.fails("set-primary", "B")
    assert "Error storing the env" in message and "Failed to connect to bus" in message and message.count("\n") == 1
    assert sandboxed.get("BOOT_ORDER") == "A B"


def test_uboot_without_systemd(sandboxed, tmp_path):
    assert sandboxed.fails("set-primary", "B").endswith(": Error storing the env\n")
    assert not (tmp_path / "calls").exists()


def test_uboot_asks_systemd_only_where_it_must(tmp_path, sandboxed):
    (tmp_path / "tools" / "fw_setenv").unlink()
    (tmp_path / "systemd").mkdir()
    sandboxed.call("set-primary", "B")
    assert not (tmp_path / "calls").exists()


# ---- systemd-boot ----

def names(machine):
    return sorted(path.name for path in machine.store.iterdir())


def numbers(machine):
    return {path.name: re.search("sort-key otad-(.*)", path.read_text())[1] for path in machine.store.glob("otad-*")}


def test_systemd_boot_entries(tmp_path):
    machine = SystemdBoot(tmp_path)
    assert numbers(machine) == {"otad-a.conf": "500000000", "otad-b.conf": "999999999"}
    machine.call("set-primary", "B")
    on_trial = {"otad-a.conf": "500000000", "otad-b.conf": "999999999", "otad-b+3.conf": "499999999"}
    assert numbers(machine) == on_trial
    assert machine.start() == "B"
    assert "otad-b+2-1.conf" in names(machine)
    machine.call("set-state", "B", "good")
    assert numbers(machine) == {"otad-a.conf": "500000000", "otad-b.conf": "499999999"}
    machine.call("set-primary", "A")
    assert numbers(machine) == {"otad-a.conf": "499999998", "otad-b.conf": "499999999"}
    machine.call("set-state", "B", "bad")
    assert numbers(machine) == {"otad-a.conf": "499999998", "otad-b.conf": "999999999"}
    machine.call("set-state", "B", "good")
    assert numbers(machine) == {"otad-a.conf": "499999998", "otad-b.conf": "499999999"}
    assert "memtest.conf" in names(machine)


def test_systemd_boot_commit_in_the_last_start(tmp_path):
    """systemd-boot has taken the last start already, and the name says that none is left."""
    machine = SystemdBoot(tmp_path)
    machine.call("set-primary", "B")
    assert [machine.start() for _ in range(3)] == ["B"] * 3
    assert "otad-b+0-3.conf" in names(machine) and machine.call("get-state", "B") == "bad"
    machine.call("set-state", "B", "good")
    assert machine.call("get-primary") == "B" and machine.start() == "B"


def test_systemd_boot_changes_the_sort_key_only(tmp_path):
    machine = SystemdBoot(tmp_path)
    before = (machine.store / "otad-b.conf").read_text()
    machine.call("set-primary", "B")
    assert (machine.store / "otad-b+3.conf").read_text() == before.replace("otad-999999999", "otad-499999999")
    assert (machine.store / "otad-b.conf").read_text() == before


def test_systemd_boot_entries_are_changed_in_place(tmp_path):
    """No entry gets another name, size or place on the medium: see tests/vm/test_replay.py for what a rename does on FAT."""
    machine = SystemdBoot(tmp_path)
    before = {path: path.stat() for path in machine.store.iterdir()}
    for call in (("set-primary", "B"), ("set-state", "B", "good"), ("set-state", "A", "bad"), ("set-primary", "A"),
                 ("set-state", "A", "good"), ("set-state", "B", "bad")):
        machine.call(*call)
        for path, stat in before.items():
            assert (path.stat().st_ino, path.stat().st_size) == (stat.st_ino, stat.st_size), (call, path)
    assert set(machine.store.iterdir()) == set(before)


@pytest.mark.parametrize("left", [b"", b"title Slot B\nvers", bytes(100)], ids=["empty", "short", "zeros"])
def test_systemd_boot_unfinished_trial(tmp_path, left):
    """A power cut while it was written."""
    machine = SystemdBoot(tmp_path)
    (machine.store / "otad-b+3.conf").write_bytes(left)
    assert (machine.call("get-primary"), machine.call("get-state", "B")) == ("A", "bad")
    machine.call("set-primary", "B")
    assert numbers(machine)["otad-b+3.conf"] == "499999999"
    (machine.store / "otad-b+3.conf").write_bytes(left)
    machine.call("set-state", "B", "bad")
    assert "otad-b+3.conf" not in names(machine)


def test_systemd_boot_trial_beside_a_good_entry(tmp_path):
    """A power cut between the commit and the end of the trial."""
    machine = SystemdBoot(tmp_path)
    machine.call("set-primary", "B")
    trial = machine.store / "otad-b+3.conf"
    kept = trial.read_bytes()
    machine.call("set-state", "B", "good")
    trial.write_bytes(kept)
    assert machine.call("get-primary") == "B" and machine.start() == "B"
    machine.call("set-state", "B", "good")
    assert names(machine) == ["memtest.conf", "otad-a.conf", "otad-b.conf"]


def test_systemd_boot_files(tmp_path):
    machine = SystemdBoot(tmp_path)
    machine.call("set-primary", "B")
    assert machine.call("files", "B").splitlines() == [f"{machine.esp}/b/vmlinuz.efi", f"{machine.esp}/b/initrd.img"]
    machine.fails("files", "C")
    machine.fails("files")


@pytest.mark.parametrize("line,fits", [
    ("default otad-*", True), ("default otad-*.conf", True), ("default *", True), ("#default otad-a.conf", True),
    ("default otad-?.conf", False), ("default otad-a.conf", False), ("default @saved", False), ("default otad-*\ndefault windows", False)])
def test_systemd_boot_loader_conf_must_let_both_be_chosen(tmp_path, line, fits):
    machine = SystemdBoot(tmp_path)
    (machine.esp / "loader" / "loader.conf").write_text(f"timeout 0\n{line}\n")
    if fits:
        assert machine.call("get-primary") == "A"
    else:
        assert "loader.conf" in machine.fails("get-primary")


@pytest.mark.parametrize("key", ["", "sort-key debian\n", "sort-key otad-5\n", "sort-key otad-50000000x\n"])
def test_systemd_boot_needs_its_sort_keys(tmp_path, key):
    machine = SystemdBoot(tmp_path)
    path = machine.store / "otad-a.conf"
    path.write_text(re.sub("sort-key .*\n", key, path.read_text()))
    assert "sort-key otad-NUMBER" in machine.fails("get-primary")


def test_systemd_boot_equal_sort_keys(tmp_path):
    machine = SystemdBoot(tmp_path)
    machine.call("set-state", "B", "good")
    path = machine.store / "otad-b.conf"
    path.write_text(path.read_text().replace("500000001", "500000000"))
    assert "same sort-key" in machine.fails("get-primary")


def test_systemd_boot_missing_entry(tmp_path):
    machine = SystemdBoot(tmp_path)
    (machine.store / "otad-b.conf").unlink()
    assert "otad-b.conf" in machine.fails("get-primary")


# ---- Raspberry Pi ----

def test_raspberry_pi_file(tmp_path):
    machine = RaspberryPi(tmp_path)
    assert machine.call("reboot-argument") == ""
    machine.call("set-primary", "B")
    assert machine.call("reboot-argument") == "0 tryboot"
    assert machine.store.read_text().rstrip("# \n") == \
        "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n# otad trial=B bad="
    machine.start()
    machine.call("set-state", "B", "good")
    assert machine.store.read_text().rstrip("# \n") == \
        "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n# otad trial= bad="
    assert machine.call("reboot-argument") == ""


@pytest.mark.parametrize("more,size", [("", 256), ("# " + "x" * 300 + "\n", None)], ids=["short", "long"])
def test_raspberry_pi_file_is_changed_in_place(tmp_path, more, size):
    machine = RaspberryPi(tmp_path)
    machine.store.write_text(machine.store.read_text() + more)
    before = machine.store.stat()
    for call in ("set-primary", "B"), ("set-state", "B", "good"), ("set-state", "A", "bad"), ("set-primary", "A"):
        machine.call(*call)
        after = machine.store.stat()
        assert (after.st_ino, after.st_size) == (before.st_ino, size or before.st_size)
    assert machine.store.read_text().count("[all]") == 1 and "xxx" not in machine.store.read_text()


def test_raspberry_pi_without_device_tree(tmp_path):
    machine = RaspberryPi(tmp_path)
    (tmp_path / "device-tree" / "chosen" / "bootloader" / "partition").unlink()
    machine.cmdline.write_text("root=PARTLABEL=rootfs-b")
    assert machine.call("get-current") == "B"


@pytest.mark.parametrize("text", ["", "[all]\nboot_partition=9\n", "[tryboot]\nboot_partition=3\n"])
def test_raspberry_pi_file_that_names_no_slot(tmp_path, text):
    machine = RaspberryPi(tmp_path)
    machine.store.write_text(text)
    assert "PARTITION_x" in machine.fails("get-primary")
