"""A clock that is wrong, or is set while an update is under way."""

import pytest

from gateway import make_image

IMAGE = make_image("1.1.0", 300_000)
YEAR = 365 * 86400
EPOCH = -56 * YEAR          # about 1970, whenever this is run in the next years


def test_otad_in_1970(make_scene):
    """TLS does not believe the broker, and says why; once the clock is right, the job is done without a restart."""
    scene = make_scene()
    scene.wrap("otad", f"clock {EPOCH}")
    gateway = scene.power_on().gateway
    job = scene.update(IMAGE)
    gateway.wait_output("otad", "not yet valid")
    assert scene.cloud.execution("gateway-1", job).status == "QUEUED"
    scene.spoil("otad")
    scene.expect_success(job, IMAGE, "1.1.0")


def test_installer_in_1970(make_scene):
    """A signer's dates count only when the clock is known to be right."""
    scene = make_scene()
    scene.wrap("otad-installer", f"clock {EPOCH}")
    scene.expect_success(scene.power_on().update(IMAGE), IMAGE, "1.1.0")
    scene.expect_clean()


def test_installer_in_1970_where_dates_count_always(make_scene):
    scene = make_scene(config={"signing": {"dates": "always"}})
    scene.wrap("otad-installer", f"clock {EPOCH}")
    job = scene.power_on().update(IMAGE)
    scene.wait(job, "FAILED")
    scene.spoil("otad-installer")
    scene.expect_failure(job, "certificate-expired", phase="accepted", touched=False)


# Set by so many seconds, in both programs, while the hook is in a stage. Deadlines are of a clock that nobody sets, so
# neither the self-test's nor any other runs out, or never.
@pytest.mark.parametrize("seconds", [YEAR, -3600, EPOCH], ids=["a year on", "an hour back", "to 1970"])
@pytest.mark.parametrize("stage", ["pre-install", "selftest"])
def test_jump(make_scene, stage, seconds):
    scene = make_scene()
    for name in ("otad", "otad-installer"):
        scene.wrap(name)
    gateway = scene.power_on().gateway
    gateway.plan_hook(stage, sleep=0.4, times=1)
    # By MQTT, whose connection stands already: a new one would not be trusted in 1970, which is another test.
    job = scene.update(IMAGE, "mqtt")
    gateway.wait(lambda: gateway.hook_calls(stage), 20, stage)
    for name in ("otad", "otad-installer"):
        scene.spoil(name, f"clock {seconds}")
    if stage == "pre-install" and seconds == EPOCH:
        gateway.wait(lambda: gateway.slot == "B", 20, "reboot")     # a machine that boots has its clock set
        scene.spoil("otad")
    scene.expect_success(job, IMAGE, "1.1.0")


def test_jump_past_the_certificates(make_scene):
    """Twenty years on no certificate holds: the store's is refused, the connection there is goes on, the old software stays."""
    scene = make_scene()
    scene.wrap("otad")
    gateway = scene.power_on().gateway
    scene.cloud.wait_connected("gateway-1")
    gateway.plan_hook("pre-install", sleep=0.4, times=1)
    job = scene.update(IMAGE)
    gateway.wait(lambda: gateway.hook_calls("pre-install"), 20, "pre-install")
    scene.spoil("otad", f"clock {20 * YEAR}")
    scene.expect_failure(job, "tls-untrusted", next_job=False)
