"""Power cuts at random moments of an update in a running machine, and what must be true after each."""

import time

from . import scene as scenes
from .machine import PATIENCE

# What has to have happened since the last cut, and how many seconds after that the power goes, at most.
MOMENTS = {
    "download": (lambda scene, since, slot: scene.cloud.find_messages("http", since=since), 4),
    "install": (lambda scene, since, slot: _told(scene, "verifying", since), 3),
    "activation": (lambda scene, since, slot: _told(scene, "activating", since), 2),
    "first start": (lambda scene, since, slot: scene.starts()[-1:] == [slot], 12),
    "commit": (lambda scene, since, slot: _told(scene, "testing", since), 2),
}


def _told(scene, phase, since):
    return any(message.payload.get("statusDetails", {}).get("phase") == phase
               for message in scene.cloud.find_messages("device", "jobs/.*/update$", since=since)
               if isinstance(message.payload, dict))


def cut_at(scene, job, moment, chance, new_slot):
    """Cuts the power then, and switches it on again. Waits no longer than the update takes. Returns a line about it."""
    happened, spread = MOMENTS[moment]
    since, deadline = len(scene.cloud.messages), time.monotonic() + 120 * PATIENCE

    def over():
        return scene.execution(job).status in ("SUCCEEDED", "FAILED")
    while not happened(scene, since, new_slot) and not over():
        if time.monotonic() > deadline:
            raise AssertionError(f"'{moment}' does not come\n{scene.report()}")
        time.sleep(0.05)
    pause = chance.uniform(0, spread)
    time.sleep(pause)
    scene.machine.cut()
    execution = scene.execution(job)
    scene.machine.power_on()
    return f"power cut {pause:.1f} s into {moment}: {execution.status} {execution.details.get('phase', '')}"


def check_end(scene, execution, old_slot):
    """The cloud was told the truth, the machine runs, and nothing is left to do."""
    slot, error = scene.slot(), execution.details.get("error")
    if execution.status == "SUCCEEDED":
        assert slot != old_slot, f"SUCCEEDED, but slot {slot} runs"
    else:
        assert (error, slot) == ("booted-old-slot", old_slot), f"{execution}\n{scene.report()}"
    scenes.wait_idle(scene)
    left = scene.machine.run("ls /var/lib/otad-installer /var/lib/otad").split()
    assert "session" not in left and not [name for name in left if name.endswith(".damaged")], left
    # That FAT was not unmounted is what a power cut looks like.
    complaints = scene.machine.run("dmesg | grep -E '(EXT4|FAT)-fs .*(error|invalid|corrupt)' | "
                                   "grep -v 'not properly unmounted' || true")
    assert not complaints.strip(), complaints
    assert scene.grubenv()[f"{slot}_OK"] == "1"
    return slot
