"""Each process ended at each point, kindly and with kill -9, and power cuts: the update goes on as if nothing was."""

import signal
import time

import pytest

from gateway import make_image

from .scene import hold

IMAGE = make_image("1.1.0", 800_000)
SIGNALS = {"sigterm": signal.SIGTERM, "sigkill": signal.SIGKILL}

each_process = pytest.mark.parametrize("name", ["otad", "otad-installer"])
each_signal = pytest.mark.parametrize("how", list(SIGNALS))


def succeed(scene, job):
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


def interrupt(scene, name, how):
    scene.gateway.restart(name, SIGNALS[how])


def reach(scene, stage):
    scene.gateway.wait(lambda: scene.gateway.hook_calls(stage), 15, f"stage {stage}")


@each_process
@each_signal
@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_while_downloading(scene, protocol, name, how):
    go_on = hold(scene, protocol, 500_000)
    job = scene.update(IMAGE, protocol)
    scene.cloud.wait_message("http" if protocol == "https" else "cloud", "GET|/data/cbor$")
    scene.gateway.wait(lambda: scene.gateway.loader.state("B") == "bad", what="begin")
    interrupt(scene, name, how)
    go_on()
    succeed(scene, job)
    assert len(scene.gateway.hook_calls("pre-install")) == 1


@each_process
def test_sigterm_keeps_every_byte(scene, name):
    """What had arrived when a process was ended orderly is durable, and not fetched again."""
    go_on = hold(scene, "https", 500_000)
    job = scene.update(IMAGE)
    scene.cloud.wait_message("http", "GET")
    time.sleep(0.5)         # for what was sent to be written
    interrupt(scene, name, "sigterm")
    go_on()
    succeed(scene, job)
    starts = [m.payload["range"] for m in scene.cloud.find_messages("http")]
    assert starts[-1] == "bytes=500000-"


@each_process
@each_signal
@pytest.mark.parametrize("stage", ["pre-install", "post-install", "activate", "selftest", "commit", "cleanup"])
def test_in_a_hook(scene, stage, name, how):
    """The stage is repeated, or not where it had ended; in any case the update comes to its good end."""
    scene.gateway.plan_hook(stage, sleep=0.5, times=1)
    job = scene.update(IMAGE)
    reach(scene, stage)
    interrupt(scene, name, how)
    succeed(scene, job)


@pytest.mark.parametrize("stage", ["post-install", "commit"])
def test_waits_for_a_hook_of_a_call_before(scene, stage):
    """A new otad finds the installer at work for the one before: it says so, and waits however long that takes (how long
    is for tests/engine, which has no need to wait)."""
    scene.gateway.plan_hook(stage, sleep=7, times=1)
    job = scene.update(IMAGE)
    reach(scene, stage)
    interrupt(scene, "otad", "sigkill")
    scene.gateway.wait(lambda: "otad-installer is busy" in scene.gateway.otactl("status").stdout, what="word of it")
    succeed(scene, job)
    assert len(scene.gateway.hook_calls(stage)) == 1


@each_process
@each_signal
def test_in_the_reboot_hook(scene, name, how):
    """Whether the reboot was asked for is not known: asked again, or it comes; at most one is too many."""
    scene.gateway.plan_hook("reboot", sleep=0.3, times=1)
    job = scene.update(IMAGE)
    reach(scene, "reboot")
    scene.extra_connects += 1
    interrupt(scene, name, how)
    succeed(scene, job)


@each_process
@each_signal
def test_in_a_rollback(scene, name, how):
    scene.gateway.plan_hook("selftest", exit=1, times=1)
    scene.gateway.plan_hook("rollback", sleep=0.5, times=1)
    job = scene.update(IMAGE)
    reach(scene, "rollback")
    interrupt(scene, name, how)
    scene.expect_failure(job, "selftest-failed")


@pytest.mark.parametrize("stage", ["pre-install", "post-install", "activate", "reboot"])
def test_power_cut_before_the_reboot(scene, stage):
    """Before the boot loader was told anything it is an interruption; after, it is the reboot."""
    scene.gateway.plan_hook(stage, sleep=0.5, times=1)
    job = scene.update(IMAGE)
    reach(scene, stage)
    scene.gateway.power_cut()
    scene.gateway.power_on()
    succeed(scene, job)


@pytest.mark.parametrize("stage", ["commit", "cleanup"])
def test_power_cut_after_the_self_test(make_scene, stage):
    """In the commit the slot is good already: the new software is started again, and committed."""
    scene = make_scene()
    scene.gateway.plan_hook(stage, sleep=0.5, times=1)
    job = scene.update(IMAGE)
    reach(scene, stage)
    scene.gateway.power_cut()
    scene.gateway.power_on()
    succeed(scene, job)


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_power_cut_while_downloading(scene, protocol):
    go_on = hold(scene, protocol, 500_000)
    job = scene.update(IMAGE, protocol)
    scene.cloud.wait_message("http" if protocol == "https" else "cloud", "GET|/data/cbor$")
    scene.gateway.wait(lambda: scene.gateway.loader.state("B") == "bad", what="begin")
    scene.gateway.power_cut()
    go_on()
    scene.gateway.power_on()
    succeed(scene, job)


def test_installer_away_for_a_while(scene):
    """otad waits for it, and says so; nothing is lost."""
    scene.gateway.end("otad-installer")
    job = scene.update(IMAGE)
    time.sleep(1)
    assert scene.cloud.execution("gateway-1", job).status in ("QUEUED", "IN_PROGRESS")
    scene.gateway.start("otad-installer")
    succeed(scene, job)


def test_installer_hangs(make_scene):
    """Stopped for a while in the middle of it: back-pressure, no error."""
    scene = make_scene()
    go_on = hold(scene, "mqtt", 300_000)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    scene.gateway.signal("otad-installer", signal.SIGSTOP)
    go_on()
    time.sleep(2)
    scene.gateway.signal("otad-installer", signal.SIGCONT)
    succeed(scene, job)
