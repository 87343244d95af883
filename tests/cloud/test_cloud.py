"""The cloud as a whole: OTA documents, waiting, breaking connections, an end without leftovers, and the command."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cbor2
import pytest

from cloud import Cloud, OtaFile, WrongEnd, faults
from cloud.conftest import RESPONSES, Device
from cloud.test_jobs import drain, queue, update

COMMAND = [sys.executable, str(Path(__file__).parent / "otad-cloud")]


def ota(cloud, *protocols, **options):
    files = options.pop("files", None) or [OtaFile("/var/lib/otad/slot", b"image" * 100, cloud.add_signer())]
    return cloud.create_ota_update("dev-7", files, protocols, **options)


def document(cloud):
    return cloud.find_messages("cloud", "notify-next")[-1].payload["execution"]["jobDocument"]["afr_ota"]


def test_mqtt_document(cloud):
    job = ota(cloud, "MQTT", update_id="fw-41")
    got = document(cloud)
    assert job.id == "AFR_OTA-fw-41" and len(job.ota.stream_id) == 44
    assert list(got) == ["protocols", "streamname", "files"]
    assert (got["protocols"], got["streamname"]) == (["MQTT"], job.ota.stream_id)
    file = got["files"][0]
    assert list(file) == ["filepath", "filesize", "fileid", "certfile", "fileType", "sig-sha256-ecdsa"]
    assert {k: file[k] for k in list(file)[:5]} == {"filepath": "/var/lib/otad/slot", "filesize": 500, "fileid": 0,
                                                   "certfile": "codesign.pem", "fileType": 0}
    assert base64.b64decode(file["sig-sha256-ecdsa"], validate=True)[0] == 0x30


def test_http_document_is_made_anew_each_time(cloud, device):
    job = ota(cloud, "HTTP", url_expires=60)
    got = document(cloud)
    assert list(got) == ["protocols", "files"] and job.ota.stream_id is None
    file = got["files"][0]
    assert list(file) == ["filepath", "filesize", "fileid", "certfile", "fileType", "update_data_url", "auth_scheme",
                          "sig-sha256-ecdsa"]
    assert file["auth_scheme"] == "aws.s3.presigned" and "X-Amz-Expires=60&" in file["update_data_url"]
    again = device.call("jobs/$next/get")[1]["execution"]["jobDocument"]["afr_ota"]["files"][0]
    assert again["update_data_url"] != file["update_data_url"]
    assert again["sig-sha256-ecdsa"] == file["sig-sha256-ecdsa"]


def test_other_documents(cloud):
    rsa = cloud.add_signer("other", kind="rsa2048")
    files = [OtaFile("a", b"a", rsa, hash="sha1", certfile="/etc/x.pem", file_type=7, file_id=9),
             OtaFile("b", b"b", file_type=None), OtaFile("c", b"c", signature="AAAA", algorithm="rsa")]
    ota(cloud, "MQTT", "HTTP", files=files, edit=lambda d: d["afr_ota"].update(extra=1))
    one, two, three = document(cloud)["files"]
    assert one["fileid"] == 9 and one["certfile"] == "/etc/x.pem" and "sig-sha1-rsa" in one and one["fileType"] == 7
    assert not any(k.startswith("sig-") for k in two) and "certfile" not in two and "fileType" not in two
    assert three["sig-sha256-rsa"] == "AAAA" and document(cloud)["extra"] == 1
    for wrong in (dict(files=[]), dict(update_id="a b"), dict(update_id="x" * 57)):
        with pytest.raises(ValueError):
            cloud.create_ota_update("dev-7", **{"files": [OtaFile("a", b"a")], **wrong})
    for protocols in ([], ["FTP"], ["MQTT", "MQTT"]):
        with pytest.raises(ValueError):
            ota(cloud, *protocols)


def test_waiting(cloud, device):
    job = ota(cloud, "MQTT")
    with pytest.raises(TimeoutError, match="QUEUED"):
        cloud.wait_for(job, "SUCCEEDED", timeout=0.05)
    update(device, job, statusDetails={"receive": "1/2"})
    assert cloud.wait_for(job, {"IN_PROGRESS", "SUCCEEDED"}).details == {"receive": "1/2"}
    update(device, job, "FAILED", statusDetails={"reason": "no"})
    with pytest.raises(WrongEnd, match="'reason': 'no'"):
        cloud.wait_for(job, "SUCCEEDED")
    assert cloud.execution("dev-7", job).statuses == ["QUEUED", "IN_PROGRESS", "FAILED"]
    assert "device: FAILED" in cloud.report()


def test_messages_are_also_a_file(cloud, device):
    device.call("jobs/$next/get", {"clientToken": "t-1"})
    lines = [json.loads(line) for line in (cloud.folder / "messages.jsonl").read_text().splitlines()]
    # Events come from the broker's log, which may lag behind its messages.
    assert [(m["direction"], m["topic"].split("/", 4)[-1]) for m in lines if m["direction"] != "event"][-2:] == [
        ("device", "$next/get"), ("cloud", "$next/get/accepted")]
    assert cloud.wait_message("device", r"\$next/get$").payload == {"clientToken": "t-1"}


def test_faults_at_jobs(cloud, device):
    queue(cloud)
    drain(device, 2)
    lost = cloud.faults.on("job.answer", faults.drop(), match=lambda e: e.operation == "update", times=1)
    device.publish("jobs/job-0/update", {"status": "IN_PROGRESS"})
    assert device.quiet() and lost.hits == 1 and cloud.execution("dev-7", "job-0").status == "IN_PROGRESS"
    cloud.faults.on("job.request", faults.refuse("RequestThrottled"), times=1)
    assert update(device, "job-0", "SUCCEEDED")[1]["code"] == "RequestThrottled"
    assert cloud.execution("dev-7", "job-0").status == "IN_PROGRESS"
    cloud.faults.on("job.request", faults.drop(), times=1)
    device.publish("jobs/job-0/update", {"status": "SUCCEEDED"})
    assert device.quiet() and cloud.execution("dev-7", "job-0").status == "IN_PROGRESS"
    cloud.faults.on("job.answer", faults.edit(lambda p: p["execution"].pop("jobId")), times=1)
    assert "jobId" not in device.call("jobs/$next/get")[1]["execution"]
    cloud.faults.on("job.answer", faults.replace(b'"text"'), times=1)
    assert device.call("jobs/$next/get")[1] == "text"
    cloud.faults.on("job.notify", faults.duplicate(), match=lambda e: e.operation == "notify-next")
    cloud.cancel("job-0", force=True)
    assert [t for t, _ in drain(device, 3)] == ["jobs/notify", "jobs/notify-next", "jobs/notify-next"]
    with pytest.raises(ValueError):
        cloud.faults.on("job.nonsense", faults.drop())
    cloud.assert_clean()


def test_a_mistake_in_a_fault_fails_the_test(cloud, device):
    cloud.faults.on("job.answer", lambda e: 1 / 0)
    device.call("jobs/$next/get")
    assert [v.kind for v in cloud.violations] == ["internal-error"]
    assert "ZeroDivisionError" in cloud.violations[0].detail


def test_disconnect_keeps_persistent_sessions(cloud, make_device):
    device = make_device(clean=False)
    cloud.disconnect("dev-7")
    assert device.disconnected.get(timeout=5) != 0
    cloud.wait_until(lambda: not cloud.conduct.connected("dev-7"), 5)
    queue(cloud)
    device.close()
    device.connect()
    assert [t for t, _ in drain(device, 2)] == ["jobs/notify", "jobs/notify-next"]
    cloud.assert_clean()


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_broker_goes_and_comes(cloud, make_device, how):
    device, port = make_device(clean=False), cloud.port
    if how == "restart":
        cloud.broker.stop()
    else:
        cloud.broker.kill()
    assert device.disconnected.get(timeout=5) != 0
    queue(cloud)
    device.close()
    cloud.broker.start()
    assert cloud.port == port
    device.connect()
    if how == "kill":
        device.subscribe(*RESPONSES)
    assert device.call("jobs/$next/get")[1]["execution"]["jobId"] == "job-0"
    cloud.assert_clean()


def test_paused_broker_is_silent(cloud, device):
    cloud.broker.pause()
    device.publish("jobs/$next/get")
    time.sleep(0.05)
    assert device.inbox.empty()
    cloud.broker.resume()
    assert device.receive()[0] == "jobs/$next/get/accepted"


def test_a_broker_that_dies_is_told(cloud):
    os.kill(cloud.broker._process.pid, signal.SIGKILL)
    cloud.wait_until(lambda: cloud.violations, 5)
    assert cloud.violations[0].kind == "internal-error"


def test_nothing_is_left(tmp_path):
    before = set(threading.enumerate())
    for _ in range(2):
        with Cloud(tmp_path) as cloud:
            process = cloud.broker._process
            device = Device(cloud, cloud.add_thing("dev-7")).connect()
            device.close()
        assert process.poll() is not None
    assert set(threading.enumerate()) == before


def test_several_at_once(tmp_path):
    with Cloud(tmp_path / "a") as one, Cloud(tmp_path / "b") as two:
        assert one.port != two.port and one.https.port != two.https.port


def test_killed_runner_leaves_no_broker(tmp_path):
    script = ("import sys, time; sys.path.insert(0, sys.argv[1]); from cloud import Cloud\n"
              "cloud = Cloud(sys.argv[2]).start(); print(cloud.broker._process.pid, flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", script, str(Path(__file__).parent.parent), str(tmp_path)],
                          stdout=subprocess.PIPE, text=True) as runner:
        pid = int(runner.stdout.readline())
        runner.kill()
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.01)
    raise AssertionError("the broker outlived its test")


def test_streams_are_fast_enough_for_benchmarks(cloud, make_device):
    device = make_device(subscribe=["streams/+/data/cbor"])
    job = ota(cloud, "MQTT", files=[OtaFile("big", bytes(4 << 20))])
    started = time.monotonic()
    for offset in range(0, 64, 2):
        device.publish(f"streams/{job.ota.stream_id}/get/cbor", cbor2.dumps({"f": 0, "l": 65536, "o": offset, "n": 2}))
        device.receive(), device.receive()
    assert time.monotonic() - started < 2       # 50 ms when nothing else runs


@pytest.fixture
def running(tmp_path):
    with subprocess.Popen([*COMMAND, "start", "--dir", tmp_path, "--thing", "gw", "--port", "0", "--https-port", "0"],
                          stdout=subprocess.PIPE, text=True) as process:
        try:
            while "Ctrl-C" not in process.stdout.readline():
                assert process.poll() is None
            yield tmp_path
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


def run(*arguments):
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout + done.stderr


def test_command(running):
    summary = json.loads((running / "cloud.json").read_text())
    assert Path(summary["things"]["gw"]["key"]).exists() and summary["endpoint"] == "localhost"
    (running / "new.img").write_bytes(b"image")
    code, text = run("queue", "--dir", running, "--thing", "gw", "--file", running / "new.img", "--name", "rootfs.img",
                     "--protocol", "https", "--sign-with", "release")
    job = text.split()[1]
    assert code == 0 and job.startswith("AFR_OTA-") and "signers/release.pem" in text
    code, text = run("status", "--dir", running)
    assert code == 0 and "gw: not connected" in text and f"{job} on gw, execution 1: QUEUED" in text
    assert run("cancel", "--dir", running, job)[0] == 0
    assert "CANCELED" in json.loads(run("status", "--dir", running, "--json")[1])["report"]
    code, text = run("queue", "--dir", running, "--thing", "nobody", "--file", running / "new.img")
    assert code == 1 and "no such thing" in text


def test_command_without_a_cloud(tmp_path):
    code, text = run("status", "--dir", tmp_path)
    assert code == 1 and "no stand-in runs" in text
