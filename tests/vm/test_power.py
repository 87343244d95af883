"""The power is cut at random moments of updates, and the machine switched on again."""

import pytest

from . import image
from .power import MOMENTS, Cutter

ANY_VERSION = (("selftest:", "version: { allow-downgrade = true; };\nselftest:"),)
ALLOWED = ["duplicate-client-id"]       # a machine that is back before the broker has noticed that it had gone


@pytest.mark.parametrize("loader", [pytest.param("grub", marks=pytest.mark.quick), "systemd-boot"], indirect=True)
def test_five_cuts(warm, capsys):
    """One at each of the moments, in one update; and in further ones, where that fell back before it came to the last."""
    cutter, slot, left = Cutter(warm), "A", list(MOMENTS)
    for version in ("2.0.0", "3.0.0", "4.0.0", "5.0.0"):
        slot, left = cutter.update(warm.rootfs(version), version, left, slot)
        if not left:
            break
    with capsys.disabled():
        print(f"\n{cutter}\npower cuts in the machine: {cutter.n_cuts} tried, 0 failed")
    assert not left, f"{left} did not come in any update"
    warm.cloud.assert_clean(allow=ALLOWED)


@pytest.mark.long
def test_many_cuts(warm, request, capsys):
    """One update after another, each cut in its download, installation and activation, and then in the first start or
    the commit."""
    if not request.config.getoption("--long"):
        pytest.skip("only with --long")
    cutter, slot, n_lines = Cutter(warm), "A", 0
    new = {version: image.rootfs(version, settings=ANY_VERSION) for version in ("2.0.0", "3.0.0")}
    n_wanted = request.config.getoption("--cuts") // int(request.config.getoption("--share").split("/")[1])
    with capsys.disabled():
        print(f"\n{cutter}", flush=True)
    while cutter.n_cuts < n_wanted:
        moments = [*list(MOMENTS)[:3], cutter.chance.choice(["first start", "commit"])]
        version = "3.0.0" if warm.version() == "2.0.0" else "2.0.0"
        slot, _ = cutter.update(new[version], version, moments, slot)
        with capsys.disabled():
            print("\n".join(cutter.lines[n_lines:]) + f"\n{cutter.n_cuts} cuts", flush=True)
        n_lines = len(cutter.lines)
    warm.cloud.assert_clean(allow=ALLOWED)
    with capsys.disabled():
        print(f"\npower cuts in the machine: {cutter.n_cuts} tried, 0 failed")
