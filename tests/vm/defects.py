"""Software that is well signed and does not work, each in a way of its own: a function changes the tree of a new root file
system. What must come of it is the tests' to say."""

from .image import replace

QUICK = [("timeout-sec = 900", "timeout-sec = 60")]


def _init(tree, script):
    replace(tree / "usr" / "sbin" / "init", f"#!/bin/sh\n{script}\n", 0o755)


def otad_does_not_start(tree):
    replace(tree / "usr" / "sbin" / "otad", "#!/bin/sh\necho 'a library is missing' >&2\nexit 127\n", 0o755)


def nothing_of_otad_starts(tree):
    otad_does_not_start(tree)
    replace(tree / "usr" / "sbin" / "otad-installer", "#!/bin/sh\nexit 127\n", 0o755)
    folder = tree / "etc" / "systemd" / "system" / "otad-selftest.service.d"
    folder.mkdir()
    (folder / "quick.conf").write_text("[Service]\nEnvironment=OTAD_WATCH_SEC=20 OTAD_WATCH_PAUSE_SEC=5\n")


def no_network(tree):
    (tree / "etc" / "systemd" / "system" / "lan.service").unlink()


def no_time(tree):
    """No defect of otad's: what waits for the time, as systemd-time-wait-sync does, waits for ever."""
    units = tree / "etc" / "systemd" / "system"
    replace(units / "time-wait.service", """[Unit]
DefaultDependencies=no
Wants=time-sync.target
Before=time-sync.target

[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sleep infinity
""")
    (units / "sysinit.target.wants").mkdir(exist_ok=True)
    (units / "sysinit.target.wants" / "time-wait.service").symlink_to("../time-wait.service")


def no_data(tree):
    """systemd's emergency mode: no more than a file system is missing."""
    fstab = tree / "etc" / "fstab"
    replace(fstab, fstab.read_text().replace("PARTLABEL=data          /data                   ext4    defaults        0 2",
                                             "PARTLABEL=date /data ext4 x-systemd.device-timeout=10 0 2"))


def kernel_is_no_kernel(tree):
    for kernel in (tree / "boot").glob("vmlinuz-*"):
        replace(kernel, "")


def kernel_panics(tree):
    _init(tree, "exit 1")


def no_init(tree):
    for name in "usr/sbin/init", "usr/bin/sh":
        (tree / name).unlink()


def hangs(tree):
    _init(tree, "exec sleep 1000000")


ALL = {f.__name__: f for f in (otad_does_not_start, nothing_of_otad_starts, no_network, no_time, no_data, kernel_is_no_kernel,
                               kernel_panics, no_init, hangs)}
