"""Downloads over HTTPS: ranges, links that expire or were altered, and what a test can make go wrong."""

import http.client
import ssl
import time
from urllib.parse import urlsplit

import pytest

from cloud import faults

DATA = bytes(range(256)) * 40


class Http:
    """One kept-alive connection that trusts the stand-in's root only."""

    def __init__(self, cloud):
        self.connection = http.client.HTTPSConnection("localhost", cloud.https.port, timeout=5,
                                                      context=ssl.create_default_context(cafile=cloud.https_ca))

    def get(self, url, method="GET", **headers):
        parts = urlsplit(url)
        self.connection.request(method, f"{parts.path}?{parts.query}",
                                headers={k.replace("_", "-"): v for k, v in headers.items()})
        reply = self.connection.getresponse()
        return reply, reply.read()


@pytest.fixture
def web(cloud):
    http_ = Http(cloud)
    yield http_
    http_.connection.close()


@pytest.fixture
def obj(cloud):
    return cloud.storage.put("fw/image 1.bin", DATA)


def test_whole_object(cloud, web, obj):
    url = cloud.storage.presign(obj)
    assert 1200 < len(url) < 1600 and "X-Amz-Expires=1800" in url
    reply, body = web.get(url)
    assert (reply.status, body) == (200, DATA)
    assert reply.headers["ETag"] == obj.etag and reply.headers["Accept-Ranges"] == "bytes"
    cloud.assert_clean()


@pytest.mark.parametrize("asked, first, last", [("0-255", 0, 255), ("100-", 100, 10239), ("-10", 10230, 10239),
                                                ("10000-99999", 10000, 10239), ("0-0", 0, 0)])
def test_range(cloud, web, obj, asked, first, last):
    reply, body = web.get(cloud.storage.presign(obj), Range=f"bytes={asked}")
    assert (reply.status, body) == (206, DATA[first:last + 1])
    assert reply.headers["Content-Range"] == f"bytes {first}-{last}/10240"
    assert reply.headers["Content-Length"] == str(last - first + 1)


def test_range_past_the_end(cloud, web, obj):
    reply, body = web.get(cloud.storage.presign(obj), Range="bytes=10240-")
    assert reply.status == 416 and b"InvalidRange" in body and reply.headers["Content-Range"] == "bytes */10240"
    assert [v.kind for v in cloud.violations] == ["http-range"]


def test_several_ranges_give_the_whole(cloud, web, obj):
    assert web.get(cloud.storage.presign(obj), Range="bytes=0-1,5-6")[0].status == 200


def test_if_match(cloud, web, obj):
    url, tag = cloud.storage.presign(obj), obj.etag
    assert web.get(url, If_Match=tag)[0].status == 200
    obj.replace(DATA[::-1])
    assert web.get(url, If_Match=tag, Range="bytes=5-")[0].status == 412
    assert web.get(url)[1] == DATA[::-1]
    cloud.assert_clean()


def test_expired_links(cloud, web, obj):
    old = cloud.storage.presign(obj)
    cloud.storage.expire_links()
    reply, body = web.get(old)
    assert reply.status == 403 and b"Request has expired" in body
    assert web.get(cloud.storage.presign(obj))[0].status == 200
    cloud.storage.expire_tokens()
    cloud.storage._expired_before = 0
    reply, body = web.get(old)
    assert reply.status == 400 and b"ExpiredToken" in body
    cloud.storage.delete(obj)
    assert web.get(cloud.storage.presign(obj))[0].status == 404
    cloud.assert_clean()


def test_links_run_out_by_themselves(cloud, web, obj, monkeypatch):
    real = time.time
    url = cloud.storage.presign(obj, expires=60)
    assert web.get(url)[0].status == 200
    monkeypatch.setattr(time, "time", lambda: real() + 62)
    assert web.get(url)[0].status == 403
    for seconds in (59, 3601):
        with pytest.raises(ValueError):
            cloud.storage.presign(obj, expires=seconds)


