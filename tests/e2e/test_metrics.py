"""The text file for Prometheus' node_exporter, as a running otad writes it."""

import os
import stat
import time

import pytest

from gateway import make_image

from .prometheus import parse, value
from .scene import THING, hold

STATES = ["idle", "accepted", "downloading", "suspended", "verifying", "installed", "activating", "testing", "committed",
          "rolling-back", "rolled-back"]


@pytest.fixture
def make_measured(make_scene, tmp_path):
    """A scene that writes metrics; scene.metrics() reads them."""
    def make(**more):
        folder = tmp_path / "textfile"
        folder.mkdir()
        scene = make_scene(config={"metrics": {"file": str(folder / "otad.prom"), "interval-sec": 5, **more},
                                   "selftest": {"timeout-sec": 30}, "hook": {"timeout-sec": 30}})
        scene.metrics_file = folder / "otad.prom"
        scene.metrics = lambda: parse(scene.metrics_file.read_text())
        return scene
    return make


def wait_metric(scene, name, wanted, timeout=10, **labels):
    def look():
        try:
            return value(scene.metrics(), name, **labels) == wanted
        except (FileNotFoundError, KeyError):
            return False
    scene.gateway.wait(look, timeout, f"{name}{labels or ''} {wanted}")


def state(scene):
    samples = scene.metrics()["otad_update_state"].samples
    assert [dict(k)["state"] for k in samples] == STATES and sum(samples.values()) == 1
    return next(dict(k)["state"] for k, v in samples.items() if v)


@pytest.mark.parametrize("protocol", ["https", "mqtt"])
def test_an_update_from_beginning_to_end(make_measured, protocol):
    scene = make_measured()
    began = time.time()
    wait_metric(scene, "otad_connected", 1)
    assert stat.S_IMODE(scene.metrics_file.stat().st_mode) == 0o644
    idle = scene.metrics()
    assert state(scene) == "idle" and "otad_last_update_info" not in idle
    assert value(idle, "otad_software_info", version="1.0.0") == 1 and value(idle, "otad_download_size_bytes") == 0
    assert abs(value(idle, "otad_connection_change_timestamp_seconds") - began) < 30
    assert value(idle, "otad_connections_total") == 1

    image = make_image("1.1.0", 400_000)
    let_go = hold(scene, protocol, 131072)
    job = scene.update(image, protocol)
    wait_metric(scene, "otad_update_state", 1, state="downloading")
    # What only grows is written at the interval.
    wait_metric(scene, "otad_download_held_bytes", 131072, 15)
    assert value(scene.metrics(), "otad_download_size_bytes") == len(image)
    let_go()
    scene.expect_success(job, image, "1.1.0")
    wait_metric(scene, "otad_last_update_info", 1, result="succeeded", error="")
    wait_metric(scene, "otad_update_state", 1, state="idle")
    done = scene.metrics()
    assert value(done, "otad_software_info", version="1.1.0") == 1
    assert value(done, "otad_last_update_info", result="succeeded", error="") == 1
    assert value(done, "otad_updates_total", result="succeeded") == 1
    end = value(done, "otad_last_success_timestamp_seconds")
    assert end == value(done, "otad_last_update_end_timestamp_seconds") and began < end < time.time()
    # It began in the otad of before the reboot.
    assert 0 < value(done, "otad_last_update_duration_seconds") < end - began
    assert value(done, "otad_update_phase_duration_seconds", state="testing") > 0
    assert value(done, "otad_unsent_final_statuses") == 0 and value(done, "otad_installer_reached") == 1
    scene.expect_clean()


def test_how_it_ended_outlives_restarts(make_measured):
    scene = make_measured()
    job = scene.update(make_image("1.1.0", 200_000), file={"signature": "MEUCIDNk"})
    scene.wait(job, "FAILED")
    wait_metric(scene, "otad_last_update_info", 1, result="rejected", error="signature-malformed")
    wait_metric(scene, "otad_updates_total", 1, result="rejected")
    scene.wait_idle()
    before = scene.metrics()
    scene.gateway.restart("otad")
    wait_metric(scene, "otad_connected", 1)
    after = scene.metrics()
    for name in "otad_last_update_info", "otad_last_update_end_timestamp_seconds", "otad_last_update_duration_seconds":
        assert after[name] == before[name]
    assert "otad_last_success_timestamp_seconds" not in after
    assert value(after, "otad_updates_total", result="rejected") == 0
    scene.gateway.end("otad")
    assert not scene.metrics_file.exists()      # who has ended has nothing to say
    (scene.gateway.folder / "state" / "last-update").write_text("garbage\n")
    scene.gateway.start("otad")
    wait_metric(scene, "otad_connected", 1)
    assert "otad_last_update_info" not in scene.metrics()
    assert (scene.gateway.folder / "state" / "last-update.damaged").exists()


def test_connections_and_certificates(make_measured):
    scene = make_measured()
    wait_metric(scene, "otad_connected", 1)
    ends = scene.metrics()["otad_certificate_end_timestamp_seconds"].samples
    assert [(dict(k)["kind"], dict(k)["file"]) for k in ends] == [
        ("device", str(scene.gateway.thing.cert)), ("root-ca", str(scene.cloud.ca)), ("signer", "codesign.pem")]
    assert all(3600 * 24 * 3640 < v - time.time() < 3600 * 24 * 3660 for v in ends.values())
    scene.cloud.broker.stop()
    wait_metric(scene, "otad_connected", 0)
    scene.cloud.broker.start()
    scene.cloud.wait_connected(THING)
    wait_metric(scene, "otad_connected", 1)
    wait_metric(scene, "otad_connections_total", 2)
    scene.gateway.end("otad-installer")
    wait_metric(scene, "otad_installer_reached", 0)


def test_written_at_the_interval_and_whole(make_measured):
    """Each time another file under the same name, none beside it; where that cannot be, otad goes on."""
    scene = make_measured()
    wait_metric(scene, "otad_connected", 1)
    seen = set()
    deadline = time.monotonic() + 7
    while time.monotonic() < deadline:
        seen.add(scene.metrics_file.stat().st_mtime_ns)
        scene.metrics()
        time.sleep(0.02)
    assert 1 < len(seen) <= 6
    assert os.listdir(scene.metrics_file.parent) == ["otad.prom"]
    scene.metrics_file.parent.rename(scene.metrics_file.parent.with_name("gone"))
    scene.gateway.wait_output("otad", "Cannot write the metrics")
    job = scene.update(make_image("1.1.0", 200_000), name="nobody-knows")
    scene.wait(job, "REJECTED")
    scene.metrics_file.parent.with_name("gone").rename(scene.metrics_file.parent)
    wait_metric(scene, "otad_updates_total", 0, result="rejected")      # one that was never begun
    assert scene.gateway.output("otad").count("Cannot write the metrics") == 1


def test_off_by_default(scene):
    scene.cloud.wait_connected(THING)
    job = scene.update(make_image("1.1.0", 200_000), name="nobody-knows")
    scene.wait(job, "REJECTED")
    assert not (scene.gateway.folder / "state" / "last-update").exists()
