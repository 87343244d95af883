"""What is peculiar to one boot loader's store."""

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


# ---- systemd-boot ----

def names(machine):
    return sorted(path.name for path in machine.store.iterdir())


def test_systemd_boot_names(tmp_path):
    machine = SystemdBoot(tmp_path)
    assert names(machine) == ["memtest.conf", "otad-a.conf", "otad-b+0.conf"]
    machine.call("set-primary", "B")
    assert names(machine) == ["memtest.conf", "otad-a.conf", "otad-b+3.conf"]
    assert machine.start() == "B"
    assert names(machine) == ["memtest.conf", "otad-a.conf", "otad-b+2-1.conf"]
    machine.call("set-state", "B", "good")
    assert names(machine) == ["memtest.conf", "otad-a.conf", "otad-b.conf"]
    machine.call("set-state", "A", "bad")
    assert names(machine) == ["memtest.conf", "otad-a+0.conf", "otad-b.conf"]


def test_systemd_boot_changes_the_sort_key_only(tmp_path):
    machine = SystemdBoot(tmp_path)
    before = (machine.store / "otad-b+0.conf").read_text()
    machine.call("set-primary", "B")
    after = (machine.store / "otad-b+3.conf").read_text()
    assert after == before.replace("otad-500000001", "otad-499999999")


def test_systemd_boot_two_files_of_one_entry(tmp_path):
    """A power cut between the new file and the removal of the old one."""
    machine = SystemdBoot(tmp_path)
    machine.call("set-primary", "B")
    (machine.store / "otad-b+0.conf").write_text("sort-key otad-500000001\n")
    assert machine.call("get-primary") == "B"
    machine.call("set-primary", "B")
    assert names(machine) == ["memtest.conf", "otad-a.conf", "otad-b+3.conf"]


@pytest.mark.parametrize("line,fits", [
    ("default otad-*", True), ("default otad-*.conf", True), ("default *", True), ("#default otad-a.conf", True),
    ("default otad-a.conf", False), ("default @saved", False), ("default otad-*\ndefault windows", False)])
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
    (machine.store / "otad-b+0.conf").unlink()
    assert "otad-b.conf" in machine.fails("get-primary")


# ---- Raspberry Pi ----

def test_raspberry_pi_file(tmp_path):
    machine = RaspberryPi(tmp_path)
    assert machine.call("reboot-argument") == ""
    machine.call("set-primary", "B")
    assert machine.call("reboot-argument") == "0 tryboot"
    assert machine.store.read_text() == \
        "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n# otad trial=B bad=\n"
    machine.start()
    machine.call("set-state", "B", "good")
    assert machine.store.read_text() == \
        "[all]\ntryboot_a_b=1\nboot_partition=3\n[tryboot]\nboot_partition=2\n# otad trial= bad=\n"
    assert machine.call("reboot-argument") == ""


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
