"""Storage that is full, broken or slow to take bytes: under the target, under both state folders, under the log."""

import errno
import time

import pytest

from cloud import faults
from gateway import make_image

from e2e.scene import THING

IMAGE = make_image("1.1.0", 300_000)
APP = make_image("1.1.0", 50_000)
FULL, BROKEN, READ_ONLY, NO_DEVICE = errno.ENOSPC, errno.EIO, errno.EROFS, errno.ENXIO

# Under the slot: name: (rule, how the job ends). The rule holds from the start, for the installer.
SLOT = {
    "full at once": (f"fail pwrite {FULL} 0", "no-space"), "broken at once": (f"fail pwrite {BROKEN} 0", "target-io"),
    "sync broken": (f"fail sync {BROKEN} 0", "target-io"), "full at sync": (f"fail sync {FULL} 0", "no-space"),
    "not readable": (f"fail pread {BROKEN} 0", "target-io"), "not openable": (f"fail open {NO_DEVICE} 0", "target-missing"),
    "read-only": (f"fail open {READ_ONLY} 0", "target-io"), "no such device": (f"fail open {errno.ENOENT} 0", "target-missing"),
    "in use": (f"fail open {errno.EBUSY} 0", "target-busy"), "takes 1000 bytes at a time": ("short pwrite 1000 0", None),
    "gives 1000 bytes at a time": ("short pread 1000 0", None), "full after a while": (f"fail pwrite {FULL} 1", "no-space"),
    "broken after a while": (f"fail sync {BROKEN} 1", "target-io"), "not readable after a while": (f"fail pread {BROKEN} 1", "target-io"),
}


@pytest.mark.parametrize("name", SLOT)
def test_slot(make_scene, name):
    rule, error = SLOT[name]
    image = make_image("1.1.0", 2_500_000) if "after a while" in name else IMAGE
    scene = make_scene(slot_size=3 << 20)
    scene.wrap("otad-installer", f"{rule} */slot-B")
    job = scene.power_on().update(image)
    if error is None:
        scene.expect_success(job, image, "1.1.0")
        scene.expect_clean()
        return
    phase = "accepted" if " open " in rule else "rolled-back"      # what cannot be opened was never begun
    scene.expect_failure(job, error, phase=phase, touched=None, next_job=False)
    if name.startswith("full"):         # once is enough: when the cause is gone, so is the trouble
        scene.spoil("otad-installer")
        scene.expect_next_works()


# What is written asynchronously and past the page cache elsewhere: a file system that cannot, a kernel that is out of it.
INDIRECT = {
    "no direct I/O": f"fail open {errno.EINVAL} 0 /proc/self/fd/*", "never asynchronously": f"fail submit {errno.EAGAIN} 0 *",
    "no longer asynchronously": f"fail submit {errno.EAGAIN} 5 *",
}


@pytest.mark.parametrize("name", INDIRECT)
def test_slot_by_the_page_cache(make_scene, name):
    image = make_image("1.1.0", 2_500_000)
    scene = make_scene(slot_size=3 << 20)
    scene.wrap("otad-installer", INDIRECT[name])
    scene.expect_success(scene.power_on().update(image), image, "1.1.0")
    scene.expect_clean()


# Under a file's folder.
FILE = {
    "full": (f"fail write {FULL} 0 */root/*", f"fail pwrite {FULL} 0 */root/*", "no-space"),
    "no room to be had": (f"fail allocate {FULL} 0 */root/*", "", "no-space"),
    "nothing can be made": (f"fail open {READ_ONLY} 0 */root/*", "", "target-io"),
    "sync broken": (f"fail sync {BROKEN} 0 */root/*", "", "target-io"),
    "cannot be put in place": (f"fail rename {BROKEN} 0 */root/app", "", "activation-failed"),
    "the old cannot be removed": (f"fail unlink {BROKEN} 0 */root/*", "", "target-io"),
}


