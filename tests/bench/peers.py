"""Who else installs an image from a web server to a slot, and the limits that nobody can pass.

Each competitor is made once (`prepare` packs an image as it wants it, outside the clock) and then run many times:
run(image) -> (seconds, CPU seconds). `image` is a rig.Image; every run ends with everything on `slot`, synced.
"""

import contextlib
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path

from rig import MIB, Broken, Daemon


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def timed(command, **options):
    """Seconds and CPU seconds of a command and all its children; its output only where it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=900, **options)
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise Broken(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Competitor:
    """`checked`: whether the slot holds the image afterwards."""
    checked = True

    def __init__(self, stage, slot, folder):
        self.stage, self.slot, self.folder = stage, slot, folder
        self._links = {}

    def url(self, path):
        if path not in self._links:
            self._links[path] = self.stage.cloud.storage.put(Path(path).name, path)
        return self.stage.cloud.storage.presign(self._links[path], 3600)

    def prepare(self, image):
        pass

    def close(self):
        pass


class Download(Competitor):
    """The limit: HTTPS into nothing."""
    name, checked, needs = "download alone", False, ["curl"]

    def run(self, image):
        return timed([find("curl"), "-sSf", "--cacert", self.stage.cloud.https_ca, "-o", "/dev/null",
                      self.url(image.path)])


class Hash(Competitor):
    """The limit: SHA-256 by OpenSSL, of a file in the page cache."""
    name, checked, needs = "SHA-256 alone", False, ["openssl"]

    def run(self, image):
        return timed([find("openssl"), "dgst", "-sha256", image.path])


class Write(Competitor):
    """The limit: direct writes of 1 MiB, synced, of a file in the page cache."""
    name, needs = "direct write alone", ["dd"]

    def run(self, image):
        return timed([find("dd"), f"if={image.path}", f"of={self.slot.path}", "bs=1M", "oflag=direct", "conv=fsync,notrunc",
                      "status=none"])


class CurlDd(Competitor):
    """What a shell script does: download and write, nothing verified."""
    name, needs = "curl | dd", ["curl", "dd"]

    def run(self, image):
        return timed(["/bin/sh", "-c", 'curl -sSf --cacert "$1" "$2" | dd of="$3" bs=1M iflag=fullblock oflag=direct '
                      'conv=fsync,notrunc status=none', "sh", self.stage.cloud.https_ca, self.url(image.path),
                      self.slot.path])


class Swupdate(Competitor):
    """SWUpdate with a signed description, the image streamed to the device (installed-directly)."""
    name, needs = "SWUpdate", ["swupdate", "cpio", "openssl", "unshare"]

    def __init__(self, *args):
        super().__init__(*args)
        if os.geteuid() != 0:
            raise Broken("needs root: it has no option for the server's certificate")
        self._packed = {}
        key, self._cert = self.folder / "swupdate.key", self.folder / "swupdate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-days", "2",
                        "-keyout", key, "-out", self._cert, "-addext", "extendedKeyUsage=emailProtection"], check=True,
                       capture_output=True)
        self._key = key

    def prepare(self, image):
        folder = self.folder / f"swu-{Path(image.path).name}"
        folder.mkdir()
        (folder / "sw-description").write_text(
            'software = { version = "1.1.0"; hardware-compatibility: [ "1.0" ]; images: ( { filename = "rootfs.img"; '
            f'device = "{self.slot.path}"; type = "raw"; sha256 = "{image.sha256}"; installed-directly = true; }} ); }}\n')
        subprocess.run(["openssl", "cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig", "-signer",
                        self._cert, "-inkey", self._key, "-outform", "DER", "-nosmimecap", "-binary"], cwd=folder,
                       check=True, capture_output=True)
        os.link(image.path, folder / "rootfs.img")
        swu = self.folder / f"{Path(image.path).name}.swu"
        with open(swu, "wb") as out:
            subprocess.run(["cpio", "-o", "-H", "crc", "-L", "--quiet"], cwd=folder, stdout=out, check=True,
                           input=b"sw-description\nsw-description.sig\nrootfs.img\n", stderr=subprocess.DEVNULL)
        shutil.rmtree(folder)
        (self.folder / "hwrevision").write_text("bench 1.0\n")
        self._packed[image.path] = swu

    def run(self, image):
        """In a mount name space of its own, where the system's certificates are the stage's."""
        return timed(["unshare", "-m", "/bin/sh", "-c",
                      'mount --bind "$1" /etc/ssl/certs/ca-certificates.crt && exec swupdate -k "$2" -H bench:1.0 '
                      '-M -m -l 1 -d "-u $3"', "sh", self.stage.cloud.https_ca, self._cert,
                      self.url(self._packed[image.path])], cwd=self.folder, env={**os.environ, "TMPDIR": str(self.folder)})


class Rauc(Competitor):
    """curl to a file, then RAUC: it cannot install from a server without a kernel module for NBD."""
    name, needs = "curl, then RAUC", ["rauc", "curl", "dbus-daemon", "mksquashfs"]

    def __init__(self, *args):
        super().__init__(*args)
        if os.geteuid() != 0 or not self.slot.is_device:
            raise Broken("needs root and a block device")
        self._packed, f = {}, self.folder
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-days", "2",
                        "-keyout", f / "rauc.key", "-out", f / "rauc.pem"], check=True, capture_output=True)
        (f / "rauc-boot").write_text("#!/bin/sh\ncase $1 in get-primary|get-current) echo A ;; get-state) echo good ;; esac\n")
        (f / "rauc-boot").chmod(0o755)
        (f / "rauc-mount").mkdir()
        other = f / "rauc-other"
        other.write_bytes(bytes(MIB))
        (f / "rauc.conf").write_text(
            f"[system]\ncompatible=bench\nbootloader=custom\nmountprefix={f}/rauc-mount\nstatusfile={f}/rauc-status\n"
            f"[keyring]\npath={f}/rauc.pem\n[handlers]\nbootloader-custom-backend={f}/rauc-boot\n"
            f"[slot.rootfs.0]\ndevice={other}\ntype=raw\nbootname=A\n"
            f"[slot.rootfs.1]\ndevice={self.slot.path}\ntype=raw\nbootname=B\n")
        (f / "rauc-bus.conf").write_text(
            '<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" '
            '"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">\n<busconfig><type>session</type>'
            f'<listen>unix:path={f}/rauc-bus</listen><auth>EXTERNAL</auth><policy context="default">'
            '<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/>'
            '<allow user="*"/></policy></busconfig>\n')
        self._bus = Daemon("dbus-daemon", [find("dbus-daemon"), f"--config-file={f}/rauc-bus.conf", "--nofork",
                                           "--nopidfile"])
        self._env = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={f}/rauc-bus"}
        self._wait(lambda: (f / "rauc-bus").exists(), "the bus")
        self._service = subprocess.Popen(["rauc", f"--conf={f}/rauc.conf", "--override-boot-slot=A", "service"],
                                         env=self._env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        self._wait(lambda: self._rauc("status").returncode == 0, "RAUC's service")

    @staticmethod
    def _wait(done, what):
        deadline = time.monotonic() + 10
        while not done():
            if time.monotonic() > deadline:
                raise Broken(f"{what} did not come up")
            time.sleep(0.05)

    def _rauc(self, *arguments):
        return subprocess.run(["rauc", f"--conf={self.folder}/rauc.conf", *arguments], env=self._env, timeout=900,
                              stdin=subprocess.DEVNULL, capture_output=True)

    def prepare(self, image):
        folder, bundle = self.folder / "rauc-content", self.folder / f"{Path(image.path).name}.raucb"
        folder.mkdir()
        os.link(image.path, folder / "rootfs.img")
        (folder / "manifest.raucm").write_text("[update]\ncompatible=bench\nversion=1.1.0\n[bundle]\nformat=plain\n"
                                               "[image.rootfs]\nfilename=rootfs.img\n")
        done = self._rauc("bundle", f"--cert={self.folder}/rauc.pem", f"--key={self.folder}/rauc.key",
                          "--mksquashfs-args=-noD -noI -noF -comp lzo -Xalgorithm lzo1x_1", str(folder), str(bundle))
        shutil.rmtree(folder)
        if done.returncode != 0:
            raise Broken(f"rauc bundle: {done.stderr.decode(errors='replace')[-500:]}")
        self._packed[image.path] = bundle

    def _cpu(self):
        fields = Path(f"/proc/{self._service.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def run(self, image):
        target, cpu = self.folder / "download.raucb", self._cpu()
        try:
            one, cpu_one = timed([find("curl"), "-sSf", "--cacert", self.stage.cloud.https_ca, "-o", target,
                                  self.url(self._packed[image.path])])
            two, cpu_two = timed(["rauc", f"--conf={self.folder}/rauc.conf", "install", target], env=self._env)
        finally:
            target.unlink(missing_ok=True)
        return one + two, cpu_one + cpu_two + self._cpu() - cpu

    def close(self):
        for process in (getattr(self, "_service", None),):
            if process:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(5)
        if hasattr(self, "_bus"):
            self._bus.close()


LIMITS = [Download, Hash, Write]
PEERS = [CurlDd, Swupdate, Rauc]


def present(kinds, stage, slot, folder, images, say):
    """Those that can run here, prepared; says why another cannot."""
    ready = []
    for kind in kinds:
        missing = [n for n in kind.needs if not find(n)]
        if missing:
            say(f"{kind.name} is left out: there is no {', '.join(missing)}")
            continue
        competitor = None
        try:
            competitor = kind(stage, slot, folder)
            for image in images:
                competitor.prepare(image)
            competitor.run(images[0])
            if competitor.checked:
                images[0].check(slot.path)
            ready.append(competitor)
        except (Broken, subprocess.SubprocessError, OSError) as error:
            say(f"{kind.name} is left out: {error}")
            if competitor:
                competitor.close()
    return ready
