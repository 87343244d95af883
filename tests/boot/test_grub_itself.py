"""conf/boot/grub.cfg.example in the real GRUB, on a virtual PC without any kernel: which slot it chooses, what it writes to
grubenv, and that it goes on to the other slot by itself, without a menu. About a second each."""

import struct
import subprocess
import time

import pytest

from boot.loaders import SCRIPTS, Grub

MODULES = ("biosdisk part_gpt fat ext2 normal linux search search_label loadenv test echo configfile serial terminal reboot "
           "sleep").split()
ESP_MIB, ESP_FIRST, CORE_FIRST = 16, 4096, 2048


def run(*command, **more):
    subprocess.run(command, check=True, capture_output=True, **more)


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """1 MiB for GRUB's core, then the ESP; started without an installation, by patching what grub-install patches."""
    folder = tmp_path_factory.mktemp("grub")
    image, core, early = folder / "disk", folder / "core.img", folder / "early.cfg"
    early.write_text("search --no-floppy --set=root --label OTADESP\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n")
    run("grub-mkimage", "-O", "i386-pc", "-c", early, "-p", "/grub", "-o", core, *MODULES)
    with open(image, "wb") as f:
        f.truncate((ESP_FIRST + 2048 * (ESP_MIB + 1)) * 512)
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", image, text=True,
        input=f"label: gpt\nstart={CORE_FIRST}, size=2048, type=21686148-6449-6E6F-744E-656564454649\n"
              f"start={ESP_FIRST}, size={2048 * ESP_MIB}, type=U\n")
    first = bytearray(open("/usr/lib/grub/i386-pc/boot.img", "rb").read())
    struct.pack_into("<Q", first, 0x5c, CORE_FIRST)
    first[0x66:0x68] = b"\x90\x90"
    data = bytearray(core.read_bytes())
    struct.pack_into("<QHH", data, 0x1f4, CORE_FIRST + 1, (len(data) + 511) // 512 - 1, 0x820)
    with open(image, "r+b") as f:
        f.write(first[:440])
        f.seek(CORE_FIRST * 512)
        f.write(data)
    return image


class RealGrub(Grub):
    """Its grubenv lies on the disk's ESP; it is copied there and back around each start."""

    def __init__(self, folder, disk):
        self.disk = folder / "disk"
        super().__init__(folder)
        self.disk.write_bytes(disk.read_bytes())
        esp = folder / "esp"
        with open(esp, "wb") as f:
            f.truncate(ESP_MIB << 20)
        run("mkfs.vfat", "-n", "OTADESP", esp)
        run("mmd", "-i", esp, "::grub")
        run("mcopy", "-i", esp, SCRIPTS / "grub.cfg.example", "::grub/grub.cfg")
        run("dd", f"if={esp}", f"of={self.disk}", "bs=512", f"seek={ESP_FIRST}", "conv=notrunc")
        self.esp = f"{self.disk}@@{ESP_FIRST * 512}"

    def power_on(self):
        """All that GRUB says until it has found nothing to start."""
        log = self.folder / "serial"
        log.write_bytes(b"")
        run("mcopy", "-o", "-i", self.esp, self.store, "::grub/grubenv")
        machine = subprocess.Popen(
            ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-no-user-config",
             "-display", "none", "-serial", f"file:{log}", "-no-reboot",
             "-drive", f"file={self.disk},format=raw,if=none,id=d0", "-device", "virtio-blk-pci,drive=d0"],
            stdin=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 60
            while log.read_bytes().count(b"cannot be loaded") < self.n_loadable():
                assert machine.poll() is None and time.monotonic() < deadline, log.read_bytes()
                time.sleep(0.05)
        finally:
            machine.kill()
            machine.wait()
        run("mcopy", "-o", "-n", "-i", self.esp, "::grub/grubenv", self.store)
        self.said = log.read_text(errors="replace")
        return self.said.split("starting slot ")[1][0]

    def n_loadable(self):
        """The chosen one, and the other if it is good."""
        v = self.variables()
        return 2 if v["A_OK"] == v["B_OK"] == "1" else 1


@pytest.fixture
def machine(tmp_path, disk):
    return RealGrub(tmp_path, disk)


def test_a_good_slot_is_started_and_not_counted(machine):
    before = machine.store.read_bytes()
    assert machine.power_on() == "A"
    assert machine.store.read_bytes() == before
    assert "slot B" not in machine.said     # it is bad, so it is no way out either


def test_a_trial_is_counted_and_given_up(machine):
    machine.call("set-state", "B", "bad")
    machine.call("set-primary", "B")
    assert machine.start() == "B"
    assert machine.variables()["B_TRY"] == "1"
    # What could not be loaded made room for the other, and no menu waited.
    assert machine.said.index("slot B cannot be loaded") < machine.said.index("slot A cannot be loaded")
    assert machine.call("get-primary") == "A"
    assert machine.start() == "A"


def test_a_committed_slot_is_started_for_good(machine):
    machine.call("set-state", "B", "bad")
    machine.call("set-primary", "B")
    assert machine.start() == "B"
    machine.call("set-state", "B", "good")
    assert [machine.start(), machine.start()] == ["B", "B"]
    assert machine.variables()["B_TRY"] == "0"


def test_tried_in_vain_and_nothing_else_is_good(machine):
    machine.edit("set", "A_TRY=1")
    assert machine.call("get-primary") == "A"
    assert machine.start() == "A"


def test_empty_store(machine):
    machine.edit("create")
    machine.edit("set", "A_OK=0", "B_OK=0")
    assert machine.start() == "A"