@pytest.mark.parametrize("name", FILE)
def test_file(make_scene, name):
    *rules, error = FILE[name]
    scene = make_scene(files=["app"], slot_size=0)
    scene.wrap("otad-installer", *rules)
    gateway = scene.power_on().gateway
    before = gateway.digest("app")
    job = scene.update(APP, name="app")
    execution = scene.wait(job, "FAILED" if error else "SUCCEEDED")
    assert execution.details.get("error") == error, execution
    scene.wait_idle()
    if error:
        assert gateway.digest("app") == before
    scene.spoil("otad-installer")
    second = make_image("9.0.0", 50_000)
    scene.wait(scene.update(second, name="app"), "SUCCEEDED")
    assert gateway.files["app"].read_bytes() == second


# The installer's own record: from which moment on nothing can be saved, how it is broken, how the job ends.
RECORD = {
    "from the beginning, full": ("start", f"fail write {FULL} 0", "FAILED", "resources"),
    "from the beginning, broken": ("start", f"fail sync {BROKEN} 0", "FAILED", "resources"),
    "from the beginning, read-only": ("start", f"fail open {READ_ONLY} 0", "FAILED", "resources"),
    "from the beginning, no rename": ("start", f"fail rename {BROKEN} 0", "FAILED", "resources"),
    "while downloading": ("pre-install", f"fail * {FULL} 0", "FAILED", "resources"),
    "while verifying": ("post-install", f"fail * {FULL} 0", "FAILED", "resources"),
    "while activating": ("activate", f"fail * {BROKEN} 0", "FAILED", "resources"),
    # The reason of the rollback cannot be saved either; what is found after the restart is what is told.
    "while testing": ("selftest", f"fail * {BROKEN} 0", "FAILED", "booted-old-slot"),
    "while committing": ("commit", f"fail * {FULL} 0", "FAILED", "booted-old-slot"),
    "while tidying up": ("cleanup", f"fail unlink {BROKEN} 0", "SUCCEEDED", None),
}


@pytest.mark.parametrize("name", RECORD)
def test_record_of_the_installer(make_scene, name):
    """What cannot be saved is not entered: the update is undone, the old software runs, and the cloud is told why."""
    stage, rule, status, error = RECORD[name]
    scene = make_scene()
    scene.wrap("otad-installer")
    gateway = scene.power_on().gateway
    rule += " */installer-state/*"
    if stage == "start":
        scene.spoil("otad-installer", rule)
        job = scene.update(IMAGE)
    else:
        gateway.plan_hook(stage, sleep=0.5, times=1)
        job = scene.update(IMAGE)
        gateway.wait(lambda: gateway.hook_calls(stage), 20, stage)
        scene.spoil("otad-installer", rule)
    execution = scene.wait(job, status)
    assert execution.details.get("error") == error, execution
    time.sleep(0.2)
    scene.spoil("otad-installer")
    scene.wait_idle()
    running = "1.1.0" if status == "SUCCEEDED" else "1.0.0"
    assert gateway.version == running and gateway.loader.primary == gateway.slot
    if status == "FAILED":
        assert gateway.digest("A") == scene.factory


# otad's own: what the cloud must still hear.
OUTBOX = [f"fail write {FULL} 0", f"fail sync {BROKEN} 0", f"fail rename {BROKEN} 0", f"fail open {READ_ONLY} 0",
          f"fail * {FULL} 0", f"fail unlink {BROKEN} 0"]


@pytest.mark.parametrize("rule", OUTBOX)
def test_outbox(make_scene, rule):
    """The end is told all the same; it is only not kept, and the installer's record is."""
    scene = make_scene()
    scene.wrap("otad", f"{rule} */state/*")
    job = scene.power_on().update(IMAGE)
    scene.wait(job, "SUCCEEDED")
    scene.spoil("otad")
    scene.extra_connects += 5
    scene.gateway.wait(lambda: not (scene.gateway.folder / "installer-state" / "session").exists(), what="end of the update")
    scene.gateway.restart("otad")
    scene.expect_next_works(previous="1.1.0")


# What is on disk, and how it cannot be read; by what it then is called, or not.
UNREADABLE = {"broken": (f"fail pread {BROKEN} 0",), "broken and read-only": (f"fail pread {BROKEN} 0", f"fail rename {READ_ONLY} 0"),
              "damaged and read-only": (f"fail rename {READ_ONLY} 0",)}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("program, record", [("otad", "state/outbox"), ("otad-installer", "installer-state/session")])
