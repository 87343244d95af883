"""A person at the gateway: what otactl shows and does, while updates come from the cloud."""

import json
import os
import subprocess
import time

import pytest

from gateway import make_image

from .scene import THING, hold

IMAGE = make_image("1.1.0", 600_000)


def status(scene):
    done = scene.gateway.otactl("status", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def wait_status(scene, **wanted):
    def look():
        now = status(scene)
        return now if now and all(now.get(k) == v for k, v in wanted.items()) else None
    return scene.gateway.wait(look, 15, f"status with {wanted}")


def test_status_of_an_idle_gateway(scene):
    now = wait_status(scene, connected=True, state="idle")
    assert now["thing"] == THING and now["job"] is None and now["versions"]["running"] == "1.0.0"
    done = scene.gateway.otactl("status")
    assert done.returncode == 0 and "1.0.0" in done.stdout and THING in done.stdout
    assert "\x1b" not in done.stdout


def test_status_while_downloading(scene):
    go_on = hold(scene, "https", 300_000)
    job = scene.update(IMAGE)
    now = wait_status(scene, state="downloading")
    scene.gateway.wait(lambda: (status(scene)["download"] or {}).get("held") == 300_000, what="half of it")
    scene.gateway.wait(lambda: status(scene)["targets"][0]["written"] > 200_000, what="half of it on the target")
    now = status(scene)
    assert now["job"] == {"id": job.id, "attempt": 1} and now["download"]["percent"] == 50
    assert now["download"]["protocol"] == "https" and now["targets"][0]["slot"] == "B"
    assert "50" in scene.gateway.otactl("status").stdout
    go_on()
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


def test_suspend_and_resume(scene):
    """Suspended is suspended, over a restart of the download; resumed it goes on where it was."""
    go_on = hold(scene, "https", 300_000)
    job = scene.update(IMAGE)
    wait_status(scene, state="downloading")
    assert scene.gateway.otactl("suspend").returncode == 0
    assert scene.gateway.otactl("suspend").returncode == 2      # it is already
    go_on()
    now = wait_status(scene, state="suspended")
    assert now["suspended"]
    requests = len(scene.cloud.find_messages("http"))
    time.sleep(0.7)
    assert len(scene.cloud.find_messages("http")) == requests
    assert scene.cloud.execution(THING, job).details["phase"] == "suspended"
    assert scene.gateway.otactl("resume").returncode == 0
    scene.expect_success(job, IMAGE, "1.1.0")
    assert scene.cloud.find_messages("http")[-1].payload["range"] == "bytes=300000-"
    scene.expect_clean()


def test_cancel_while_downloading(scene):
    go_on = hold(scene, "https", 300_000)
    job = scene.update(IMAGE)
    wait_status(scene, state="downloading")
    assert scene.gateway.otactl("cancel").returncode == 0
    go_on()
    scene.expect_failure(job, "cancelled-locally")
    wait_status(scene, state="idle")
    assert scene.gateway.otactl("cancel").returncode == 2       # nothing to cancel


def test_cancel_while_testing(scene):
    """Until the commit a person may send the new software back."""
    scene.gateway.plan_hook("selftest", sleep=1.5, times=1)
    job = scene.update(IMAGE)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("selftest"), 15, "self-test")
    wait_status(scene, state="testing")
    assert scene.gateway.otactl("cancel").returncode == 0
    scene.expect_failure(job, "cancelled-locally")


def test_what_was_is_told(scene):
    """How the last update ended is shown, and every one is kept in the installer's history."""
    good = scene.update(IMAGE)
    scene.expect_success(good, IMAGE, "1.1.0")
    bad = scene.update(make_image("1.0.5"))
    scene.wait(bad, "FAILED")
    scene.wait_idle()
    last = wait_status(scene, state="idle", connected=True)["last"]
    assert (last["job"], last["attempt"], last["status"], last["error"]) == (bad.id, 1, "failed", "version-older")
    assert "version-older" in scene.gateway.otactl("status").stdout
    history = (scene.gateway.folder / "installer-state" / "history").read_text()
    assert history.index(good.id) < history.index(bad.id)
    assert "committed" in history and "rolled-back" in history and "version-older" in history


@pytest.mark.parametrize("name", ["otad", "otad-installer"])
def test_status_with_one_program_away(scene, name):
    scene.gateway.wait(lambda: status(scene), what="first status")
    scene.gateway.end(name)
    done = scene.gateway.otactl("status")
    assert done.returncode in (0, 1) and done.stdout.strip()
    scene.gateway.start(name)
    wait_status(scene, connected=True, state="idle")


def test_on_a_bus(make_scene):
    """The same interface on a message bus, for front ends."""
    scene = make_scene(gateway={"bus": True})
    wait_status(scene, connected=True)
    done = subprocess.run(["dbus-send", f"--bus={scene.gateway.bus_address}", "--print-reply", "--dest=org.otad1",
                           "/org/otad1", "org.otad1.Manager.GetStatus"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0 and THING in done.stdout, done.stderr
    scene.expect_next_works("1.1.0")


def test_check_of_the_broker(make_scene):
    """Without an otad that is connected the way there is tried: name, TCP, TLS."""
    scene = make_scene(power=False)

    def said(**broker):
        scene.gateway.write_config({"broker": broker})
        lines = [line for line in scene.gateway.otactl("check").stdout.splitlines() if "broker: " in line]
        assert len(lines) == 1
        return lines[0]
    port, ca = scene.gateway.settings["broker"]["port"], scene.gateway.settings["broker"]["root-ca"]
    assert "takes this device's certificate" in said()
    assert "FAIL" in said(endpoint="no-such-name.invalid") and "cannot be looked up" in said()
    assert "cannot be connected to" in said(endpoint="localhost", port=1)
    wrong = said(port=port, **{"root-ca": str(scene.signer.path)})
    assert wrong.startswith("FAIL") and "certificate" in wrong
    assert said(**{"root-ca": ca}).startswith("ok")
    assert not scene.cloud.find_messages("event", "^connected$")


def test_check(scene):
    """Nothing is wrong here, so nothing is found; something is, and it is named."""
    for name in ("hook", "boot-script"):        # links into the sources, whose permissions are not ours
        script = scene.gateway.folder / name
        text = script.read_bytes()
        script.unlink()
        script.write_bytes(text)
        script.chmod(0o755)
    wait_status(scene, connected=True)
    done = scene.gateway.otactl("check")
    wrong = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    if os.geteuid() != 0:       # the scripts that root would run are ours
        wrong = [line for line in wrong if "is run by root" not in line]
    assert not wrong, done.stdout + done.stderr
    scene.gateway.slots["B"].unlink()
    done = scene.gateway.otactl("check")
    assert done.returncode == 1 and "slot-B" in done.stdout
