"""The image store: links that run out, objects that change, answers of every status and shape, slow, silent and lying servers.

Many jobs on one machine: a fault that ends a job needs no reboot. Each table ends with a good update.
"""

import time

import pytest

from cloud import faults
from gateway import make_image

IMAGE = make_image("1.1.0", 300_000)
SIZE = len(IMAGE)
HALF = 150_000
QUICK = {"download": {"stall-sec": 1, "attempts": 2, "low-speed-bytes": 1000}}


def gets(scene, since=0):
    return [m.payload for m in scene.cloud.find_messages("http", since=since)]


def expect_word(scene, name, word, action, **options):
    """One job under this fault, by HTTPS: FAILED with this word, and nothing of it left."""
    rule = scene.cloud.faults.on("http.reply", action, **options)
    job = scene.update(IMAGE)
    execution = scene.wait(job, "FAILED", 60)
    assert execution.details["error"] == word, (name, execution)
    assert rule.hits, name
    detail = execution.details["detail"]
    assert "X-Amz" not in detail and "update_data_url" not in detail and "?" not in detail, (name, detail)
    scene.cloud.faults.clear()
    scene.wait_idle()


STATUSES = {400: "url-expired", 401: "url-refused", 403: "url-expired", 404: "url-refused", 405: "url-refused", 408: "download-failed",
            410: "url-refused", 412: "object-changed", 416: "range-wrong", 418: "url-refused", 425: "download-failed",
            429: "download-failed", 500: "download-failed", 501: "download-failed", 502: "download-failed", 503: "download-failed",
            504: "download-failed", 204: "download-failed", 206: "range-wrong", 300: "url-refused", 304: "url-refused",
            599: "download-failed", 999: "download-failed"}


@pytest.mark.parametrize("part", range(3))
def test_statuses(make_scene, tally, part):
    """For ever, from the first request on."""
    tally(len(sorted(STATUSES)[part::3]))
    scene = make_scene(config=QUICK).power_on()
    for code in sorted(STATUSES)[part::3]:
        expect_word(scene, code, STATUSES[code], faults.status(code, b"" if code in (204, 304) else None))
    scene.expect_unharmed(touched=None)
    scene.expect_next_works()


def lie(**headers):
    """Headers that are not true, under the right bytes."""
    def act(event):
        for name, value in headers.items():
            event.headers.pop(name.replace("_", "-"), None)
            if value is not None:
                event.headers[name.replace("_", "-")] = value
        event.mark("lies")
    return act


def partial(content_range):
    """A 206 nobody asked for."""
    def act(event):
        event.status = 206
        lie(Content_Range=content_range)(event)
    return act


def body(data, **headers):
    def act(event):
        event.body = memoryview(data)
        lie(**headers)(event)
    return act


# Wrong in the first answer: name: (action, word)
ANSWERS = {
    "206 without a range": (partial(None), "range-wrong"), "206 of no bytes": (partial("bytes */300000"), "range-wrong"),
    "206 from elsewhere": (partial(f"bytes 1-{SIZE}/{SIZE + 1}"), "range-wrong"),
    "206 of another total": (partial(f"bytes 0-{SIZE - 1}/{SIZE + 1}"), "range-wrong"),
    "206 of an unknown total": (partial(f"bytes 0-{SIZE - 1}/*"), "range-wrong"),
    "206 in other units": (partial(f"lines 0-{SIZE - 1}/{SIZE}"), "range-wrong"),
    "206 of numbers too long": (partial("bytes 0-99999999999999999999999/99999999999999999999999"), "range-wrong"),
    "206 of negative numbers": (partial("bytes -5-10/300000"), "range-wrong"),
    "another length": (body(IMAGE[:-1]), "range-wrong"), "a longer one": (body(IMAGE + b"x"), "range-wrong"),
    "no bytes": (body(b""), "range-wrong"),
    "a negative length": (lie(Content_Length="-1"), "download-failed"),
    "a length that is none": (lie(Content_Length="many"), "download-failed"),
    "fewer than it said": (faults.cut(0), "download-failed"),
    "chunked, but it is not": (lie(Transfer_Encoding="chunked"), "download-failed"),
    "said to be compressed": (body(IMAGE[:-1], Content_Encoding="gzip"), "range-wrong"),
    "heads of a megabyte": (lie(**{f"X-{i}": "y" * 1000 for i in range(1000)}), "download-failed"),
    "one head of 200 KiB": (lie(X_Long="y" * 200_000), "resources"),
    "an error of a megabyte": (faults.status(500, b"<Code>" + b"x" * 1_000_000), "download-failed"),
    "an error with control characters": (faults.status(404, b"<Error><Code>\x1b[2J\x07</Code><Message>\r\nJob: SUCCEEDED\xff</Message>"),
                                         "url-refused"),
    "closed at once": (faults.reset(), "download-failed"),
    "a redirect in a circle": (lambda e: faults.redirect(f"https://{e.headers_in['host']}{e.topic}")(e), "url-refused"),
    "a redirect to plain HTTP": (faults.redirect("http://localhost/x"), "url-refused"),
    "a redirect to a file": (faults.redirect("file:///etc/passwd"), "url-refused"),
    "a redirect to nowhere": (faults.redirect(""), "url-refused"),
    "a redirect to the metadata service": (faults.redirect("http://169.254.169.254/latest"), "url-refused"),
    "a redirect with a user": (faults.redirect("https://a:b@localhost/x"), "url-refused"),
    "a redirect with control characters": (faults.redirect("https://localhost/\x01\x7f"), "url-refused"),
    "silence": (faults.stall(0, 60), "download-stalled"),
    "no answer": (faults.delay(20), "download-stalled"),
    "other bytes": (body(bytes(SIZE)), "signature-invalid"),
}