def test_record_that_cannot_be_read(make_scene, program, record, name):
    """Said, put aside where that can be, and no reason not to start; not even at the next start, when it is still there."""
    scene = make_scene()
    gateway = scene.gateway
    path = gateway.folder / record
    path.parent.mkdir(exist_ok=True)
    path.write_text("whatever it was\n")
    scene.wrap(program, *(f"{rule} */{record}*" for rule in UNREADABLE[name]))
    scene.power_on()
    for _ in range(2):
        gateway.wait_output(program, "neither read nor put aside" if "read-only" in name else "put aside")
        scene.cloud.wait_connected(THING)
        gateway.restart(program)
    assert path.exists() == ("read-only" in name)
    scene.spoil(program)
    scene.expect_success(scene.update(IMAGE), IMAGE, "1.1.0")


def test_outbox_full_and_the_power_fails(make_scene):
    """Neither sent nor kept by otad: the installer still knows, and so the cloud hears it after all."""
    scene = make_scene()
    scene.wrap("otad", f"fail * {FULL} 0 */state/*")
    lost = scene.cloud.faults.on("job.request", faults.drop(), match=lambda e: e.operation == "update" and
                                 b"SUCCEEDED" in bytes(e.payload))
    job = scene.power_on().update(IMAGE)
    scene.cloud.wait_until(lambda: lost.hits, 20, "final status")
    scene.gateway.power_cut()
    lost.off()
    scene.spoil("otad")
    scene.gateway.power_on()
    scene.wait(job, "SUCCEEDED")
    scene.wait_idle()


# The log.
LOG = {
    "full": "2>/dev/full", "closed": "2>&-", "all three closed": "<&- >&- 2>&-", "nobody reads it": "2>{fifo}",
}


@pytest.mark.parametrize("name", LOG)
def test_log(make_scene, name):
    """What cannot be logged is not logged. A descriptor 2 that is closed must not become that of a slot."""
    scene = make_scene()
    for program in ("otad", "otad-installer"):
        fifo = scene.gateway.folder / f"{program}.fifo"
        if "{fifo}" in LOG[name]:       # a pipe whose reader has gone
            scene.wrap(program, before=f"mkfifo '{fifo}'; sleep 0.2 <'{fifo}' &", after=LOG[name].format(fifo=f"'{fifo}'"))
        else:
            scene.wrap(program, after=LOG[name])
    scene.power_on()
    if "{fifo}" in LOG[name]:
        time.sleep(0.5)
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0")
    for program in ("otad", "otad-installer"):
        record = scene.gateway.folder / "installer-state" / "history"
        assert b"debug:" not in record.read_bytes()


@pytest.mark.parametrize("name", ["otad", "otad-installer"])
def test_log_broken(make_scene, name):
    scene = make_scene()
    scene.wrap(name, f"fail write {BROKEN} 20 */{name}.log")
    scene.expect_success(scene.power_on().update(IMAGE), IMAGE, "1.1.0")
    scene.expect_clean()


def test_limit_of_file_size(make_scene):
    """RLIMIT_FSIZE: an error like any other, not the signal that ends the program."""
    scene = make_scene(slot_size=8_000_000)
    scene.wrap("otad-installer", before="ulimit -f 5000")       # of 512 or 1024 bytes, as the shell counts
    image = make_image("1.1.0", 7_000_000)
    job = scene.power_on().update(image)
    scene.expect_failure(job, "target-io", next_job=False)


# Slots

def test_slot_too_small(make_scene):
    scene = make_scene(slot_size=200_000).power_on()
    job = scene.update(make_image("1.1.0", 200_001))
    scene.expect_failure(job, "image-too-large", phase="accepted", touched=False, next_job=False)


def test_slot_that_is_not_there(make_scene):
    scene = make_scene().power_on()
    slot = scene.gateway.slots["B"]
    slot.rename(slot.with_suffix(".away"))
    job = scene.update(IMAGE)
    scene.expect_failure(job, "target-missing", phase="accepted", touched=None, next_job=False)
    slot.with_suffix(".away").rename(slot)
