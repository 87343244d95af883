"""The programs that docs are compared with, and a gateway with a cloud to try things on."""

import subprocess

import pytest

from e2e.scene import Scene


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
def make_scene(tmp_path, build, keep):
    n = iter(range(1000))
    return lambda **options: keep(Scene(tmp_path / f"scene-{next(n)}", build=build, **options))
