"""Certificates and signatures: what a device will be given, and the published signature vector."""

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.x509.oid import ExtendedKeyUsageOID

from cloud import Authority, Signer

VECTOR_IMAGE = b"otad-test-image-v1\n"
VECTOR_SIGNATURE = "MEUCIDNkz0h95fG3hWWL+7DdkQ4qWX72A9wE9LKx35qbFkJsAiEAmF6hZkL3i90P+47MgHq3jdqZAQ7BM4KcNOialsql3Og="
VECTOR_CERTIFICATE = b"""-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIBATAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVvdGFkIHRl
c3QgY29kZSBzaWduZXIwHhcNMjAwMTAxMDAwMDAwWhcNNDkxMjMxMjM1OTU5WjAg
MR4wHAYDVQQDDBVvdGFkIHRlc3QgY29kZSBzaWduZXIwWTATBgcqhkjOPQIBBggq
hkjOPQMBBwNCAATCXhnym20eRuiVoG7CNYMMLD8yqhQTfsCtPu8QxTvO3gM3ch3y
EqjAvs/QYC7pekoBDWqFvEACrS7Y8vz9Lthco1QwUjAMBgNVHRMBAf8EAjAAMA4G
A1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDAzAdBgNVHQ4EFgQUOXtg
XIRhF9hHf0fF5+uIllNtjSQwCgYIKoZIzj0EAwIDSAAwRQIgcWxjXaBCu+g0BROk
GWLqLQcvQsXabAiZg1o4zIc54p8CIQCVK0mH4th75ybhUVbp5VB+xnyRcVUip/Gq
kD1yqcKMbw==
-----END CERTIFICATE-----
"""


def verify(certificate, signature, image, hash_):
    key, raw = certificate.public_key(), base64.b64decode(signature, validate=True)
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(raw, image, ec.ECDSA(hash_))
    else:
        key.verify(raw, image, padding.PKCS1v15(), hash_)


def test_published_vector():
    certificate = x509.load_pem_x509_certificate(VECTOR_CERTIFICATE)
    verify(certificate, VECTOR_SIGNATURE, VECTOR_IMAGE, hashes.SHA256())
    for bit in (0, 77, len(VECTOR_IMAGE) * 8 - 1):
        spoiled = bytearray(VECTOR_IMAGE)
        spoiled[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidSignature):
            verify(certificate, VECTOR_SIGNATURE, bytes(spoiled), hashes.SHA256())


@pytest.mark.parametrize("kind, algorithm", [("p256", "ecdsa"), ("p384", "ecdsa"), ("rsa2048", "rsa")])
@pytest.mark.parametrize("name, hash_", [("sha256", hashes.SHA256()), ("sha1", hashes.SHA1())])
def test_signers(tmp_path, kind, algorithm, name, hash_):
    signer = Signer(tmp_path, kind, kind=kind)
    assert signer.algorithm == algorithm
    verify(signer.certificate, signer.sign(memoryview(b"image"), name), b"image", hash_)
    again = Signer(tmp_path, kind)
    assert again.certificate == signer.certificate and signer.path.read_bytes().startswith(b"-----BEGIN CERTIFICATE")


def test_usages_and_dates(tmp_path):
    def usages(signer):
        extensions = signer.certificate.extensions
        return (extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature,
                list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value))
    now, code = datetime.datetime.utcnow(), ExtendedKeyUsageOID.CODE_SIGNING
    good = Signer(tmp_path, "good")
    assert usages(good) == (True, [code])
    assert good.certificate.not_valid_before < now < good.certificate.not_valid_after
    assert code not in usages(Signer(tmp_path, "wrong", wrong_usage=True))[1]
    assert usages(Signer(tmp_path, "none", no_key_usage=True))[0] is False
    assert Signer(tmp_path, "old", expired=True).certificate.not_valid_after < now
    assert Signer(tmp_path, "new", not_yet_valid=True).certificate.not_valid_before > now


def test_chain(tmp_path):
    root = Signer(tmp_path, "root", is_ca=True)
    middle = Signer(tmp_path, "middle", is_ca=True, issuer=root)
    leaf = Signer(tmp_path, "leaf", issuer=middle)
    for child, parent in ((leaf, middle), (middle, root), (root, root)):
        assert child.certificate.issuer == parent.certificate.subject
        parent.certificate.public_key().verify(child.certificate.signature, child.certificate.tbs_certificate_bytes,
                                               ec.ECDSA(hashes.SHA256()))
    assert Signer(tmp_path, "by-ca", issuer=Authority(tmp_path / "ca")).certificate.issuer != leaf.certificate.issuer


def test_keys_are_private_and_kept(tmp_path):
    thing = Authority(tmp_path).thing("dev-7")
    assert thing.key.stat().st_mode & 0o777 == 0o600
    before = thing.cert.read_bytes()
    assert Authority(tmp_path).thing("dev-7").cert.read_bytes() == before
    name = x509.load_pem_x509_certificate(before).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value
    assert name == "dev-7"
