"""What otad lives among: hooks and boot scripts that misbehave, D-Bus that is not there, an installer that hangs."""

import fcntl
import os
import signal
import subprocess
import threading
import time
import unicodedata

import pytest

from cloud import faults
from gateway import make_image

IMAGE = make_image("1.1.0", 300_000)
PYTHON = "#!/usr/bin/python3 -IS\n"


def no_controls(text):
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


def replace_hook(scene, stage, script):
    """In one stage the hook is this shell script, else the usual one."""
    hook = scene.gateway.folder / "hook"
    usual = os.readlink(hook)
    hook.unlink()
    real = scene.gateway.folder / "usual" / "hook"
    real.parent.mkdir()
    for name in ("hook-calls.jsonl", "hook-plan.json", "hook-plan.lock", "running", "reboot"):
        (scene.gateway.folder / name).touch() if name.endswith(("jsonl", "lock")) else None
        (real.parent / name).symlink_to(scene.gateway.folder / name)
    real.symlink_to(usual)
    hook.write_text(f"#!/bin/sh\nif [ \"$1\" = {stage} ]; then\n{script}\nfi\nexec '{real}' \"$@\"\n")
    hook.chmod(0o755)


# name: (what the hook does in its stage, error and the end of its detail; None: it succeeds)
HOOKS = {
    "floods stderr": ("yes 'no room left for anything' | head -c 5000000 >&2; echo 'the last word' >&2; exit 1", "hook-failed", "the last word"),
    "floods stdout": ("head -c 5000000 /dev/zero; exit 0", None, ""),
    "floods stderr and says yes": ("head -c 5000000 /dev/urandom >&2; exit 0", None, ""),
    "a line of a megabyte": ("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1", "hook-failed", "xxx"),
    "says control characters": ("printf 'bad \\033[2J\\007\\r\\001 \\377\\376 word' >&2; exit 1", "hook-failed", "word"),
    "says nothing": ("exit 3", "hook-failed", "status 3"),
    "closes everything": ("exec <&- >&- 2>&-; exit 0", None, ""),
    "forks a daemon": ("setsid sleep 30 & exit 0", None, ""),
    "forks a daemon that writes": ("(while sleep 0.05; do echo still here; done) >&2 & exit 0", None, ""),
    "kills itself": ("kill -9 $$", "hook-failed", "signal 9 (Killed)"),
    "is stopped": ("kill -STOP $$", "hook-timeout", "was ended"),
    "ignores SIGTERM": ("trap '' TERM; sleep 20 & wait; sleep 20", "hook-timeout", "was ended"),
    "an unusual status": ("exit 255", "hook-failed", "status 255"),
    "status 76": ("exit 76", "hook-failed", "status 76"),
}


@pytest.mark.parametrize("name", HOOKS)
def test_hook(make_scene, name):
    script, error, end = HOOKS[name]
    scene = make_scene(config={"hook": {"timeout-sec": 1 if error == "hook-timeout" else 10}})
    replace_hook(scene, "post-install", script)
    started = time.monotonic()
    job = scene.power_on().update(IMAGE)
    if error is None:
        scene.expect_success(job, IMAGE, "1.1.0")
    else:
        execution = scene.expect_failure(job, error, next_job=False)
        assert end in execution.details["detail"], execution
        assert no_controls(execution.details["detail"]), execution
    assert len(scene.gateway.output("otad-installer")) < 1_500_000       # what a hook writes is bounded in the log
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("how, error", [("missing", "hook-failed"), ("not executable", "hook-failed"), ("no interpreter", "hook-failed"),
                                        ("empty", "hook-failed")])
def test_hook_that_cannot_run(make_scene, how, error):
    scene = make_scene()
    hook = scene.gateway.folder / "hook"
    hook.unlink()
    if how != "missing":
        hook.write_text({"not executable": "#!/bin/sh\n", "no interpreter": "#!/nowhere/sh\n", "empty": ""}[how])
        hook.chmod(0o644 if how == "not executable" else 0o755)
    job = scene.power_on().update(IMAGE)
    scene.expect_failure(job, error, touched=False, next_job=False)


@pytest.mark.parametrize("stage", ["post-install", "activate", "selftest"])
def test_hook_says_not_now_for_ever(make_scene, stage):
    scene = make_scene(config={"hook": {"retry-sec": 1, "give-up-sec": 2}})
    scene.gateway.plan_hook(stage, exit=75, reason="the door is open")
    job = scene.power_on().update(IMAGE)
    execution = scene.wait(job, "FAILED", 30)
    assert execution.details["error"] == "hook-not-now" and "the door is open" in execution.details["detail"], execution
    scene.gateway.forget_plans()
    scene.expect_unharmed()


# The boot script: what it does when called for something, error; None: it succeeds.
BOOT = {
    "hangs at the start": ("get-current", "sleep 30", "boot-script"), "hangs at set-state": ("set-state", "sleep 30", "boot-script"),
    "hangs at set-primary": ("set-primary", "sleep 30", "boot-script"), "prints garbage": ("get-current", "head -c 100 /dev/urandom", "boot-script"),
    "prints two words": ("get-current", "echo A B", "boot-script"), "prints a slot there is none of": ("get-current", "echo C", "boot-script"),
    "prints nothing": ("get-current", "exit 0", "boot-script"), "prints megabytes": ("get-current", "yes A | head -c 3000000", "boot-script"),
    "does not mark": ("set-state", "exit 0", "boot-script"), "does not switch": ("set-primary", "exit 0", "boot-script"),
    "dies": ("get-primary", "kill -9 $$", "boot-script"),
}


