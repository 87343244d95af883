"""Fixtures of the fault matrix: the end-to-end scene, with programs whose storage, clock and surroundings can be spoilt."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from e2e.scene import Scene     # noqa: E402

SHIM = Path(__file__).resolve().parent / "shim.c"
# The programs may be built with AddressSanitizer, which would be first of all.
WRAPPER = """#!/bin/sh
{before}
export ASAN_OPTIONS="${{ASAN_OPTIONS:-}}:verify_asan_link_order=0"
exec env LD_PRELOAD='{shim}' OTAD_SHIM='{rules}' {environment} '{program}' "$@" {after}
"""


def pytest_addoption(parser):
    try:
        parser.addoption("--build", default=os.environ.get("OTAD_BUILD", "build"),
                         help="meson's build folder with the programs (default: OTAD_BUILD, or build)")
    except ValueError:      # another folder's tests run as well, and have it
        pass


@pytest.fixture
def tally(request):
    """tally(n): this test tries n faults, not one."""
    return lambda n: request.node.user_properties.append(("cases", n))


def pytest_terminal_summary(terminalreporter):
    def count(outcome):
        return sum(dict(r.user_properties).get("cases", 1) for r in terminalreporter.getreports(outcome) if r.when == "call")
    terminalreporter.write_line(f"faults: {count('passed') + count('failed')} tried, {count('failed')} failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


class SpoiltScene(Scene):
    """A Scene that is powered on by the test. `shim`: the preloaded library."""

    def __init__(self, folder, shim, **options):
        super().__init__(folder, power=False, **options)
        self.shim = shim

    def spoil(self, name, *rules):
        """From now on these rules of shim.c hold for a program; none: all is well again. The program was wrapped before."""
        path = self.gateway.folder / f"{name}.rules"
        path.with_suffix(".new").write_text("".join(f"{rule}\n" for rule in rules))
        path.with_suffix(".new").rename(path)

    def wrap(self, name, *rules, before="", after="", environment=""):
        """The program is started by a script: with the shim, after the commands `before`, its output going to `after`."""
        program = self.gateway.programs[name]
        script = self.gateway.folder / f"run-{name}"
        script.write_text(WRAPPER.format(shim=self.shim, rules=self.gateway.folder / f"{name}.rules", program=program.path,
                                         before=before, after=after, environment=environment))
        script.chmod(0o755)
        program.path = script
        self.spoil(name, *rules)

    def power_on(self):
        self.gateway.power_on()
        return self


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", str(path), str(SHIM), "-ldl"], check=True, timeout=60)
    return path


@pytest.fixture
def make_scene(tmp_path, request, shim):
    """make_scene(**options of Scene): not powered on. Everything ends with the test; where it failed, the logs are shown."""
    scenes = []

    def make(**options):
        options.setdefault("build", request.config.getoption("--build"))
        scene = SpoiltScene(tmp_path / f"scene-{len(scenes)}", shim, **options)
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
    """The usual one, running."""
    return make_scene().power_on()
