"""The gateway's boot loaders: what each puts on the disk and into a root file system, and how to see from outside what it
does. The tests are the same for all, and are told one by its name."""

import re
import shutil
from pathlib import Path

from . import image

CONF = image.TOP / "conf"


class Grub:
    """GRUB by BIOS, with the shipped grub.cfg; kernels are read from the slots."""

    name = "grub"
    trial_starts = 1
    starting = "starting slot {}"       # on the console, as a slot starts
    is_slow = False
    checks_esp = False      # the machine does, at each start
    compression = ["gzip", "-Xcompression-level", "1"]      # of root file systems: the quickest

    def firmware(self, folder):
        """QEMU's options for it; `folder` keeps what it remembers."""
        return []

    def adapt(self, tree):
        """A root file system that tests/vm/files have been put into."""

    def fill_esp(self, esp):
        """`esp` is an empty FAT file system; slot A is good, B was never written."""
        block = esp.parent / "grubenv"
        image.run("grub-editenv", block, "create")
        image.run("grub-editenv", block, "set", "ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=0", "B_TRY=0")
        image.run("mmd", "-i", esp, "::EFI", "::EFI/BOOT", "::grub")
        image.run("mcopy", "-i", esp, CONF / "boot" / "grub.cfg.example", "::grub/grub.cfg")
        image.run("mcopy", "-i", esp, block, "::grub/grubenv")
        image.run("mcopy", "-i", esp, image.grub() / "grubx64.efi", "::EFI/BOOT/BOOTX64.EFI")

    def fill_disk(self, disk):
        image.install_grub(disk)

    def is_the_same(self, name, before, after):
        """Whether the file of the ESP is as an update may leave it at any time."""
        return name == "grub/grubenv" or before == after

    def is_whole(self, esp, slot):
        """Whether all is on the ESP that the slot needs to start. `esp` is a folder."""
        return True

    def state(self, run, esp="/boot/efi"):
        """(the slots in the order in which they would be started, those that are good, those on trial), by what stands on
        the ESP where `run` is a shell."""
        found = dict(re.findall(r"^(\w+)=(.*)$", run(f"grub-editenv {esp}/grub/grubenv list"), re.M))
        order = found["ORDER"].replace(" ", "")
        good = {slot for slot in order if found[f"{slot}_OK"] == "1"}
        return order, good, set(found.get("OTAD_TRIAL", ""))


class SystemdBoot:
    """systemd-boot by UEFI, with boot counting; kernels are on the ESP, where the shipped part of the hook puts them."""

    name = "systemd-boot"
    trial_starts = 3
    # systemd-boot itself says nothing. This is the first that is said by what it has started.
    starting = "initramfs of slot {}"
    is_slow, checks_esp = True, True
    compression = Grub.compression
    CODE, VARIABLES = (Path("/usr/share/OVMF") / name for name in ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"))
    ENTRY = """title    Gateway, slot {slot}
sort-key otad-{number}
linux    /{name}/vmlinuz
initrd   /{name}/initrd.img
options  root=PARTLABEL=rootfs-{name} rootwait rw console=ttyS0,115200 panic=5 quiet rauc.slot={slot}
"""

    def firmware(self, folder):
        variables = folder / "variables"
        if not variables.exists():      # a format that can be part of a snapshot
            image.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.VARIABLES, variables)
        return ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={self.CODE}",
                "-drive", f"if=pflash,unit=1,format=qcow2,file={variables}"]

    def adapt(self, tree):
        conf = tree / "etc" / "otad"
        image.replace(conf / "boot.conf", (CONF / "boot" / "boot.conf").read_text())
        image.replace(conf / "hook.d" / "systemd-boot", (CONF / "hook" / "systemd-boot").read_text(), 0o755)
        image.replace(conf / "otad.conf", (conf / "otad.conf").read_text().replace("boot/grub", "boot/systemd-boot"))
        # Kernels are written to the ESP, so it has to be checked after a power cut; and not to wait for each write.
        fstab = (tree / "etc" / "fstab").read_text()
        image.replace(tree / "etc" / "fstab", fstab.replace("umask=0077,sync 0 0", "umask=0077      0 2"))

    def fill_esp(self, esp):
        image.run("mmd", "-i", esp, "::EFI", "::EFI/BOOT", "::loader", "::loader/entries", "::a", "::b")
        image.run("mcopy", "-i", esp, "/usr/lib/systemd/boot/efi/systemd-bootx64.efi", "::EFI/BOOT/BOOTX64.EFI")
        for name in "vmlinuz", "initrd.img":
            image.run("mcopy", "-i", esp, image.tree() / "boot" / name, f"::a/{name}")
        files = {"loader.conf": "timeout 0\ndefault otad-*\n",
                 "entries/otad-a.conf": self.ENTRY.format(slot="A", name="a", number=500000000),
                 "entries/otad-b.conf": self.ENTRY.format(slot="B", name="b", number=999999999)}
        for name, text in files.items():
            scratch = esp.parent / "text"
            scratch.write_text(text)
            image.run("mcopy", "-i", esp, scratch, f"::loader/{name}")
            scratch.unlink()

    def fill_disk(self, disk):
        pass

    def is_the_same(self, name, before, after):
        """Of a good slot's entry only nine digits change."""
        if name.startswith("loader/entries/"):
            before, after = (re.sub(rb"sort-key otad-\d{9}", b"", text) for text in (before, after))
        return before == after

    def is_whole(self, esp, slot):
        # All versions have the kernel that the factory has put there for A.
        return all((esp / slot.lower() / name).read_bytes() == (esp / "a" / name).read_bytes()
                   for name in ("vmlinuz", "initrd.img"))

    def state(self, run, esp="/boot/efi"):
        """A slot on trial counts as good, as in GRUB's variables."""
        found = re.findall(r"otad-([ab])(?:\+(\d+)\S*)?\.conf:sort-key\s+otad-(\d+)",
                           run(f"grep sort-key {esp}/loader/entries/otad-*.conf | sed 's,.*/,,'"))
        numbers = {(slot.upper(), bool(left)): int(number) for slot, left, number in found if left != "0"}
        good = {slot: number for (slot, _), number in sorted(numbers.items()) if number != 999999999}
        order = "".join(sorted("AB", key=lambda slot: good.get(slot, 999999999)))
        return order, set(good), {slot for slot, trial in numbers if trial}


class SystemdBootKernelStays(SystemdBoot):
    """The same with a kernel that no update changes. Root file systems without one are small enough for an MQTT stream."""

    name = "kernel-stays"
    compression = ["xz", "-b", "1M", "-Xdict-size", "100%"]

    def adapt(self, tree):
        super().adapt(tree)
        (tree / "etc" / "otad" / "hook.d" / "systemd-boot").unlink()
        for path in (tree / "boot").iterdir():
            if not path.is_dir():
                path.unlink()

    def fill_esp(self, esp):
        super().fill_esp(esp)
        for name in "vmlinuz", "initrd.img":
            image.run("mcopy", "-i", esp, image.tree() / "boot" / name, f"::b/{name}")


ALL = {loader.name: loader for loader in (Grub(), SystemdBoot(), SystemdBootKernelStays())}
