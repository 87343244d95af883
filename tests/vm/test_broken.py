"""New software that is well signed and does not work: the machine comes back to the old software by itself, and the job
ends FAILED, with the reason."""

import pytest

from .defects import QUICK
from .scene import wait_idle

# What is broken, the error the cloud is told, the slots that are started, how long it takes at most.
GRUB = [
    ("otad_does_not_start", "selftest-timeout", "BA", 180),
    ("nothing_of_otad_starts", "booted-old-slot", "BA", 180),
    ("no_network", "selftest-timeout", "BA", 180),
    ("no_data", "booted-old-slot", "BA", 180),
    ("kernel_is_no_kernel", "booted-old-slot", "B", 120),
    ("kernel_panics", "booted-old-slot", "BA", 120),
    ("no_init", "booted-old-slot", "BA", 180),
    ("hangs", "booted-old-slot", "BA", 180),
]
# A trial is three starts here. What is no kernel is not even copied to the ESP.
SYSTEMD_BOOT = [
    ("otad_does_not_start", "selftest-timeout", "BA", 180),
    ("nothing_of_otad_starts", "booted-old-slot", "BBBA", 400),
    ("kernel_is_no_kernel", "hook-failed", "", 120),
    ("kernel_panics", "booted-old-slot", "BBBA", 240),
    ("hangs", "booted-old-slot", "BBBA", 500),
]
CASES = [pytest.param(loader, *case, id=f"{loader}-{case[0]}")
         for loader, cases in (("grub", GRUB), ("systemd-boot", SYSTEMD_BOOT)) for case in cases]


@pytest.mark.parametrize("loader,defect,error,starts,timeout", CASES, indirect=["loader"])
def test_broken(warm, defect, error, starts, timeout):
    settings = QUICK if error == "selftest-timeout" else ()
    execution = warm.update(warm.rootfs("2.0.0", defect, settings), "FAILED", timeout)
    assert execution.details["error"] == error, execution.details
    assert "".join(warm.starts()) == starts, warm.machine.text(0)
    assert (warm.slot(), warm.version()) == ("A", "1.0.0")
    assert warm.boot_state() == ("AB", {"A"}, set())
    wait_idle(warm)
    warm.cloud.assert_clean()
