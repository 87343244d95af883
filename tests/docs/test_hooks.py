"""The examples of docs/hooks.md: each is run for every stage, and those that fit a simulated gateway by otad itself."""

import subprocess

import pytest

from gateway import make_image
from pages import blocks

STAGES = ["pre-install", "post-install", "activate", "reboot", "selftest", "commit", "rollback", "cleanup"]
EXAMPLES = {b.text: b.code for b in blocks("hooks.md") if b.what == "file"}
IMAGE = make_image("1.1.0", 200_000)


def install(scene, name, *replace):
    """Puts an example in place of the gateway's hook; `replace`: what a gateway has and a test has not."""
    code = EXAMPLES[name]
    for old, new in (("systemctl reboot", f"echo >{scene.gateway.folder}/reboot"), *replace):
        assert old in code or old == "systemctl reboot"
        code = code.replace(old, new)
    hook = scene.gateway.folder / "hook"
    hook.unlink()
    hook.write_text(code)
    hook.chmod(0o755)


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_stage_and_an_unknown_one(name, tmp_path):
    """With commands that do nothing, and twice, since every stage may be repeated."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("systemctl", "systemd-run", "app"):
        (tools / tool).write_text("#!/bin/sh\nexit 0\n")
        (tools / tool).chmod(0o755)
    code = EXAMPLES[name].replace("/opt/gateway/", f"{tmp_path}/")
    (tmp_path / "hook").write_text(code)
    (tmp_path / "hook").chmod(0o755)
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "OTAD_TYPE": "ab", "OTAD_TARGET": "app", "OTAD_RESULT": "",
                   "OTAD_DEVICE": str(tmp_path / "slot"), "OTAD_SLOT": "B", "OTAD_PATH": str(tools / "app")}
    for stage in [*STAGES, *STAGES, "a-stage-to-come"]:
        done = subprocess.run([tmp_path / "hook", stage], env=environment, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{stage}: {done.stderr}"


def update(scene):
    job = scene.update(IMAGE)
    execution = scene.wait(job, "SUCCEEDED")
    assert execution.details["reason"] == "accepted  v1.1.0" and scene.gateway.slot == "B"


def test_minimal(make_scene):
    scene = make_scene()
    install(scene, "minimal", ("systemctl is-active --quiet gateway.service", "true"))
    update(scene)


def test_minimal_says_why_not(make_scene):
    scene = make_scene()
    install(scene, "minimal", ("systemctl is-active --quiet gateway.service", "false"))
    execution = scene.wait(scene.update(IMAGE), "FAILED")
    assert execution.details["error"] == "selftest-failed"
    assert execution.details["detail"].endswith("gateway.service does not run")
    assert scene.gateway.slot == "A"


def test_not_now(make_scene):
    scene = make_scene(gateway={"config": {"hook": {"give-up-sec": 60}}})
    busy = scene.gateway.folder / "busy"
    busy.touch()
    install(scene, "not-now", ("/run/gateway/busy", str(busy)))
    job = scene.update(IMAGE)
    said = "the hook says not now: a measurement is going on"
    scene.gateway.wait(lambda: said in scene.gateway.programs["otad"].output(), 15, "not now")
    assert scene.gateway.slot == "A" and scene.gateway.n_boots == 1
    busy.unlink()
    scene.wait(job, "SUCCEEDED")
    assert scene.gateway.slot == "B"


def test_program(make_scene):
    scene = make_scene(gateway={"slot_size": 0, "files": ["app"]})
    release = scene.gateway.folder / "app-release"
    install(scene, "program", ("systemctl restart gateway-app", "true"), ("systemd-run", "true"),
            ('"$OTAD_PATH" --version', """sed -n 's/^IMAGE_VERSION=//p;2q' "$OTAD_PATH\""""),
            ("/opt/gateway/release", str(release)))
    image = make_image("1.1.0", 100_000)
    execution = scene.wait(scene.update(image, name="app"), "SUCCEEDED")
    assert execution.details["reason"] == "accepted  v1.1.0"
    assert release.read_text() == "VERSION=1.1.0\n"
