"""The broker and what comes through it: every rejection on every topic, blocks that are not what they seem, answers lost,
connections that break, hang or are taken away."""

import socket
import threading
import time

import pytest

from cloud import faults
from e2e.scene import THING, hold_stream
from gateway import make_image

IMAGE = make_image("1.1.0", 200_000)
BLOCK = 16384

JOB_CODES = ["InvalidTopic", "InvalidJson", "InvalidRequest", "InvalidStateTransition", "ResourceNotFound", "VersionMismatch",
             "InternalError", "RequestThrottled", "TerminalStateReached", "NobodyKnowsThisOne"]
STREAM_CODES = ["InvalidTopic", "InvalidJson", "InvalidCbor", "InvalidRequest", "Unauthorized", "BlockSizeOutOfBounds",
                "OffsetOutOfBounds", "BlockCountLimitExceeded", "BlockBitmapLimitExceeded", "ResourceNotFound",
                "VersionMismatch", "ETagMismatch", "InternalError", "NobodyKnowsThisOne"]
MENDS_ITSELF = {"InternalError", "NobodyKnowsThisOne"}
CHANGED = {"VersionMismatch", "ETagMismatch"}
GONE = {"ResourceNotFound", "TerminalStateReached"}


def is_of(operation):
    return lambda e: e.operation == operation


# Rejections. Many jobs on one machine, each a probe that comes to its end without a reboot; at last a good update.

def probe_unknown(scene):
    """REJECTED as soon as it is described."""
    return scene.update(IMAGE, name="nobody.img"), "REJECTED", "target-unknown"


def probe_stranger(scene):
    """FAILED right after it was claimed."""
    return scene.update(IMAGE, file={"certfile": "stranger.pem"}), "FAILED", "certificate-unknown"


def probe_tampered(scene):
    """FAILED after some progress was told."""
    return scene.update(IMAGE, file={"signature": scene.signer.sign(IMAGE + b"x")}), "FAILED", "signature-invalid"


def expect_end(scene, probe, timeout=25):
    job, status, error = probe
    execution = scene.wait(job, status, timeout)
    assert execution.details["error"] == error, execution
    scene.wait_idle()


def test_list_refused(scene, tally):
    """`get`: asked for again, with whatever code."""
    tally(len(JOB_CODES))
    scene.cloud.wait_connected(THING)
    for code in JOB_CODES:
        rule = scene.cloud.faults.on("job.request", faults.refuse(code), match=is_of("get"), times=1)
        scene.cloud.faults.on("job.notify", faults.drop(), times=2)
        probe = probe_unknown(scene)
        scene.gateway.restart("otad")       # which asks for the list
        expect_end(scene, probe)
        assert rule.hits == 1, code
        scene.cloud.faults.clear()
    scene.expect_next_works()


def test_describe_refused(scene, tally):
    """`JOB/get`: a job that is not there is left alone till it is listed anew; else it is asked for again."""
    tally(len(JOB_CODES))
    for code in JOB_CODES:
        rule = scene.cloud.faults.on("job.request", faults.refuse(code), match=is_of("describe"), times=1)
        probe = probe_unknown(scene)
        scene.cloud.wait_until(lambda r=rule: r.hits, 10, f"description, to be refused with {code}")
        if code in GONE:
            time.sleep(0.4)
            assert scene.cloud.execution(THING, probe[0]).status == "QUEUED", code
            scene.gateway.restart("otad")
            scene.extra_connects += 1
        expect_end(scene, probe)
    scene.expect_next_works()


def test_claim_refused(scene, tally):
    """`JOB/update`, the first one. Where the job is not ours any more nothing is begun, and a new start finds it again."""
    tally(len(JOB_CODES))
    for code in JOB_CODES:
        rule = scene.cloud.faults.on("job.request", faults.refuse(code), match=is_of("update"), times=1)
        probe = probe_stranger(scene)
        scene.cloud.wait_until(lambda r=rule: r.hits, 10, f"claim, to be refused with {code}")
        if code not in ("InternalError", "RequestThrottled", "VersionMismatch", "NobodyKnowsThisOne", "InvalidRequest"):
            time.sleep(0.4)
            scene.gateway.restart("otad")
            scene.extra_connects += 1
        expect_end(scene, probe)
    assert not scene.gateway.hook_calls("post-install")
    scene.expect_next_works()


