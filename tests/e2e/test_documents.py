"""Jobs that are odd, wrong or not ours: sizes, names, several files, other people's documents."""

import time

import pytest

from cloud import Rules
from gateway import make_image

from .scene import THING

IMAGE = make_image("1.1.0")
FOREIGN = {"operation": "reboot", "steps": [1, 2, 3]}


def refused(scene, job, error):
    scene.expect_failure(job, error, status="REJECTED", phase="idle", touched=False)


def test_missing_file_name(scene):
    job = scene.update(IMAGE, edit=lambda d: d["afr_ota"]["files"][0].pop("filepath"))
    refused(scene, job, "document-invalid")


def test_file_name_of_no_target(scene):
    refused(scene, scene.update(IMAGE, name="/etc/passwd"), "target-unknown")


def test_two_files_for_one_target(scene):
    job = scene.update_files([scene.file(IMAGE, "rootfs.img"), scene.file(IMAGE, "/other/rootfs.img")])
    refused(scene, job, "target-repeated")


def test_no_protocol_we_know(scene):
    job = scene.update(IMAGE, edit=lambda d: d["afr_ota"].update(protocols=["CARRIER-PIGEON"]))
    refused(scene, job, "no-protocol")


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_empty_file(scene, protocol):
    refused(scene, scene.update(b"", protocol), "image-empty")


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_one_byte_image(scene, protocol):
    """It is installed, for its signature is good; but it does not boot, and the boot loader goes back."""
    job = scene.update(b"?", protocol)
    scene.expect_failure(job, "booted-old-slot")
    assert scene.gateway.panics == ["B"]


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_exactly_the_size_of_the_slot(scene, protocol):
    image = make_image("1.1.0", 1 << 20)
    job = scene.update(image, protocol)
    scene.expect_success(job, image, "1.1.0")
    scene.expect_clean()


@pytest.mark.parametrize("takes_rejected", [False, True])
def test_oversized_file(make_scene, takes_rejected):
    """One byte more than the slot has. Only REJECTED would be right; where AWS does not take that any more it is
    FAILED."""
    scene = make_scene(cloud={"rules": Rules(rejected_after_start=takes_rejected)})
    job = scene.update(make_image("1.1.0", (1 << 20) + 1))
    execution = scene.wait(job, "REJECTED" if takes_rejected else "FAILED")
    assert not scene.gateway.hook_calls("pre-install") and "1048577" in execution.details["detail"]
    scene.allowed.add("illegal-transition")     # AWS is asked whether it takes REJECTED from here
    scene.expect_failure(job, "image-too-large", status=execution.status, phase=execution.details["phase"],
                         touched=None)


def test_wrong_size_in_the_document(scene):
    """The document says more than the object has: nothing that comes can be right."""
    job = scene.update(IMAGE, edit=lambda d: d["afr_ota"]["files"][0].update(filesize=len(IMAGE) + 1))
    execution = scene.wait(job, "FAILED")
    assert execution.details["error"] in ("range-wrong", "object-changed")
    scene.expect_failure(job, execution.details["error"])


@pytest.mark.parametrize("document", [b'{"afr_ota":{"files":[]}}', b'{"afr_ota":17}',
                                      b'{"afr_ota":{"protocols":["HTTP"],"files":"none"}}'],
                         ids=["no-protocols", "number", "text"])
def test_broken_document(scene, document):
    refused(scene, scene.cloud.create_job(THING, document), "document-invalid")


@pytest.mark.parametrize("document", [b'{"afr_ota":', b'{"steps":"\\u0000"}', b"[" * 100 + b"]" * 100],
                         ids=["cut", "nul", "deep"])
def test_unreadable_document(scene, document):
    """What cannot be read is nobody's, so it is left alone; jobs behind it are found all the same."""
    odd = scene.cloud.create_job(THING, document)
    image = make_image("9.0.0")
    job = scene.update(image)
    scene.expect_success(job, image, "9.0.0")
    assert scene.cloud.execution(THING, odd).status == "QUEUED"
    assert "left alone" in scene.gateway.output()
    scene.expect_clean()


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_several_files(make_scene, protocol):
    """The slot and a file of one job come into force together."""
    scene = make_scene(gateway={"files": ["app"]})
    app = make_image("1.1.0", 5000, seed="app")
    job = scene.update_files([scene.file(app, "app", file_id=0), scene.file(IMAGE, file_id=1)], protocol)
    scene.wait(job, "SUCCEEDED")
    scene.wait_idle()
    gateway = scene.gateway
    assert gateway.version == "1.1.0" and gateway.slot == "B" and gateway.holds("B", IMAGE)
    assert gateway.files["app"].read_bytes() == app and (gateway.files["app"].stat().st_mode & 0o777) == 0o755
    assert sorted(p.name for p in gateway.files["app"].parent.iterdir()) == ["app"]
    scene.expect_clean()


@pytest.mark.parametrize("bad", ["app", "rootfs.img"])
def test_one_bad_file_of_two(make_scene, bad):
    """All or nothing: the good one is not used either."""
    scene = make_scene(gateway={"files": ["app"]})
    files = {"app": make_image("1.1.0", 5000, seed="app"), "rootfs.img": IMAGE}
    before = scene.gateway.digest("app")
    job = scene.update_files([scene.file(image, name, signature=scene.signer.sign(b"another") if name == bad else None)
                              for name, image in files.items()])
    scene.wait(job, "FAILED")
    assert not scene.gateway.hook_calls("activate") and scene.gateway.n_boots == 1
    scene.expect_failure(job, "signature-invalid", next_job=False)
    gateway = scene.gateway
    assert gateway.digest("app") == before
    assert sorted(p.name for p in gateway.files["app"].parent.iterdir()) == ["app"]
    scene.expect_next_works()


def test_foreign_job_is_left_alone(scene):
    """What is not ours waits at the head for whoever it is for; a job of ours behind it is found all the same."""
    foreign = scene.cloud.create_job(THING, FOREIGN)
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0")
    execution = scene.cloud.execution(THING, foreign)
    assert execution.status == "QUEUED" and len(execution.history) == 1
    scene.expect_clean()


def test_foreign_job_is_rejected_with_the_key(make_scene):
    scene = make_scene(config={"jobs": {"reject-foreign": True}})
    refused(scene, scene.cloud.create_job(THING, FOREIGN), "document-unsupported")


def test_foreign_job_is_nothing_new(scene):
    """Left alone means left alone: it is not looked at over and over."""
    scene.cloud.create_job(THING, FOREIGN)
    scene.cloud.wait_message("device", r"jobs/.*get$")
    scene.gateway.wait(lambda: scene.cloud.find_messages("cloud", r"jobs/.*get/accepted$"), what="answer")
    time.sleep(1)
    n = len(scene.cloud.find_messages("device", r"jobs/"))
    time.sleep(1)
    assert len(scene.cloud.find_messages("device", r"jobs/")) == n <= 8
    scene.cloud.assert_clean()
