"""The operator's hook: says no, says later, hangs, dies, at every stage."""

import signal

import pytest

from gateway import make_image

IMAGE = make_image("1.1.0")

BEFORE = ["pre-install", "post-install"]            # nothing is activated yet
AFTER = ["activate", "reboot", "selftest", "commit"]
ERRORS = {"pre-install": "hook-failed", "post-install": "hook-failed", "activate": "hook-failed",
          "reboot": "reboot-failed", "selftest": "selftest-failed", "commit": "commit-failed"}


def stages_of(scene, job):
    return [c["stage"] for c in scene.gateway.hook_calls() if c["OTAD_JOB_ID"] == job.id]


@pytest.mark.parametrize("stage", BEFORE + AFTER)
def test_fails(scene, stage):
    """The last line the hook writes is the reason, for the journal and for the cloud."""
    scene.gateway.plan_hook(stage, exit=3, times=1, reason="first line\nthe disk\tis not \x1b[31mmounted")
    job = scene.update(IMAGE)
    scene.extra_connects += stage == "reboot"       # it had said goodbye
    execution = scene.wait(job, "FAILED")
    assert "mounted" in execution.details["detail"] and "\x1b" not in execution.details["detail"]
    assert f"{stage} exited with status 3" in execution.details["detail"]
    scene.expect_failure(job, ERRORS[stage], phase=execution.details["phase"],
                         touched=None if stage == "pre-install" else True)
    assert execution.details["phase"] in (["accepted", "rolled-back"] if stage == "pre-install" else ["rolled-back"])
    done = stages_of(scene, job)
    assert done.count(stage) == 1
    assert ("rollback" in done) == (stage in AFTER)


@pytest.mark.parametrize("stage", ["post-install", "selftest"])
def test_killed_by_a_signal(scene, stage):
    scene.gateway.plan_hook(stage, signal=signal.SIGKILL, times=1)
    job = scene.update(IMAGE)
    execution = scene.expect_failure(job, ERRORS[stage])
    assert "signal 9" in execution.details["detail"]


@pytest.mark.parametrize("stage", ["post-install", "activate", "selftest"])
def test_takes_too_long(make_scene, stage):
    """Ended after hook.timeout-sec, with all it has started."""
    scene = make_scene(config={"hook": {"timeout-sec": 1}, "selftest": {"timeout-sec": 10}})
    scene.gateway.plan_hook(stage, sleep=600, times=1)
    job = scene.update(IMAGE)
    scene.expect_failure(job, "hook-timeout")


def test_child_that_stays(scene):
    """A hook that leaves a child behind does not hold up the update."""
    scene.gateway.plan_hook("post-install", child=600, times=1)
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


@pytest.mark.parametrize("stage", ["pre-install", "post-install", "activate", "reboot", "selftest"])
def test_not_now(scene, stage):
    """75: asked again after hook.retry-sec; the cloud hears what is waited for."""
    scene.gateway.plan_hook(stage, exit=75, times=1, reason="the pump is running")
    job = scene.update(IMAGE)
    scene.extra_connects += stage == "reboot"       # it had said goodbye
    execution = scene.expect_success(job, IMAGE, "1.1.0")
    assert stages_of(scene, job).count(stage) == 2
    first, second = [c["time"] for c in scene.gateway.hook_calls(stage)][:2]
    assert 0.9 < second - first < 3
    if stage != "selftest":
        assert "the pump is running" in scene.gateway.output()
    assert execution.statuses[-1] == "SUCCEEDED"
    scene.expect_clean()


@pytest.mark.parametrize("stage", ["pre-install", "activate", "reboot"])
def test_not_now_for_too_long(make_scene, stage):
    scene = make_scene(config={"hook": {"give-up-sec": 2}})
    scene.gateway.plan_hook(stage, exit=75, reason="the pump is running", times=4)
    job = scene.update(IMAGE)
    scene.extra_connects += 4
    execution = scene.wait(job, "FAILED")
    assert "the pump is running" in execution.details["detail"]
    scene.gateway.forget_plans()
    scene.expect_failure(job, "hook-not-now", phase=execution.details["phase"], touched=None)


def test_not_mine(make_scene):
    """77 at every stage is as good as yes; but then somebody else has to reboot."""
    scene = make_scene()
    for stage in ("pre-install", "post-install", "activate", "selftest", "commit", "cleanup"):
        scene.gateway.plan_hook(stage, exit=77)
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


@pytest.mark.parametrize("stage", ["rollback", "cleanup"])
def test_failure_where_it_is_too_late(scene, stage):
    """What tidies up may fail: it is told, and changes nothing of the outcome."""
    scene.gateway.plan_hook(stage, exit=1, reason="no luck", times=3)
    scene.gateway.plan_hook("selftest", exit=1, times=1)
    job = scene.update(IMAGE)
    scene.expect_failure(job, "selftest-failed")
    assert "no luck" in scene.gateway.output("otad-installer")
