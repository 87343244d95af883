"""Getting the bytes: lost, doubled, late, replaced, cut off, slow; and by which protocol."""

import time
from pathlib import Path

import pytest

from cloud import Authority, faults
from gateway import make_image

IMAGE = make_image("1.1.0", 600_000)
BLOCK = 16384
N_BLOCKS = -(-len(IMAGE) // BLOCK)


def blocks_sent(scene):
    return [m.payload["i"] for m in scene.cloud.find_messages("cloud", "/data/cbor$")]


def http_gets(scene):
    return [m.payload for m in scene.cloud.find_messages("http")]


def succeed(scene, job, image=IMAGE):
    scene.expect_success(job, image, "1.1.0")
    scene.expect_clean()


def has_libcurl(scene):
    return "libcurl" in Path(f"/proc/{scene.gateway.programs['otad'].pid}/maps").read_text()


# MQTT streams

def test_lost_blocks_cost_little(make_scene):
    """One block in 20 is lost: just those are sent once more, and no time-out per block is waited for."""
    image = make_image("1.1.0", 3 << 20)
    scene = make_scene(gateway={"slot_size": 4 << 20}, config={"download": {"aws-limits": False}})
    rule = scene.cloud.faults.on("stream.block", faults.every(20, faults.drop()))
    job = scene.update(image, "mqtt")
    succeed(scene, job, image)
    n_blocks = len(image) // BLOCK
    lost = len([m for m in scene.cloud.find_messages("cloud", "/data/cbor$") if "dropped" in m.note])
    assert rule.hits > n_blocks and lost >= n_blocks // 20 - 1
    assert len(blocks_sent(scene)) <= n_blocks + 2 * lost
    times = [m.time for m in scene.cloud.find_messages(None, "/(get|data)/cbor$")]
    assert times[-1] - times[0] < 4


def test_blocks_twice_and_out_of_order(scene):
    scene.cloud.faults.on("stream.request", faults.shuffle(7))
    doubled = scene.cloud.faults.on("stream.block", faults.every(3, faults.duplicate()))
    late = scene.cloud.faults.on("stream.block", faults.every(5, faults.delay(0.05)))
    job = scene.update(IMAGE, "mqtt")
    succeed(scene, job)
    assert doubled.hits and late.hits


def test_blocks_that_are_nonsense(scene):
    """Foreign file ids, indices beyond the end, short blocks, no CBOR: ignored, and asked for again."""
    nonsense = faults.in_turn(faults.relabel(file=9), faults.relabel(index=99999), faults.shorten(1),
                              faults.raw(b"\xff\xff"), faults.raw(b""), faults.raw(b"\xbf"))
    rule = scene.cloud.faults.on("stream.block", nonsense)
    job = scene.update(IMAGE, "mqtt")
    succeed(scene, job)
    assert rule.hits > 6


def test_requests_lost(scene):
    rule = scene.cloud.faults.on("stream.request", faults.drop(), times=3)
    job = scene.update(IMAGE, "mqtt")
    succeed(scene, job)
    assert rule.hits == 3


def test_stream_object_replaced(scene):
    """The stream stands for an object that is not there any more: nothing to be mended by asking again."""
    rule = scene.cloud.faults.on("stream.block", faults.drop())
    job = scene.update(IMAGE, "mqtt")
    scene.cloud.wait_until(lambda: rule.hits, what="first block")
    next(iter(job.ota.objects.values())).replace(make_image("1.1.0", len(IMAGE), seed=2))
    rule.off()
    execution = scene.wait(job, "FAILED")
    assert execution.details["error"] in ("stream-refused", "object-changed")
    scene.expect_failure(job, execution.details["error"])


def test_silent_stream(scene):
    """No block ever comes: that ends, and says so."""
    rule = scene.cloud.faults.on("stream.request", faults.drop())
    job = scene.update(IMAGE, "mqtt")
    scene.wait(job, "FAILED", timeout=40)
    rule.off()
    scene.expect_failure(job, "download-stalled")


# HTTPS

@pytest.mark.parametrize("fault", [faults.expired(), faults.expired_token()], ids=["403", "400"])
def test_expired_url(scene, fault):
    """The job is described again for a new link, and the download goes on where it was."""
    half = len(IMAGE) // 2
    cut = scene.cloud.faults.on("http.reply", faults.cut(half), times=1)
    refuse = scene.cloud.faults.on("http.reply", fault, times=1, skip=1)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert cut.hits == 1 and refuse.hits == 1
    gets = http_gets(scene)
    assert len(gets) == 3 and gets[2]["range"] == f"bytes={half}-"


def test_url_expired_for_good(scene):
    """New links are no better: a few tries, then the end."""
    rule = scene.cloud.faults.on("http.reply", faults.expired())
    job = scene.update(IMAGE)
    scene.wait(job, "FAILED", timeout=40)
    assert 2 <= rule.hits <= 8
    rule.off()
    scene.expect_failure(job, "url-expired")


def test_object_is_gone(scene):
    rule = scene.cloud.faults.on("http.reply", faults.status(404))
    job = scene.update(IMAGE)
    scene.wait(job, "FAILED", timeout=40)
    assert rule.hits <= 4
    rule.off()
    scene.expect_failure(job, "url-refused")


def test_object_replaced_while_downloading(scene):
    """Another object under the same name: by its tag the device notices, begins anew, and the signature decides."""
    half = len(IMAGE) // 2
    other = make_image("1.1.0", len(IMAGE), seed=2)

    def replace(event):
        event.cut = half
    scene.cloud.faults.on("http.reply", replace, times=1)
    swap = scene.cloud.faults.on("http.reply", lambda e: None, times=1)
    job = scene.update(IMAGE)
    scene.cloud.wait_until(lambda: swap.hits, what="first request")
    next(iter(job.ota.objects.values())).replace(other)
    scene.wait(job, "FAILED")
    assert any(g["if_match"] for g in http_gets(scene)) and any(g["status"] == 412 for g in http_gets(scene))
    scene.expect_failure(job, "signature-invalid")


def test_whole_object_instead_of_a_range(scene):
    """200 instead of 206 on a resumed download: taken from its beginning, not glued to the end."""
    scene.cloud.faults.on("http.reply", faults.cut(len(IMAGE) // 2), times=1)
    rule = scene.cloud.faults.on("http.reply", faults.whole(), skip=1)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits


def test_cut_off_again_and_again(scene):
    """As long as each try brings something it is no failure."""
    rule = scene.cloud.faults.on("http.reply", faults.cut(90_000), times=5)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits == 5
    starts = [int(g["range"].split("=")[1].split("-")[0]) for g in http_gets(scene) if g["range"]]
    assert starts[-1] >= 5 * 90_000 and starts == sorted(starts)


def test_cut_off_without_a_byte(scene):
    rule = scene.cloud.faults.on("http.reply", faults.reset())
    job = scene.update(IMAGE)
    scene.wait(job, "FAILED", timeout=40)
    rule.off()
    scene.expect_failure(job, "download-failed")


def test_outage(make_scene):
    """The store cannot be reached for longer than the tries last: told, waited for, and no byte twice. By the default of
    give-up-sec, which other tests have no time for."""
    scene = make_scene(config={"download": {"give-up-sec": None}})
    half = len(IMAGE) // 2
    scene.cloud.faults.on("http.reply", faults.cut(half), times=1)
    rule = scene.cloud.faults.on("http.reply", faults.reset(), skip=1)
    job = scene.update(IMAGE)
    scene.cloud.wait_until(lambda: rule.hits, what="outage")
    time.sleep(10)
    execution = scene.cloud.execution("gateway-1", job)
    assert execution.status == "IN_PROGRESS" and rule.hits >= 3
    assert execution.details["waiting"] == "the download does not get on, trying again"
    assert "the download does not get on" in scene.gateway.otactl("status").stdout
    rule.off()
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    scene.expect_clean()
    assert {g["range"] for g in http_gets(scene)[1:]} == {f"bytes={half}-"}


def test_stalled_download(scene):
    """Connected, but no byte for longer than stall-sec: broken off, and resumed by Range."""
    rule = scene.cloud.faults.on("http.reply", faults.stall(200_000, 60), times=1)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits == 1 and http_gets(scene)[1]["range"].startswith("bytes=")


@pytest.mark.parametrize("status", [500, 503])
def test_server_in_trouble(scene, status):
    rule = scene.cloud.faults.on("http.reply", faults.status(status), times=2)
    job = scene.update(IMAGE)
    succeed(scene, job)
    assert rule.hits == 2


def test_redirect_to_plain_http(scene):
    """Whoever sends one wants the bytes, or us, in the open."""
    rule = scene.cloud.faults.on("http.reply", faults.redirect("http://localhost:1/elsewhere"))
    job = scene.update(IMAGE)
    scene.wait(job, "FAILED", timeout=40)
    rule.off()
    scene.expect_failure(job, "url-refused")


def test_server_nobody_trusts(make_scene, tmp_path):

    stranger = Authority(tmp_path / "stranger", "Nobody's Root")
    scene = make_scene(config={"download": {"https-ca": str(stranger.path)}})
    job = scene.update(IMAGE)
    scene.wait(job, "FAILED", timeout=40)
    assert not http_gets(scene)
    scene.expect_failure(job, "tls-untrusted", next_job=False)
    image = make_image("9.0.0")
    scene.expect_success(scene.update(image, "mqtt"), image, "9.0.0")
    scene.expect_clean()


# Which protocol

@pytest.mark.parametrize("preferred", ["https", "mqtt"])
def test_preference(make_scene, preferred):
    other = {"https": "mqtt", "mqtt": "https"}[preferred]
    scene = make_scene(config={"download": {"protocols": [preferred, other]}})
    succeed(scene, scene.update(IMAGE, "both"))
    assert bool(http_gets(scene)) == (preferred == "https") and bool(blocks_sent(scene)) == (preferred == "mqtt")


@pytest.mark.parametrize("preferred, offered", [("https", "mqtt"), ("mqtt", "https")])
def test_takes_what_is_offered(make_scene, preferred, offered):
    scene = make_scene(config={"download": {"protocols": [preferred, offered]}})
    succeed(scene, scene.update(IMAGE, offered))


def test_from_https_to_mqtt(scene):
    """HTTPS breaks down half way: the rest comes by MQTT, and no byte twice."""
    half = len(IMAGE) // 2
    scene.cloud.faults.on("http.reply", faults.cut(half), times=1)
    scene.cloud.faults.on("http.reply", faults.reset(), skip=1)
    job = scene.update(IMAGE, "both")
    succeed(scene, job)
    assert min(blocks_sent(scene)) == half // BLOCK and max(blocks_sent(scene)) == N_BLOCKS - 1


def test_from_mqtt_to_https(make_scene):
    scene = make_scene(config={"download": {"protocols": ["mqtt", "https"]}})
    half = N_BLOCKS // 2
    scene.cloud.faults.on("stream.block", faults.drop(), match=lambda e: e.index >= half)
    job = scene.update(IMAGE, "both")
    scene.wait(job, "SUCCEEDED", timeout=40)
    succeed(scene, job)
    assert http_gets(scene)[0]["range"] == f"bytes={half * BLOCK}-"


def test_a_protocol_that_is_switched_off(make_scene):
    """Offered, but not allowed here: the document can never do, which is what REJECTED means."""
    scene = make_scene(config={"download": {"protocols": ["mqtt"]}})
    job = scene.update(IMAGE, "https")
    scene.expect_failure(job, "no-protocol", status="REJECTED", phase="idle", touched=False, next_job=False)
    scene.expect_next_works(protocol="mqtt")


def test_too_large_for_a_stream(make_scene):
    """A stream carries 24 MiB at most; what is larger and comes by MQTT only is never begun."""
    scene = make_scene()
    size = 24 * 1024 * 1024 + 1
    job = scene.update(IMAGE, "mqtt", edit=lambda d: d["afr_ota"]["files"][0].update(filesize=size))
    scene.expect_failure(job, "no-protocol", status="REJECTED", phase="idle", touched=False)


@pytest.mark.parametrize("preferred, protocol", [("https", "https"), ("mqtt", "https"), ("https", "mqtt")])
def test_libcurl_is_loaded_meanwhile(make_scene, preferred, protocol):
    """While the installer makes ready for a job by HTTPS, and for no other job at all."""
    def wait_in_hook(stage):
        scene.gateway.wait(lambda: scene.gateway.hook_calls(stage), what=stage)

    other = {"https": "mqtt", "mqtt": "https"}[preferred]
    scene = make_scene(config={"download": {"protocols": [preferred, other]}})
    scene.gateway.plan_hook("pre-install", sleep=2)
    scene.gateway.plan_hook("post-install", sleep=1)
    assert not has_libcurl(scene)
    job = scene.update(IMAGE, protocol)
    wait_in_hook("pre-install")
    if protocol == "https":
        scene.gateway.wait(lambda: has_libcurl(scene), timeout=1.5, what="libcurl")
        assert not http_gets(scene)
    wait_in_hook("post-install")
    assert has_libcurl(scene) == (protocol == "https")
    succeed(scene, job)
