"""The programs that docs are compared with, and a gateway with a cloud to try things on."""

import os
import subprocess
import sys

import pytest

from pages import REPO

sys.path.insert(0, str(REPO / "tests"))

from e2e.scene import Scene     # noqa: E402


@pytest.fixture(scope="session")
def build():
    folder = (REPO / os.environ.get("OTAD_BUILD", "build")).resolve()
    if not (folder / "src" / "agent" / "otad").exists():
        pytest.fail(f"there is no otad in {folder}: build it, or say where it is with OTAD_BUILD")
    return folder


@pytest.fixture(scope="session")
def programs(build):
    """Runs one of them: programs("otad", "--help") -> its output."""
    folders = {"otad": "agent", "otad-installer": "installer", "otactl": "cli"}

    def run(name, *arguments, status=0):
        done = subprocess.run([build / "src" / folders[name] / name, *map(str, arguments)], capture_output=True,
                              text=True, timeout=30, stdin=subprocess.DEVNULL)
        assert status is None or done.returncode == status, done.stdout + done.stderr
        return done.stdout
    return run


@pytest.fixture
def make_scene(tmp_path, build):
    scenes = []

    def make(**options):
        scenes.append(Scene(tmp_path / f"scene-{len(scenes)}", build=build, **options))
        return scenes[-1]
    yield make
    for scene in scenes:
        scene.close()
        print(scene.report())
