"""Certificates and signatures for the stand-in cloud: server, device and code-signing identities.

AWS hands a device a client certificate (its thing is attached to it) and expects it to trust Amazon's roots; an
image is signed with a code-signing certificate that already lies on the device (P§1.2, P§3.3, P§3.4). Here one
`Authority` plays Amazon's root and issues both sides; a `Signer` plays AWS Signer. Keys are EC P-256 unless asked
otherwise, because making one takes a millisecond.
"""

import base64
import datetime
import hashlib
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HASHES = {"sha256": hashes.SHA256, "sha1": hashes.SHA1}
DAY = datetime.timedelta(days=1)


def new_key(kind="p256"):
    """A private key: "p256", "p384", or "rsa2048" and so on up to "rsa4096"."""
    if kind == "p256":
        return ec.generate_private_key(ec.SECP256R1())
    if kind == "p384":
        return ec.generate_private_key(ec.SECP384R1())
    if kind.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(kind[3:]))
    raise ValueError(f"no such kind of key: {kind} (p256, p384, rsa2048 to rsa4096)")


def write_key(path, key):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    return path


def write_cert(path, *certs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certs))
    return path


def _name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(digital_signature=True, cert_sign=False):
    return x509.KeyUsage(digital_signature=digital_signature, content_commitment=False, key_encipherment=False,
                         data_encipherment=False, key_agreement=False, key_cert_sign=cert_sign, crl_sign=cert_sign,
                         encipher_only=False, decipher_only=False)


def _certificate(subject, public_key, issuer, issuer_key, *, is_ca=False, usage=None, extended_usage=None,
                 alternative_names=None, not_before=None, not_after=None):
    now = datetime.datetime.utcnow()
    builder = (x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(issuer).public_key(public_key)
               .serial_number(x509.random_serial_number())
               .not_valid_before(not_before or now - DAY).not_valid_after(not_after or now + 3650 * DAY)
               .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                              critical=False))
    if usage:
        builder = builder.add_extension(usage, critical=True)
    if extended_usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage(extended_usage), critical=False)
    if alternative_names:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@dataclass(frozen=True)
class ThingFiles:
    """The three paths a device needs to connect."""
    name: str
    ca: Path
    cert: Path
    key: Path


class Authority:
    """A root certificate kept in a folder; what was made there before is used again."""

    def __init__(self, folder, name="Stand-in Root CA 3"):
        self.folder = Path(folder)
        self.path = self.folder / "ca.pem"
        key_path = self.folder / "ca.key"
        if self.path.exists() and key_path.exists():
            self.certificate = x509.load_pem_x509_certificate(self.path.read_bytes())
            self.key = serialization.load_pem_private_key(key_path.read_bytes(), None)
            return
        self.key = new_key()
        self.certificate = _certificate(name, self.key.public_key(), _name(name), self.key, is_ca=True,
                                        usage=_usage(cert_sign=True))
        write_key(key_path, self.key)
        write_cert(self.path, self.certificate)

    def issue(self, subject, public_key, **options):
        return _certificate(subject, public_key, self.certificate.subject, self.key, **options)

    def server(self, host="localhost", addresses=("127.0.0.1", "::1"), **options):
        """A server certificate and key for the loopback, also by the name `host`. Returns (cert, key) paths."""
        name = "server" if host == "localhost" else host
        cert, key_path = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        if not (cert.exists() and key_path.exists()):
            key = new_key()
            sans = [x509.DNSName(n) for n in dict.fromkeys(("localhost", host))]
            sans += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
            write_cert(cert, self.issue(host, key.public_key(), usage=_usage(), alternative_names=sans,
                                        extended_usage=[ExtendedKeyUsageOID.SERVER_AUTH], **options))
            write_key(key_path, key)
        return cert, key_path

    def thing(self, name, kind="p256", **options):
        """A device certificate whose common name is the thing's name (what the broker's policy looks at)."""
        cert, key_path = self.folder / "things" / f"{name}.pem", self.folder / "things" / f"{name}.key"
        if not (cert.exists() and key_path.exists()):
            key = new_key(kind)
            write_cert(cert, self.issue(name, key.public_key(), usage=_usage(),
                                        extended_usage=[ExtendedKeyUsageOID.CLIENT_AUTH], **options))
            write_key(key_path, key)
        return ThingFiles(name, self.path, cert, key_path)


class Signer:
    """A code-signing certificate with its key (P§3.4), and the signing of images with it (P§3.3).

    `wrong_usage` leaves codeSigning out of the extended key usage, `no_key_usage` leaves digitalSignature out;
    `not_before` and `not_after` are datetimes in UTC; with `issuer` (an Authority, or another Signer made with
    `is_ca`) it is not self-signed.
    """

    def __init__(self, folder, name="codesign", *, kind="p256", issuer=None, wrong_usage=False, no_key_usage=False,
                 expired=False, not_yet_valid=False, not_before=None, not_after=None, is_ca=False):
        self.name = name
        self.path = Path(folder) / f"{name}.pem"
        self.key_path = Path(folder) / f"{name}.key"
        if self.path.exists() and self.key_path.exists():
            self.certificate = x509.load_pem_x509_certificate(self.path.read_bytes())
            self.key = serialization.load_pem_private_key(self.key_path.read_bytes(), None)
            return
        now = datetime.datetime.utcnow()
        if expired:
            not_before, not_after = now - 730 * DAY, now - 365 * DAY
        elif not_yet_valid:
            not_before, not_after = now + 365 * DAY, now + 730 * DAY
        self.key = new_key(kind)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH if wrong_usage else ExtendedKeyUsageOID.CODE_SIGNING]
        usage = _usage(digital_signature=not no_key_usage, cert_sign=is_ca or no_key_usage)
        subject = f"{name} code signer"
        self.certificate = _certificate(
            subject, self.key.public_key(), issuer.certificate.subject if issuer else _name(subject),
            issuer.key if issuer else self.key, is_ca=is_ca, usage=usage, extended_usage=None if is_ca else usages,
            not_before=not_before, not_after=not_after)
        write_key(self.key_path, self.key)
        write_cert(self.path, self.certificate)

    @property
    def algorithm(self):
        return "rsa" if isinstance(self.key, rsa.RSAPrivateKey) else "ecdsa"

    def sign(self, image, hash_name="sha256"):
        """The signature over the whole image as a job document carries it: base64 of DER (ECDSA) or raw (RSA)."""
        digest = hashlib.new(hash_name, image).digest()
        prehashed = utils.Prehashed(HASHES[hash_name]())
        if self.algorithm == "rsa":
            raw = self.key.sign(digest, padding.PKCS1v15(), prehashed)
        else:
            raw = self.key.sign(digest, ec.ECDSA(prehashed))
        return base64.b64encode(raw).decode()
