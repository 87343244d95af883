"""otad's own Debian package is upgraded while an update downloads."""

import re
from itertools import groupby

import pytest
from cloud import faults

from . import image
from .scene import Scene, wait_idle

UNITS = ("otad.service", "otad-installer.service")
ENOUGH = 4 * image.MIB      # what has come before the upgrade


@pytest.fixture
def debian(tmp_path):
    """A machine whose root file system can be written, with dpkg, and a newer package of otad in /data. Still off."""
    scene = Scene(tmp_path / "scene", image.rootfs("1.0.0", writable=True), put=[image.newer_deb()])
    yield scene
    scene.close()


def processes(scene):
    return [scene.machine.run(f"systemctl show --value -p MainPID {unit}").strip() for unit in UNITS]


def package_version(scene):
    return scene.machine.run("dpkg-query -W -f '${Version}' otad").strip()


def test_upgrade_amid_a_download(debian):
    """It goes on where it was, and ends well."""
    # The first answer takes longer than any upgrade; those after it are quick.
    slow = debian.cloud.faults.on("http.reply", faults.slow(400_000), times=1)
    debian.machine.power_on()
    debian.wait_connected()
    old = package_version(debian)
    new = image.rootfs("2.0.0")
    job = debian.queue(("rootfs.img", new))
    debian.wait_written(ENOUGH)
    assert slow.hits == 1
    before = processes(debian)

    said = debian.machine.run("dpkg -i /data/otad.deb", timeout=180)
    assert debian.execution(job).status == "IN_PROGRESS" and debian.starts() == ["A"], said
    assert package_version(debian) == f"{old}+newer1", said
    assert not set(before) & set(processes(debian)), said

    execution = debian.wait_end(job, "SUCCEEDED", 240)
    assert [status for status, _ in groupby(execution.statuses)] == ["QUEUED", "IN_PROGRESS", "SUCCEEDED"]
    assert (debian.slot(), debian.version()) == ("B", "2.0.0") and debian.starts() == ["A", "B"]
    asked = [message.payload["range"] for message in debian.cloud.find_messages("http")]
    first = int(re.match(r"bytes=([0-9]+)-", asked[1])[1])
    assert asked[0] is None and first >= ENOUGH, f"the download began anew: {asked}"
    wait_idle(debian)
    debian.cloud.assert_clean(allow=["duplicate-client-id"])