def test_progress_refused(scene, tally):
    """The second one. What says that the job is over abandons it without another word to the cloud; all else goes on."""
    tally(len(JOB_CODES))
    for code in JOB_CODES:
        rule = scene.cloud.faults.on("job.request", faults.refuse(code), match=is_of("update"), times=1, skip=1)
        if code in GONE:        # the refusal comes before the end, which would be told at once
            scene.gateway.plan_hook("post-install", sleep=2, times=1)
            probe = scene.update(IMAGE), None, None
        else:
            probe = probe_tampered(scene)
        scene.cloud.wait_until(lambda r=rule: r.hits, 20, f"progress, to be refused with {code}")
        if code in GONE:
            scene.gateway.wait_output("otad", f"is over in the cloud ({code})")
            scene.wait_idle()
            assert scene.cloud.execution(THING, probe[0]).status == "IN_PROGRESS", code
            scene.cloud.cancel(probe[0], force=True)
        else:
            expect_end(scene, probe)
    scene.expect_unharmed(touched=None)
    scene.expect_next_works()


def test_final_refused(scene, tally):
    """The last one: sent again or given up, by what the code means; the device is ready for the next job in any case."""
    tally(len(JOB_CODES))
    def is_final(event):
        return event.operation == "update" and b'"FAILED"' in bytes(event.payload)
    for code in JOB_CODES:
        rule = scene.cloud.faults.on("job.request", faults.refuse(code), match=is_final, times=1)
        job, status, error = probe_stranger(scene)
        scene.cloud.wait_until(lambda r=rule: r.hits, 20, f"final status, to be refused with {code}")
        scene.wait_idle()
        execution = scene.cloud.execution(THING, job)
        if code in (*GONE, "InvalidTopic", "InvalidJson", "InvalidStateTransition"):
            assert execution.status == "IN_PROGRESS", execution
            scene.cloud.cancel(job, force=True)
        else:
            assert execution.status == status, execution
            assert execution.details.get("error") == (None if code == "InvalidRequest" else error), execution
    scene.expect_next_works()


def test_stream_refused(scene, tally):
    """`get`, for ever: trouble of the service is borne for a while, all else ends the job with the right word."""
    tally(len(STREAM_CODES))
    for code in STREAM_CODES:
        rule = scene.cloud.faults.on("stream.request", faults.refuse(code), match=is_of("get"))
        job = scene.update(IMAGE, "mqtt")
        execution = scene.wait(job, "FAILED", 40)
        word = "object-changed" if code in CHANGED else "download-stalled" if code in MENDS_ITSELF else "stream-refused"
        assert execution.details["error"] == word and rule.hits >= 1, (code, execution)
        assert code in execution.details["detail"] or code in MENDS_ITSELF, execution
        rule.off()
        scene.wait_idle()
    scene.expect_unharmed()
    scene.expect_next_works(protocol="mqtt")


@pytest.mark.parametrize("code", sorted(MENDS_ITSELF))
def test_stream_refused_for_a_while(scene, code):
    rule = scene.cloud.faults.on("stream.request", faults.refuse(code), match=is_of("get"), times=2)
    scene.expect_success(scene.update(IMAGE, "mqtt"), IMAGE, "1.1.0")
    assert rule.hits == 2


def test_description_of_the_stream_refused(scene, tally):
    """`describe` is asked for only when blocks stay away, and its refusal alone ends nothing."""
    tally(len(STREAM_CODES))
    silence = scene.cloud.faults.on("stream.request", faults.drop(), match=is_of("get"), times=4)
    scene.cloud.faults.on("stream.request", faults.in_turn(*map(faults.refuse, STREAM_CODES)), match=is_of("describe"))
    job = scene.update(IMAGE, "mqtt")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
    assert silence.hits == 4


# Blocks

