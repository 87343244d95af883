"""Fixtures of the crash tests: where the programs are, and the shim."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from crash.rig import build_shim    # noqa: E402


@pytest.fixture(scope="session")
def build():
    return str(Path(os.environ.get("OTAD_BUILD", "build")).absolute())


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    return build_shim(tmp_path_factory.mktemp("shim"))
