"""New software that does not work, and machines that do not restart as they should."""

import time

import pytest

from gateway import make_image

from .scene import THING, hold


def test_new_software_fails_its_self_test(scene):
    job = scene.update(make_image("1.1.0", selftest="fail"))
    execution = scene.expect_failure(job, "selftest-failed")
    assert "the new software does not work" in execution.details["detail"]


def test_self_test_that_crashes(scene):
    job = scene.update(make_image("1.1.0", selftest="crash"))
    execution = scene.expect_failure(job, "selftest-failed")
    assert "signal" in execution.details["detail"]


def test_new_software_cannot_reach_the_broker(make_scene):
    """No commit without the cloud: after selftest.timeout-sec the old software is back, by the installer alone."""
    scene = make_scene(config={"selftest": {"timeout-sec": 3}})
    job = scene.update(make_image("1.1.0", boot="no-network"))
    execution = scene.expect_failure(job, "selftest-timeout")
    assert execution.statuses[-1] == "FAILED" and scene.gateway.n_boots == 4       # 1.0.0, new, 1.0.0, and the good one


def test_new_software_panics(scene):
    """The boot loader goes back by itself."""
    job = scene.update(make_image("1.1.0", boot="panic"))
    scene.expect_failure(job, "booted-old-slot")
    assert scene.gateway.panics == ["B"] and not [c for c in scene.gateway.hook_calls("selftest")
                                                   if c["OTAD_JOB_ID"] == job.id]


def test_power_fails_while_testing(scene):
    """The one trial is used up: the boot loader goes back."""
    scene.gateway.plan_hook("selftest", sleep=2, times=1)
    job = scene.update(make_image("1.1.0"))
    scene.gateway.wait(lambda: scene.gateway.hook_calls("selftest"), 15, "self-test")
    scene.gateway.power_cut()
    scene.gateway.power_on()
    scene.expect_failure(job, "booted-old-slot")


def test_power_fails_while_testing_with_trials_left(make_scene):
    scene = make_scene(gateway={"tries": 3})
    scene.gateway.plan_hook("selftest", sleep=2, times=1)
    image = make_image("1.1.0")
    job = scene.update(image)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("selftest"), 15, "self-test")
    scene.gateway.power_cut()
    scene.gateway.power_on()
    scene.expect_success(job, image, "1.1.0")
    scene.expect_clean()


def test_starts_again_and_again(make_scene):
    """New software that never gets to its commit is given selftest.max-boots starts."""
    scene = make_scene(gateway={"tries": 9}, config={"selftest": {"max-boots": 2, "timeout-sec": 20}})
    scene.gateway.plan_hook("selftest", sleep=2, times=2)
    job = scene.update(make_image("1.1.0"))
    for n in (1, 2):
        scene.gateway.wait(lambda n=n: len(scene.gateway.hook_calls("selftest")) == n, 15, f"self-test {n}")
        scene.gateway.power_cut()
        scene.gateway.power_on()
    scene.expect_failure(job, "selftest-failed")


def test_reboot_that_does_not_come(make_scene):
    """The hook says it is done, and the machine stays up: undone after reboot.timeout-sec, no reboot needed."""
    scene = make_scene(config={"reboot": {"timeout-sec": 3}})
    scene.gateway.plan_hook("reboot", quiet=True, times=1)
    job = scene.update(make_image("1.1.0"))
    scene.extra_connects += 1       # it had said goodbye
    scene.expect_failure(job, "reboot-failed")
    assert scene.gateway.n_boots == 2       # that of the good job


def test_reboot_asked_for_while_rolling_back(scene):
    """A rollback's own reboot fails at first: it is asked for again until it comes."""
    scene.gateway.plan_hook("selftest", exit=1, times=1)
    scene.gateway.plan_hook("reboot", times=1)      # the first one is as usual
    scene.gateway.plan_hook("reboot", exit=1, times=2, reason="busy")
    job = scene.update(make_image("1.1.0"))
    scene.expect_failure(job, "selftest-failed")
    assert len(scene.gateway.hook_calls("reboot")) == 5     # the update's, two in vain, the rollback's, the good job's


@pytest.mark.parametrize("call, begun", [("get-current", False), ("set-state", True), ("set-primary", True)])
def test_boot_script_fails(scene, call, begun):
    """Whatever the boot script cannot do, the running slot stays what is started."""
    scene.gateway.loader.let_fail(call)
    job = scene.update(make_image("1.1.0"))
    if call == "set-primary":
        # It has to come back for the rollback, which tries again.
        scene.gateway.wait(lambda: any(c.startswith("set-primary") for c in scene.gateway.loader.calls()), 15, "call")
        time.sleep(0.3)
    else:
        scene.wait(job, "FAILED")
    scene.gateway.loader.let_fail()
    execution = scene.wait(job, "FAILED")
    scene.expect_failure(job, "boot-script", phase=execution.details["phase"], touched=None)
    assert scene.gateway.n_boots == 2


def test_running_slot_is_not_primary(scene):
    """Somebody has made the other slot primary: the one that is written to must not be what the next start takes."""
    scene.gateway.loader._put("ORDER", "B A")
    image = make_image("1.1.0")
    job = scene.update(image)
    scene.expect_success(job, image, "1.1.0")
    calls = scene.gateway.loader.calls()
    assert calls.index("set-primary A") < calls.index("set-state B bad")
    scene.expect_clean()


def test_reboot_by_a_person_while_downloading(scene):
    """Just an interruption: the download goes on, from what was durable."""
    image = make_image("1.1.0", 800_000)
    go_on = hold(scene, "https", 600_000)
    job = scene.update(image)
    scene.cloud.wait_message("http", "GET")
    scene.gateway.wait(lambda: scene.gateway.loader.state("B") == "bad", what="begin")
    scene.gateway.reboot()
    go_on()
    scene.expect_success(job, image, "1.1.0")
    assert len(scene.gateway.hook_calls("pre-install")) == 1
    scene.expect_clean()


def test_two_boots_do_not_make_an_update(scene):
    """Nothing pending: a restart is a restart."""
    scene.cloud.wait_connected(THING)
    scene.gateway.reboot()
    scene.gateway.reboot()
    scene.expect_next_works("1.1.0")
