"""Only what a trusted certificate signed is ever started."""

import base64

import pytest

from cloud import faults
from gateway import make_image

IMAGE = make_image("1.1.0")


def nothing_was_activated(scene):
    assert not scene.gateway.hook_calls("activate") and scene.gateway.n_boots == 1
    assert not [c for c in scene.gateway.loader.calls() if c.startswith("set-primary B")]


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_unsigned(scene, protocol):
    job = scene.update(IMAGE, protocol, file={"signer": None})
    execution = scene.wait(job, "REJECTED")
    assert execution.statuses == ["QUEUED", "REJECTED"]     # never claimed, as REJECTED is not to be had afterwards
    scene.expect_failure(job, "signature-missing", status="REJECTED", phase="idle", touched=False)


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_tampered_image(scene, protocol):
    bad = bytearray(IMAGE)
    bad[len(bad) // 2] ^= 0x10

    def change(reply):
        reply.body = memoryview(bad)
    if protocol == "https":
        rule = scene.cloud.faults.on("http.reply", change)
    else:
        rule = scene.cloud.faults.on("stream.block", faults.corrupt(100), match=lambda e: e.index == 7)
    job = scene.update(IMAGE, protocol)
    scene.wait(job, "FAILED")
    nothing_was_activated(scene)
    assert rule.hits == 1
    rule.off()
    scene.expect_failure(job, "signature-invalid")


def test_tampered_signature(scene):
    good = scene.signer.sign(IMAGE)
    raw = bytearray(base64.b64decode(good))
    raw[-1] ^= 0x01
    job = scene.update(IMAGE, file={"signature": base64.b64encode(raw).decode()})
    scene.wait(job, "FAILED")
    nothing_was_activated(scene)
    scene.expect_failure(job, "signature-invalid")


def test_signature_of_another_image(scene):
    job = scene.update(IMAGE, file={"signature": scene.signer.sign(make_image("1.2.0"))})
    scene.wait(job, "FAILED")
    nothing_was_activated(scene)
    scene.expect_failure(job, "signature-invalid")


def test_signature_that_is_no_base64(scene):
    job = scene.update(IMAGE, file={"signature": "not base64!"})
    scene.expect_failure(job, "signature-malformed", status="REJECTED", phase="idle", touched=False)


def test_untrusted_certificate(scene):
    """A good signature, by a certificate the gateway does not have."""
    stranger = scene.cloud.add_signer("stranger")
    job = scene.update(IMAGE, file={"signer": stranger})
    scene.expect_failure(job, "certificate-unknown", phase="accepted", touched=None)
    assert not scene.gateway.hook_calls("pre-install")[1:]      # just that of the good job afterwards


def test_stranger_under_a_trusted_name(scene):
    """The same, where the job calls it by the name of one that is trusted."""
    stranger = scene.cloud.add_signer("stranger")
    job = scene.update(IMAGE, file={"signer": stranger, "certfile": "codesign.pem"})
    scene.wait(job, "FAILED")
    nothing_was_activated(scene)
    scene.expect_failure(job, "signature-invalid")


def test_certificate_by_a_path(scene):
    """AWS calls the member a path on the device; it only ever chooses among what is trusted."""
    job = scene.update(IMAGE, file={"certfile": "/etc/ssl/codesign.pem"})
    scene.expect_success(job, IMAGE, "1.1.0")
    job = scene.update(make_image("1.2.0"), file={"certfile": "../../trust/other.pem"})
    scene.expect_failure(job, "certificate-unknown", phase="accepted", version="1.1.0", slot="B", touched=None,
                         before=scene.gateway.digest("B"))


def test_certificate_without_code_signing(scene):
    signer = scene.cloud.add_signer("web", wrong_usage=True)
    scene.gateway.trust_signer(signer)
    job = scene.update(IMAGE, file={"signer": signer})
    scene.expect_failure(job, "certificate-usage", phase="accepted", touched=None)


def test_certificate_out_of_date(make_scene):
    scene = make_scene(config={"signing": {"dates": "always"}})
    signer = scene.cloud.add_signer("old", expired=True)
    scene.gateway.trust_signer(signer)
    job = scene.update(IMAGE, file={"signer": signer})
    scene.expect_failure(job, "certificate-expired", phase="accepted", touched=None)


def test_algorithm_nobody_knows(scene):
    job = scene.update(IMAGE, file={"hash": "sha512", "signature": scene.signer.sign(IMAGE)})
    scene.expect_failure(job, "algorithm-refused", status="REJECTED", phase="idle", touched=False)


def test_sha1_is_refused_unless_configured(scene):
    job = scene.update(IMAGE, file={"hash": "sha1"})
    scene.expect_failure(job, "algorithm-refused", status="REJECTED", phase="idle", touched=False)


def test_sha1_configured(make_scene):
    scene = make_scene(config={"signing": {"algorithms": ["sha256-ecdsa", "sha1-ecdsa"]}})
    job = scene.update(IMAGE, file={"hash": "sha1"})
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


def test_algorithm_that_does_not_fit_the_key(scene):
    rsa = scene.cloud.add_signer("rsa", kind="rsa2048")
    scene.gateway.trust_signer(rsa)
    job = scene.update(IMAGE, file={"signer": rsa, "algorithm": "ecdsa"})
    scene.expect_failure(job, "key-mismatch", phase="accepted", touched=None)


@pytest.mark.parametrize("protocol, kind", [("mqtt", "p256"), ("https", "p384"), ("mqtt", "rsa2048"),
                                            ("https", "rsa4096")])
def test_kinds_of_key(scene, protocol, kind):
    signer = scene.cloud.add_signer(f"signer-{kind}", kind=kind)
    scene.gateway.trust_signer(signer)
    job = scene.update(IMAGE, protocol, file={"signer": signer})
    scene.expect_success(job, IMAGE, "1.1.0")
    scene.expect_clean()


def test_signer_issued_by_a_trusted_authority(scene):
    """With the chain in the trust store's own layout: chain/NAME.pem, ca/FILE.pem."""
    root = scene.cloud.add_signer("root", is_ca=True)
    signer = scene.cloud.add_signer("issued", issuer=root)
    for folder, source in (("chain", signer), ("ca", root)):
        (scene.gateway.trust / folder).mkdir(mode=0o755)
        scene.gateway.trust_signer(source, f"{folder}/{source.path.name}")
    job = scene.update(IMAGE, file={"signer": signer})
    scene.expect_success(job, IMAGE, "1.1.0")
    (scene.gateway.trust / "ca" / root.path.name).unlink()
    job = scene.update(make_image("1.2.0"), file={"signer": signer})
    scene.expect_failure(job, "certificate-untrusted", phase="accepted", version="1.1.0", slot="B", touched=None,
                         before=scene.gateway.digest("B"))


def test_signing_not_required_is_loud(make_scene):
    """Unsigned images are taken then, and nobody can overlook it; a signature that is there is checked all the same."""
    scene = make_scene(config={"signing": {"required": False}})
    job = scene.update(IMAGE, file={"signer": None})
    scene.expect_success(job, IMAGE, "1.1.0")
    for name in ("otad", "otad-installer"):
        start = scene.gateway.output(name)[:4000]
        assert "signing.required" in start, f"{name} does not say at its start that signing is off"
    assert "NO SIGNATURE" in scene.gateway.output("otad-installer")
    job = scene.update(make_image("1.2.0"), file={"signature": scene.signer.sign(IMAGE)})
    scene.expect_failure(job, "signature-invalid", version="1.1.0", slot="B", before=scene.gateway.digest("B"))
