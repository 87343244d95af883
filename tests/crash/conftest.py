"""Fixtures of the crash tests: the shim."""

import pytest

from crash.rig import build_shim


@pytest.fixture(scope="session")
def shim(tmp_path_factory):
    return build_shim(tmp_path_factory.mktemp("shim"))
