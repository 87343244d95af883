"""Machines for the tests: one starts anew, as from the factory (`cold`); or is a copy of one that has just started (`warm`).

    -m quick    only the few that scripts/test runs by default
    --long      power is cut 200 times, too; --cuts N: so many times
    --share K/N the K-th of N parts, for N machines at once; of what is long, each of them does a part
"""

import inspect
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from vm import image, loaders, machine, scene     # noqa: E402
from vm.scene import Scene, wait_idle    # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="tests/vm: cut the power many times, too")
    parser.addoption("--cuts", type=int, default=200, help="tests/vm: how many times with --long (default: %(default)s)")
    parser.addoption("--share", default="1/1", metavar="K/N", help="tests/vm: the K-th of N parts only")


def pytest_configure(config):
    config.addinivalue_line("markers", "quick: part of the default run of scripts/test")
    config.addinivalue_line("markers", "long: only with --long")


def pytest_collection_modifyitems(config, items):
    part, n_parts = map(int, config.getoption("--share").split("/"))
    items[:] = [item for n, item in enumerate(items) if n % n_parts == part - 1 or item.get_closest_marker("long")]


@pytest.fixture(scope="session", autouse=True)
def host():
    lacking = machine.missing()
    if lacking:
        pytest.skip(f"no virtual machine here: {lacking}")


@pytest.fixture
def loader(request):
    """GRUB; or another one by its name, for a test that names it in its parameters."""
    return getattr(request, "param", "grub")


def make_ready(path, loader):
    """A gateway that runs version 1.0.0 from slot A, as a snapshot to be copied; and the certificates that it knows."""
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(folder, image.rootfs("1.0.0", loader=loader), loader=loader)
        try:
            image.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", scene.disk, scene.folder / "ready")
            scene.disk = scene.folder / "ready"
            scene.machine = scene.new_machine(disk_format="qcow2")
            scene.machine.power_on()
            scene.machine.wait_shell()
            scene.wait_connected()
            wait_idle(scene)
            # A connection would not survive in the copies, and it would take otad a minute to see that.
            scene.machine.run("systemctl stop otad.service")
            scene.machine.save("ready")
            scene.machine.cut()
            path.mkdir()
            shutil.copy(scene.disk, path / "disk")
            if (scene.folder / "variables").exists():
                shutil.copy(scene.folder / "variables", path)
            shutil.copytree(scene.cloud.folder / "pki", path / "pki")
        finally:
            scene.close()


@pytest.fixture
def ready(loader):
    """Kept between runs, as it takes as long as a start. A snapshot is for the PC that it was taken of."""
    made_of = [image.rootfs("1.0.0", loader=loader).name, image.run(machine.QEMU, "--version"), machine.accelerator(),
               machine.N_CPUS, *map(inspect.getsource, (machine, image, loaders, scene, make_ready))]
    return image.cached(f"ready-{loader}", "", made_of, lambda path: make_ready(path, loader))


@pytest.fixture
def warm(ready, loader, tmp_path):
    """A scene with the machine running."""
    scene = Scene(tmp_path / "scene", None, pki=ready / "pki", loader=loader)
    try:
        for path in ready.glob("*"):
            if path.is_file():
                shutil.copy(path, scene.folder)
        scene.machine = scene.new_machine(disk_format="qcow2")
        scene.machine.power_on("ready")
        scene.machine.adopt()
        scene.machine.run(f"date -s @{int(time.time())} && systemctl start otad.service")
        scene.wait_connected()
        yield scene
    finally:
        scene.close()


@pytest.fixture
def cold(loader, tmp_path):
    """A scene whose machine is still off."""
    scene = Scene(tmp_path / "scene", image.rootfs("1.0.0", loader=loader), loader=loader)
    yield scene
    scene.close()
