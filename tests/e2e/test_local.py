"""A person at the gateway with a file on a stick: install, verify, rollback and history, with otad and without."""

import base64
import json
import signal
import subprocess
import time

import pytest

from gateway import make_image
from gateway.programs import find_program

from .scene import hold
from .test_control import status, wait_status

IMAGE = make_image("1.1.0", 300_000)
FAILED, NOTHING_TO_DO, USAGE, REBOOT_NEEDED = 1, 2, 3, 4


def without_otad(scene):
    scene.gateway.end("otad")
    scene.gateway.programs["otad"].start = lambda note="": None     # nor after a restart of the machine


def make(make_scene, **config):
    """With one file target beside the slots, and patience with hooks on a busy machine."""
    config.setdefault("hook", {"timeout-sec": 10})
    scene = make_scene(gateway={"files": ["app"], "config": config})
    scene.gateway.wait((scene.gateway.runtime / "installer.sock").exists, 10, "otad-installer's socket")
    wait_status(scene, connected=True)
    return scene


@pytest.fixture(params=["with otad", "without otad"])
def both(request, make_scene):
    scene = make(make_scene)
    if request.param == "without otad":
        without_otad(scene)
    return scene


@pytest.fixture
def scene(make_scene):
    return make(make_scene)


def stick(scene, image, *, name="image", signer=None, binary=False):
    """The file and its signature, as somebody brings them: arguments for otactl."""
    folder = scene.gateway.folder / "stick"
    folder.mkdir(exist_ok=True)
    path, signature = folder / name, folder / f"{name}.sig"
    path.write_bytes(image)
    text = (signer or scene.signer).sign(image)
    signature.write_bytes(base64.b64decode(text) if binary else text.encode() + b"\n")
    return [str(path), "--signature", str(signature), "--cert", scene.signer.path.name]


def install(scene, image, target="rootfs", *more, **options):
    return scene.gateway.otactl("install", *stick(scene, image, **options), "--target", target, *more)