# name: (what becomes of blocks, how it ends; None: it succeeds)
BLOCKS = {
    "a bit of one": (faults.in_turn(None, faults.corrupt(100)), "signature-invalid"),
    "a bit of each": (faults.corrupt(0), "signature-invalid"),
    "each short of a byte, for ever": (faults.shorten(1), "download-stalled"),
    "one short": (faults.in_turn(faults.shorten(100)), None),
    "each of a foreign file": (faults.relabel(file=7), "download-stalled"),
    "each of no block there is": (faults.relabel(index=500), "download-stalled"),
    "each the next one's": (lambda e: faults.relabel(index=e.index + 1)(e), "download-stalled"),
    "all said to be the first": (faults.relabel(index=0), "download-stalled"),
    "each ten times": (faults.duplicate(10), None),
    "each late": (faults.delay(0.3), None),
    "each as empty": (faults.raw(b""), "download-stalled"),
    "each as CBOR without end": (faults.raw(b"\xbf" * 2000), "download-stalled"),
    "each as a megabyte of text": (faults.raw(b"x" * 100_000), "download-stalled"),
    "the first ones lost": (faults.in_turn(*[faults.drop()] * 5), None),
    "the last one lost thrice": (lambda e, left=[3]: faults.drop()(e) if e.index == 12 and left[0] > 0 and
                                 not left.__setitem__(0, left[0] - 1) else None, None),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks(make_scene, name):
    action, error = BLOCKS[name]
    scene = make_scene(config={"download": {"stall-sec": 1, "attempts": 2}}).power_on()
    rule = scene.cloud.faults.on("stream.block", action)
    job = scene.update(IMAGE, "mqtt")
    if error:
        scene.expect_failure(job, error, next_job=False, timeout=40)
    else:
        scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
    assert rule.hits


def test_blocks_of_another_stream(scene):
    """Sent to us on another stream's topic while ours is fetched: of no meaning."""
    held = hold_stream(scene.cloud, 4)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    seen = scene.cloud.find_messages("cloud", "/data/cbor$")[0].topic
    for name in ("AFR_OTA-another", "x", "AFR_OTA-../.."):
        topic = seen.rsplit("/streams/", 1)[0] + f"/streams/{name}/data/cbor"
        for index in range(4, 13):
            scene.cloud._link.publish(topic, b"\xbf\x61f\x00\x61i" + bytes([index]) + b"\x61l\x19\x40\x00\x61p\x5a\x00\x00\x40\x00" +
                                      bytes(BLOCK) + b"\xff")
    held.off()
    scene.expect_success(job, IMAGE, "1.1.0")


@pytest.mark.parametrize("operation", ["get", "describe", "update"])
def test_answers_lost(scene, operation):
    """The first two answers of a kind: asked again."""
    rule = scene.cloud.faults.on("job.answer", faults.drop(), match=is_of(operation), times=2)
    job = scene.update(IMAGE)
    if operation == "get":
        scene.gateway.restart("otad")
        scene.extra_connects += 1
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
    assert rule.hits == 2


GARBLED = [b"", b"{", b"null", b'"x"', b"\xff\xfe", b"{}" * 3, b"[" * 400, b'{"execution":7}', b'{"timestamp":1e999}',
           b'{"jobs":{"QUEUED":[{"jobId":"../x"}]}}', b"{}" + bytes(100), b"x" * 100_000]


@pytest.mark.parametrize("half", [0, 1])
def test_messages_garbled(scene, tally, half):
    """Every second message of the Jobs service cannot be read: as good as lost. A job whose own description is so is left alone."""
    tally(len(GARBLED) // 2)
    bad = [faults.replace(p) for p in GARBLED[half::2]]
    answers = scene.cloud.faults.on("job.answer", faults.in_turn(bad[0], None, bad[1], None, bad[2]),
                                       match=lambda e: e.operation != "describe")
    notify = scene.cloud.faults.on("job.notify", faults.in_turn(bad[3], None, bad[4], None, bad[5]))
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
    described = scene.cloud.faults.on("job.answer", bad[half], match=is_of("describe"), times=1)
    job, status, error = probe_unknown(scene)
    scene.gateway.wait_output("otad", f"Job {job.id} is left alone")
    assert scene.cloud.execution(THING, job).status == "QUEUED" and described.hits == 1
    assert answers.hits >= 5 and notify.hits >= 2


# Connections

def connects(scene, since=0.0):
    return [m.time for m in scene.cloud.find_messages("event", "^connected$") if m.time >= since]


def gaps(times):
    return [b - a for a, b in zip(times, times[1:])]


def test_refused_connections_come_at_growing_gaps(make_scene):
    """Nobody there: backoff up to its cap, and no further."""
    scene = make_scene(config={"broker": {"backoff-base-msec": 50, "backoff-cap-sec": 1}})
    seen = []
    proxy = scene.gateway.proxy
    accepted = proxy._reset
    proxy._reset = lambda sock: (seen.append(time.monotonic()), accepted(sock))[1]
    proxy.refuse()
    scene.power_on()
    time.sleep(4)
    found = gaps(seen)
    proxy._reset = accepted
    # At the base there would be eighty of them, at the cap four.
    assert 4 <= len(seen) <= 30 and min(found) < max(found) / 2, found
    proxy.open()
    scene.extra_connects += len(seen)
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")


def test_connected_then_dropped(make_scene):
    """A broker that lets in and throws out at once is no better: a connection resets the backoff only when it has lasted."""
    scene = make_scene(config={"broker": {"backoff-base-msec": 50, "backoff-cap-sec": 2, "stable-sec": 3}}).power_on()
    stop = threading.Event()

    def throw_out():
        while not stop.is_set():
            if scene.cloud.conduct.connected(THING):
                scene.cloud.disconnect(THING)
            stop.wait(0.02)
    thread = threading.Thread(target=throw_out)
    started = time.time()
    thread.start()
    try:
        time.sleep(5)
    finally:
        stop.set()
        thread.join()
    scene.cloud.sync()
    found = gaps(connects(scene))
    assert 3 <= len(found) <= 20 and sum(found[-2:]) > 2 * sum(found[:2]), found
    scene.extra_connects += len(found) + 5
    scene.allowed.add("duplicate-client-id")
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")
    assert started


def test_somebody_else_with_our_name(make_scene):
    """A second device of the same client id: each throws the other out. Ours keeps backing off, and wins when the other leaves."""
    scene = make_scene(config={"broker": {"backoff-base-msec": 50, "backoff-cap-sec": 1, "stable-sec": 3}}).power_on()
    scene.cloud.wait_connected(THING)
    held = hold_stream(scene.cloud, 5)
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_message("cloud", "/data/cbor$")
    for _ in range(6):
        scene.cloud.disconnect(THING)
        time.sleep(0.4)
    held.off()
    scene.extra_connects += 8
    scene.allowed.add("duplicate-client-id")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)


@pytest.mark.parametrize("how", ["silent", "a byte", "no TLS", "closes at once"])
def test_no_broker_but_something(make_scene, how):
    """What answers on the port is no broker: connect-timeout-sec ends each try, and the true one is found when it is there."""
    scene = make_scene(config={"broker": {"connect-timeout-sec": 1}})
    proxy = scene.gateway.proxy
    real = proxy.target
    fake = socket.create_server(("127.0.0.1", 0))
    tries = []

    def serve():
        while True:
            try:
                connection, _ = fake.accept()
            except OSError:
                return
            tries.append(connection)
            if how == "a byte":
                connection.send(b"\x16")
            elif how == "no TLS":
                connection.send(b"\x20\x02\x00\x00 welcome\r\n" * 10)
            elif how == "closes at once":
                connection.close()
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    proxy.target = fake.getsockname()
    scene.power_on()
    scene.gateway.wait(lambda: len(tries) >= 2, 10, "second try")
    proxy.target = real
    for connection in tries:
        connection.close()
    fake.shutdown(socket.SHUT_RDWR)
    fake.close()
    scene.extra_connects += 5
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")


def test_half_open_before_the_first_answer(make_scene):
    """TCP stands, nothing passes, from the start: the deadline of the connection, then another try."""
    scene = make_scene(config={"broker": {"connect-timeout-sec": 1}})
    scene.gateway.proxy.silence()
    scene.power_on()
    scene.gateway.wait(lambda: scene.gateway.proxy.n_accepted >= 2, 10, "second try")
    scene.gateway.proxy.cut()
    scene.gateway.proxy.open()
    scene.extra_connects += 5
    scene.allowed.add("duplicate-client-id")
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")


def test_broker_comes_and_goes(scene):
    """Killed four times during one update."""
    rule = hold_stream(scene.cloud, 3)
    job = scene.update(IMAGE, "mqtt")
    for n_blocks in (3, 6, 9, 13):
        scene.cloud.wait_until(lambda n=n_blocks: len(scene.cloud.find_messages("cloud", "/data/cbor$")) >= min(n, 9), 15, "blocks")
        rule.off()
        rule = hold_stream(scene.cloud, n_blocks + 3)
        scene.cloud.broker.kill()
        scene.cloud.broker.start()
    rule.off()
    scene.extra_connects += 8
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
