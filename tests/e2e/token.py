"""A token for a device's key: SoftHSM with a folder of its own, reached as a real one is, through PKCS #11."""

import os
import shutil
import subprocess

from cryptography.hazmat.primitives import serialization

from cloud.pki import write_cert

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
SO_PIN = "87654321"


class Token:
    """Everything started from this process sees it, and no other, while it is plugged in."""

    def __init__(self, folder, label="gateway", pin="135790"):
        self.folder, self.label, self.pin = folder, label, pin
        (folder / "tokens").mkdir(parents=True)
        self.conf = folder / "softhsm2.conf"
        self.conf.write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
                             "log.level = ERROR\n")
        self.pin_file = folder / "pin"
        self.write_pin(pin)
        os.environ["SOFTHSM2_CONF"] = str(self.conf)
        self._run("softhsm2-util", "--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", SO_PIN)

    def write_pin(self, pin, mode=0o600):
        self.pin_file.write_text(pin + "\n")
        self.pin_file.chmod(mode)

    def uri(self, name="device", kind="private", query=f"module-path={MODULE}"):
        return f"pkcs11:token={self.label};object={name};type={kind}" + (f"?{query}" if query else "")

    def generate(self, authority, thing, name="device", kind="EC:prime256v1"):
        """Makes a key that never leaves the token, and the certificate to it: on the token, and as the path returned."""
        self._tool("--keypairgen", "--key-type", kind, "--label", name, "--id", "01")
        public = self.folder / f"{name}.pub"
        self._tool("--read-object", "--type", "pubkey", "--label", name, "--output-file", str(public))
        certificate = self.folder / f"{name}.pem"
        write_cert(certificate, authority.issue(thing, serialization.load_der_public_key(public.read_bytes())))
        der = self.folder / f"{name}.der"
        subprocess.run(["openssl", "x509", "-in", certificate, "-outform", "DER", "-out", der], check=True)
        self._tool("--write-object", str(der), "--type", "cert", "--label", name, "--id", "01")
        return certificate

    def unplug(self):
        (self.folder / "tokens").rename(self.folder / "drawer")
        (self.folder / "tokens").mkdir()

    def plug(self):
        shutil.rmtree(self.folder / "tokens")
        (self.folder / "drawer").rename(self.folder / "tokens")

    def _tool(self, *arguments):
        self._run("pkcs11-tool", "--module", MODULE, "--token-label", self.label, "--login", "--pin", self.pin, *arguments)

    @staticmethod
    def _run(*command):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
