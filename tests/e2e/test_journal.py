"""What an operator's tools read in the journal: the fields as they are sent, event by event."""

import datetime
import json
import re
import subprocess
from pathlib import Path

import pytest

from cloud import faults
from gateway import make_image

from .journal import Journal
from .scene import THING

pytestmark = pytest.mark.usefixtures("namespaces")
IDS = dict(re.findall(r'= \{"([a-z-]+)", "([0-9a-f]{32})", LOG_\w+\}',
                      (Path(__file__).resolve().parents[2] / "src/base/log-event.c").read_text()))


@pytest.fixture
def make_watched(make_scene, tmp_path):
    """A scene whose programs write to a journal, scene.journal."""
    journals = []

    def make(**options):
        scene = make_scene(power=False, **options)
        scene.journal = Journal(tmp_path / f"journal-{len(journals)}")
        journals.append(scene.journal)
        for program in scene.gateway.programs.values():
            scene.journal.wrap(program)
        scene.gateway.power_on()
        return scene
    yield make
    for journal in journals:
        journal.close()


def events(scene, *names):
    return [e for e in list(scene.journal.entries) if e.get("OTAD_EVENT") in names]


def wait_event(scene, name, timeout=15, **fields):
    def look():
        return [e for e in scene.journal.find(name) if all(e.get(k) == v for k, v in fields.items())]
    return scene.gateway.wait(look, timeout, f"{name} in the journal")[0]


LIFE = ("update-accepted", "update-installed", "update-activated", "selftest-passed", "selftest-failed",
        "update-committed", "update-rolled-back", "update-failed")


def test_an_update_that_succeeds(make_watched):
    scene = make_watched()
    image = make_image("1.1.0", 200_000)
    job = scene.update(image)
    scene.expect_success(job, image, "1.1.0")
    found = events(scene, *LIFE)
    assert [e["OTAD_EVENT"] for e in found] == ["update-accepted", "update-installed", "update-activated",
                                                "selftest-passed", "update-committed"]
    for entry in found:
        assert entry["OTAD_JOB_ID"] == job.id and entry["PRIORITY"] == "5" and "OTAD_ERROR" not in entry
        assert entry["MESSAGE_ID"] == IDS[entry["OTAD_EVENT"]] and job.id in entry["MESSAGE"]
    assert [e["SYSLOG_IDENTIFIER"] for e in found] == ["otad"] + 4 * ["otad-installer"]
    assert [e["OTAD_STATE"] for e in found] == ["accepted", "installed", "testing", "testing", "committed"]
    assert found[0]["OTAD_ATTEMPT"] == "1" and {e["OTAD_TARGET"] for e in found[1:]} == {"rootfs"}
    assert found[-1]["OTAD_VERSION"] == "1.1.0"
    connected = wait_event(scene, "broker-connected")
    assert connected["OTAD_ENDPOINT"] == "localhost" and connected["MESSAGE_ID"] == IDS["broker-connected"]
    assert all("CODE_FILE" not in e for e in scene.journal.entries)
    scene.expect_clean()


def test_an_update_that_fails_its_test(make_watched):
    scene = make_watched()
    job = scene.update(make_image("1.1.0", 200_000, selftest="fail"))
    scene.expect_failure(job, "selftest-failed", next_job=False)
    found = [e for e in events(scene, *LIFE) if e["OTAD_EVENT"] not in LIFE[:3]]
    assert [e["OTAD_EVENT"] for e in found] == ["selftest-failed", "update-rolled-back", "update-failed"]
    assert {e["OTAD_ERROR"] for e in found} == {"selftest-failed"} and {e["OTAD_JOB_ID"] for e in found} == {job.id}
    assert [e["PRIORITY"] for e in found] == ["3", "4", "3"]
    scene.expect_clean()


def test_a_job_that_is_refused(make_watched):
    scene = make_watched()
    job = scene.update(make_image("1.1.0", 200_000), name="nobody-knows")
    scene.wait(job, "REJECTED")
    failed = wait_event(scene, "update-failed")
    assert failed["OTAD_JOB_ID"] == job.id and failed["OTAD_ERROR"] == "target-unknown"
    assert failed["OTAD_STATE"] == "idle" and not events(scene, "update-accepted")


