"""Memory does not grow with the image: the one thing of the benchmark that a test may assert."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cases import peak_memory       # noqa: E402
from rig import MIB, Stage          # noqa: E402

SMALL, LARGE = 16 * MIB, 256 * MIB
GROWTH = 1 * MIB
BOUND = 24 * MIB                    # both programs, with every page of every library counted in full
BUILD = os.environ.get("OTAD_BUILD", "build")


def is_sanitized(build):
    """A sanitizer's shadow memory is no memory of otad's."""
    from gateway.programs import find_program
    return b"__asan_init" in find_program("otad", build).read_bytes()


def test_memory_is_the_same_for_any_size(tmp_path):
    if is_sanitized(BUILD):
        pytest.skip("memory is not measured under sanitizers")
    stage = Stage(tmp_path, BUILD, own_streams=False)
    try:
        (small, _), (large, each) = (peak_memory(stage, tmp_path, size, "HTTP") for size in (SMALL, LARGE))
    finally:
        stage.close()
    assert small > 2 * MIB, "nothing was measured"
    assert abs(large - small) <= GROWTH, (small, large, each)
    assert max(small, large) <= BOUND, each
