"""The connection to the broker: broken, silent, refused, for long, at every point; and what the cloud hears after."""

import threading
import time

import pytest

from cloud import faults
from gateway import make_image

from .scene import THING, hold, hold_stream

IMAGE = make_image("1.1.0", 600_000)
BLOCK = 16384


def succeed(scene, job):
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


def test_disconnect_and_resume_mqtt(scene):
    """What came before the connection broke is not asked for again."""
    half = len(IMAGE) // BLOCK // 2
    held = hold_stream(scene.cloud, half)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    scene.cloud.wait_until(lambda: len(scene.cloud.find_messages("cloud", "/data/cbor$")) >= half, 10, "half of it")
    time.sleep(0.2)
    before = len(scene.cloud.find_messages("device", "/get/cbor$"))
    scene.gateway.proxy.cut()
    scene.extra_connects += 1
    held.off()
    succeed(scene, job)
    after = scene.cloud.find_messages("cloud", "/data/cbor$")[half:]
    assert min(m.payload["i"] for m in after) >= half - 2
    assert len(scene.cloud.find_messages("device", "/get/cbor$")) > before


def test_disconnect_while_https_runs(scene):
    """Losing the broker does no harm to the job; the download goes on when it is back."""
    go_on = hold(scene, "https", len(IMAGE) // 2)
    job = scene.update(IMAGE)
    scene.cloud.wait_message("http", "GET")
    time.sleep(0.2)
    scene.gateway.proxy.cut()
    scene.extra_connects += 1
    go_on()
    succeed(scene, job)


def test_half_open_connection(make_scene):
    """Nothing breaks and nothing comes: keep-alive finds it out, and a new connection goes on."""
    scene = make_scene(config={"broker": {"keep-alive-sec": 5}})
    held = hold_stream(scene.cloud, 5)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    scene.gateway.proxy.silence()
    held.off()
    time.sleep(0.3)
    accepted = scene.gateway.proxy.n_accepted
    scene.gateway.wait(lambda: scene.gateway.proxy.n_accepted > accepted, 15, "another try to connect")
    scene.gateway.proxy.cut()
    scene.gateway.proxy.open()
    scene.extra_connects += 3
    scene.allowed.add("duplicate-client-id")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
    scene.expect_clean()


def forbid_streams(scene):
    """A policy without the lines for streams: AWS closes the connection, without a word. Returns the rule."""
    def close(event):
        event.copies = 0
        threading.Thread(target=scene.cloud.disconnect, args=(THING,), daemon=True).start()
    return scene.cloud.faults.on("stream.request", close)


@pytest.mark.parametrize("offered", ["both", "mqtt"])
def test_policy_that_forbids_streams(make_scene, offered):
    """No loop of connections: after eight it goes on by HTTPS or, where that is not offered, fails and says why."""
    scene = make_scene(config={"download": {"protocols": ["mqtt", "https"]}})
    forbidden = forbid_streams(scene)
    scene.extra_connects += 8
    job = scene.update(IMAGE, offered)
    if offered == "both":
        succeed(scene, job)
    else:
        execution = scene.expect_failure(job, "stream-refused")
        assert "as it does where the policy does not allow it" in execution.details["detail"]
    assert forbidden.hits >= 8


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_broker_restarts_while_downloading(scene, how):
    held = hold_stream(scene.cloud, 10)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    (scene.cloud.broker.stop if how == "restart" else scene.cloud.broker.kill)()
    time.sleep(0.3)
    held.off()
    scene.cloud.broker.start()
    scene.extra_connects += 1
    succeed(scene, job)


def test_closed_by_the_cloud(scene):
    """AWS closes connections as it likes."""
    held = hold_stream(scene.cloud, 10)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    scene.cloud.disconnect(THING)
    scene.extra_connects += 1
    held.off()
    succeed(scene, job)


def test_slow_network(scene):
    scene.gateway.proxy.delay = 0.02
    job = scene.update(IMAGE, "mqtt")
    succeed(scene, job)


def test_job_queued_while_offline(scene):
    scene.cloud.wait_connected(THING)
    scene.gateway.proxy.refuse()
    job = scene.update(IMAGE)
    time.sleep(0.5)
    scene.gateway.proxy.open()
    scene.extra_connects += 1
    succeed(scene, job)


def test_notifications_lost(make_scene):
    """No `notify` ever comes: the list is asked for every refresh-sec."""
    scene = make_scene()
    scene.cloud.wait_connected(THING)
    scene.gateway.wait(lambda: scene.cloud.find_messages("cloud", "get/accepted$"), what="first list")
    rule = scene.cloud.faults.on("job.notify", faults.drop())
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits >= 2


def test_notifications_twice(scene):
    scene.cloud.faults.on("job.notify", faults.duplicate(3))
    job = scene.update(IMAGE)
    succeed(scene, job)


def test_requests_refused_for_a_while(scene):
    """RequestThrottled and InternalError are for later, not for ever."""
    rule = scene.cloud.faults.on("job.request", faults.in_turn(
        faults.refuse("RequestThrottled"), faults.refuse("InternalError"), faults.refuse("RequestThrottled")))
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits > 3


def test_publishing_not_allowed(make_scene, monkeypatch):
    """The policy lacks iot:Publish: MQTT 5 says so of each message, otad once a connection; then the policy is mended."""
    scene = make_scene(power=False)
    broker, said = scene.cloud.broker, "The broker refused a message to $aws/things/"
    access = broker.folder / "things.acl"
    allowed = access.read_text()
    broker.stop()
    access.write_text(allowed.replace("readwrite", "read"))
    broker.start()
    monkeypatch.setattr(broker, "disconnect", lambda *_: None)      # as some brokers do, it leaves it at the reason code
    scene.allowed.add("policy-publish")
    scene.gateway.power_on()
    scene.gateway.wait_output("otad", f"{said}{THING}/jobs/get: not authorized: the policy of this certificate")
    scene.gateway.wait(lambda: scene.gateway.output("otad").count("got no use of it (no answer)") >= 2, 15, "two tries")
    assert scene.gateway.output("otad").count(said) == 1
    broker.stop()
    access.write_text(allowed)
    broker.start()
    scene.extra_connects += 1
    succeed(scene, scene.update(IMAGE))


def test_version_mismatch(scene):
    """Somebody else's update in between (or our own, whose answer was lost) makes our number stale: sent again."""
    def count_on(event):
        execution = scene.cloud.execution(THING, event.job_id)
        execution.version += 1
    rule = scene.cloud.faults.on("job.request", count_on, match=lambda e: e.operation == "update", times=2, skip=1)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits == 2


# The final status

def is_final(event):
    return event.operation == "update" and b'"SUCCEEDED"' in (event.payload if isinstance(event.payload, bytes)
                                                              else b"")


def test_final_status_lost_on_its_way(scene):
    """Sent again until it is answered."""
    rule = scene.cloud.faults.on("job.request", faults.drop(), match=is_final, times=2)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits == 2


def test_answer_to_the_final_status_lost(scene):
    """The cloud has it, the device does not know: sent again, and the refusal of the second is understood."""
    rule = scene.cloud.faults.on("job.answer", faults.drop(), times=1, match=lambda e: e.operation == "update" and
                                 e.accepted and e.payload.get("executionState", {}).get("status") == "SUCCEEDED")
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits == 1
    finals = [u for u in scene.cloud.execution(THING, job).history if u.status == "SUCCEEDED"]
    assert len(finals) == 2 and finals[1].code


@pytest.mark.parametrize("outage", ["restart", "kill", "power-cut"])
def test_final_status_over_a_restart(scene, outage):
    """What the cloud has not accepted is still on disk after a restart, and sent then."""
    rule = scene.cloud.faults.on("job.request", faults.drop(), match=is_final)
    job = scene.update(IMAGE)
    scene.cloud.wait_until(lambda: rule.hits, 15, "final status")
    if outage == "power-cut":
        scene.gateway.power_cut()
        rule.off()
        scene.gateway.power_on()
    else:
        scene.gateway.end("otad", 9 if outage == "kill" else 15)
        rule.off()
        scene.gateway.start("otad")
    succeed(scene, job)


def test_final_status_after_a_long_outage(scene):
    """The connection breaks while the new software is tested: the outcome reaches the cloud later."""
    scene.gateway.plan_hook("commit", sleep=1, times=1)
    job = scene.update(IMAGE)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("commit"), 15, "commit")
    scene.gateway.proxy.refuse()
    time.sleep(2)
    assert scene.cloud.execution(THING, job).status == "IN_PROGRESS"
    scene.gateway.proxy.open()
    scene.extra_connects += 1
    succeed(scene, job)


# Goodbye

def test_goodbye_before_a_reboot(scene):
    """DISCONNECT, so that the cloud sees a device that leaves, not one that breaks down; and only then the hook."""
    job = scene.update(IMAGE)
    succeed(scene, job)
    events = [m for m in scene.cloud.find_messages("event", "connected$") if m.thing == THING]
    assert [m.topic for m in events[:3]] == ["connected", "disconnected", "connected"]
    reboot = scene.gateway.hook_calls("reboot")[0]
    log = (scene.cloud.broker.folder / "mosquitto.log").read_text()
    assert log.count(f"Received DISCONNECT from {THING}") >= 1
    assert events[1].time < reboot["time"] + 0.05
    assert "closed its connection" not in str(events[1].payload)


def test_goodbye_when_it_is_ended(scene):
    """So it does when a person ends it."""
    scene.cloud.wait_connected(THING)
    scene.gateway.wait(lambda: scene.cloud.find_messages("cloud", "get/accepted$"), what="first list")
    scene.gateway.end("otad")
    scene.cloud.sync()
    log = (scene.cloud.broker.folder / "mosquitto.log").read_text()
    assert f"Received DISCONNECT from {THING}" in log
    scene.cloud.assert_clean()