def start_install(scene, image, target="rootfs"):
    """In the background, for what may happen meanwhile."""
    return subprocess.Popen([str(find_program("otactl", scene.gateway._build)), "--config", str(scene.gateway.config),
                             "install", *stick(scene, image), "--target", target], stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def history(scene):
    done = scene.gateway.otactl("history", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["entries"]


def wait_over(scene):
    """The installer has released the local session."""
    scene.gateway.wait(lambda: not (scene.gateway.folder / "installer-state" / "session").exists(), 15, "its end")


def stages(scene):
    return [c["stage"] for c in scene.gateway.hook_calls() if c["OTAD_JOB_ID"] == "local"]


# install

def test_install_into_a_slot(both):
    """As a job, with its trial; neither a cloud nor otad is needed to end it."""
    scene, gateway = both, both.gateway
    done = install(scene, IMAGE)
    assert done.returncode == REBOOT_NEEDED, done.stdout + done.stderr
    assert "reboot" in done.stdout and gateway.slot == "A" and gateway.loader.primary == "B"
    gateway.reboot()
    wait_over(scene)
    assert gateway.slot == "B" and gateway.version == "1.1.0" and gateway.loader.state("B") == "good"
    assert stages(scene) == ["pre-install", "post-install", "activate", "selftest", "commit", "cleanup"]
    entry = history(scene)[-1]
    assert entry["who"] == "local" and entry["job"] is None and entry["operation"] == "update"
    assert entry["targets"] == ["rootfs"] and entry["size"] == len(IMAGE) and entry["result"] == "committed"
    assert entry["versions"] == {"before": "1.0.0", "after": "1.1.0"} and entry["error"] is None


def test_install_and_reboot(scene):
    done = install(scene, IMAGE, "rootfs", "--reboot")
    assert done.returncode == 0, done.stdout + done.stderr
    scene.gateway.wait(lambda: scene.gateway.slot == "B", 10, "reboot")
    wait_over(scene)
    assert scene.gateway.loader.state("B") == "good" and history(scene)[-1]["result"] == "committed"


def test_install_a_file(both):
    """Without a slot nothing needs a reboot: the result is there at once, and so is that of the next. The signature may
    be base64 or DER."""
    scene = both
    for version, binary in (("1.1.0", False), ("1.2.0", True)):
        image = make_image(version, 5000)
        done = install(scene, image, "app", binary=binary)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "committed" in done.stdout and scene.gateway.files["app"].read_bytes() == image
    assert [e["versions"]["after"] for e in history(scene)] == ["1.1.0", "1.2.0"]


@pytest.mark.parametrize("version, error", [("1.0.0", "version-same"), ("0.9.0", "version-older")])
def test_the_version_rule_holds(scene, version, error):
    before = scene.gateway.digest("app")
    done = install(scene, make_image(version, 5000), "app")
    assert done.returncode == FAILED and error in done.stdout
    assert scene.gateway.digest("app") == before and history(scene)[-1]["error"] == error


def test_a_bad_self_test_is_undone(both):
    scene, gateway = both, both.gateway
    assert install(scene, make_image("1.1.0", 50_000, selftest="fail"), "rootfs", "--reboot").returncode == 0
    gateway.wait(lambda: gateway.n_boots == 3, 15, "the reboot back")
    wait_over(scene)
    assert gateway.slot == "A" and gateway.version == "1.0.0" and gateway.loader.state("B") == "bad"
    entry = history(scene)[-1]
    assert entry["result"] == "rolled-back" and entry["error"] == "selftest-failed"


def test_a_hook_that_says_not_now_is_asked_again(scene):
    for stage in ("pre-install", "selftest"):
        scene.gateway.plan_hook(stage, exit=75, reason="the pump runs", times=1)
    done = install(scene, make_image("1.1.0", 5000), "app")
    assert done.returncode == 0 and "the pump runs" in done.stdout, done.stdout + done.stderr
    assert [s for s in stages(scene) if s in ("pre-install", "selftest")] == ["pre-install"] * 2 + ["selftest"] * 2


def test_a_hook_that_always_says_not_now(make_scene):
    scene = make(make_scene, hook={"timeout-sec": 10, "give-up-sec": 2})
    scene.gateway.plan_hook("activate", exit=75, reason="the pump runs")
    done = install(scene, make_image("1.1.0", 5000), "app")
    assert done.returncode == FAILED and "hook-not-now" in done.stdout, done.stdout + done.stderr
    wait_over(scene)
    assert history(scene)[-1]["error"] == "hook-not-now"


def test_a_hook_is_asked_for_ever_where_nobody_gives_up(make_scene):
    """hook.give-up-sec = 0 is never, and not at once."""
    scene = make(make_scene, hook={"timeout-sec": 10, "give-up-sec": 0})
    scene.gateway.plan_hook("activate", exit=75, reason="the pump runs", times=2)
    done = install(scene, make_image("1.1.0", 5000), "app")
    assert done.returncode == 0 and done.stdout.count("the pump runs") == 2, done.stdout + done.stderr
    assert stages(scene).count("activate") == 3


def test_no_installer(make_scene):
    scene = make_scene(power=False, gateway={"files": ["app"]})
    done = install(scene, make_image("1.1.0", 5000), "app")
    assert done.returncode == FAILED and "otad-installer does not answer" in done.stderr


def test_a_foreign_signature_is_refused(scene):
    gateway, before = scene.gateway, scene.gateway.digest("A")
    stranger = scene.cloud.add_signer("stranger")
    done = install(scene, IMAGE, signer=stranger)
    assert done.returncode == FAILED and "signature-invalid" in done.stdout
    wait_over(scene)
    assert gateway.loader.primary == "A" and gateway.digest("A") == before and "activate" not in stages(scene)
    done = gateway.otactl("install", *stick(scene, IMAGE)[:-1], "nobody.pem", "--target", "rootfs")
    assert done.returncode == FAILED and "certificate-unknown" in done.stderr


def test_without_a_signature(make_scene):
    """Only where the device takes jobs without one, too."""
    scene = make(make_scene)
    path = stick(scene, make_image("1.1.0", 5000))[0]
    done = scene.gateway.otactl("install", path, "--target", "app")
    assert done.returncode == FAILED and "signature-missing" in done.stderr
    assert scene.gateway.otactl("verify", path).returncode == FAILED
    scene.gateway.write_config({"signing": {"required": False}})
    scene.gateway.restart("otad-installer")
    scene.gateway.wait((scene.gateway.runtime / "installer.sock").exists, 10, "otad-installer's socket")
    assert scene.gateway.otactl("verify", path).returncode == 0
    assert scene.gateway.otactl("install", path, "--target", "app").returncode == 0


@pytest.mark.parametrize("arguments", [
    ["install"], ["install", "{file}"], ["install", "{file}", "--target", "nobody"],
    ["install", "{file}", "--target", "app", "--cert", "x"], ["install", "{file}", "x", "--target", "app"],
    ["verify"], ["verify", "{file}", "--target", "app"], ["status", "--reboot"], ["rollback", "--target", "nobody"],
    ["history", "--signature", "x", "--cert", "x"]], ids=" ".join)
def test_usage(make_scene, arguments):
    scene = make_scene(power=False, gateway={"files": ["app"]})
    path = stick(scene, IMAGE)[0]
    done = scene.gateway.otactl(*[a.format(file=path) for a in arguments])
    assert done.returncode == USAGE and done.stderr and not done.stdout


# one at a time

def test_not_while_a_job_is_at_hand(make_scene):
    scene = make(make_scene)
    go_on = hold(scene, "https", 200_000)
    job = scene.update(make_image("1.1.0", 600_000))
    wait_status(scene, state="downloading")
    done = install(scene, IMAGE)
    assert done.returncode == FAILED and job.id in done.stderr and "cancel" in done.stderr
    done = scene.gateway.otactl("rollback")
    assert done.returncode == NOTHING_TO_DO and "otactl cancel" in done.stderr
    go_on()
    scene.expect_success(job, make_image("1.1.0", 600_000), "1.1.0")
    scene.expect_clean()


def test_a_job_waits(make_scene):
    """What the cloud has while a local update is at hand comes after it, and the cloud sees nothing odd."""
    scene = make(make_scene)
    assert install(scene, IMAGE).returncode == REBOOT_NEEDED
    now = wait_status(scene, state="activating", reboot_needed=True)
    assert now["local"].startswith("local#install-") and now["job"] is None and "reboot" in now["next"]
    image = make_image("1.2.0", 100_000)
    job = scene.update(image)
    scene.gateway.wait_output("otad", "jobs wait")
    time.sleep(0.5)
    assert scene.cloud.execution("gateway-1", job).status == "QUEUED"
    scene.gateway.reboot()
    execution = scene.wait(job, "SUCCEEDED")
    assert execution.details["updatedBy"].endswith("v1.1.0") and scene.gateway.version == "1.2.0"
    assert [e["who"] for e in history(scene)] == ["local", "job"]
    scene.expect_clean()


def test_who_goes_before_the_activation_leaves_nothing(both):
    """Killed before it is activated: the installer ends what was begun, and the next one is taken."""
    scene, gateway = both, both.gateway
    gateway.plan_hook("post-install", sleep=2, times=1)
    process = start_install(scene, IMAGE)
    gateway.wait(lambda: "post-install" in stages(scene), 10, "the hook")
    busy = install(scene, IMAGE)
    assert busy.returncode == FAILED and "local#install-" in busy.stderr
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_over(scene)
    assert gateway.loader.primary == "A" and history(scene)[-1]["error"] == "cancelled-locally"
    assert install(scene, IMAGE).returncode == REBOOT_NEEDED


def test_interrupted(scene):
    scene.gateway.plan_hook("post-install", sleep=2, times=1)
    process = start_install(scene, IMAGE)
    scene.gateway.wait(lambda: "post-install" in stages(scene), 10, "the hook")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == FAILED and "abandoned" in output
    wait_over(scene)


def test_an_end_that_does_not_come(make_scene):
    """The installer hangs after the activation: otactl does not wait for ever, and the update ends without it."""
    scene = make(make_scene, selftest={"timeout-sec": 3}, hook={"timeout-sec": 2})
    scene.gateway.plan_hook("selftest", sleep=1, times=1)
    process = start_install(scene, IMAGE, "app")
    scene.gateway.wait(lambda: "selftest" in stages(scene), 10, "the hook")
    scene.gateway.signal("otad-installer", signal.SIGSTOP)
    output, _ = process.communicate(timeout=60)
    scene.gateway.signal("otad-installer", signal.SIGCONT)
    assert process.returncode == FAILED and "has not ended in time" in output, output
    wait_over(scene)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_the_installer_is_started_anew(scene, signum):
    """Before the activation that is the end; after it, it goes on."""
    gateway = scene.gateway
    gateway.plan_hook("post-install", sleep=2, times=1)
    process = start_install(scene, IMAGE)
    gateway.wait(lambda: "post-install" in stages(scene), 10, "the hook")
    gateway.restart("otad-installer", signum)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == FAILED and ("lost" in output or "the installer stops" in output)
    wait_over(scene)
    assert history(scene)[-1]["error"] == "cancelled-locally" and gateway.loader.primary == "A"
    assert install(scene, IMAGE).returncode == REBOOT_NEEDED
    gateway.restart("otad-installer", signum)
    gateway.reboot()
    wait_over(scene)
    assert gateway.slot == "B" and history(scene)[-1]["result"] == "committed"


# rollback

def test_nothing_to_go_back_to(scene):
    done = scene.gateway.otactl("rollback")
    assert done.returncode == NOTHING_TO_DO and "nothing to go back to" in done.stderr
    assert install(scene, make_image("1.1.0", 5000), "app").returncode == 0
    done = scene.gateway.otactl("rollback")
    assert done.returncode == NOTHING_TO_DO and "app" in done.stderr


def test_rollback_before_the_reboot(scene):
    gateway = scene.gateway
    assert install(scene, IMAGE).returncode == REBOOT_NEEDED
    done = gateway.otactl("rollback")
    assert done.returncode == 0 and "rolled-back" in done.stdout, done.stdout + done.stderr
    assert gateway.loader.primary == "A" and gateway.loader.state("B") == "bad"
    assert history(scene)[-1]["error"] == "cancelled-locally" and "rollback" in stages(scene)


def test_rollback_of_another_target(scene):
    """What is at hand is left alone, whatever is named that it is not for; and undone where it is for it."""
    gateway = scene.gateway
    assert install(scene, IMAGE).returncode == REBOOT_NEEDED
    done = gateway.otactl("rollback", "--target", "app")
    assert done.returncode == NOTHING_TO_DO and not done.stdout, done.stdout + done.stderr
    assert "target app" in done.stderr and "local#install-" in done.stderr
    assert gateway.loader.primary == "B" and "rollback" not in stages(scene)
    done = gateway.otactl("rollback", "--target", "rootfs")
    assert done.returncode == 0 and "rolled-back" in done.stdout, done.stdout + done.stderr
    assert gateway.loader.primary == "A" and history(scene)[-1]["error"] == "cancelled-locally"


def test_cancel_a_local_update(make_scene):
    scene = make(make_scene)
    assert install(scene, IMAGE).returncode == REBOOT_NEEDED
    wait_status(scene, state="activating")
    assert scene.gateway.otactl("cancel", "wrong stick").returncode == 0
    wait_over(scene)
    assert scene.gateway.loader.primary == "A" and "wrong stick" in history(scene)[-1]["detail"]
    scene.expect_next_works("1.3.0")


def test_rollback_on_trial(make_scene):
    """Of a job: the cloud hears why it failed."""
    scene = make(make_scene)
    scene.gateway.plan_hook("selftest", sleep=1.5, times=1)
    job = scene.update(IMAGE)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("selftest"), 15, "self-test")
    done = scene.gateway.otactl("rollback")
    assert done.returncode == 0, done.stdout + done.stderr
    scene.expect_failure(job, "cancelled-locally")


def test_rollback_after_the_commit(both):
    """To the other slot, on trial like any software, and there and back again."""
    scene, gateway = both, both.gateway
    assert install(scene, IMAGE, "rootfs", "--reboot").returncode == 0
    gateway.wait(lambda: gateway.slot == "B", 10, "reboot")
    wait_over(scene)
    done = gateway.otactl("rollback")
    assert done.returncode == REBOOT_NEEDED, done.stdout + done.stderr
    assert gateway.loader.primary == "A"
    gateway.reboot()
    wait_over(scene)
    assert gateway.slot == "A" and gateway.version == "1.0.0" and gateway.loader.state("A") == "good"
    entry = history(scene)[-1]
    assert entry["operation"] == "rollback" and entry["result"] == "committed" and entry["size"] == 0
    assert entry["versions"] == {"before": "1.1.0", "after": "1.0.0"}
    done = gateway.otactl("rollback", "--target", "rootfs", "--reboot")
    assert done.returncode == 0, done.stdout + done.stderr
    gateway.wait(lambda: gateway.slot == "B", 10, "reboot")
    wait_over(scene)
    assert gateway.version == "1.1.0" and gateway.loader.state("B") == "good"


def test_what_is_gone_back_to_has_to_pass_its_test(scene):
    gateway = scene.gateway
    assert install(scene, IMAGE, "rootfs", "--reboot").returncode == 0
    gateway.wait(lambda: gateway.slot == "B", 10, "reboot")
    wait_over(scene)
    gateway.plan_hook("selftest", exit=1, reason="no", times=1)
    assert gateway.otactl("rollback", "--reboot").returncode == 0
    gateway.wait(lambda: gateway.n_boots == 4, 15, "the reboot back")
    wait_over(scene)
    assert gateway.slot == "B" and gateway.loader.state("A") == "bad"
    assert history(scene)[-1]["error"] == "selftest-failed"
    done = gateway.otactl("rollback")
    assert done.returncode == NOTHING_TO_DO and "slot A" in done.stderr


def test_rollback_thought_better_of(scene):
    """Taken back before the reboot: what was good is good still."""
    gateway = scene.gateway
    assert install(scene, IMAGE, "rootfs", "--reboot").returncode == 0
    gateway.wait(lambda: gateway.slot == "B", 10, "reboot")
    wait_over(scene)
    assert gateway.otactl("rollback").returncode == REBOOT_NEEDED
    assert gateway.otactl("rollback").returncode == 0
    assert gateway.loader.primary == "B" and gateway.loader.state("A") == "good"
    assert gateway.otactl("rollback").returncode == REBOOT_NEEDED


# looking

def test_verify(scene):
    """The answer of otad-installer's own rules, without a byte written."""
    signed = stick(scene, IMAGE)
    done = scene.gateway.otactl("verify", *signed)
    assert done.returncode == 0 and "codesign" in done.stdout, done.stderr
    with open(signed[0], "r+b") as file:
        file.seek(1000)
        file.write(b"x")
    done = scene.gateway.otactl("verify", *signed)
    assert done.returncode == FAILED and "signature-invalid" in done.stderr
    done = scene.gateway.otactl("verify", *signed[:-1], "nobody.pem")
    assert done.returncode == FAILED and "certificate-unknown" in done.stderr
    assert not scene.gateway.hook_calls()


def test_history_of_a_gateway_nothing_happened_to(scene):
    done = scene.gateway.otactl("history")
    assert done.returncode == 0 and "no update" in done.stdout and history(scene) == []


@pytest.mark.parametrize("protocol", ["https", "mqtt"])
def test_stats(make_scene, protocol):
    """FreeRTOS's counters, over all downloads since the start."""
    scene = make(make_scene)

    def stats():
        done = scene.gateway.otactl("stats", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    assert stats()["packets"] == {"received": 0, "queued": 0, "processed": 0, "dropped": 0}
    go_on = hold(scene, protocol, 160_000)
    scene.update(IMAGE, protocol)
    scene.gateway.wait(lambda: stats()["bytes"] > 0, 10, "bytes")
    now = stats()
    assert now["packets"]["received"] >= now["packets"]["queued"] >= now["packets"]["processed"] > 0
    scene.gateway.plan_hook("reboot", quiet=True)
    go_on()
    scene.gateway.wait(lambda: stats()["bytes"] >= len(IMAGE), 10, "all of it")
    wait_status(scene, state="activating")
    now = stats()
    assert now["bytes"] == len(IMAGE) and now["bytes_per_second"] > 0 and now["packets"]["dropped"] == 0
    if protocol == "mqtt":
        assert now["packets"]["processed"] == -(-len(IMAGE) // 16384) and now["requests"] > 0
    done = scene.gateway.otactl("stats")
    assert done.returncode == 0 and "292.9 KiB" in done.stdout, done.stdout
