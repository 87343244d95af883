"""Notifications, time-outs, retries, cancel, delete, remove: what reaches the device, and what does not."""

import pytest

from cloud import Cloud, JobError
from cloud.conftest import RESPONSES, Device
from cloud.test_jobs import drain, queue, update


def told(device, *expected):
    """The next notifications, as "notify" or ("notify-next", job, execution number or None)."""
    got = []
    for topic, payload in drain(device, len(expected)):
        kind = topic.split("/")[1]
        execution = payload.get("execution", {})
        got.append((kind, execution.get("jobId"), execution.get("executionNumber")) if kind == "notify-next" else kind)
    assert got == list(expected)
    return True


def test_first_and_second_job(cloud, device):
    queue(cloud, 2)
    (_, notify), (_, after) = drain(device, 2)
    assert [e["jobId"] for e in notify["jobs"]["QUEUED"]] == ["job-0"] and "IN_PROGRESS" not in notify["jobs"]
    assert after["execution"]["jobDocument"] == {"n": 0}
    assert told(device, "notify") and device.quiet()


def test_progress_is_not_notified(cloud, device):
    queue(cloud)
    drain(device, 2)
    update(device, "job-0")
    update(device, "job-0", statusDetails={"a": "1"})
    assert device.quiet()


def test_start_is_notified_if_asked(cloud, device):
    cloud.jobs.rules.notify_on_start = True
    queue(cloud)
    drain(device, 2)
    update(device, "job-0")
    assert told(device, "notify") and device.quiet()


def test_answers_come_first_unless_told_otherwise(cloud, device):
    cloud.jobs.rules.notify_before_answer = True
    queue(cloud)
    drain(device, 2)
    device.publish("jobs/job-0/update", {"status": "REJECTED"})
    assert [t for t, _ in drain(device, 3)] == ["jobs/notify", "jobs/notify-next", "jobs/job-0/update/accepted"]


@pytest.mark.parametrize("how", ["device", "cancel", "timeout", "delete", "remove"])
def test_end_of_the_head(cloud, device, how):
    queue(cloud, 2)
    drain(device, 3)
    update(device, "job-0")
    if how == "device":
        update(device, "job-0", "SUCCEEDED")
    else:
        {"cancel": lambda: cloud.cancel("job-0", force=True), "timeout": lambda: cloud.time_out("dev-7", "job-0"),
         "delete": lambda: cloud.delete("job-0", force=True), "remove": lambda: cloud.remove("dev-7", "job-0")}[how]()
    assert told(device, "notify", ("notify-next", "job-1", 1))
    cloud.assert_clean()


def test_empty_queue_is_told(cloud, device):
    queue(cloud)
    drain(device, 2)
    cloud.cancel("job-0")
    (_, notify), (_, after) = drain(device, 2)
    assert notify["jobs"] == {} and set(after) == {"timestamp"}


def test_other_than_the_head(cloud, device):
    queue(cloud, 3)
    drain(device, 4)
    cloud.cancel("job-2")
    assert told(device, "notify")
    update(device, "job-1")
    assert told(device, ("notify-next", "job-1", 1))
    assert device.call("jobs/$next/get")[1]["execution"]["jobId"] == "job-1"
    assert [j["jobId"] for j in device.call("jobs/get")[1]["queuedJobs"]] == ["job-0"]


def test_cancel_without_force_leaves_the_running(cloud, device):
    queue(cloud)
    update(device, "job-0")
    with pytest.raises(JobError):
        cloud.cancel_execution("dev-7", "job-0")
    cloud.cancel("job-0")
    assert update(device, "job-0")[0] == "accepted"
    cloud.cancel_execution("dev-7", "job-0", force=True)
    verdict, answer = update(device, "job-0", "SUCCEEDED")
    assert (answer["code"], answer["executionState"]["status"]) == ("InvalidStateTransition", "CANCELED")
    cloud.assert_clean()


def test_delete_and_use_the_id_again(cloud, device):
    queue(cloud)
    update(device, "job-0")
    with pytest.raises(JobError):
        cloud.delete("job-0")
    cloud.delete("job-0", force=True)
    assert update(device, "job-0")[1]["code"] == "ResourceNotFound"
    queue(cloud)
    assert device.call("jobs/$next/get")[1]["execution"]["executionNumber"] == 1
    cloud.assert_clean()


def test_retry_is_a_new_execution(cloud, device):
    queue(cloud, retries={"FAILED": 1})
    drain(device, 2)
    update(device, "job-0", statusDetails={"a": "1"})
    update(device, "job-0", "FAILED", executionNumber=1)
    assert told(device, "notify", ("notify-next", None, None), "notify", ("notify-next", "job-0", 2))
    execution = device.call("jobs/$next/get")[1]["execution"]
    assert (execution["status"], execution["versionNumber"]) == ("QUEUED", 1) and "statusDetails" not in execution
    assert update(device, "job-0", executionNumber=1)[1]["executionState"]["status"] == "FAILED"
    assert update(device, "job-0", executionNumber=2)[0] == "accepted"
    assert update(device, "job-0", "FAILED")[0] == "accepted"
    assert cloud.wait_for("job-0", "FAILED").number == 2 and len(cloud.jobs.queue.executions("dev-7", "job-0")) == 2


def test_rejected_is_never_retried(cloud, device):
    queue(cloud, retries={"ALL": 10})
    update(device, "job-0", "REJECTED")
    assert cloud.execution("dev-7", "job-0").number == 1 and cloud.jobs.queue.jobs["job-0"].status == "COMPLETED"


@pytest.fixture
def hasty(tmp_path):
    """A cloud where a minute lasts 50 ms, and its device."""
    with Cloud(tmp_path / "cloud", seconds_per_minute=0.05) as cloud:
        device = Device(cloud, cloud.add_thing("dev-7")).connect()
        device.subscribe(*RESPONSES)
        yield cloud, device
        device.close()


def test_in_progress_timer_starts_with_the_work(hasty):
    cloud, device = hasty
    queue(cloud, timeout_minutes=2)
    drain(device, 2)
    assert cloud.execution("dev-7", "job-0").deadline() is None
    update(device, "job-0")
    left = device.call("jobs/$next/get")[1]["execution"]["approximateSecondsBeforeTimedOut"]
    assert 0 < left <= 120
    assert told(device, "notify", ("notify-next", None, None))
    assert update(device, "job-0")[1]["executionState"]["status"] == "TIMED_OUT"
    assert cloud.wait_for("job-0", "TIMED_OUT").ended_by == "service"
    cloud.assert_clean()


def test_step_timer(hasty):
    cloud, device = hasty
    queue(cloud, 2, timeout_minutes=10000)
    device.call("jobs/start-next", {"stepTimeoutInMinutes": 2})
    assert update(device, "job-0", stepTimeoutInMinutes=-1)[0] == "accepted"
    with pytest.raises(TimeoutError):
        cloud.wait_for("job-0", "TIMED_OUT", timeout=0.2)
    update(device, "job-0", stepTimeoutInMinutes=1)
    cloud.wait_for("job-0", "TIMED_OUT", timeout=5)
    update(device, "job-1", stepTimeoutInMinutes=10080)
    execution = cloud.execution("dev-7", "job-1")
    assert execution.deadline() == execution.progress_deadline
