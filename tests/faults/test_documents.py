"""Bad job documents, end to end: many jobs in a row at one otad, each with the exact answer of bad_documents.txt."""

import re
import time
import unicodedata
from pathlib import Path

import pytest

from e2e.scene import THING

from .bad_documents import DOCUMENTS, NASTY, TOO_LARGE

PARTS = 4


def read_answers():
    """{name: (status, error, detail)}; None where the job is left alone."""
    answers = {}
    for line in (Path(__file__).parent / "bad_documents.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, status, error, *detail = (part.strip() for part in line.split(" | "))
            answers[name] = None if error == "left alone" else (status, error, " | ".join(detail))
    return answers


ANSWERS = read_answers()


def fits(pattern, detail):
    return re.fullmatch(".*".join(map(re.escape, pattern.split("{}"))), detail, re.S) is not None


def is_clean(text):
    return not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c == "\u202e" for c in text)


def test_table():
    assert list(ANSWERS) == list(DOCUMENTS) and len(DOCUMENTS) >= 150


@pytest.mark.parametrize("part", range(PARTS))
def test_documents(make_scene, tally, part):
    tally(len(list(DOCUMENTS)[part::PARTS]))
    scene = make_scene(config={"download": {"stall-sec": 1, "attempts": 1}}).power_on()
    gateway = scene.gateway
    for index, (name, document) in enumerate(list(DOCUMENTS.items())[part::PARTS]):
        job = scene.cloud.create_job(THING, document, job_id=f"bad-{index}")
        if ANSWERS[name] is None:
            # At AWS a list has fifteen jobs, so these are taken away again.
            gateway.wait(lambda j=job: re.search(rf"\b{j.id}\b.* left alone", gateway.output("otad")), 10, f"word on {name}")
            assert scene.cloud.execution(THING, job).status == "QUEUED", name
            scene.cloud.cancel(job)
            continue
        status, error, detail = ANSWERS[name]
        execution = scene.wait(job, status)
        assert execution.details["error"] == error, (name, execution)
        assert fits(detail, execution.details["detail"]), (name, execution)
        assert is_clean(execution.details["detail"]) and "X-Amz" not in execution.details["detail"], (name, execution)
    scene.wait_idle()
    expect_nothing_hostile(scene)
    scene.allowed.add("illegal-transition")     # AWS is asked whether it takes REJECTED from there
    scene.allowed.add("publish-rate")           # nobody creates fifty jobs a second for one thing
    scene.expect_unharmed(touched=None)
    scene.expect_next_works()


def expect_nothing_hostile(scene):
    """Neither in a line of the log, nor in a hook's variable, nor in what was sent to the cloud."""
    gateway = scene.gateway
    for program in ("otad", "otad-installer"):
        for line in gateway.programs[program].log.read_bytes().decode().split("\n"):
            assert is_clean(line) and "X-Amz" not in line, line
            assert line.startswith((f"{program}: ", "-----")) or not line, line
    for call in gateway.hook_calls():
        assert all(is_clean(value) for value in call.values() if isinstance(value, str)), call
    for message in scene.cloud.find_messages("device"):
        assert is_clean(str(message.topic)), message
        text = str(message.payload)
        assert not any(c in text for c in NASTY if unicodedata.category(c) in ("Cc", "Zl")), message


def test_larger_than_a_message(make_scene, tally):
    """Such a job never gets as far as otad: it is asked for again, at growing gaps, and those behind it are done."""
    tally(len(TOO_LARGE))
    scene = make_scene().power_on()
    scene.allowed.add("internal-error")         # the broker tells the cloud that it could not deliver
    for name, document in TOO_LARGE.items():
        job = scene.cloud.create_job(THING, document, job_id=f"large-{len(name)}")
        scene.cloud.wait_message("device", f"/jobs/{job}/get$")     # the gaps grew with the one before
        time.sleep(1.5)
        assert len(scene.cloud.find_messages("device", f"/jobs/{job}/get$")) < 6, name
        if name != list(TOO_LARGE)[-1]:
            scene.cloud.cancel(job)
    scene.expect_next_works()
    assert scene.cloud.execution(THING, job).status == "QUEUED"
