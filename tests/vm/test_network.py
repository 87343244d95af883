"""Networks that go away at the worst moment, and a clock that knows nothing."""

import time

from . import image
from .scene import wait_idle


def started_new(scene, timeout=240):
    scene.machine.wait_text("starting slot B", timeout)


def wait_testing(scene):
    """Until somebody could ask otad, and it is at the self-test."""
    scene.machine.run("until otactl status | grep -q testing; do sleep 0.5; done", timeout=60)


def wait_tries(scene, n_tries):
    """Until otad has tried in vain to connect, so many times since the start."""
    scene.machine.run("until [ $(journalctl -b -u otad --no-pager | grep -c 'Not connected to the broker') -ge "
                      f"{n_tries} ]; do sleep 1; done", timeout=120)


def test_unplugged_in_the_middle(warm):
    new = image.rootfs("2.0.0")
    job = warm.queue(("rootfs.img", new))
    warm.wait_written(image.MIB)
    warm.machine.plug(False)
    # A minute and more, until the keep-alive has told otad; and then through some of its tries.
    wait_tries(warm, 3)
    assert warm.execution(job).status == "IN_PROGRESS" and warm.starts() == []
    warm.machine.plug(True)
    warm.wait_end(job, "SUCCEEDED", 240)
    assert (warm.slot(), warm.version()) == ("B", "2.0.0")
    # The broker has not noticed that the device had gone.
    warm.cloud.assert_clean(allow=["duplicate-client-id", "keep-alive"])


def test_no_broker_at_the_first_start(warm):
    """The new software waits for the cloud, as long as the self-test's deadline lets it."""
    job = warm.queue(("rootfs.img", image.rootfs("2.0.0")))
    started_new(warm)
    warm.cloud.broker.stop()
    wait_tries(warm, 5)
    wait_testing(warm)
    assert warm.execution(job).status == "IN_PROGRESS"
    warm.cloud.broker.start()
    warm.wait_end(job, "SUCCEEDED", 120)
    assert warm.slot() == "B"
    wait_idle(warm)


def test_time_that_never_comes(warm):
    """Neither otad nor the guard of a trial waits for it."""
    new = warm.rootfs("2.0.0", "no_time")
    execution = warm.update(new)
    assert (warm.slot(), warm.version()) == ("B", "2.0.0"), execution.details
    waiting = warm.machine.run("systemctl list-jobs --no-legend")
    assert "time-sync.target" in waiting and "otad" not in waiting, waiting
    warm.cloud.assert_clean()


def test_clock_of_1970_at_the_first_start(warm):
    """No certificate is valid then. The time comes from the network later on."""
    job = warm.queue(("rootfs.img", image.rootfs("2.0.0")))
    warm.machine.clock = "1970-01-01T00:00:00"
    started_new(warm)
    wait_testing(warm)
    assert int(warm.machine.run("date +%s")) < time.time() - 86400
    wait_tries(warm, 3)
    wait_testing(warm)
    assert warm.execution(job).status == "IN_PROGRESS"
    warm.machine.run(f"date -s @{int(time.time())}")
    warm.wait_end(job, "SUCCEEDED", 120)
    assert warm.slot() == "B"
    warm.cloud.assert_clean()
