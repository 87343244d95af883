"""Through a proxy, both ways: nothing goes past it, and every refusal is told in words and without the password."""

import re
import shlex
import socket
import subprocess

import pytest
from cryptography import x509

from cloud.broker import free_port
from cloud.pki import new_key, write_cert, write_key
from gateway import RealProxy, SOURCE, StrictProxy, make_image

IMAGE = make_image("1.1.0", 300_000)
CREDENTIALS = "gateway:pass word"
ENDPOINT = "abc-ats.iot.invalid"     # no name server knows it: who gets there was led by the proxy


@pytest.fixture
def off(make_scene):
    return make_scene(power=False)


@pytest.fixture
def strict(off):
    with StrictProxy({("localhost", off.cloud.https.port): ("127.0.0.1", off.cloud.https.port),
                      ("localhost", 8883): ("127.0.0.1", off.cloud.port)}) as proxy:
        yield proxy


def start(scene, url, **settings):
    scene.gateway.write_config({"proxy": {"url": url}, **settings})
    scene.gateway.power_on()


def credentials_file(scene, text=CREDENTIALS, mode=0o600):
    path = scene.gateway.folder / "proxy-credentials"
    path.write_text(text + "\n")
    path.chmod(mode)
    return path


def expect_trouble(scene, words):
    gateway = scene.gateway
    gateway.wait(lambda: gateway.output().count(words) >= 2, 15, f"'{words}' twice")
    assert re.search(r"Not connected to the broker .* through the proxy 127.0.0.1 .*; trying again in", gateway.output())
    assert "pass word" not in gateway.output()


# Whole updates

@pytest.mark.parametrize("kind", ["http", "socks5"])
@pytest.mark.parametrize("plane", ["https", "mqtt"])
def test_update_through_a_real_proxy(off, kind, plane):
    """Whoever reached the cloud came from the proxy's address."""
    with RealProxy(kind, off.gateway.folder, free_port(), "gateway:password") as proxy:
        start(off, proxy.url.replace("://", "://gateway:password@"), broker={"port": off.cloud.port})
        job = off.update(IMAGE, plane)
        off.expect_success(job, IMAGE, "1.1.0")
        off.gateway.power_off()
    came_from = {m.payload["from"].rpartition(":")[0] for m in off.cloud.find_messages("event", "^connected$")}
    assert came_from == {SOURCE}
    assert off.cloud.https.peers == ({SOURCE} if plane == "https" else set())
    assert "password" not in off.gateway.output()


def test_credentials_from_a_file(off, strict):
    """Read for each try: the wrong ones are told, the right ones work without a restart."""
    strict.credentials = CREDENTIALS
    path = credentials_file(off, "gateway:wrong")
    off.gateway.write_config({"proxy": {"credentials-file": str(path)}})
    start(off, strict.url, broker={"port": 8883})
    expect_trouble(off, "proxy: it refused the connection: HTTP status 407, it wants a user name and password")
    credentials_file(off)
    job = off.update(IMAGE, "both")
    off.expect_success(job, IMAGE, "1.1.0")
    assert set(strict.asked) == {("localhost", 8883), ("localhost", off.cloud.https.port)}
    path.chmod(0o644)
    off.gateway.restart("otad")
    expect_trouble(off, f"proxy: cannot use the file {path}: others than its owner and group may read")
    done = off.gateway.otactl("check")
    assert f"FAIL  proxy: {path} (mode 0644" in done.stdout
    assert "pass word" not in off.gateway.output() + done.stdout + done.stderr


# Failures

@pytest.mark.parametrize("answer, words", [
    ("HTTP/1.1 403 Forbidden\r\n\r\n", "HTTP status 403, it does not allow this host and port"),
    ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "HTTP status 502, it cannot reach the host"),
    ("SSH-2.0-OpenSSH_9.2\r\n", "it answers, but not in HTTP"),
    (None, "it closed the connection without an answer"),
    ("", "proxy: no answer to what it was asked within 1s"),
    ("HTTP/1.1 200 OK\r\n\r\n\x16\x03\x03", "it sent more than its answer"),
    ("HTTP/1.1 200 OK\r\n", "proxy: no answer to what it was asked within 1s"),
], ids=["403", "502", "no-http", "closed", "silent", "too-much", "half"])
def test_broker_refused(off, strict, answer, words):
    strict.answer = answer
    start(off, strict.url, broker={"port": 8883, "connect-timeout-sec": 1})
    expect_trouble(off, words)
    strict.answer = False
    off.gateway.wait_output("otad", "Connected to the broker")


