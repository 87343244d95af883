"""The power is cut at random moments of updates, and the machine switched on again."""

import random

import pytest

from . import image
from .power import MOMENTS, check_end, cut_at

ANY_VERSION = (("selftest:", "version: { allow-downgrade = true; };\nselftest:"),)
OTHER = {"A": "B", "B": "A"}
ALLOWED = ["duplicate-client-id"]       # a machine that is back before the broker has noticed that it had gone


def cut_updates(scene, capsys, *updates):
    """Each update is (version, moments to cut the power at)."""
    chance, slot, lines, n_cuts = random.Random(), "A", [], 0
    for version, moments in updates:
        job = scene.queue(("rootfs.img", image.rootfs(version)))
        lines += [cut_at(scene, job, moment, chance, OTHER[slot]) for moment in moments]
        n_cuts += len(moments)
        execution = scene.wait_end(job, ("SUCCEEDED", "FAILED"), 180)
        lines.append(f"  -> {execution.status} {execution.details.get('error', '')}")
        slot = check_end(scene, execution, slot)
    scene.cloud.assert_clean(allow=ALLOWED)
    with capsys.disabled():
        print("\n" + "\n".join(lines) + f"\npower cuts in the machine: {n_cuts} tried, 0 failed")


def test_two_cuts(warm, capsys):
    """While the image is written, and before the new software has called itself good."""
    cut_updates(warm, capsys, ("2.0.0", ["install", "first start"]))


def test_five_cuts(warm, capsys):
    """In one update, which may be one that the last cut has made fall back, and in the commit of another one."""
    cut_updates(warm, capsys, ("2.0.0", ["download", "install", "activation", "first start"]), ("3.0.0", ["commit"]))


def test_many_cuts(warm, request, capsys):
    """One update after another, two cuts in each."""
    if not request.config.getoption("--long"):
        pytest.skip("only with --long")
    chance, slot, n_cuts = random.Random(), "A", 0
    images = [image.rootfs(version, settings=ANY_VERSION) for version in ("2.0.0", "3.0.0")]
    while n_cuts < 200:
        images.reverse()
        job = warm.queue(("rootfs.img", images[0]))
        moments = sorted(chance.sample(list(MOMENTS), 2), key=list(MOMENTS).index)
        lines = [cut_at(warm, job, moment, chance, OTHER[slot]) for moment in moments]
        execution = warm.wait_end(job, ("SUCCEEDED", "FAILED"), 180)
        slot = check_end(warm, execution, slot)
        n_cuts += len(lines)
        with capsys.disabled():
            print(f"\n{n_cuts}: {'; '.join(lines)} -> {execution.status} {execution.details.get('error', '')}", end="")
    warm.cloud.assert_clean(allow=ALLOWED)
