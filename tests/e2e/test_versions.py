"""A signed update, whole: newer, same and older versions, one after the other, by both protocols."""

import hashlib

import pytest

from gateway import make_image

from .scene import THING


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
@pytest.mark.parametrize("size", [100, 16384, 300_001], ids=["tiny", "block", "odd"])
def test_greater_version(scene, protocol, size):
    image = make_image("1.1.0", size)
    job = scene.update(image, protocol)
    execution = scene.expect_success(job, image, "1.1.0")
    assert execution.statuses[:2] == ["QUEUED", "IN_PROGRESS"] and execution.statuses[-1] == "SUCCEEDED"
    assert scene.gateway.digest("A") == scene.factory
    scene.expect_clean()


def test_what_the_cloud_hears(scene):
    """The phases in their order, with the FreeRTOS agent's own details beside them."""
    image = make_image("1.1.0")
    job = scene.update(image, "mqtt")
    execution = scene.expect_success(job, image, "1.1.0")
    told = [u.details for u in execution.history if u.by == "device"]
    phases = [d["phase"] for d in told]
    order = ["accepted", "downloading", "verifying", "installed", "activating", "testing", "committed"]
    assert phases[0] == "accepted" and phases[-1] == "committed"
    assert [order.index(p) for p in phases] == sorted(order.index(p) for p in phases)
    assert {"activating", "testing"} <= set(phases)
    for details in told:
        if details["phase"] in ("installed", "activating"):
            assert (details["self_test"], details["updatedBy"]) == ("ready", "0x01000000")
        elif details["phase"] == "testing":
            assert (details["self_test"], details["updatedBy"]) == ("active", "0x01010000")
        else:
            assert "self_test" not in details
    assert all(u.request.get("executionNumber") == 1 for u in execution.history if u.by == "device")
    scene.expect_clean()


def test_what_the_hook_hears(scene):
    image = make_image("1.1.0")
    job = scene.update(image)
    scene.expect_success(job, image, "1.1.0")
    calls = scene.gateway.hook_calls()
    assert [c["stage"] for c in calls] == ["pre-install", "post-install", "activate", "reboot", "selftest", "commit",
                                           "cleanup"]
    for call in calls:
        assert call["others"] in (["PATH"], ["LC_CTYPE", "PATH"])       # the latter is Python's own
        assert (call["OTAD_STAGE"], call["OTAD_JOB_ID"], call["OTAD_TARGET"]) == (call["stage"], job.id, "rootfs")
        assert (call["OTAD_TYPE"], call["OTAD_SLOT"], call["OTAD_PATH"]) == ("ab", "B", "")
        assert call["OTAD_DEVICE"] == str(scene.gateway.slots["B"])
        assert (call["OTAD_SIZE"], call["OTAD_ATTEMPT"]) == (str(len(image)), "1")
        assert (call["OTAD_PREVIOUS_VERSION"], call["OTAD_REASON"]) == ("1.0.0", "")
        before = call["stage"] in ("pre-install", "post-install", "activate", "reboot")
        assert call["OTAD_VERSION"] == ("" if before else "1.1.0")
        assert call["OTAD_RESULT"] == {"commit": "committed", "cleanup": "committed"}.get(call["stage"], "")
    assert {c["OTAD_SHA256"] for c in calls[1:]} == {hashlib.sha256(image).hexdigest()}


@pytest.mark.parametrize("version, error", [("1.0.0", "version-same"), ("0.9.9", "version-older")])
def test_same_or_older_version(scene, version, error):
    image = make_image(version, seed=1)
    job = scene.update(image)
    scene.expect_failure(job, error)
    assert [c["OTAD_REASON"] for c in scene.gateway.hook_calls("rollback")] == [error]


@pytest.mark.parametrize("version", ["1.0.0", "0.9.9"])
def test_allow_downgrade(make_scene, version):
    scene = make_scene(config={"version": {"allow-downgrade": True}})
    image = make_image(version, seed=1)
    job = scene.update(image)
    scene.expect_success(job, image, version)
    scene.expect_clean()


def test_three_updates_in_a_row(scene):
    previous = "1.0.0"
    for version, protocol, slot in (("1.1.0", "mqtt", "B"), ("1.2.0", "https", "A"), ("1.3.0", "mqtt", "B")):
        image = make_image(version)
        job = scene.update(image, protocol)
        scene.expect_success(job, image, version, previous=previous)
        assert scene.gateway.slot == slot
        previous = version
    scene.expect_clean()


def test_three_jobs_waiting(make_scene):
    """Jobs that were queued while the gateway was off are done one after the other, in their order."""
    scene = make_scene(power=False)
    images = {v: make_image(v) for v in ("1.1.0", "1.2.0", "1.3.0")}
    jobs = {v: scene.update(image) for v, image in images.items()}
    scene.gateway.power_on()
    for job in jobs.values():
        scene.wait(job, "SUCCEEDED")
    scene.wait_idle()
    assert scene.gateway.version == "1.3.0" and scene.gateway.slot == "B"
    ended = [scene.cloud.execution(THING, job).updated_at for job in jobs.values()]
    assert ended == sorted(ended)
    scene.expect_clean()


@pytest.mark.parametrize("first", ["otad", "otad-installer"])
def test_whichever_is_started_first(make_scene, first):
    scene = make_scene(gateway={"first": first})
    scene.cloud.wait_connected(THING)
    scene.expect_next_works("1.1.0")


def test_mqtt_3_1_1(make_scene):
    scene = make_scene(config={"broker": {"mqtt-version": "3.1.1"}})
    scene.expect_next_works("1.1.0", "mqtt")
    assert {m.payload["protocol"] for m in scene.cloud.find_messages("event", "^connected$")} == {2}