@pytest.mark.parametrize("part", range(4))
def test_answers(make_scene, tally, part):
    tally(len(sorted(ANSWERS)[part::4]))
    scene = make_scene(config=QUICK).power_on()
    for name in sorted(ANSWERS)[part::4]:
        action, word = ANSWERS[name]
        expect_word(scene, name, word, action)
        scene.cloud.https.drop_connections()
    for line in scene.gateway.output("otad").splitlines():
        assert "\x1b" not in line and not line.startswith("Job: SUCCEEDED") and "X-Amz-" not in line, line
    scene.expect_unharmed(touched=None)
    scene.expect_next_works()


# Wrong when the download goes on at its middle: name: (action on the second answer, how it ends)
RESUMED = {
    "a link that ran out twice": (faults.in_turn(faults.expired(), faults.expired()), None),
    "a token that ran out, then the link": (faults.in_turn(faults.expired_token(), faults.expired()), None),
    "the wrong half": (lambda e: partial(f"bytes 0-{SIZE - 1}/{SIZE}")(e), None),
    "the whole object": (faults.in_turn(faults.whole()), None),
    "trouble, twice": (faults.in_turn(faults.status(503), faults.status(500)), None),
    "trouble that asks for patience": (faults.in_turn(faults.status(503, Retry_After="1")), None),
    "slow": (faults.slow(200_000), None),
    # Below low-speed-bytes each try is broken off; as long as each brings some bytes, it goes on.
    "a drip, thrice": (faults.in_turn(*[faults.slow(50)] * 3), None),
    "silence after some": (faults.in_turn(*[faults.stall(1000, 60)] * 2), None),
    "cut off again": (faults.in_turn(faults.cut(50_000), faults.cut(50_000)), None),
    "another tag": (faults.in_turn(faults.header("ETag", '"another"')), None),
    "no tag": (faults.header("ETag", None), None),
    "a length beyond all, but the right bytes": (lie(Content_Length="9" * 40), None),
}


@pytest.mark.parametrize("name", RESUMED)
def test_resumed(make_scene, name):
    """The first answer is cut off at the middle; what comes then is wrong in its way, and the update succeeds all the same."""
    action, error = RESUMED[name]
    scene = make_scene(config={"download": {"stall-sec": 1, "attempts": 5}}).power_on()
    scene.cloud.faults.on("http.reply", faults.cut(HALF), times=1)
    rule = scene.cloud.faults.on("http.reply", action, skip=1, times=None if "slow" in name or "tag" in name else 3)
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0", timeout=40)
    assert rule.hits and len(gets(scene)) >= 2 and error is None
    assert any(get["range"] == f"bytes={HALF}-" for get in gets(scene))


def test_link_that_ran_out_while_it_waited(scene):
    """All links and tokens given out so far are too old by the time they are used."""
    scene.gateway.plan_hook("pre-install", sleep=0.5, times=1)
    job = scene.update(IMAGE)
    scene.gateway.wait(lambda: scene.gateway.hook_calls("pre-install"), 20, "pre-install")
    scene.cloud.storage.expire_links()
    scene.cloud.storage.expire_tokens()
    scene.expect_success(job, IMAGE, "1.1.0")
    assert [get["status"] for get in gets(scene)][:1] in ([403], [400])


def test_object_replaced_twice(scene):
    """Each time the tag says so, and it is begun anew, but not for ever: then the job is over."""
    def change(event):
        event.headers["ETag"] = f'"{time.monotonic()}"'
        event.cut = 100_000
    scene.cloud.faults.on("http.reply", change)
    job = scene.update(IMAGE)
    execution = scene.wait(job, "FAILED", 40)
    assert execution.details["error"] in ("object-changed", "download-failed"), execution
    scene.cloud.faults.clear()
    assert len(gets(scene)) < 20
    scene.expect_failure(job, execution.details["error"])


def test_both_ways_broken(make_scene):
    """HTTPS refuses, the stream is silent: both are tried, the last word is the stream's."""
    scene = make_scene(config=QUICK).power_on()
    store = scene.cloud.faults.on("http.reply", faults.status(404))
    stream = scene.cloud.faults.on("stream.request", faults.drop())
    job = scene.update(IMAGE, "both")
    scene.wait(job, "FAILED", 40)
    scene.cloud.faults.clear()
    scene.expect_failure(job, "download-stalled", next_job=False)
    assert store.hits and stream.hits


def test_no_store_at_all(make_scene):
    """Nobody listens where the link points."""
    scene = make_scene(config=QUICK).power_on()
    job = scene.update(IMAGE, edit=lambda d: d["afr_ota"]["files"][0].update(update_data_url="https://localhost:1/x"))
    scene.expect_failure(job, "download-failed", next_job=False)


def test_name_that_does_not_resolve(make_scene):
    scene = make_scene(config=QUICK).power_on()
    job = scene.update(IMAGE, edit=lambda d: d["afr_ota"]["files"][0].update(update_data_url="https://no-such-host.invalid/x"))
    scene.expect_failure(job, "download-failed", next_job=False, timeout=60)
