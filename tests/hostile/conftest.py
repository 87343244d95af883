"""Fixtures: a device with otad-installer alone, which ends with the test; where it failed, its logs are shown."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hostile.device import Device     # noqa: E402


def pytest_addoption(parser):
    try:
        parser.addoption("--build", default=os.environ.get("OTAD_BUILD", "build"),
                         help="meson's build folder with the programs (default: OTAD_BUILD, or build)")
    except ValueError:      # another folder's tests run as well, and have it
        pass


@pytest.fixture
def tally(request):
    """tally(n): this test tries n attacks, not one."""
    return lambda n: request.node.user_properties.append(("cases", n))


def pytest_terminal_summary(terminalreporter):
    def count(outcome):
        return sum(dict(r.user_properties).get("cases", 1) for r in terminalreporter.getreports(outcome) if r.when == "call")
    terminalreporter.write_line(f"attacks: {count('passed') + count('failed')} tried, {count('failed')} failed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    setattr(item, f"report_{call.when}", outcome.get_result())


@pytest.fixture
def make_device(tmp_path, request):
    """make_device(**options of Device): runs already."""
    devices = []

    def make(**options):
        device = Device(tmp_path / f"device-{len(devices)}", build=request.config.getoption("--build"), **options)
        devices.append(device)
        device.power_on()
        return device
    yield make
    failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
    for device in devices:
        device.close()
        if failed:
            print(device.report(200))
    if not failed:
        for device in devices:
            device.check()


@pytest.fixture
def device(make_device):
    return make_device()


@pytest.fixture
def wire(device):
    return device.connect()
