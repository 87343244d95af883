"""Good updates of a whole root file system, there and back, as the sandboxed units of the package carry them out."""

import hashlib
import re

from . import image
from .scene import wait_idle

# As in tests/package: what the services may do is no more here than they were shipped with.
EXPOSURE = {"otad.service": 1.4, "otad-installer.service": 3.0, "otad-selftest.service": 4.0}


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def slot_digest(scene, slot, path):
    """Of as much of a slot as an image has bytes."""
    device = f"/dev/disk/by-partlabel/rootfs-{slot.lower()}"
    return scene.machine.run(f"head -c {path.stat().st_size} {device} | sha256sum", timeout=60).split()[0]


def test_there_and_back(cold, capsys):
    old, new, newer = (image.rootfs(version) for version in ("1.0.0", "2.0.0", "3.0.0"))
    cold.machine.power_on()
    cold.wait_connected()
    assert (cold.slot(), cold.version()) == ("A", "1.0.0")
    for unit, limit in EXPOSURE.items():
        said = cold.machine.run(f"systemd-analyze security --no-pager {unit} | tail -n 1")
        score = float(re.search(r"([0-9]+\.[0-9]+)", said)[1])
        assert score <= limit, said

    execution = cold.update(new)
    assert execution.statuses == ["QUEUED", "IN_PROGRESS", "SUCCEEDED"]
    assert (cold.slot(), cold.version()) == ("B", "2.0.0")
    assert slot_digest(cold, "B", new) == digest(new)
    assert slot_digest(cold, "A", old) == digest(old)
    variables = cold.grubenv()
    assert (variables["ORDER"], variables["A_OK"], variables["B_OK"]) == ("B A", "1", "1"), variables
    peak = {name: int(bytes_) / image.MIB for name, bytes_ in
            (line.split() for line in cold.machine.run("cat /opt/gateway/memory").splitlines())}

    cold.update(newer)
    assert (cold.slot(), cold.version()) == ("A", "3.0.0")
    assert slot_digest(cold, "A", newer) == digest(newer)
    assert cold.starts() == ["A", "B", "A"]
    wait_idle(cold)
    failed = cold.machine.run("systemctl list-units --failed --plain --no-legend")
    assert not failed.strip(), failed
    cold.cloud.assert_clean()
    with capsys.disabled():
        print(f"\nmemory: otad {peak['otad']:.1f} MiB, otad-installer {peak['otad-installer']:.1f} MiB at most, page cache "
              f"included, for an image of {new.stat().st_size / image.MIB:.0f} MiB")
