"""One update is recorded write by write. Then the power is cut after each write to the data partition and the ESP, and after
some to the slot that is updated (each, with --long): hundreds of disks, each checked for what the next start would do."""

import os
import re
import shutil
import signal
import subprocess
import time

import pytest

from boot.loaders import Grub, SystemdBoot
from gateway.config import render

from . import image, loaders, replay
from .scene import APP, Scene, wait_idle

# In which state the installer may find itself after a cut, by the slot that the boot loader starts.
OLD = {"idle", "downloading", "verifying", "installed", "activating", "rolling-back", "rolled-back"}
NEW = {"testing", "committed", "idle"}


class Recording:
    """`before`: the disk; `writes`: all of a whole update; how many had been made when the new software had reached the
    cloud, and when the cloud had called it a success."""

    def __init__(self, folder, loader):
        scene = Scene(folder, image.rootfs("1.0.0", loader=loader), loader=loader)
        try:
            scene.machine.power_on()
            scene.wait_connected()
            wait_idle(scene)
            scene.machine.power_off()
            self.before = folder / "before"
            image.run("cp", "--sparse=always", scene.disk, self.before)
            scene.machine = scene.new_machine(write_log=folder / "log")
            scene.machine.power_on()
            scene.wait_connected()
            job = scene.queue(("rootfs.img", scene.rootfs("2.0.0")))
            scene.machine.wait_text(scene.loader.starting.format("B"), 240)
            scene.wait_connected()
            self.n_reached = self.count(scene)
            scene.wait_end(job, "SUCCEEDED", 120)
            self.n_succeeded = self.count(scene)
            wait_idle(scene)
            scene.machine.power_off()
            self.writes = self.read(scene)
        finally:
            scene.close()

    @staticmethod
    def read(scene):
        return [write for log in scene.machine.write_logs() for write in replay.read_log(log)]

    def count(self, scene):
        return len(self.read(scene))


class GrubOfEsp(Grub):
    """GRUB's choice, by the environment block that a cut has left."""

    def make(self):
        self.store = self.folder / "esp" / "grub" / "grubenv"
        self.write_settings(GRUBENV=self.store)


class SystemdBootOfEsp(SystemdBoot):
    """Likewise, by the entries."""

    def make(self):
        self.store = self.folder / "esp" / "loader" / "entries"
        self.write_settings(ESP=self.folder / "esp")


MODELS = {model.name: model for model in (GrubOfEsp, SystemdBootOfEsp)}


class Device:
    """What a cut has left, taken apart, and the installer of the package started on it."""

    def __init__(self, folder, programs, old_image, loader):
        self.folder, self.programs, self.old_image, self.loader = folder, programs, old_image, loaders.ALL[loader]
        self.esp, self.data, self.slot = folder / "esp.img", folder / "data.img", folder / "slot-b"
        self.files = None       # of the ESP, before the first cut

    def read_esp(self, name="esp"):
        """Its files, as the firmware would find them. One that cannot be read is left out."""
        esp, files = self.folder / name, {}
        shutil.rmtree(esp, ignore_errors=True)
        for line in image.run("mdir", "-/", "-b", "-i", self.esp, "::").splitlines():
            path = line.removeprefix("::/")
            if line.endswith("/"):
                (esp / path).mkdir(parents=True, exist_ok=True)
                continue
            done = subprocess.run(["mtype", "-i", self.esp, line], capture_output=True)
            if done.returncode == 0 and not done.stderr:
                (esp / path).parent.mkdir(parents=True, exist_ok=True)
                (esp / path).write_bytes(done.stdout)
                files[path] = done.stdout
        return files

    def take_apart(self, parts):
        replay.save(parts.content["esp"], self.esp)
        replay.save(parts.content["data"], self.data)
        replay.save(parts.content["rootfs-b"], self.slot)
        # A file system must be whole after its own recovery, as the machine does it at its start.
        done = subprocess.run(["e2fsck", "-p", self.data], capture_output=True, text=True)
        assert done.returncode in (0, 1), f"e2fsck -p: {done.returncode} {done.stdout}{done.stderr}"
        done = subprocess.run(["e2fsck", "-fn", self.data], capture_output=True, text=True)
        assert done.returncode == 0, f"e2fsck -fn: {done.stdout}{done.stderr}"
        for name in "otad", "otad-installer", "gateway":
            shutil.rmtree(self.folder / name, ignore_errors=True)
        said = image.run("debugfs", "-R", f"rdump /otad /otad-installer /gateway {self.folder}", self.data)
        assert (self.folder / "otad-installer").is_dir(), said
        self.check_files(self.read_esp())
        if self.loader.checks_esp:
            done = subprocess.run(["fsck.vfat", "-a", self.esp], capture_output=True, text=True)
            assert done.returncode in (0, 1), f"fsck.vfat -a: {done.returncode} {done.stdout}"
            self.check_files(self.read_esp("checked"))
        # What a later start would trip over: clusters that two files share, or a chain that ends in the void.
        done = subprocess.run(["fsck.vfat", "-n", self.esp], capture_output=True, text=True)
        self.fat_says = "\n".join(line for line in done.stdout.splitlines() if not re.match(
            r"fsck.fat|Dirty bit is set|\s*Automatically removing dirty bit|\s*Leaving filesystem unchanged|"
            r".* files, .* clusters$|"
            r"There are differences between boot sector and its backup|This is mostly harmless|\s+\d+:.*/.*$|"
            r"\s*Not automatically fixing this|$", line))

    def check_files(self, found):
        """Nothing is lost that was there before the update."""
        for name, before in self.files.items():
            assert name in found, f"{name} is lost"
            assert self.loader.is_the_same(name, before, found[name]), f"{name} is not what it was: {found[name][:500]}"

    def start(self):
        """The next start of the machine: (slot, the installer's state)."""
        loader = MODELS[self.loader.name](self.folder)
        slot = loader.start()
        boot = self.folder / "boot-script"
        boot.write_text(f"#!/bin/sh\nexport OTAD_BOOT_CONF={loader.settings} OTAD_CMDLINE={loader.cmdline}\n"
                        f'exec {image.TOP}/conf/boot/{loader.name} "$@"\n')
        boot.chmod(0o755)
        hook = self.folder / "hook"
        hook.write_text("#!/bin/sh\nexit 0\n")
        hook.chmod(0o755)
        (self.folder / "boot-id").write_text(f"{os.urandom(8).hex()}\n")
        (self.folder / "release").write_text(f"IMAGE_VERSION={'2.0.0' if slot == 'B' else '1.0.0'}\n")
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir()
        config = self.folder / "otad.conf"
        config.write_text(render({
            "thing-name": "gateway-1", "broker": {"endpoint": "cloud.test"},
            "version": {"file": str(self.folder / "release")}, "hook": {"script": str(hook)},
            "targets": [{"name": "rootfs", "type": "ab", "match": "rootfs.img", "boot": str(boot), "slots": [
                {"name": "A", "device": str(self.old_image)}, {"name": "B", "device": str(self.slot)}]}],
            "paths": {"state": str(self.folder / "otad"), "installer-state": str(self.folder / "otad-installer"),
                      "runtime": str(run), "boot-id": str(self.folder / "boot-id")},
            "installer": {"peer-user": "root"}, "control": {"bus": "none"}}))
        with open(self.folder / "log", "w") as log:
            process = subprocess.Popen([self.programs / "sbin" / "otad-installer", "--config", config], stdout=log,
                                       stderr=log)
        try:
            return slot, self.ask(config, process)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)

    def ask(self, config, process):
        deadline = time.monotonic() + 20
        while True:
            done = subprocess.run([self.programs / "bin" / "otactl", "--config", config, "status"], capture_output=True,
                                  text=True)
            state = re.search(r"^Installer ([a-z-]+)", done.stdout, re.M)
            if state:
                return state[1]
            assert process.poll() is None and time.monotonic() < deadline, (done, (self.folder / "log").read_text())
            time.sleep(0.02)


