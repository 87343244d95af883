"""Jobs that end in the cloud: cancelled, timed out, deleted; and what the service makes of a failure."""

import pytest

from cloud import faults
from gateway import make_image

from .scene import THING, hold

IMAGE = make_image("1.1.0")
NEXT = make_image("1.2.0")


def held_job(scene, protocol="https"):
    """A job whose download stands still half way. Returns the job and what lets downloads go on."""
    go_on = hold(scene, protocol, len(IMAGE) // 2)
    job = scene.update(IMAGE, protocol)
    scene.wait(job, "IN_PROGRESS")
    scene.gateway.wait(lambda: scene.gateway.loader.state("B") == "bad", what="the begin of the download")
    scene.cloud.wait_message("http" if protocol == "https" else "cloud", "GET|/data/cbor")
    return job, go_on


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_first_of_two_is_cancelled(scene, protocol):
    first, go_on = held_job(scene, protocol)
    second = scene.update(NEXT, protocol)
    scene.cloud.cancel(first, force=True)
    go_on()
    scene.expect_success(second, NEXT, "1.2.0")
    execution = scene.cloud.execution(THING, first)
    assert execution.status == "CANCELED" and not scene.gateway.hook_calls("rollback")
    results = [(c["OTAD_JOB_ID"], c["OTAD_RESULT"], c["OTAD_REASON"]) for c in scene.gateway.hook_calls("cleanup")]
    assert results == [(first.id, "rolled-back", "cancelled"), (second.id, "committed", "")]
    scene.expect_clean()


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_cancel_then_update(scene, protocol):
    job, go_on = held_job(scene, protocol)
    scene.cloud.cancel(job, force=True)
    scene.expect_unharmed()
    go_on()
    scene.expect_next_works(protocol=protocol)


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_disconnect_cancel_update(scene, protocol):
    """The cancel is not heard, for there is no connection; what the cloud says on the next one counts."""
    job, go_on = held_job(scene, protocol)
    scene.gateway.proxy.refuse()
    scene.cloud.cancel(job, force=True)
    go_on()
    scene.gateway.proxy.open()
    scene.extra_connects += 1
    scene.wait_idle()
    assert not scene.gateway.hook_calls("activate")
    scene.expect_unharmed()
    scene.expect_next_works(protocol=protocol)


def test_cancel_of_a_queued_job(scene):
    first, go_on = held_job(scene)
    second = scene.update(NEXT)
    scene.cloud.cancel(second)
    go_on()
    scene.expect_success(first, IMAGE, "1.1.0")
    assert scene.cloud.execution(THING, second).statuses == ["QUEUED", "CANCELED"]
    scene.expect_clean()


@pytest.mark.parametrize("how", ["cancel", "time_out", "delete", "remove"])
def test_over_in_the_cloud_while_testing(scene, how):
    """Before the commit the cloud's word counts: the new software is rolled back, and nothing is sent of a job that
    is over."""
    scene.gateway.plan_hook("selftest", sleep=1, times=1)
    job = scene.update(IMAGE)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("selftest"), 15, "self-test")
    if how == "cancel":
        scene.cloud.cancel(job, force=True)
    elif how == "delete":
        scene.cloud.delete(job, force=True)
    else:
        getattr(scene.cloud, how)(THING, job)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("cleanup"), 15, "end of the update")
    assert [c["OTAD_REASON"] for c in scene.gateway.hook_calls("rollback")] == ["cancelled"]
    scene.expect_unharmed()
    if how != "delete":
        expected = {"cancel": "CANCELED", "time_out": "TIMED_OUT", "remove": "REMOVED"}[how]
        assert scene.cloud.execution(THING, job).status == expected
    scene.expect_next_works()


def test_timed_out_while_downloading(scene):
    job, go_on = held_job(scene)
    scene.cloud.time_out(THING, job)
    scene.expect_unharmed()
    go_on()
    assert scene.cloud.execution(THING, job).status == "TIMED_OUT"
    scene.expect_next_works()


def test_retry_by_the_service_starts_clean(scene):
    """FAILED, and the service tries again: same job id, next number, and nothing is left of the first attempt."""
    scene.gateway.plan_hook("selftest", exit=1, times=1, reason="not this time")
    job = scene.update(IMAGE, retries={"FAILED": 1})
    scene.wait(job, "FAILED", number=1)
    scene.wait(job, "SUCCEEDED", number=2)
    first, second = (scene.cloud.execution(THING, job, n) for n in (1, 2))
    assert first.status == "FAILED" and first.details["error"] == "selftest-failed"
    assert "not this time" in first.details["detail"]
    assert second.statuses[:2] == ["QUEUED", "IN_PROGRESS"]
    attempts = [c["OTAD_ATTEMPT"] for c in scene.gateway.hook_calls("pre-install")]
    assert attempts == ["1", "2"]
    starts = [m for m in scene.cloud.find_messages("http") if m.payload["status"] in (200, 206)]
    assert len(starts) == 2 and starts[1].size == len(IMAGE)        # from its first byte again
    scene.wait_idle()
    assert scene.gateway.version == "1.1.0"
    scene.expect_clean()


def test_retry_while_downloading(scene):
    """The service gives up on an attempt and makes another while the first one's bytes still come."""
    go_on = hold(scene, "https", len(IMAGE) // 2)
    job = scene.update(IMAGE, retries={"TIMED_OUT": 1})
    scene.gateway.wait(lambda: scene.gateway.hook_calls("pre-install"), what="the begin")
    scene.cloud.wait_message("http", "GET")
    scene.cloud.time_out(THING, job)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("cleanup"), what="the end of the first attempt")
    go_on()
    scene.wait(job, "SUCCEEDED", number=2)
    assert scene.cloud.execution(THING, job, 1).status == "TIMED_OUT"
    assert [c["OTAD_ATTEMPT"] for c in scene.gateway.hook_calls("pre-install")] == ["1", "2"]
    scene.wait_idle()
    scene.expect_clean()


def test_no_retry_of_what_is_refused(scene):
    """REJECTED is never retried: the document will not become better."""
    job = scene.update(IMAGE, name="unknown.bin", retries={"ALL": 3})
    scene.expect_failure(job, "target-unknown", status="REJECTED", phase="idle", touched=False)
    assert scene.cloud.execution(THING, job).number == 1


def test_step_timer_is_extended(make_scene):
    """A download that takes longer than the step timer, but goes on: each report starts the timer anew."""
    scene = make_scene(cloud={"seconds_per_minute": 3}, config={"jobs": {"step-timeout-min": 1}})
    scene.cloud.faults.on("http.reply", faults.slow(len(IMAGE) // 5))
    job = scene.update(IMAGE)
    execution = scene.wait(job, "SUCCEEDED")
    assert execution.updated_at - execution.started_at > 3
    assert {u.request["stepTimeoutInMinutes"] for u in execution.history
            if u.by == "device" and u.status == "IN_PROGRESS"} == {1}
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


def test_job_in_progress_time_out(make_scene):
    """The job's own timer cannot be extended: it runs off, and the update is abandoned."""
    scene = make_scene(cloud={"seconds_per_minute": 1})
    go_on = hold(scene, "https", len(IMAGE) // 2)
    job = scene.update(IMAGE, timeout_minutes=1)
    scene.wait(job, "TIMED_OUT")
    scene.expect_unharmed()
    go_on()
    scene.expect_next_works()
