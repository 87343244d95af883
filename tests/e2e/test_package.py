"""The installed version in the shadow named $package, as the cloud sees it."""

import pytest

from cloud import faults
from gateway import make_image

from .scene import THING

NAME = "gateway-image"
UPDATE = r"shadow/name/\$package/update$"


@pytest.fixture
def make_reporting(make_scene):
    def make(**options):
        config = {"package": {"report": True, "name": NAME}, "selftest": {"timeout-sec": 30},
                  "hook": {"timeout-sec": 30}, "broker": {"answer-timeout-sec": 5}}
        return make_scene(config=config, **options)
    return make


def wait_reported(scene, version):
    scene.cloud.wait_until(lambda: scene.cloud.shadow.reported(THING) == {NAME: {"version": version}}, 20,
                           f"{version} in the shadow")


def reports(scene):
    return scene.cloud.find_messages("device", UPDATE)


def test_told_once_and_after_an_update(make_reporting):
    """At the first connect; not again after a restart; after a job's commit not before the next connect."""
    scene = make_reporting()
    wait_reported(scene, "1.0.0")
    scene.gateway.wait_output("otad", "The cloud knows that version 1.0.0")
    filters = [f for m in scene.cloud.find_messages("event", "^subscribe$") for f, _ in m.payload if "shadow" in f]
    assert filters == [f"$aws/things/{THING}/shadow/name/$package/update/{word}" for word in ("accepted", "rejected")]
    scene.gateway.restart("otad")
    scene.gateway.wait(lambda: len(scene.cloud.find_messages("event", "^connected$")) == 2, 15, "connection")
    image = make_image("1.1.0", 200_000)
    job = scene.update(image)
    scene.expect_success(job, image, "1.1.0")
    assert len(reports(scene)) == 1
    scene.cloud.disconnect(THING)
    scene.extra_connects += 1
    wait_reported(scene, "1.1.0")
    assert len(reports(scene)) == 2
    scene.expect_clean()


def test_rejections_do_not_hold_up_an_update(make_reporting):
    scene = make_reporting(power=False)
    rule = scene.cloud.faults.on("shadow.request", faults.refuse(500, "not now"))
    scene.gateway.power_on()
    scene.cloud.wait_until(lambda: rule.hits, 15)
    scene.gateway.wait_output("otad", "500: not now")
    image = make_image("1.1.0", 200_000)
    job = scene.update(image)
    scene.expect_success(job, image, "1.1.0")
    rule.off()
    scene.gateway.restart("otad")       # with it, its wait is forgotten
    wait_reported(scene, "1.1.0")
    scene.expect_clean()


def test_no_answer(make_reporting):
    scene = make_reporting(power=False)
    rule = scene.cloud.faults.on("shadow.answer", faults.drop(), times=1, match=lambda e: e.topic.endswith("accepted"))
    scene.gateway.power_on()
    scene.gateway.wait_output("otad", "(no answer), trying again", 20)
    assert rule.hits == 1
    # The next try is the same report with another token.
    scene.cloud.wait_until(lambda: len(reports(scene)) == 2, 20)
    first, second = (m.payload for m in reports(scene))
    assert first["state"] == second["state"] and first["clientToken"] != second["clientToken"]
    scene.gateway.wait_output("otad", "The cloud knows that version 1.0.0")
    scene.expect_clean()


def test_a_change_without_a_job(make_reporting):
    """The device came back with other software, whoever brought it."""
    scene = make_reporting()
    wait_reported(scene, "1.0.0")
    scene.gateway.wait_output("otad", "The cloud knows that version 1.0.0")
    scene.gateway.power_off()
    slot = scene.gateway.slots["A"]
    slot.write_bytes(make_image("1.0.1", 65536).ljust(slot.stat().st_size, b"\0"))
    scene.gateway.power_on()
    wait_reported(scene, "1.0.1")
    scene.expect_clean()


def test_off_by_default(scene):
    scene.cloud.wait_connected(THING)
    job = scene.update(make_image("1.1.0", 200_000), name="nobody-knows")
    scene.wait(job, "REJECTED")
    assert not scene.cloud.find_messages("device", "shadow") and not (scene.gateway.folder / "state" / "package").exists()
