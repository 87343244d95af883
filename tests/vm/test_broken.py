"""New software that is well signed and does not work: the machine comes back to the old software by itself, and the job
ends FAILED, with the reason."""

import pytest

from . import image
from .defects import QUICK
from .scene import wait_idle

# What is broken, the error the cloud is told, the slots that are started, how long it takes at most.
CASES = [
    ("otad_does_not_start", "selftest-timeout", "BA", 180),
    ("nothing_of_otad_starts", "booted-old-slot", "BA", 180),
    ("no_network", "selftest-timeout", "BA", 180),
    ("no_data", "booted-old-slot", "BA", 180),
    ("kernel_is_no_kernel", "booted-old-slot", "B", 120),
    ("kernel_panics", "booted-old-slot", "BA", 120),
    ("no_init", "booted-old-slot", "BA", 180),
    ("hangs", "booted-old-slot", "BA", 180),
]


@pytest.mark.parametrize("defect,error,starts,timeout", CASES, ids=[case[0] for case in CASES])
def test_broken(warm, defect, error, starts, timeout):
    settings = QUICK if error == "selftest-timeout" else ()
    execution = warm.update(image.rootfs("2.0.0", defect, settings), "FAILED", timeout)
    assert execution.details["error"] == error, execution.details
    assert "".join(warm.starts()) == starts, warm.machine.text(0)
    assert (warm.slot(), warm.version()) == ("A", "1.0.0")
    variables = warm.grubenv()
    assert variables["A_OK"] == "1" and variables["B_OK"] == "0", variables
    wait_idle(warm)
    warm.cloud.assert_clean()
