"""Five boot loaders as far as a boot script sees them: a store on disk, made as a freshly installed machine that runs A
has it, and power_on(), which chooses a slot by the loader's own rules, takes a start off a trial, and tells the slot."""

import os
import re
import signal
import struct
import subprocess
import zlib
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = HERE.parent.parent / "conf" / "boot"


class Loader:
    """A machine with slots A and B. `trial_starts`: how often a new slot is started before the loader gives it up."""

    name = None
    trial_starts = 1

    def __init__(self, folder):
        self.folder = folder
        self.settings = folder / "boot.conf"
        self.cmdline = folder / "cmdline"
        self.make()
        self.runs("A")

    def runs(self, slot):
        self.cmdline.write_text(f"root=/dev/somewhere rw rauc.slot={slot} quiet\n")

    def write_settings(self, **settings):
        self.settings.write_text("".join(f"{key}='{value}'\n" for key, value in settings.items()))

    def environment(self, **more):
        return {"PATH": os.environ["PATH"], "OTAD_BOOT_CONF": str(self.settings), "OTAD_CMDLINE": str(self.cmdline),
                "OTAD_DEVICE_TREE": str(self.folder / "device-tree"),
                "OTAD_SYSTEMD_DIR": str(self.folder / "systemd"), **more}

    def run(self, *call, **more):
        """The finished process; otad runs scripts the same way: from "/", with nothing on stdin."""
        return subprocess.run([SCRIPTS / self.name, *call], env=self.environment(**more), cwd="/", timeout=30,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, start_new_session=True)

    def call(self, *call):
        """What the call printed; it must succeed."""
        done = self.run(*call)
        assert done.returncode == 0, f"{call}: {done.stderr}"
        return done.stdout.strip()

    def fails(self, *call):
        """What a call that must fail said."""
        done = self.run(*call)
        assert done.returncode == 1 and done.stdout == "", f"{call}: {done}"
        assert done.stderr.startswith(f"{self.name}: "), done.stderr
        return done.stderr

    def start(self):
        """A start of the machine; the slot that runs afterwards."""
        slot = self.power_on()
        self.runs(slot)
        return slot


class File(Loader):
    name, trial_starts = "file", 3

    def make(self):
        self.store = self.folder / "store"
        self.store.mkdir()
        for name, text in {"ORDER": "A B", "A.ok": "1", "A.try": "0", "B.ok": "0", "B.try": "0"}.items():
            (self.store / name).write_text(text + "\n")
        self.write_settings(BOOT_DIR=self.store)

    def read(self, name):
        return (self.store / name).read_text().strip()

    def power_on(self):
        for slot in self.read("ORDER").split():
            if self.read(f"{slot}.ok") == "1":
                return slot
            left = int(self.read(f"{slot}.try"))
            if left > 0:
                (self.store / f"{slot}.try").write_text(f"{left - 1}\n")
                return slot
        return None


class Grub(Loader):
    """By the rules of conf/boot/grub.cfg.example; test_grub_itself.py holds GRUB to them. counts_all: by those of RAUC's
    example, which counts each start."""

    name = "grub"
    counts_all = False

    def make(self):
        self.store = self.folder / "grubenv"
        self.edit("create")
        self.edit("set", "ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=0", "saved_entry=7")
        self.write_settings(GRUBENV=self.store)

    def edit(self, *arguments):
        return subprocess.run(["grub-editenv", self.store, *arguments], check=True, capture_output=True, text=True).stdout

    def variables(self):
        return dict(line.split("=", 1) for line in self.edit("list").splitlines())

    def power_on(self):
        v = self.variables()
        order = [slot for slot in v["ORDER"].split() if v[f"{slot}_OK"] == "1"]
        fresh = [slot for slot in order if v[f"{slot}_TRY"] == "0"]
        slot = (fresh or order)[0]
        if self.counts_all or v.get("OTAD_TRIAL") == slot:
            self.edit("set", f"{slot}_TRY=1")
        return slot


class GrubOfRauc(Grub):
    counts_all = True


