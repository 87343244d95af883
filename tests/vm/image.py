"""What a gateway in a virtual machine is made of: Debian packages, root file systems, a disk, all without loop mounts
and kernel modules of the host. What depends on the boot loader is in loaders.py. Needs root (for chroot), but not the
network once the cache is filled.

What takes long is made once and kept in ${OTAD_VM_CACHE:-${XDG_CACHE_HOME:-/var/tmp}/otad-vm}, under a name that changes
with whatever it is made of:

    debian-KEY.tar      the packages of Debian, by mmdebstrap
    grub-KEY/           GRUB for BIOS and for EFI
    deb-KEY/            otad's own package, by dpkg-buildpackage, from the source tree as it is
    tree-KEY/           both together and tests/vm/files: the root file system as a folder
    newer-KEY/          that package with a higher version
    rootfs-KEY.img      a slot's content: squashfs, with a version, and possibly with a defect
    ready-KEY/          a snapshot of the machine that has just started; see conftest.py
"""

import hashlib
import inspect
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
FILES = HERE / "files"
SOURCES = ("conf", "debian", "docs/man", "include", "src", "systemd", "meson.build", "meson_options.txt")

# Not the cloud kernel, which has no driver for the hardware watchdog.
PACKAGES = """systemd systemd-sysv dbus udev linux-image-amd64 kmod iproute2 e2fsprogs util-linux ca-certificates
    libcurl4 libmosquitto1 libcjson1 libcbor0.8 libconfig9 libaio1 libc-ares2 grub-common systemd-boot dosfstools zstd""".split()
