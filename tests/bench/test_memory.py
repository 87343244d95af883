"""Memory is bounded and does not grow with the image: the one thing of the benchmark that a test may assert."""

import os
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cases import FAST, peak_memory                   # noqa: E402
from rig import MIB, Machine, Slot, Stage, memory_of  # noqa: E402

GROWTH = 1 * MIB
# Every page of every library counted in full, once; docs/performance.md has the figures. What is above them here is for
# other versions of the libraries and kernels, and for builds that are not stripped; it is too little for a program that
# keeps what only its start needed (base/memory.h).
PEAK, IDLE = 12 * MIB, 7 * MIB
SIZES = {"HTTP": (16 * MIB, 192 * MIB), "MQTT": (8 * MIB, 24 * MIB)}
CONFIG = {**FAST, "window-bytes": 256 * 1024}       # how far a window of 1 MiB fills is chance
BUILD = os.environ.get("OTAD_BUILD", "build")


def is_sanitized(build):
    """A sanitizer's shadow memory is no memory of otad's."""
    from gateway.programs import find_program
    return b"__asan_init" in find_program("otad", build).read_bytes()


pytestmark = pytest.mark.skipif(is_sanitized(BUILD), reason="memory is not measured under sanitizers")


@pytest.fixture
def stage(tmp_path):
    stage = Stage(tmp_path, BUILD, own_streams=False)
    yield stage
    stage.close()


@pytest.mark.parametrize("protocol", list(SIZES))
def test_peak_is_the_same_for_any_size(stage, tmp_path, protocol):
    (small, _), (large, each) = (peak_memory(stage, tmp_path, size, protocol, CONFIG) for size in SIZES[protocol])
    assert small > 2 * MIB, "nothing was measured"
    assert abs(large - small) <= GROWTH, (small, large, each)
    assert max(small, large) <= PEAK, each


def test_idle(stage, tmp_path):
    slots = [Slot(tmp_path, n, MIB, fill=False) for n in "AB"]
    try:
        with Machine(stage, slots) as machine:
            machine.wait_subscribed()
            time.sleep(0.5)
            size, _, _ = memory_of([machine.otad])
    finally:
        for slot in slots:
            slot.close()
    assert MIB < size <= IDLE
