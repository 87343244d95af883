"""The device's key in a file that is looked after, and on a token: it connects, updates, and says what is wrong."""

import pytest
from cryptography.hazmat.primitives.serialization import (BestAvailableEncryption, Encoding, PrivateFormat,
                                                          load_pem_private_key)

from gateway import make_image

from .scene import THING
from .token import MODULE, Token

IMAGE = make_image("1.1.0", 300_000)
PIN = "135790"


@pytest.fixture
def token(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTHSM2_CONF", "")     # put back at the end
    return Token(tmp_path / "token", pin=PIN)


@pytest.fixture
def off(make_scene):
    """Not yet started. A token takes its time, so the self-test has more than usual."""
    return make_scene(power=False, config={"selftest": {"timeout-sec": 30}})


def start(scene, **broker):
    scene.gateway.write_config({"broker": broker})
    scene.gateway.power_on()


def expect_trouble(scene, words):
    """Tries go on, and say so; nothing secret is said."""
    gateway = scene.gateway
    gateway.wait(lambda: gateway.output().count(words) >= 2, 15, f"'{words}' twice")
    assert "trying again in" in gateway.output()
    assert PIN not in gateway.output()


@pytest.mark.parametrize("kind", ["EC:prime256v1", "rsa:2048"])
@pytest.mark.parametrize("where", ["certificate in a file", "certificate on the token"])
def test_update_with_a_key_on_a_token(off, token, kind, where):
    cert = token.generate(off.cloud.authority, THING, kind=kind)
    if where == "certificate on the token":
        cert = token.uri(kind="cert")
    start(off, key=token.uri(), cert=str(cert), **{"pin-file": str(token.pin_file)})
    job = off.update(IMAGE, "both")
    off.expect_success(job, IMAGE, "1.1.0")
    off.expect_clean()
    done = off.gateway.otactl("check")
    assert "ok    key: pkcs11:token=gateway;object=device;type=private, of that certificate" in done.stdout
    assert PIN not in off.gateway.output() + done.stdout + done.stderr


def test_key_file_with_a_passphrase(off):
    """otactl check goes the way to the broker with it, as otad does; with a wrong one it blames the key."""
    key, pin_file = off.gateway.folder / "locked.key", off.gateway.folder / "passphrase"
    plain = load_pem_private_key(off.gateway.thing.key.read_bytes(), None)
    for path, content in ((key, plain.private_bytes(Encoding.PEM, PrivateFormat.PKCS8,
                                                    BestAvailableEncryption(PIN.encode()))),
                          (pin_file, b"wrong\n")):
        path.touch(mode=0o600)
        path.write_bytes(content)
    off.gateway.write_config({"broker": {"key": str(key), "pin-file": str(pin_file)}})
    said = off.gateway.otactl("check").stdout
    assert "FAIL  key: cannot use the key" in said and "warn  broker: localhost takes connections" in said
    pin_file.write_text(f"{PIN}\n")
    said = off.gateway.otactl("check").stdout
    assert f"ok    key: {key}, of that certificate" in said
    assert "ok    broker: localhost port" in said and "takes this device's certificate" in said, said
    off.gateway.power_on()
    off.gateway.wait_output("otad", "Connected to the broker")
    assert PIN not in off.gateway.output() + said


def test_pin_source_in_the_uri(off, token):
    cert = token.generate(off.cloud.authority, THING)
    start(off, cert=str(cert), key=token.uri(query=f"module-path={MODULE}&pin-source=file:{token.pin_file}"))
    off.gateway.wait_output("otad", "Connected to the broker")


def test_wrong_pin(off, token):
    """It is tried once: a token that counts wrong PINs must not lock itself. Once it is put right, all is well."""
    cert = token.generate(off.cloud.authority, THING)
    token.write_pin("000000")
    start(off, key=token.uri(), cert=str(cert), **{"pin-file": str(token.pin_file)})
    expect_trouble(off, f"the token refused the PIN of {token.pin_file} (PIN incorrect); correct that file")
    assert "000000" not in off.gateway.output()
    assert off.gateway.output().count("Login failed") == 1, "the engine's own word for each try"
    done = off.gateway.otactl("check")
    assert "FAIL  key: cannot use the key pkcs11:token=gateway" in done.stdout and done.returncode == 1
    token.write_pin(PIN)
    off.gateway.wait_output("otad", "Connected to the broker")


def test_no_pin(off, token):
    cert = token.generate(off.cloud.authority, THING)
    start(off, key=token.uri(), cert=str(cert))
    expect_trouble(off, "type=private: it asks for a PIN or passphrase; put that into a file")


def test_missing_token(off, token):
    """Unplugged at the start; plugged in, it is found."""
    cert = token.generate(off.cloud.authority, THING)
    token.unplug()
    start(off, key=token.uri(), cert=str(cert), **{"pin-file": str(token.pin_file)})
    expect_trouble(off, "no such token, or no such object on it; is it plugged in")
    token.plug()
    off.gateway.wait_output("otad", "Connected to the broker")


def test_missing_key_and_missing_module(off, token):
    cert = token.generate(off.cloud.authority, THING)
    start(off, key=token.uri("another"), cert=str(cert), **{"pin-file": str(token.pin_file)})
    expect_trouble(off, "object=another;type=private: no such token, or no such object on it")
    off.gateway.power_off()
    start(off, key=token.uri(query="module-path=/nowhere.so"))
    expect_trouble(off, "the PKCS #11 module /nowhere.so cannot be loaded")


def test_certificate_of_another_key(off, token):
    token.generate(off.cloud.authority, THING)
    cert = off.gateway.thing.cert
    start(off, key=token.uri(), **{"pin-file": str(token.pin_file)})
    expect_trouble(off, f"it is not the one of the certificate {cert}; put the pair that belongs together there")


@pytest.mark.parametrize("what", ["key", "PIN file"])
def test_secrets_others_may_read(off, token, what):
    """Refused, as ssh does; otactl check says so before, and the next try finds it mended."""
    cert, broker, path = off.gateway.thing.cert, {}, off.gateway.thing.key
    if what == "PIN file":
        cert, path = token.generate(off.cloud.authority, THING), token.pin_file
        broker = {"key": token.uri(), "pin-file": str(path)}
    path.chmod(0o644)
    start(off, cert=str(cert), **broker)
    expect_trouble(off, f"cannot use the {what} {path}: others than its owner and group may read or change it; chmod 0640")
    done = off.gateway.otactl("check")
    assert f"FAIL  {what}: {path} (mode 0644, group " in done.stdout and "chmod 0640" in done.stdout
    path.chmod(0o640)
    off.gateway.wait_output("otad", "Connected to the broker")


def test_pin_in_the_configuration_is_refused(off, token):
    off.gateway.write_config({"broker": {"key": token.uri(query="pin-value=135790")}})
    done = off.gateway.otactl("check")
    assert done.returncode == 3 and "without pin-value" in done.stdout + done.stderr
    assert PIN not in done.stdout + done.stderr


def test_token_that_hangs(off):
    """otad and otactl say so in time, and end in time."""
    build = off.gateway.programs["otad"].path.parents[2]
    module = build / "tests" / "transport" / "hanging-token.so"
    start(off, key=f"pkcs11:token=x;object=y?module-path={module}", **{"connect-timeout-sec": 1})
    expect_trouble(off, "cannot use the key: the token did not answer within 1s")
    done = off.gateway.otactl("check")
    assert "FAIL  key: cannot use the key: the token did not answer within 1s" in done.stdout