# Of no use in the machine, and a cost at each start: an emulated processor needs half a second for a program that a real one
# starts in a few milliseconds.
MASKED = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    systemd-timesyncd.service systemd-pcrphase.service systemd-pcrphase-sysinit.service getty@tty1.service
    systemd-networkd-wait-online.service remote-fs.target dev-hugepages.mount dev-mqueue.mount sys-kernel-config.mount
    sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount modprobe@configfs.service
    modprobe@dm_mod.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service
    systemd-network-generator.service systemd-journal-flush.service systemd-update-utmp.service
    systemd-update-utmp-runlevel.service systemd-logind.service systemd-user-sessions.service systemd-fsckd.socket
    systemd-fsckd.service systemd-random-seed.service systemd-sysctl.service systemd-modules-load.service
    systemd-remount-fs.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer kmod-static-nodes.service
    systemd-ask-password-console.path systemd-ask-password-wall.path proc-sys-fs-binfmt_misc.automount
    systemd-initctl.socket systemd-journald-audit.socket systemd-boot-system-token.service
    systemd-boot-update.service""".split()
# The same for the initramfs: what starts udev in it, and what looks for a disk to wake up from.
INITRAMFS_LEFT_OUT = """hooks/udev hooks/dmsetup hooks/keymap hooks/resume hooks/thermal scripts/init-top/all_generic_ide
    scripts/init-top/keymap scripts/init-top/udev scripts/init-bottom/udev scripts/local-premount/resume""".split()
GENERATORS_KEPT = ["systemd-fstab-generator", "systemd-bless-boot-generator"]
UDEV_RULES_KEPT = ["50-udev-default.rules", "60-block.rules", "60-persistent-storage.rules", "99-systemd.rules"]
# What a slot leaves out, as this machine's devices are known.
LEFT_OUT = """usr/share/doc usr/share/man usr/share/info usr/share/locale usr/share/bash-completion usr/share/zoneinfo
    usr/share/lintian usr/share/bug usr/share/grub usr/share/i18n usr/share/zsh usr/share/initramfs-tools usr/lib/grub
    usr/lib/x86_64-linux-gnu/libmvec.so.1 usr/lib/x86_64-linux-gnu/libfreetype.so.6
    usr/lib/x86_64-linux-gnu/libfreetype.so.6.18.3 usr/bin/zstd usr/bin/pzstd usr/bin/openssl usr/bin/gpgv usr/sbin/tc
    usr/lib/systemd/systemd-networkd usr/lib/systemd/systemd-logind usr/lib/x86_64-linux-gnu/gconv
    usr/lib/locale usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin usr/lib/girepository-1.0 var/lib/apt var/cache
    var/log""".split()
# And these, unless it is for a machine on which packages are upgraded one by one.
PACKAGE_TOOLS = """usr/share/perl usr/share/perl5 usr/lib/x86_64-linux-gnu/perl usr/lib/x86_64-linux-gnu/perl-base
    usr/lib/x86_64-linux-gnu/libperl.so.5.36.0 usr/lib/x86_64-linux-gnu/libperl.so.5.36
    usr/lib/x86_64-linux-gnu/libstdc++.so.6 usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30
    usr/lib/x86_64-linux-gnu/libdb-5.3.so usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0.0
    usr/lib/x86_64-linux-gnu/libapt-private.so.0.0.0 usr/lib/apt usr/lib/dpkg var/lib/dpkg""".split()
KERNEL_KEPT = """crypto/crc32c_generic.ko arch/x86/crypto/crc32c-intel.ko lib/crc16.ko lib/libcrc32c.ko lib/crc-itu-t.ko
    fs/autofs fs/efivarfs fs/ext4 fs/jbd2 fs/mbcache.ko fs/fat fs/nls fs/squashfs net/core drivers/virtio drivers/block/virtio_blk.ko
    drivers/net/virtio_net.ko drivers/net/net_failover.ko drivers/watchdog/i6300esb.ko drivers/watchdog/watchdog.ko
    drivers/char/hw_random""".split()

SECTOR, MIB = 512, 1 << 20
# Partitions of the disk: first MiB, size in MiB. The numbers 3 and 4 of the slots are those of grub.cfg.example.
PARTITIONS = {"bios": (1, 1), "esp": (2, 64), "rootfs-a": (66, 512), "rootfs-b": (578, 512), "data": (1090, 64)}
DISK_MIB = 1155
TYPES = {"bios": "21686148-6449-6E6F-744E-656564454649", "esp": "U"}
GRUB_MODULES = """part_gpt fat ext2 squash4 normal linux search search_label loadenv test echo configfile serial terminal
    reboot sleep""".split()
EARLY = "search --no-floppy --set=root --label OTADESP\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n"


# How many of a kind are kept in the cache. All tests together use 29 images.
KEPT = {"rootfs": 33}


class MissingTool(RuntimeError):
    """The host lacks what an image is made with."""


def run(*command, **more):
    """Its output; RuntimeError with all it said if it fails."""
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", **{"stdin": subprocess.DEVNULL, **({} if "input" not in more else
                                                                                  {"stdin": None}), **more})
    except FileNotFoundError:
        raise MissingTool(f"{command[0]} is not installed: scripts/install-packages vm") from None
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


# ---- the cache ----

def cache_folder():
    folder = Path(os.environ.get("OTAD_VM_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "/var/tmp") / "otad-vm")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def cached(name, ending, made_of, make):
    """The path of a thing made of `made_of`; make(path) makes it if it is not there, whole or not at all."""
    key = hashlib.sha256("\0".join(map(str, made_of)).encode()).hexdigest()[:16]
    path = cache_folder() / f"{name}-{key}{ending}"
    if not path.exists():
        folder = Path(tempfile.mkdtemp(prefix=f"new-{name}-", dir=cache_folder()))
        folder.chmod(0o755)
        try:
            make(folder / "it")
            try:
                (folder / "it").rename(path)
            except OSError:     # somebody else was quicker
                if not path.exists():
                    raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        forget(name)
    os.utime(path)
    return path


def forget(name):
    """Those that were not used for the longest time."""
    def age(path):
        return path.stat().st_mtime
    for path in sorted(cache_folder().glob(f"{name}-*"), key=age, reverse=True)[KEPT.get(name, 2):]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def digest_of(folder, *names):
    """Of the content, modes and names of all files there."""
    digest = hashlib.sha256()
    for name in names or (".",):
        top = folder / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_symlink() or not path.is_file() or "__pycache__" in path.parts:
                continue
            digest.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o777:o}\0".encode() + path.read_bytes())
    return digest.hexdigest()


# ---- the root file system ----

def debian():
    """A tar archive of the packages."""
    def make(path):
        # The first initrd is of no use; with this it costs no time either.
        quick = "mkdir -p $1/etc/initramfs-tools/conf.d; echo MODULES=list >$1/etc/initramfs-tools/conf.d/gateway"
        run("mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", f"--include={','.join(PACKAGES)}",
            f"--essential-hook={quick}", "--customize-hook=rm -rf $1/var/cache/apt/* $1/var/lib/apt/lists/*",
            "bookworm", path, timeout=3600)
    return cached("debian", ".tar", PACKAGES, make)


def package():
    """The folder with otad_*.deb, made of this source tree."""
    def make(path):
        path.mkdir()
        source = path / "source"
        shutil.copytree(TOP, source, symlinks=True, ignore=shutil.ignore_patterns(".git", "build", "build-*", "__pycache__"))
        run("dpkg-buildpackage", "-us", "-uc", "-b", cwd=source, timeout=1800,
            env={**os.environ, "CC": "gcc", "DEB_BUILD_OPTIONS": f"nocheck parallel={os.cpu_count()}"})
        shutil.rmtree(source)
    return cached("deb", "", [digest_of(TOP, *SOURCES)], make)


def deb():
    return next(package().glob("otad_*.deb"))


def newer_deb():
    """The same package with a higher version."""
    def make(path):
        path.mkdir()
        run("dpkg-deb", "-R", deb(), path / "content")
        control = path / "content" / "DEBIAN" / "control"
        control.write_text(re.sub(r"^(Version: .*)$", r"\1+newer1", control.read_text(), flags=re.M))
        run("dpkg-deb", "--root-owner-group", "-b", path / "content", path / "otad.deb")
        shutil.rmtree(path / "content")
    return cached("newer", "", [package().name, inspect.getsource(make)], make) / "otad.deb"


def in_tree(tree, *command, **more):
    return run("chroot", tree, *command, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
                                              "DEBIAN_FRONTEND": "noninteractive"}, **more)


def tree():
    """Debian with otad, and an initrd that starts the watchdog: what all root file systems are made from, as a folder."""
    initramfs = digest_of(FILES, "etc/initramfs-tools", "etc/modprobe.d")

    def make(path):
        path.mkdir()
        run("tar", "-xf", debian(), "-C", path, "--numeric-owner")
        shutil.copy(deb(), path / "otad.deb")
        in_tree(path, "dpkg", "-i", "/otad.deb")
        (path / "otad.deb").unlink()
        put_files(path)
        for name in INITRAMFS_LEFT_OUT:
            (path / "usr" / "share" / "initramfs-tools" / name).unlink()
        in_tree(path, "update-initramfs", "-u")
        boot = path / "boot"
        for link, pattern in ("vmlinuz", "vmlinuz-*"), ("initrd.img", "initrd.img-*"):
            (boot / link).symlink_to(next(boot.glob(pattern)).name)
    made_of = [debian().name, package().name, initramfs, *INITRAMFS_LEFT_OUT, inspect.getsource(make)]
    return cached("tree", "", made_of, make)


def put_files(path):
    """What makes a gateway of it: tests/vm/files, and the shipped part of the hook for services."""
    run("cp", "-rT", "--no-preserve=ownership", "--remove-destination", FILES, path)
    part = (TOP / "conf" / "hook" / "service").read_text().replace(
        "curl -fsS -m 5 -o /dev/null http://127.0.0.1:8080/health", "/opt/gateway/app --health")
    replace(path / "etc" / "otad" / "hook.d" / "service", part.replace("HOOK_TIMES:-15", "HOOK_TIMES:-5"), 0o755)
    replace(path / "etc" / "machine-id", "")
    for unit in MASKED:
        link = path / "etc" / "systemd" / "system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for name in ("data", "boot/efi", "opt/gateway", "var/lib/otad", "var/lib/otad-installer", "etc/otad/tls",
                 "etc/otad/trust"):
        (path / name).mkdir(parents=True, exist_ok=True)
    in_tree(path, "systemctl", "enable", "lan.service", "gateway-app.service", "console.service")


def leave_out(path, package_tools):
    """Takes out of a copy of the tree what a slot does not need."""
    for name in LEFT_OUT + ([] if package_tools else PACKAGE_TOOLS):
        shutil.rmtree(path / name) if (path / name).is_dir() else (path / name).unlink(missing_ok=True)
    for pattern in ("usr/bin/grub-*", "usr/sbin/grub-*", "usr/share/*-1.0", "boot/System.map-*",
                    *(() if package_tools else ("usr/bin/perl*", "usr/bin/dpkg*", "usr/bin/apt*"))):
        for found in path.glob(pattern):
            if found.name != "grub-editenv":
                found.unlink()
    for folder, kept in ("systemd/system-generators", GENERATORS_KEPT), ("udev/rules.d", UDEV_RULES_KEPT):
        for found in (path / "usr" / "lib" / folder).iterdir():
            if found.name not in kept:
                found.unlink()
    for kernel in (path / "usr" / "lib" / "modules").glob("*/kernel"):
        for module in kernel.rglob("*.ko*"):
            name = str(module.relative_to(kernel))
            if not any(name == kept or name.startswith(kept + "/") for kept in KERNEL_KEPT):
                module.unlink()
        version = kernel.parent.name
        for index in kernel.parent.glob("modules.*"):
            if index.name not in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
                index.unlink()
        in_tree(path, "depmod", version)
    for name in "var/cache", "var/log":
        (path / name).mkdir()


def replace(path, text, mode=0o644):
    """A file in a tree whose files are shared with other trees."""
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)


def rootfs(version, defect=None, settings=(), writable=False, loader="grub"):
    """An image for a slot: software `version`, with a defect by name (see defects.py) and more settings of otad.conf. Where
    it is to be writable, it is an ext4 with the tools for packages instead of a squashfs."""
    from . import defects, loaders      # which need replace()

    spoil = defects.ALL[defect] if defect else None
    loader = loaders.ALL[loader]
    origin = tree()

    def make(path):
        copy = path.parent / "tree"
        run("cp", "-alT", origin, copy)
        put_files(copy)
        loader.adapt(copy)
        leave_out(copy, package_tools=writable)
        release = copy / "usr" / "lib" / "os-release"
        replace(release, release.read_text() + f"IMAGE_ID=gateway\nIMAGE_VERSION={version}\n")
        if settings:
            conf = copy / "etc" / "otad" / "otad.conf"
            text = conf.read_text()
            for old, new in settings:
                assert old in text, old
                text = text.replace(old, new)
            replace(conf, text)
        if spoil:
            spoil(copy)
        if writable:
            run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,nodiscard", "-d", copy, path, "448M")
            return
        run("mksquashfs", copy, path, "-noappend", "-comp", *loader.compression, "-mkfs-time", "0", "-no-xattrs",
            "-no-progress", "-quiet", timeout=900)
    made_of = [origin.name, version, settings, digest_of(FILES), inspect.getsource(spoil) if spoil else "",
               loader.name, *map(inspect.getsource, (loaders, make, put_files, leave_out)), *LEFT_OUT, *PACKAGE_TOOLS,
               *KERNEL_KEPT, *MASKED, *GENERATORS_KEPT, *UDEV_RULES_KEPT, writable]
    return cached("rootfs", ".img", made_of, make)


# ---- the disk ----

def offset(partition):
    return PARTITIONS[partition][0] * MIB


def grub():
    """GRUB for BIOS and for EFI, as a folder with core.img and grubx64.efi."""
    def make(path):
        path.mkdir()
        (path / "early.cfg").write_text(EARLY)
        for target, name, more in (("i386-pc", "core.img", ["biosdisk"]), ("x86_64-efi", "grubx64.efi", [])):
            run("grub-mkimage", "-O", target, "-c", path / "early.cfg", "-p", "/grub", "-o", path / name, *more,
                *GRUB_MODULES)
    return cached("grub", "", [EARLY, *GRUB_MODULES], make)


def write_at(disk, source, position):
    run("dd", f"if={source}", f"of={disk}", "bs=1M", f"seek={position // MIB}", "conv=notrunc,sparse", "status=none")


def install_grub(disk):
    """What grub-install does, without devices: the first sector, and where it finds the rest."""
    first = PARTITIONS["bios"][0] * MIB // SECTOR
    head = bytearray(Path("/usr/lib/grub/i386-pc/boot.img").read_bytes())
    head[0x5c:0x64] = first.to_bytes(8, "little")
    head[0x66:0x68] = b"\x90\x90"      # the BIOS's number of the drive is trusted
    core = bytearray((grub() / "core.img").read_bytes())
    core[0x1f4:0x1fc] = (first + 1).to_bytes(8, "little")
    core[0x1fc:0x1fe] = ((len(core) + SECTOR - 1) // SECTOR - 1).to_bytes(2, "little")
    core[0x1fe:0x200] = (0x820).to_bytes(2, "little")
    with open(disk, "r+b") as f:
        f.write(head[:440])
        f.seek(first * SECTOR)
        f.write(core)


def make_disk(path, slot_a, data, loader="grub"):
    """A disk as it leaves the factory: slot A has the image `slot_a`, B nothing, the data partition the folder `data`."""
    from . import loaders

    loader = loaders.ALL[loader]
    with open(path, "wb") as f:
        f.truncate(DISK_MIB * MIB)
    table = "label: gpt\n" + "".join(
        f"start={first}MiB, size={size}MiB, type={TYPES.get(name, 'L')}, name={name}\n"
        for name, (first, size) in PARTITIONS.items())
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path, input=table)
    loader.fill_disk(path)
    esp = path.with_suffix(".esp")
    with open(esp, "wb") as f:
        f.truncate(PARTITIONS["esp"][1] * MIB)
    run("mkfs.vfat", "-n", "OTADESP", esp)
    loader.fill_esp(esp)
    write_at(path, esp, offset("esp"))
    esp.unlink()
    write_at(path, slot_a, offset("rootfs-a"))
    run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "data",
        "-E", f"offset={offset('data')},lazy_itable_init=0,nodiscard,root_owner=0:0",
        "-d", data, path, f"{PARTITIONS['data'][1]}M")
    return path
