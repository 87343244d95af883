"""Fixtures of the end-to-end tests: a cloud, a gateway with a trusted signer, and both together as a Scene."""

import subprocess

import pytest

from e2e.scene import Scene


@pytest.fixture
def make_scene(tmp_path, build, keep):
    """make_scene(**options of Scene)."""
    n = iter(range(1000))
    return lambda **options: keep(Scene(tmp_path / f"scene-{next(n)}", **{"build": build, **options}))


@pytest.fixture
def scene(make_scene):
    """The usual one: two slots of 1 MiB with 1.0.0, running, its signer trusted."""
    return make_scene()


@pytest.fixture(scope="session")
def namespaces():
    """The test needs some of its own, which not every container and no chroot lets it make."""
    if subprocess.run(["unshare", "--map-root-user", "--mount", "--net", "true"], capture_output=True).returncode != 0:
        pytest.skip("this kernel or container does not let us make name spaces")
