"""A gateway in a virtual machine and the stand-in cloud it is updated from, at the beginning of a test."""

import json
import os
import re
import shutil
import time
from pathlib import Path

from cloud import Cloud, OtaFile

from . import image, loaders
from .machine import PATIENCE, Machine

THING, HOST = "gateway-1", "cloud.test"
OTHER = {"A": "B", "B": "A"}
APP = """#!/bin/sh
# The gateway's own program, version {version}.
case ${{1-}} in
--version) echo {version} ;;
--health) {health} ;;
*) exec sleep infinity ;;
esac
"""


def make_app(version, health="true"):
    return APP.format(version=version, health=health).encode()


def factory_data(folder, cloud, signer):
    """The data partition as a folder: this device's identity, whom it trusts, its program, and no state yet."""
    thing = cloud.add_thing(THING)
    group = next(int(line.split(":")[2]) for line in (image.tree() / "etc" / "group").read_text().splitlines()
                 if line.startswith("otad:"))
    for name in "otad", "otad-installer", "tls", "trust/ca", "gateway":
        (folder / name).mkdir(parents=True)
    for source, name in (thing.ca, "root-ca.pem"), (thing.cert, "device.pem.crt"), (thing.key, "device.pem.key"):
        path = folder / "tls" / name
        path.write_bytes(Path(source).read_bytes())
        path.chmod(0o640)
        os.chown(path, 0, group)
    (folder / "trust" / "codesign.pem").write_bytes(Path(signer.path).read_bytes())
    app = folder / "gateway" / "app"
    app.write_bytes(make_app("1"))
    app.chmod(0o755)
    return folder


class Scene:
    """`cloud`, `machine`, and what tests ask about both. `pki` is a folder of a cloud whose certificates are used again;
    `put` files are found in /data of a new machine."""

    def __init__(self, folder, slot_a, pki=None, clock=None, put=(), loader="grub"):
        self.folder, self.loader = Path(folder), loaders.ALL[loader]
        self.folder.mkdir(parents=True, exist_ok=True)
        if pki:
            shutil.copytree(pki, self.folder / "cloud" / "pki")
        self.cloud = Cloud(self.folder / "cloud", host=HOST).start()
        self.machine = None
        try:
            self.signer = self.cloud.add_signer("codesign")
            self.cloud.add_thing(THING)
            self.disk = self.folder / "disk"
            if slot_a:
                data = factory_data(self.folder / "data", self.cloud, self.signer)
                for path in put:
                    shutil.copy(path, data)
                image.make_disk(self.disk, slot_a, data, loader)
                shutil.rmtree(data)
            self.machine = self.new_machine(clock=clock)
        except BaseException:
            self.close()
            raise

    def new_machine(self, **options):
        services = {8883: self.cloud.port, self.cloud.https.port: self.cloud.https.port}
        return Machine(self.folder, self.disk, services, firmware=self.loader.firmware(self.folder), **options)

    def rootfs(self, version, defect=None, settings=()):
        return image.rootfs(version, defect, settings, loader=self.loader.name)

    def close(self):
        if self.machine:
            self.machine.cut()
        self.cloud.close()

    # ---- the cloud's side ----

    def queue(self, *files, protocols=("HTTP",), **options):
        """A job with files, given as (name, path or bytes). Returns the job."""
        return self.cloud.create_ota_update(THING, [OtaFile(name, content, self.signer) for name, content in files],
                                            protocols, **options)

    def wait_connected(self, timeout=60):
        self.cloud.wait_connected(THING, timeout * PATIENCE)

    def wait_end(self, job, status, timeout):
        """Until the job has ended that way. Returns its execution."""
        try:
            return self.cloud.wait_for(job, status, timeout * PATIENCE)
        except Exception as error:
            raise AssertionError(f"{error}\n{self.report()}") from None

    def execution(self, job):
        return self.cloud.execution(THING, job)

    def update(self, version_image, status="SUCCEEDED", timeout=120, **options):
        job = self.queue(("rootfs.img", version_image), **options)
        return self.wait_end(job, status, timeout)

    # ---- the machine's side ----

    def status(self):
        return json.loads(self.machine.run("otactl status --json"))

    def wait_written(self, n_bytes, timeout=60):
        """Until so much of an image is on its target."""
        deadline = time.monotonic() + timeout * PATIENCE
        while sum(target["written"] for target in self.status()["targets"]) < n_bytes:
            assert time.monotonic() < deadline, self.report()
            time.sleep(0.5)

    def slot(self):
        return re.search(r"rauc\.slot=(\w)", self.machine.run("cat /proc/cmdline"))[1]

    def version(self):
        return re.search(r"IMAGE_VERSION=(\S+)", self.machine.run("cat /etc/os-release"))[1]

    def boot_state(self):
        """See loaders.py: in which order slots would be started, which are good, which on trial."""
        return self.loader.state(self.machine.run)

    def starts(self):
        """The slots that were started, in order."""
        return re.findall(self.loader.starting.format(r"(\w)"), self.machine.text(0))

    def is_starting(self, slot, since):
        return self.loader.starting.format(slot) in self.machine.text(since)

    def report(self):
        """For a test that failed: the journal, if there is still somebody to ask, and the console."""
        said = ""
        if self.machine and self.machine.running:
            try:
                said = self.machine.run("journalctl -b --no-pager -o short-monotonic -u 'otad*' -n 60", timeout=10,
                                        check=False)
            except Exception as error:      # noqa: it is only one of the things to tell
                said = str(error)
        return f"---- journal\n{said}\n---- console\n{self.machine.text(0)[-4000:] if self.machine else ''}"


def wait_idle(scene, timeout=60):
    """Until otad has nothing more to do, and what was written is on the disk. At its start otad is idle, too, as it has
    not asked otad-installer yet."""
    scene.machine.run("until otactl status | grep -q '^State *idle' && [ ! -e /var/lib/otad-installer/session ]; "
                      "do sleep 0.3; done; sync", timeout=timeout)