@pytest.mark.parametrize("loader", ["grub", "systemd-boot"], indirect=True)
def test_cut_after_each_write(loader, tmp_path, request, capsys):
    recording = Recording(tmp_path / "recording", loader)
    old, new = image.rootfs("1.0.0", loader=loader), image.rootfs("2.0.0", loader=loader)
    image.run("dpkg-deb", "-x", image.deb(), tmp_path / "package")
    shutil.copy(old, tmp_path / "slot-a")
    device = Device(tmp_path, tmp_path / "package" / "usr", tmp_path / "slot-a", loader)
    new_bytes = new.read_bytes()
    places = {name: (image.offset(name), image.PARTITIONS[name][1] * image.MIB) for name in ("esp", "data")}
    places["rootfs-b"] = (image.offset("rootfs-b"), len(new_bytes) + image.MIB)
    parts = replay.Parts.read(recording.before, places)
    replay.save(parts.content["esp"], device.esp)
    device.files = device.read_esp()
    n_slot = len(recording.writes) if request.config.getoption("--long") else 40
    chosen = replay.choose(recording.writes, parts, ("esp", "data"), n_slot, seed=1)
    failures, n_tried, states = [], 0, {}
    for cut in replay.cuts(recording.writes, parts, 1, chosen):
        n_tried += 1
        try:
            device.take_apart(cut.parts)
            slot, state = device.start()
            states[slot, state] = states.get((slot, state), 0) + 1
            check(recording, device, cut, slot, state, new_bytes)
        except AssertionError as error:
            failures.append(f"after write {cut.number}, unflushed ones {cut.what}: {error}")
    with capsys.disabled():
        print(f"\ncuts of a recorded update: {n_tried} tried, {len(failures)} failed")
        print("  " + ", ".join(f"{slot} {state}: {n}" for (slot, state), n in sorted(states.items())))
    assert n_tried > 200 and ("B", "committed") in states and ("A", "downloading") in states
    assert not failures, "\n".join(failures[:20])


def check(recording, device, cut, slot, state, new_bytes):
    order, good, on_trial = device.loader.state(
        lambda command: subprocess.run(["sh", "-c", command], capture_output=True, text=True).stdout, device.folder / "esp")
    now = order, good, on_trial
    is_whole = cut.parts.content["rootfs-b"][:len(new_bytes)] == new_bytes
    assert state in (NEW if slot == "B" else OLD), f"slot {slot} runs, and the installer is in state '{state}'"
    assert slot == "A" or is_whole, "slot B would be started, and is not whole"
    assert device.loader.is_whole(device.folder / "esp", slot), f"slot {slot} would be started, and its kernel is not whole"
    assert "A" in good, now
    if state == "committed" or cut.number >= recording.n_succeeded:
        assert slot == "B" and now == ("BA", {"A", "B"}, set()), f"{state}: {now}"
    if slot == "B" and state == "idle":
        assert cut.number >= recording.n_reached, "idle in the new software, and nobody has told the cloud"
    left = list((device.folder / "otad-installer").glob("*.damaged")) + list((device.folder / "otad").glob("*.damaged"))
    assert not left, left
    assert (device.folder / "gateway" / "app").read_bytes() == device_app(), "the app is not what it was"
    assert not device.fat_says, device.fat_says


def device_app():
    return APP.format(version="1", health="true").encode()
