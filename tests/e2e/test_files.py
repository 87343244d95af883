"""Targets of type file: replaced by rename, tested, committed or put back; no reboot."""

import os

import pytest

from cloud import faults
from gateway import make_image

from .scene import hold

IMAGE = make_image("1.1.0", 50_000)


@pytest.fixture
def app(make_scene):
    return make_scene(gateway={"slot_size": 0, "files": ["app"]})


def content(scene):
    """The folder of the target: nothing may stay in it but the file itself."""
    return sorted(p.name for p in scene.gateway.files["app"].parent.iterdir())


def expect_new(scene, job, image, version, previous="1.0.0"):
    execution = scene.wait(job, "SUCCEEDED")
    assert {k: execution.details[k] for k in ("reason", "updatedBy", "phase")} == {
        "reason": f"accepted  v{version}", "updatedBy": f"  v{previous}", "phase": "committed"}
    path = scene.gateway.files["app"]
    assert path.read_bytes() == image and path.stat().st_mode & 0o7777 == 0o755
    scene.wait_idle()
    assert content(scene) == ["app"] and scene.gateway.n_boots == 1
    assert "reboot" not in [c["stage"] for c in scene.gateway.hook_calls()]


def expect_old(scene, job, error, before):
    execution = scene.wait(job, "FAILED")
    assert execution.details["error"] == error and execution.details["phase"] == "rolled-back"
    scene.wait_idle()
    assert scene.gateway.files["app"].read_bytes() == before and content(scene) == ["app"]
    assert scene.gateway.n_boots == 1
    good = make_image("2.0.0", 1000)
    expect_new(scene, scene.update(good, name="app"), good, "2.0.0")
    scene.expect_clean()
    return execution


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_update(app, protocol):
    job = app.update(IMAGE, protocol, name="app")
    expect_new(app, job, IMAGE, "1.1.0")
    assert [c["stage"] for c in app.gateway.hook_calls()] == ["pre-install", "post-install", "activate", "selftest",
                                                            "commit", "cleanup"]
    call = app.gateway.hook_calls("selftest")[0]
    assert (call["OTAD_TYPE"], call["OTAD_TARGET"], call["OTAD_PATH"]) == ("file", "app",
                                                                         str(app.gateway.files["app"]))
    assert (call["OTAD_SLOT"], call["OTAD_DEVICE"]) == ("", "")
    app.expect_clean()


def test_three_in_a_row(app):
    previous = "1.0.0"
    for version in ("1.1.0", "1.2.0", "1.3.0"):
        image = make_image(version, 10_000)
        expect_new(app, app.update(image, name="/usr/bin/app"), image, version, previous)
        previous = version
    app.expect_clean()


def test_rolled_back_on_failed_self_test(app):
    before = app.gateway.files["app"].read_bytes()
    job = app.update(make_image("1.1.0", 50_000, selftest="fail"), name="app")
    execution = expect_old(app, job, "selftest-failed", before)
    assert "the new software does not work" in execution.details["detail"]
    stages = [c["stage"] for c in app.gateway.hook_calls() if c["OTAD_JOB_ID"] == job.id]
    assert stages == ["pre-install", "post-install", "activate", "selftest", "rollback", "cleanup"]


@pytest.mark.parametrize("version, error", [("1.0.0", "version-same"), ("0.5.0", "version-older")])
def test_same_or_older_version(app, version, error):
    before = app.gateway.files["app"].read_bytes()
    expect_old(app, app.update(make_image(version, 5000, seed=3), name="app"), error, before)


def test_tampered(app):
    before = app.gateway.files["app"].read_bytes()
    app.cloud.faults.on("stream.block", faults.corrupt(7), times=1)
    job = app.update(IMAGE, "mqtt", name="app")
    expect_old(app, job, "signature-invalid", before)
    assert "activate" not in [c["stage"] for c in app.gateway.hook_calls() if c["OTAD_JOB_ID"] == job.id]


def test_where_there_was_none(make_scene):
    """A file that is new; taken away again where it fails."""
    scene = make_scene(gateway={"slot_size": 0, "files": ["app"]}, power=False)
    os.unlink(scene.gateway.files["app"])
    os.unlink(scene.gateway.folder / "app-release")
    scene.gateway.power_on()
    job = scene.update(make_image("1.1.0", 5000, selftest="fail"), name="app")
    scene.wait(job, "FAILED")
    scene.wait_idle()
    assert content(scene) == []
    job = scene.update(IMAGE, name="app")
    scene.wait(job, "SUCCEEDED")
    scene.wait_idle()
    assert content(scene) == ["app"] and scene.gateway.files["app"].read_bytes() == IMAGE
    scene.expect_clean()


def test_cancelled_while_downloading(app):
    before = app.gateway.files["app"].read_bytes()
    go_on = hold(app, "https", 20_000)
    job = app.update(IMAGE, name="app")
    app.cloud.wait_message("http", "GET")
    app.cloud.cancel(job, force=True)
    app.gateway.wait(lambda: app.gateway.hook_calls("cleanup"), what="end of the update")
    go_on()
    assert app.gateway.files["app"].read_bytes() == before and content(app) == ["app"]
    image = make_image("2.0.0", 1000)
    expect_new(app, app.update(image, name="app"), image, "2.0.0")
    app.expect_clean()


@pytest.mark.parametrize("stage", ["activate", "selftest", "commit"])
def test_power_cut(app, stage):
    """The file is on trial over a restart, too; whatever happens it is the old or the new one, whole."""
    app.gateway.plan_hook(stage, sleep=0.5, times=1)
    job = app.update(IMAGE, name="app")
    app.gateway.wait(lambda: app.gateway.hook_calls(stage), 15, stage)
    app.gateway.power_cut()
    app.gateway.power_on()
    app.wait(job, "SUCCEEDED")
    app.wait_idle()
    assert app.gateway.files["app"].read_bytes() == IMAGE and content(app) == ["app"]
    app.expect_clean()


def test_version_nobody_asks_for(make_scene):
    """Without a `version` of its own no version is compared for a file."""
    scene = make_scene(gateway={"slot_size": 0, "files": ["app"]}, power=False)
    for target in scene.gateway.settings["targets"]:
        target.pop("version")
    scene.gateway.write_config()
    scene.gateway.power_on()
    image = b"no header at all"
    job = scene.update(image, name="app")
    scene.wait(job, "SUCCEEDED")
    assert scene.gateway.files["app"].read_bytes() == image
    scene.expect_clean()


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_one_byte(make_scene, protocol):
    scene = make_scene(gateway={"slot_size": 0, "files": ["app"]}, power=False)
    for target in scene.gateway.settings["targets"]:
        target.pop("version")
    scene.gateway.write_config()
    scene.gateway.power_on()
    scene.wait(scene.update(b"1", protocol, name="app"), "SUCCEEDED")
    assert scene.gateway.files["app"].read_bytes() == b"1"
    scene.expect_clean()
