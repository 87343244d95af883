"""Power cuts at random moments of an update in a running machine, and what must be true after each."""

import os
import random
import time

from . import scene as scenes
from .machine import PATIENCE

START_SECONDS = 8       # from power on to a shell, on two quiet cores
# In their order: when each begins, when it ends, and how many seconds after its begin the power goes, at most, on two quiet
# cores; but no later than at its end.
MOMENTS = {
    "download": (lambda c: c.asked(), lambda c: c.told("verifying"), 5),
    "install": (lambda c: c.told("verifying"), lambda c: c.told("installed"), 3),
    "activation": (lambda c: c.told("activating"), lambda c: c.said("reboot: Restarting system"), 4),
    "first start": (lambda c: c.is_starting(), lambda c: c.told("testing"), 10),
    "commit": (lambda c: c.told("testing"), lambda c: c.is_over(), 3),
}


class Cutter:
    """Takes the moments from a seed, which OTAD_VM_SEED sets, so that a run can be had again as nearly as a clock allows."""

    def __init__(self, scene):
        self.seed = int(os.environ.get("OTAD_VM_SEED") or random.SystemRandom().randrange(1 << 32))
        self.scene, self.chance, self.lines, self.n_cuts = scene, random.Random(self.seed), [], 0
        self.job = self.new_slot = None
        self.look_from_here()

    # ---- what has happened since the last cut ----

    def look_from_here(self):
        self.n_messages, self.mark = len(self.scene.cloud.messages), self.scene.machine.mark()

    def asked(self):
        return self.scene.cloud.find_messages("http", since=self.n_messages)

    def told(self, phase):
        return any(message.payload.get("statusDetails", {}).get("phase") == phase
                   for message in self.scene.cloud.find_messages("device", "jobs/.*/update$", since=self.n_messages)
                   if isinstance(message.payload, dict))

    def said(self, text):
        return text in self.scene.machine.text(self.mark)

    def is_starting(self):
        """The new slot; or the firmware before it, where that takes its time."""
        return self.scene.is_starting(self.new_slot, self.mark) or (
            self.scene.loader.is_slow and self.said("reboot: Restarting system"))

    def is_over(self):
        return self.scene.execution(self.job).status in ("SUCCEEDED", "FAILED")

    # ---- cuts ----

    def cut(self, moment):
        """Cuts the power then, and switches it on again. False if the update is over before it comes to that."""
        begins, ends, seconds = MOMENTS[moment]
        machine = self.scene.machine
        if not self.wait(lambda: begins(self) or self.is_over(), 120 * PATIENCE):
            raise AssertionError(f"'{moment}' does not come\n{self.scene.report()}")
        if not begins(self):
            return False
        # A busy host stretches all of it.
        pause = self.chance.random() * seconds * max(1.0, (machine.start_seconds or START_SECONDS) / START_SECONDS)
        begun = time.monotonic()
        self.wait(lambda: ends(self) or self.is_over(), pause)
        machine.cut()
        self.n_cuts += 1
        execution = self.scene.execution(self.job)
        self.lines.append(f"power cut {time.monotonic() - begun:.1f} s into {moment}: {execution.status} "
                          f"{execution.details.get('phase', '')}")
        self.look_from_here()
        machine.power_on()
        return True

    @staticmethod
    def wait(predicate, timeout):
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        return True

    def update(self, image_path, version, moments, slot):
        """One update of the software in `slot`, cut at those of the moments that it comes to. Returns the slot that runs
        at its end, and the moments that it did not come to."""
        try:
            old_version = self.scene.version()
            self.new_slot = scenes.OTHER[slot]
            self.look_from_here()
            self.job = self.scene.queue(("rootfs.img", image_path))
            left = [moment for moment in moments if not self.cut(moment)]
            execution = self.scene.wait_end(self.job, ("SUCCEEDED", "FAILED"), 180)
            self.lines.append(f"  -> {execution.status} {execution.details.get('error', '')}")
            return check_end(self.scene, execution, slot, old_version, version), left
        except Exception as error:
            raise AssertionError(f"{error}\n{self}") from error

    def __str__(self):
        return "\n".join([f"power cuts in the machine, OTAD_VM_SEED={self.seed}", *self.lines])


def check_end(scene, execution, old_slot, old_version, new_version):
    """The cloud was told the truth, the machine runs, and nothing is left to do. Returns the slot."""
    error = execution.details.get("error")
    slot, version = scene.slot(), scene.version()
    if execution.status == "SUCCEEDED":
        assert (slot, version) == (scenes.OTHER[old_slot], new_version), f"SUCCEEDED, but {version} runs in slot {slot}"
    else:
        assert (error, slot, version) == ("booted-old-slot", old_slot, old_version), f"{execution}\n{scene.report()}"
    scenes.wait_idle(scene)
    left = scene.machine.run("ls /var/lib/otad-installer /var/lib/otad").split()
    assert "session" not in left and not [name for name in left if name.endswith(".damaged")], left
    # That FAT was not unmounted is what a power cut looks like.
    complaints = scene.machine.run("dmesg | grep -E '(EXT4|FAT)-fs .*(error|invalid|corrupt)' | "
                                   "grep -v 'not properly unmounted' || true")
    assert not complaints.strip(), complaints
    order, good, on_trial = scene.boot_state()
    assert order[0] == slot and slot in good and not on_trial, (order, good, on_trial)
    return slot
