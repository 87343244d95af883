"""Fixtures: a device with otad-installer alone."""

import pytest

from hostile.device import Device


@pytest.fixture
def make_device(tmp_path, build, keep):
    """make_device(**options of Device): runs already."""
    n = iter(range(1000))

    def make(**options):
        device = keep(Device(tmp_path / f"device-{next(n)}", build=build, **options))
        device.power_on()
        return device
    return make


@pytest.fixture
def device(make_device):
    return make_device()


@pytest.fixture
def wire(device):
    return device.connect()