@pytest.mark.parametrize("name", BOOT)
def test_boot_script(make_scene, name):
    call, script, error = BOOT[name]
    scene = make_scene(config={"boot": {"timeout-sec": 1}})
    folder = scene.gateway.folder
    boot = folder / "boot-script"
    usual = os.readlink(boot)
    boot.unlink()
    flag = folder / "boot-well"
    boot.write_text(f"#!/bin/sh\nif [ \"$1\" = {call} ] && ! [ -e '{flag}' ]; then\n{script}\nexit\nfi\n"
                    f"BOOT_DIR='{folder}/boot' exec '{usual}' \"$@\"\n")
    boot.chmod(0o755)
    job = scene.power_on().update(IMAGE)
    if call == "set-primary":       # of which a rollback has need, too
        scene.gateway.wait_output("otad-installer", "boot-script:", 20)
        flag.touch()
    execution = scene.wait(job, "FAILED", 30)
    flag.touch()
    assert execution.details["error"] == error, execution
    assert no_controls(execution.details["detail"]), execution
    scene.expect_unharmed(touched=None)


# D-Bus

def test_no_bus(make_scene):
    """A system without D-Bus updates all the same."""
    scene = make_scene(config={"control": {"bus": "system"}})
    scene.wrap("otad", environment="DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere/bus")
    scene.expect_success(scene.power_on().update(IMAGE), IMAGE, "1.1.0")
    scene.expect_clean()


def test_bus_that_hangs(make_scene):
    """The daemon of the bus is stopped before otad asks for its name, and while an update runs."""
    scene = make_scene(bus=True)
    bus = scene.gateway._bus._process
    bus.send_signal(signal.SIGSTOP)
    try:
        scene.expect_success(scene.power_on().update(IMAGE), IMAGE, "1.1.0")
    finally:
        bus.send_signal(signal.SIGCONT)


def test_bus_that_goes(make_scene):
    scene = make_scene(bus=True)
    scene.power_on()
    scene.gateway.plan_hook("post-install", sleep=0.5, times=1)
    job = scene.update(IMAGE)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("post-install"), 20, "post-install")
    scene.gateway._bus.close()
    scene.expect_success(job, IMAGE, "1.1.0")


# The installer

def test_installer_never_there(make_scene):
    """Nothing is begun that cannot be carried out: the job waits in the cloud, and is done when the installer comes."""
    scene = make_scene()
    scene.power_on().gateway.end("otad-installer", signal.SIGKILL)
    scene.gateway.restart("otad")
    scene.cloud.wait_connected("gateway-1")
    job = scene.update(IMAGE)
    time.sleep(1.5)
    assert scene.cloud.execution("gateway-1", job).status == "QUEUED"
    scene.gateway.start("otad-installer")
    scene.expect_success(job, IMAGE, "1.1.0")


def test_installer_waits_for_its_lock(make_scene):
    """One that was killed may leave it held for a moment."""
    scene = make_scene()
    folder = os.open(scene.gateway.folder / "installer-state", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    threading.Timer(0.2, os.close, [folder]).start()
    scene.power_on()
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")


def test_two_installers(make_scene):
    """The second one gives up, says why, and does no harm to the first."""
    scene = make_scene().power_on()
    first = scene.gateway.programs["otad-installer"]
    scene.gateway.wait_output("otad", "Connected to otad-installer")
    second = subprocess.run([first.path, *first.arguments], capture_output=True, text=True, timeout=20, check=False)
    assert second.returncode == 1
    assert "is another installer running?" in second.stderr
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")


def test_installer_restarted_again_and_again(make_scene):
    scene = make_scene().power_on()
    rule = scene.cloud.faults.on("http.reply", faults.slow(150_000))
    job = scene.update(IMAGE)
    for _ in range(3):
        time.sleep(0.5)
        scene.gateway.restart("otad-installer", signal.SIGKILL)
    rule.off()
    scene.cloud.https.drop_connections()
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)


def test_installer_hangs_while_bytes_come(make_scene):
    """SIGSTOP: the pipe is full and its deadline runs out. That is no end: otad asks how many bytes there are, which is
    answered when the installer is back (and if it never is, the link notices), and goes on from there."""
    image = make_image("1.1.0", 6_000_000)
    scene = make_scene(slot_size=6 << 20, config={"download": {"stall-sec": 1}})
    gateway = scene.power_on().gateway
    rule = scene.cloud.faults.on("http.reply", faults.slow(2_000_000))
    job = scene.update(image)
    gateway.wait_written(image, 100_000, timeout=20)
    gateway.signal("otad-installer", signal.SIGSTOP)
    time.sleep(3)
    gateway.signal("otad-installer", signal.SIGCONT)
    rule.off()
    scene.expect_success(job, image, "1.1.0", timeout=40)
    assert "otad-installer took no byte for 1s, asking it how many it has" in gateway.output("otad")
    scene.expect_clean()
