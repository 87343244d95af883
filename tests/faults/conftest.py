"""Fixtures of the fault matrix: the end-to-end scene, with programs whose storage, clock and surroundings can be spoilt."""

import subprocess
from pathlib import Path

import pytest

from e2e.scene import Scene

SHIM = Path(__file__).resolve().parent / "shim.c"
# The programs may be built with AddressSanitizer, which would be first of all.
WRAPPER = """#!/bin/sh
{before}
export ASAN_OPTIONS="${{ASAN_OPTIONS:-}}:verify_asan_link_order=0"
exec env LD_PRELOAD='{shim}' OTAD_SHIM='{rules}' {environment} '{program}' "$@" {after}
"""


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
def make_scene(tmp_path, build, shim, keep):
    """make_scene(**options of Scene): not powered on."""
    n = iter(range(1000))
    return lambda **options: keep(SpoiltScene(tmp_path / f"scene-{next(n)}", shim, **{"build": build, **options}))


@pytest.fixture
def scene(make_scene):
    """The usual one, running."""
    return make_scene().power_on()
