"""The rig itself, with no more than GRUB on the disk: and that GRUB never waits for anybody."""

import pytest

from . import image
from .machine import Machine


@pytest.fixture
def empty(tmp_path):
    """A machine with nothing in its slots."""
    (tmp_path / "data").mkdir()
    (tmp_path / "nothing").write_bytes(bytes(512))
    image.make_disk(tmp_path / "raw", tmp_path / "nothing", tmp_path / "data")
    image.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", tmp_path / "raw", "-F", "raw", tmp_path / "disk")
    machine = Machine(tmp_path, tmp_path / "disk", {}, disk_format="qcow2")
    yield machine
    machine.cut()


@pytest.mark.quick
def test_grub_does_not_wait(empty):
    """It cannot start anything, and tries again. A key that somebody (or noise on the line) types changes nothing."""
    empty.power_on()
    empty.wait_text("starting slot A", 20)
    empty.type(b"\x1b[B\r\n ec")
    empty.wait_text("slot A cannot be loaded", 20)
    empty.wait_text("start 2 ----", 40)
    empty.wait_text("slot A cannot be loaded", 20, empty.mark())


def test_snapshot(empty):
    """What runs on after a snapshot is forgotten by its copy; cut off is cut off."""
    empty.power_on()
    empty.wait_text("slot A cannot be loaded", 20)
    empty.save("here")
    empty.cut()
    assert not empty.running
    since = empty.mark()
    empty.power_on("here")
    empty.plug(False)
    empty.wait_text("start 3 ----", 40, since)      # out of the snapshot's last seconds, by itself
    assert "starting slot" not in empty.text(since)[:empty.text(since).index("start 3")]