def test_what_is_wrong_with_the_device(make_watched):
    """A damaged record, unsigned images allowed, no installer, no broker for longer than it may be."""
    scene = make_watched(config={"signing": {"required": False}, "broker": {"away-sec": 1}})
    assert "required" in wait_event(scene, "unsigned-allowed")["MESSAGE"]
    wait_event(scene, "broker-connected")
    scene.gateway.end("otad-installer")
    assert wait_event(scene, "installer-away")["SYSLOG_IDENTIFIER"] == "otad"
    scene.gateway.end("otad")
    (scene.gateway.folder / "state" / "outbox").write_text("garbage\n")
    (scene.gateway.folder / "installer-state" / "session").write_text("garbage\n")
    scene.cloud.broker.stop()
    for name in "otad-installer", "otad":
        scene.gateway.start(name)
    assert wait_event(scene, "record-damaged", OTAD_FILE="outbox")["SYSLOG_IDENTIFIER"] == "otad"
    assert wait_event(scene, "record-damaged", OTAD_FILE="session")["SYSLOG_IDENTIFIER"] == "otad-installer"
    assert wait_event(scene, "broker-away")["OTAD_ENDPOINT"] == "localhost"
    scene.cloud.broker.start()
    scene.cloud.wait_connected(THING)
    assert len(scene.journal.find("broker-away")) == 1


def test_what_the_cloud_refuses(make_watched):
    scene = make_watched()
    rule = scene.cloud.faults.on("job.request", faults.refuse("InvalidTopic"),
                                 match=lambda e: e.operation == "update" and b"SUCCEEDED" in e.payload)
    job = scene.update(make_image("1.1.0", 200_000))
    assert wait_event(scene, "status-refused", 25)["OTAD_JOB_ID"] == job.id
    assert rule.hits == 1


def test_a_configuration_that_is_refused(make_watched):
    scene = make_watched()
    scene.gateway.power_off()
    scene.gateway.config.write_text("nonsense = 1;\n")
    for name, program in scene.gateway.programs.items():
        with open(scene.gateway.folder / "stderr", "wb") as stderr:
            done = subprocess.run([program.path, "--config", scene.gateway.config], stderr=stderr, timeout=20)
        assert done.returncode == 3
        refused = wait_event(scene, "config-refused", SYSLOG_IDENTIFIER=name)
        assert refused["OTAD_FILE"] == str(scene.gateway.config) and "nonsense: unknown key" in refused["MESSAGE"]


def in_days(days):
    return datetime.datetime.utcnow() + datetime.timedelta(days=days, hours=1)


def test_certificates_near_their_end(make_watched):
    """The device's and a signer's end soon, the others do not: journal, otactl status and its JSON say so."""
    scene = make_watched(config={"signing": {"dates": "always"}, "certificates": {"warn-days": 20}})
    assert not scene.journal.find("certificate-ends")
    thing = scene.gateway.thing
    for path in thing.cert, thing.key:
        path.unlink()
    scene.cloud.authority.thing(THING, not_after=in_days(10))
    scene.gateway.trust_signer(scene.cloud.add_signer("old", not_before=in_days(-400), not_after=in_days(-3)))
    scene.gateway.trust_signer(scene.cloud.add_signer("new", not_after=in_days(25)))
    scene.gateway.restart("otad")
    wait_event(scene, "certificate-ends", OTAD_CERTIFICATE="old.pem")
    scene.gateway.wait(lambda: scene.gateway.otactl("status").returncode == 0, 15, "status")
    told = scene.journal.find("certificate-ends")
    assert {(e["OTAD_CERTIFICATE"], e["MESSAGE"]) for e in told} == {
        (str(thing.cert), f"The device certificate {thing.cert} ends in 10 days"),
        ("old.pem", "The signer certificate old.pem has ended 2 days ago")}
    found = json.loads(scene.gateway.otactl("status", "--json").stdout)["certificates"]
    by_file = {c["file"]: c for c in found}
    assert [c["kind"] for c in found] == ["device", "root-ca", "signer", "signer", "signer"]
    assert {f for f, c in by_file.items() if c["ends_soon"]} == {str(thing.cert), "old.pem"}
    assert by_file[str(thing.cert)]["days_left"] == 10 and by_file["new.pem"]["days_left"] == 25
    assert by_file["old.pem"]["days_left"] == -2
    said = scene.gateway.otactl("status").stdout
    assert f"the device certificate {thing.cert} ends on" in said and "the signer certificate old.pem has ended" in said
    assert "new.pem" not in said