@pytest.mark.parametrize("spoil", [
    lambda u: u.replace("X-Amz-Expires=1800", "X-Amz-Expires=3600"), lambda u: u.replace("%2F", "/"),
    lambda u: u + "&more=1", lambda u: u.replace("image", "other"), lambda u: u.split("&X-Amz-Signature")[0],
    lambda u: u.split("?")[0]])
def test_altered_links(cloud, web, obj, spoil):
    reply, body = web.get(spoil(cloud.storage.presign(obj)))
    assert reply.status == 403 and b"SignatureDoesNotMatch" in body
    assert [v.kind for v in cloud.violations] == ["http-signature"]


@pytest.mark.parametrize("method, headers, kind", [
    ("HEAD", {}, "http-method"), ("PUT", {}, "http-method"), ("GET", {"Host": "elsewhere"}, "http-signature"),
    ("GET", {"Authorization": "Basic eDp5"}, "http-authorization")])
def test_refused_requests(cloud, web, obj, method, headers, kind):
    assert web.get(cloud.storage.presign(obj), method, **headers)[0].status in (400, 403)
    assert [v.kind for v in cloud.violations] == [kind]


def test_closes_after_a_hundred(cloud, web, obj):
    url = cloud.storage.presign(obj)
    closing = [web.get(url, Range="bytes=0-0")[0].headers["Connection"] for _ in range(100)]
    assert closing == [None] * 99 + ["close"]


def test_other_roots_are_not_trusted(cloud, web, obj):
    web.connection = http.client.HTTPSConnection("localhost", cloud.https.port, timeout=5)
    with pytest.raises(ssl.SSLCertVerificationError):
        web.get(cloud.storage.presign(obj))


def test_faults(cloud, web, obj):
    url, on = cloud.storage.presign(obj), cloud.faults.on
    on("http.reply", faults.in_turn(faults.status(503), faults.status(500), None, faults.expired(),
                                    faults.expired_token(), faults.whole(),
                                    faults.header("Content-Range", "bytes 0-4/9"),
                                    faults.redirect("http://localhost/x"), faults.header("ETag", '"changed"')))
    got = [web.get(url, Range="bytes=1-5") for _ in range(9)]
    assert [r.status for r, _ in got] == [503, 500, 206, 403, 400, 200, 206, 302, 206]
    assert b"SlowDown" in got[0][1] and b"Request has expired" in got[3][1] and b"ExpiredToken" in got[4][1]
    assert got[5][1] == DATA and got[6][0].headers["Content-Range"] == "bytes 0-4/9"
    assert got[7][0].headers["Location"] == "http://localhost/x" and got[8][0].headers["ETag"] == '"changed"'
    cloud.assert_clean()


def test_broken_transfers(cloud, web, obj):
    url, on = cloud.storage.presign(obj), cloud.faults.on
    on("http.reply", faults.cut(1000), times=1)
    with pytest.raises(http.client.IncompleteRead) as error:
        web.get(url)
    assert error.value.partial == DATA[:1000]
    web.connection.close()
    on("http.reply", faults.stall(500, 0.1), times=1)
    on("http.reply", faults.slow(100_000), skip=1, times=1)
    for _ in range(2):
        started = time.monotonic()
        assert web.get(url)[1] == DATA and 0.08 < time.monotonic() - started < 1
    on("http.reply", faults.reset(), times=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        web.get(url)


def test_large_file_is_mapped(cloud, web, tmp_path):
    path = tmp_path / "large"
    with open(path, "wb") as file:
        file.truncate(200 << 20)
        file.seek(150 << 20)
        file.write(b"mark")
    obj = cloud.storage.put("large", path)
    _, body = web.get(cloud.storage.presign(obj), Range=f"bytes={150 << 20}-{(151 << 20) - 1}")
    assert len(body) == 1 << 20 and body[:4] == b"mark" and "-" in obj.etag
