"""Which slot runs, by the kernel's command line."""

import pytest

from boot.loaders import File

BY_DEFAULT = [
    ("rauc.slot=B", "B"),
    ("root=PARTLABEL=rootfs-a rauc.slot=B quiet", "B"),
    ("rauc.slot=A rauc.slot=B", "B"),
    ("root=PARTLABEL=rootfs-a ro", "A"),
    ("root=PARTLABEL=rootfs-b ro", "B"),
    ("root=/dev/sda9 root=PARTLABEL=rootfs-b", "B"),
    ("quiet * root=PARTLABEL=rootfs-b", "B"),
]

UNKNOWN = [
    "", "quiet splash", "root=/dev/sda1", "rauc.slot=C root=PARTLABEL=rootfs-a", "rauc.slot= root=PARTLABEL=rootfs-c",
    "root=PARTLABEL=rootfs-a.old", "myrauc.slot=A", "root=", "rauc.slot=A;reboot", "rauc.slot=$(id)",
]


@pytest.fixture
def machine(tmp_path):
    return File(tmp_path)


@pytest.mark.parametrize("line,slot", BY_DEFAULT)
def test_by_default(machine, line, slot):
    machine.cmdline.write_text(line + "\n")
    assert machine.call("get-current") == slot


@pytest.mark.parametrize("line", UNKNOWN)
def test_unknown_is_an_error_that_tells_what_was_seen(machine, line):
    machine.cmdline.write_text(line)
    message = machine.fails("get-current")
    assert str(machine.cmdline) in message


def test_another_key_and_other_names(machine):
    machine.write_settings(BOOT_DIR=machine.store, SLOTS="system0 system1", SLOT_KEY="bootslot")
    machine.cmdline.write_text("rauc.slot=A bootslot=system1")
    assert machine.call("get-current") == "system1"


def test_root_by_any_word_for_the_device(machine, tmp_path):
    """The kernel was given one name of the partition, the settings have another."""
    disk, device = tmp_path / "disk", tmp_path / "sda3"
    device.touch()
    for word, name in ("by-partuuid", "b0-01"), ("by-label", "slot-b"), ("by-uuid", "77"), ("by-partlabel", "rootfs-b"):
        (disk / word).mkdir(parents=True)
        (disk / word / name).symlink_to(device)
    for root in "PARTUUID=b0-01", "LABEL=slot-b", "UUID=77", "PARTLABEL=rootfs-b":
        machine.cmdline.write_text(f"root={root} ro")
        done = machine.run("get-current", OTAD_DISK_DIR=str(disk))
        assert done.stdout == "B\n", (root, done.stderr)
    machine.write_settings(BOOT_DIR=machine.store, ROOT_A="LABEL=a", ROOT_B="/dev/nowhere UUID=77")
    machine.cmdline.write_text("root=PARTUUID=b0-01")
    assert machine.run("get-current", OTAD_DISK_DIR=str(disk)).stdout == "B\n"


def test_no_command_line(machine):
    machine.cmdline.unlink()
    assert str(machine.cmdline) in machine.fails("get-current")


@pytest.mark.parametrize("settings,word", [
    ({"SLOTS": "A B;reboot"}, "B;reboot"), ({"TRIES": "0"}, "TRIES"), ({"TRIES": "many"}, "many")])
def test_settings_that_cannot_be(machine, settings, word):
    machine.write_settings(BOOT_DIR=machine.store, **settings)
    assert word in machine.fails("get-primary")


def test_settings_that_no_shell_can_read(machine):
    machine.settings.write_text("BOOT_DIR='/x\n")
    assert machine.run("get-primary").returncode != 0


def test_without_settings_the_environment_counts(machine):
    machine.settings.unlink()
    assert machine.run("get-primary", BOOT_DIR=str(machine.store)).stdout == "A\n"
