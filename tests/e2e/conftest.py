"""Fixtures of the end-to-end tests: a cloud, a gateway with a trusted signer, and both together as a Scene."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from e2e.scene import Scene     # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--build", default=os.environ.get("OTAD_BUILD", "build"),
                     help="meson's build folder with the programs (default: OTAD_BUILD, or build)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture
def make_scene(tmp_path, request):
    """make_scene(**options of Scene): everything ends with the test; where it failed, the logs are shown."""
    scenes = []

    def make(**options):
        options.setdefault("build", request.config.getoption("--build"))
        scene = Scene(tmp_path / f"scene-{len(scenes)}", **options)
        scenes.append(scene)
        return scene
    yield make
    errors = []
    for scene in scenes:
        failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
        try:
            scene.close()
            if not failed:
                scene.check()
        except Exception as error:      # noqa: the others are to be ended, too
            errors.append(error)
        if failed or errors:
            print(scene.report())
    if errors:
        raise errors[0]


@pytest.fixture
def scene(make_scene):
    """The usual one: two slots of 1 MiB with 1.0.0, running, its signer trusted."""
    return make_scene()
