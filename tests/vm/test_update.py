"""Good updates of a whole root file system, there and back, as the sandboxed units of the package carry them out."""

import hashlib
import re
from itertools import groupby

import pytest

from cloud.streams import MAX_FILE

from . import image
from .scene import OTHER, wait_idle

both = pytest.mark.parametrize("loader", ["grub", "systemd-boot"], indirect=True)

# As in tests/package: what the services may do is no more here than they were shipped with.
EXPOSURE = {"otad.service": 1.4, "otad-installer.service": 3.0, "otad-selftest.service": 4.0}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def slot_digest(scene, slot, path):
    """Of as much of a slot as an image has bytes."""
    device = f"/dev/disk/by-partlabel/rootfs-{slot.lower()}"
    return scene.machine.run(f"head -c {path.stat().st_size} {device} | sha256sum", timeout=60).split()[0]


def updated(scene, new, slot, version, **options):
    """Updates the other slot, and looks at what has come of it."""
    execution = scene.update(new, **options)
    assert [status for status, _ in groupby(execution.statuses)] == ["QUEUED", "IN_PROGRESS", "SUCCEEDED"]
    assert (scene.slot(), scene.version()) == (slot, version)
    assert slot_digest(scene, slot, new) == digest(new)
    assert scene.boot_state() == (slot + OTHER[slot], {"A", "B"}, set())


@both
def test_there(warm):
    """Download, reboot into the new slot, self-test, commit."""
    updated(warm, warm.rootfs("2.0.0"), "B", "2.0.0")
    assert warm.starts() == ["B"]
    warm.cloud.assert_clean()


@both
def test_there_and_back(cold, capsys):
    old, new, newer = (cold.rootfs(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
    cold.machine.power_on()
    cold.wait_connected()
    assert (cold.slot(), cold.version()) == ("A", "1.0.0")
    for unit, limit in EXPOSURE.items():
        said = cold.machine.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
        score = float(re.search(r"([0-9]+\.[0-9]+)", said)[1])
        assert score <= limit, said

    updated(cold, new, "B", "2.0.0")
    assert slot_digest(cold, "A", old) == digest(old)
    words = cold.machine.run("cat /opt/gateway/memory").split()
    peak = {name: int(n_bytes) / image.MIB for name, n_bytes in zip(words[::2], words[1::2])}

    updated(cold, newer, "A", "3.0.0")
    assert cold.starts() == ["A", "B", "A"]
    wait_idle(cold)
    failed = cold.machine.run("systemctl list-units --failed --plain --no-legend")
    assert not failed.strip(), failed
    cold.cloud.assert_clean()
    with capsys.disabled():
        print(f"\nmemory: otad {peak['otad']:.1f} MiB, otad-installer {peak['otad-installer']:.1f} MiB at most, page cache "
              f"included, for an image of {new.stat().st_size / image.MIB:.0f} MiB")


@pytest.mark.parametrize("loader", ["kernel-stays"], indirect=True)
def test_there_and_back_by_stream(cold):
    """Root file systems through the broker's connection alone."""
    new, newer = (cold.rootfs(version) for version in ("2.0.0", "3.0.0"))
    for path in new, newer:
        assert path.stat().st_size <= MAX_FILE, f"{path} has become too large for a stream: image.LEFT_OUT"
    cold.machine.power_on()
    cold.wait_connected()
    updated(cold, new, "B", "2.0.0", protocols=("MQTT",), timeout=300)
    updated(cold, newer, "A", "3.0.0", protocols=("MQTT",), timeout=300)
    assert cold.starts() == ["A", "B", "A"]
    assert cold.cloud.https.n_requests == 0
    cold.cloud.assert_clean()
