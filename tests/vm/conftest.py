"""Machines for the tests: one starts anew, as from the factory (`cold`); or is a copy of one that has just started (`warm`).

    -m quick    only the few that scripts/test runs by default
    --long      power is cut 200 times, too
"""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vm import image, machine      # noqa: E402
from vm.scene import Scene, wait_idle    # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="tests/vm: cut the power 200 times, too")


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: part of the default run of scripts/test")


@pytest.fixture(scope="session", autouse=True)
def host():
    lacking = machine.missing()
    if lacking:
        pytest.skip(f"no virtual machine here: {lacking}")


class Ready:
    """A gateway that runs version 1.0.0 from slot A, as a snapshot to be copied."""

    def __init__(self, folder):
        self.folder = folder
        self.pki = folder / "cloud" / "pki"
        self.disk = folder / "overlay"
        scene = Scene(folder, image.rootfs("1.0.0"))
        try:
            image.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", scene.disk, "-F", "raw", self.disk)
            scene.disk = self.disk
            scene.machine = scene.new_machine(disk_format="qcow2")
            scene.machine.power_on()
            scene.machine.wait_shell()
            scene.wait_connected()
            wait_idle(scene)
            # A connection would not survive in the copies, and it would take otad a minute to see that.
            scene.machine.run("systemctl stop otad.service")
            scene.machine.save("ready")
        finally:
            scene.close()


@pytest.fixture(scope="session")
def ready(tmp_path_factory):
    return Ready(tmp_path_factory.mktemp("ready"))


@pytest.fixture
def warm(ready, tmp_path, request):
    """A scene with the machine running."""
    scene = Scene(tmp_path / "scene", None, pki=ready.pki)
    try:
        shutil.copy(ready.disk, scene.disk)
        scene.machine = scene.new_machine(disk_format="qcow2")
        scene.machine.power_on("ready")
        scene.machine.adopt()
        scene.machine.run("systemctl start otad.service")
        scene.wait_connected()
        yield scene
    finally:
        scene.close()


@pytest.fixture
def cold(tmp_path):
    """A scene whose machine is still off."""
    scene = Scene(tmp_path / "scene", image.rootfs("1.0.0"))
    yield scene
    scene.close()