@pytest.mark.parametrize("answer, words", [
    ("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n",
     "refused the connection: HTTP status 407, it wants a user name and password"),
    ("HTTP/1.1 403 Forbidden\r\n\r\n", "refused the connection: HTTP status 403, it does not allow"),
    ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "refused the connection: HTTP status 502, it cannot reach the host"),
    ("", "through the proxy 127.0.0.1 port"),
    (None, "through the proxy 127.0.0.1 port"),
], ids=["407", "403", "502", "silent", "closed"])
def test_image_store_refused(off, strict, answer, words):
    """The broker is let through, the store is not: the job fails and says who was in the way."""
    strict.refused[off.cloud.https.port] = answer
    start(off, strict.url.replace("://", "://me:pass%20word@"), broker={"port": 8883, "connect-timeout-sec": 1},
          download={"attempts": 2})
    job = off.update(IMAGE, "https")
    execution = off.wait(job, "FAILED")
    assert execution.details["error"] == "download-failed" and words in execution.details["detail"]
    assert "pass word" not in off.gateway.output() + str(execution.details)
    assert not off.cloud.https.peers


def test_no_proxy_there(off):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    start(off, f"http://127.0.0.1:{port}", broker={"port": 8883})
    expect_trouble(off, "TCP: Connection refused")


def test_proxy_whose_name_is_unknown(off):
    start(off, "http://proxy.invalid:3128", broker={"port": 8883})
    off.gateway.wait_output("otad", "localhost port 8883 through the proxy proxy.invalid port 3128: name look-up:", 15)


def test_password_in_a_wrong_url_is_not_shown(off):
    off.gateway.write_config({"proxy": {"url": "https://me:hunter2@proxy:3128"}})
    done = off.gateway.otactl("check")
    said = done.stdout + done.stderr
    assert done.returncode == 3 and "proxy.url" in said and "socks5://" in said and "hunter2" not in said


# Port 443

def tls_server(scene, name, port):
    """The command of a TLS server with a certificate made out to `name`, which tells what a client offers. It knows no
    other protocol than AWS IoT's by ALPN, and writes down every name it is asked for."""
    folder = scene.gateway.folder
    key = new_key()
    cert = write_cert(folder / "endpoint.pem", scene.cloud.authority.issue(
        name, key.public_key(), alternative_names=[x509.DNSName(name)]))
    write_key(folder / "endpoint.key", key)
    return ["openssl", "s_server", "-accept", str(port), "-cert", str(cert), "-key", str(folder / "endpoint.key"),
            "-CAfile", str(scene.cloud.authority.path), "-Verify", "1", "-alpn", "x-amzn-mqtt-ca",
            "-servername", "another.invalid", "-cert2", str(cert), "-key2", str(folder / "endpoint.key")]


def expect_offer(scene, log, name, port):
    """What AWS IoT looks at: the name, and on 443 the protocol; on 8883 there is none."""
    scene.gateway.wait(lambda: f'Hostname in TLS extension: "{name}"' in log.read_text(errors="replace"), 15, "SNI")
    scene.gateway.wait(lambda: "no CONNACK" in scene.gateway.output(), 15, "TLS that stands, and no broker behind it")
    offered = "ALPN protocols advertised by the client: x-amzn-mqtt-ca" in log.read_text(errors="replace")
    assert offered == (port == 443)


@pytest.mark.parametrize("port", [443, 8883])
def test_alpn_and_sni_through_the_proxy(off, strict, port):
    own, log = free_port(), off.gateway.folder / "s_server.log"
    strict.routes[(ENDPOINT, port)] = ("127.0.0.1", own)
    with open(log, "wb") as file:
        server = subprocess.Popen(tls_server(off, ENDPOINT, own), stdin=subprocess.PIPE, stdout=file, stderr=file)
    try:
        off.gateway.wait(lambda: b"ACCEPT" in log.read_bytes(), 10, "server")
        start(off, strict.url, broker={"endpoint": ENDPOINT, "port": port, "connect-timeout-sec": 2})
        expect_offer(off, log, ENDPOINT, port)
        assert set(strict.asked) == {(ENDPOINT, port)}
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("port", [443, 8883])
def test_alpn_and_sni(off, namespaces, port):
    """The same without a proxy, in a network namespace where 443 is free."""
    name, log = "abc-ats.localhost", off.gateway.folder / "s_server.log"
    server = shlex.join(tls_server(off, name, port))
    otad = off.gateway.programs["otad"]
    off.gateway.write_config({"broker": {"endpoint": name, "port": port, "connect-timeout-sec": 2}})
    script = f"""ip link set lo up && {{ sleep 60 | {server} >{log} 2>&1 & }}
for i in $(seq 100); do grep -q ACCEPT {log} && break; sleep 0.1; done
exec {otad.path} --config {off.gateway.config} >{otad.log} 2>&1"""
    inside = subprocess.Popen(["unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", script],
                              stdin=subprocess.DEVNULL)
    try:
        off.gateway.wait(log.exists, 10, "server")
        expect_offer(off, log, name, port)
    finally:
        inside.kill()
        inside.wait()