class UBoot(Loader):
    """A redundant environment as libubootenv and U-Boot's CONFIG_SYS_REDUNDAND_ENVIRONMENT have it: CRC-32 over the data,
    one byte that grows with each write, then NAME=value texts."""

    name, trial_starts = "uboot", 3
    SIZE = 0x2000

    def make(self):
        self.store = self.folder / "env.bin"
        self.config = self.folder / "fw_env.config"
        self.config.write_text("".join(f"{self.store} {hex(i * self.SIZE)} {hex(self.SIZE)}\n" for i in (0, 1)))
        texts = {"BOOT_ORDER": "A B", "BOOT_A_LEFT": "3", "BOOT_B_LEFT": "0", "bootdelay": "0"}
        data = b"".join(f"{k}={v}".encode() + b"\0" for k, v in texts.items()) + b"\0"
        data = data.ljust(self.SIZE - 5, b"\0")
        copy = struct.pack("<IB", zlib.crc32(data), 1) + data
        self.store.write_bytes(copy + copy[:4] + b"\0" + copy[5:])
        self.write_settings(FW_ENV_CONFIG=self.config)

    def get(self, name):
        done = subprocess.run(["fw_printenv", "-c", self.config, "-n", name], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    def set(self, name, value):
        subprocess.run(["fw_setenv", "-c", self.config, name, value], check=True, capture_output=True)

    def power_on(self):
        for slot in self.get("BOOT_ORDER").split():
            left = int(self.get(f"BOOT_{slot}_LEFT"), 16)
            if left > 0:
                self.set(f"BOOT_{slot}_LEFT", f"{left - 1:x}")
                return slot
        for slot in ("A", "B"):
            self.set(f"BOOT_{slot}_LEFT", "3")
        return self.power_on()


class SystemdBoot(Loader):
    """The order of systemd-boot 252: entries without starts left last, then by sort-key; see its boot.c,
    config_entry_compare(), and https://systemd.io/AUTOMATIC_BOOT_ASSESSMENT for the renaming. What names no kernel is no
    entry."""

    name, trial_starts = "systemd-boot", 3

    def make(self):
        self.esp = self.folder / "esp"
        self.store = self.esp / "loader" / "entries"
        self.store.mkdir(parents=True)
        (self.esp / "loader" / "loader.conf").write_text("timeout 0\ndefault otad-*\n")
        for slot, number in ("a", 500000000), ("b", 999999999):
            (self.store / f"otad-{slot}.conf").write_text(
                f"title Slot {slot.upper()}\nversion 1.{number % 10}\nsort-key otad-{number}\nlinux /{slot}/vmlinuz.efi\n"
                f"initrd /{slot}/initrd.img\noptions root=PARTLABEL=rootfs-{slot} rauc.slot={slot.upper()}\n")
        (self.store / "memtest.conf").write_text("title Other\nsort-key memtest\nefi /memtest.efi\n")
        self.write_settings(ESP=self.esp)

    def entries(self):
        found = []
        for path in self.store.glob("otad-*.conf"):
            name = re.fullmatch(r"otad-([ab])(?:\+(\d+)(?:-(\d+))?)?\.conf", path.name)
            assert name, f"systemd-boot would not understand {path.name}"
            slot, left, done = name[1].upper(), name[2], int(name[3] or 0)
            text = path.read_bytes().decode(errors="replace")
            if not re.search(r"^linux ", text, re.M):
                continue
            key = re.search(r"^sort-key (\S+)$", text, re.M)
            found.append((left is not None and int(left) == 0, key[1] if key else "~", slot, left, done, path))
        return sorted(found, key=lambda entry: entry[:3])

    def power_on(self):
        _, _, slot, left, done, path = self.entries()[0]
        if left is not None and int(left) > 0:
            path.rename(self.store / f"otad-{slot.lower()}+{int(left) - 1}-{done + 1}.conf")
        return slot


class RaspberryPi(Loader):
    """tryboot is one-shot: reboot() sets it as the hook does, power_on() forgets it."""

    name = "rpi-tryboot"
    tryboot = False

    def make(self):
        self.store = self.folder / "autoboot.txt"
        self.store.write_text("[all]\r\ntryboot_a_b=1\r\nboot_partition=2\r\n[tryboot]\r\nboot_partition=3\r\n")
        self.call_settings = dict(AUTOBOOT=self.store)
        self.write_settings(**self.call_settings)
        # A machine that came from the shop has a bad slot B, too.
        self.runs("A")
        self.call("set-state", "B", "bad")

    def runs(self, slot):
        super().runs(slot)
        node = self.folder / "device-tree" / "chosen" / "bootloader"
        node.mkdir(parents=True, exist_ok=True)
        (node / "partition").write_bytes(struct.pack(">I", {"A": 2, "B": 3}[slot]))

    def power_on(self):
        section, found = "[all]", {}
        for line in self.store.read_text().splitlines():
            if line.startswith("["):
                section = line
            elif line.startswith("boot_partition="):
                found[section] = line.split("=")[1]
        tryboot, self.tryboot = self.tryboot, False
        return {"2": "A", "3": "B"}[found["[tryboot]" if tryboot else "[all]"]]

    def start(self):
        """A restart by the hook."""
        self.tryboot = self.call("reboot-argument") == "0 tryboot"
        return super().start()


ALL = [File, Grub, GrubOfRauc, UBoot, SystemdBoot, RaspberryPi]


def with_power_cut(loader, nth, *call):
    """Runs the call and kills it, with all it started, before the nth outside program that may change something. Tells
    whether it was killed."""
    shims, count = loader.folder / "shims", loader.folder / "count"
    if not shims.exists():
        shims.mkdir()
        for tool in ("mv", "cp", "dd", "rm", "sync", "grub-editenv", "fw_setenv"):
            real = subprocess.run(["which", tool], capture_output=True, text=True, check=True).stdout.strip()
            (shims / tool).write_text(f'#!/bin/sh\nread -r n <"{count}"\necho $((n - 1)) >"{count}"\n'
                                      f'[ "$n" -gt 0 ] || kill -9 0\nexec {real} "$@"\n')
            (shims / tool).chmod(0o755)
    count.write_text(f"{nth}\n")
    done = loader.run(*call, PATH=f"{shims}:{os.environ['PATH']}")
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0
