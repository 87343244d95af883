"""Jobs over MQTT: requests, answers, versions, transitions, errors, as a device meets them."""

import pytest

from cloud import JobError, Rules
from cloud.jobs import encode, Raw

DOCUMENT = {"operation": "custom"}


def queue(cloud, n=1, **options):
    return [cloud.create_job("dev-7", {"n": i}, job_id=f"job-{i}", **options) for i in range(n)]


def drain(device, n):
    return [device.receive() for _ in range(n)]


def update(device, job, status="IN_PROGRESS", **members):
    return device.call(f"jobs/{job}/update", {"status": status, **members})


def test_nothing_pending(cloud, device):
    verdict, answer = device.call("jobs/$next/get", {"clientToken": "d"})
    assert (verdict, set(answer), answer["clientToken"]) == ("accepted", {"clientToken", "timestamp"}, "d")
    assert abs(answer["timestamp"] - cloud.jobs.now()) <= 2
    assert "execution" not in device.call("jobs/start-next")[1]
    verdict, answer = device.call("jobs/get", {"clientToken": "g"})
    assert (verdict, answer["inProgressJobs"], answer["queuedJobs"]) == ("accepted", [], [])
    cloud.assert_clean()


def test_describe(cloud, device):
    queue(cloud)
    execution = device.call("jobs/$next/get")[1]["execution"]
    assert execution["jobId"] == "job-0" and execution["status"] == "QUEUED"
    assert (execution["versionNumber"], execution["executionNumber"]) == (1, 1)
    assert execution["jobDocument"] == {"n": 0}
    assert "startedAt" not in execution and "statusDetails" not in execution
    assert "jobDocument" not in device.call("jobs/job-0/get", {"includeJobDocument": False})[1]["execution"]
    assert device.call("jobs/job-0/get", {"executionNumber": 2})[1]["code"] == "ResourceNotFound"


def test_start_next_takes_the_running_one_first(cloud, device):
    queue(cloud, 2)
    first = device.call("jobs/start-next", {"statusDetails": {"a": "1"}})[1]["execution"]
    assert (first["jobId"], first["status"], first["statusDetails"]) == ("job-0", "IN_PROGRESS", {"a": "1"})
    again = device.call("jobs/start-next", {"statusDetails": {"a": "2"}})[1]["execution"]
    assert (again["jobId"], again["statusDetails"], again["versionNumber"]) == ("job-0", {"a": "1"}, 2)
    cloud.assert_clean()


def test_update_replaces_details_and_counts_versions(cloud, device):
    queue(cloud)
    assert set(update(device, "job-0", statusDetails={"a": "1", "b": "2"})[1]) == {"timestamp"}
    _, answer = update(device, "job-0", statusDetails={"c": "3"}, includeJobExecutionState=True, clientToken="u-1")
    assert answer["executionState"] == {"status": "IN_PROGRESS", "statusDetails": {"c": "3"}, "versionNumber": 3}
    assert answer["clientToken"] == "u-1"
    _, answer = update(device, "job-0", includeJobExecutionState=True, includeJobDocument=True)
    assert answer["executionState"]["statusDetails"] == {"c": "3"}
    assert answer["jobDocument"] == {"n": 0}
    history = cloud.execution("dev-7", "job-0").history
    assert [u.version for u in history] == [1, 2, 3, 4] and history[1].details == {"a": "1", "b": "2"}


def test_expected_version(cloud, device):
    queue(cloud)
    assert update(device, "job-0", expectedVersion=1)[0] == "accepted"
    verdict, answer = update(device, "job-0", expectedVersion=1, clientToken="t")
    assert (verdict, answer["code"], answer["clientToken"]) == ("rejected", "VersionMismatch", "t")
    assert answer["executionState"] == {"status": "IN_PROGRESS", "versionNumber": 2}
    assert update(device, "job-0", expectedVersion="2")[0] == "accepted"
    cloud.assert_clean()


@pytest.mark.parametrize("steps, code", [
    (["IN_PROGRESS", "IN_PROGRESS", "SUCCEEDED"], None), (["IN_PROGRESS", "FAILED"], None), (["REJECTED"], None),
    (["SUCCEEDED"], "InvalidStateTransition"), (["FAILED"], "InvalidStateTransition"),
    (["IN_PROGRESS", "REJECTED"], "InvalidStateTransition"),
    (["IN_PROGRESS", "SUCCEEDED", "FAILED"], "InvalidStateTransition"),
    (["IN_PROGRESS", "SUCCEEDED", "IN_PROGRESS"], "InvalidStateTransition"),
])
def test_transitions(cloud, device, steps, code):
    queue(cloud)
    answers = [update(device, "job-0", step) for step in steps]
    assert all(verdict == "accepted" for verdict, _ in answers[:-1])
    if code is None:
        assert answers[-1][0] == "accepted"
        cloud.assert_clean()
    else:
        assert answers[-1][1]["code"] == code
        assert answers[-1][1]["executionState"]["status"] == ([*steps[:-1][-1:], "QUEUED"][0])
        assert [v.kind for v in cloud.violations] == ["illegal-transition"]
        assert cloud.execution("dev-7", "job-0").history[-1].code == code


def test_switches_for_what_is_undocumented(cloud, device):
    cloud.jobs.rules.end_from_queued = cloud.jobs.rules.rejected_after_start = True
    queue(cloud, 2)
    assert update(device, "job-0", "SUCCEEDED")[0] == "accepted"
    update(device, "job-1")
    assert update(device, "job-1", "REJECTED")[0] == "accepted"
    assert Rules() != cloud.jobs.rules


def test_last_word_said_again_is_no_violation(cloud, device):
    queue(cloud)
    update(device, "job-0")
    update(device, "job-0", "SUCCEEDED", expectedVersion=2)
    verdict, answer = update(device, "job-0", "SUCCEEDED", expectedVersion=2)
    assert (answer["code"], answer["executionState"]["status"]) == ("InvalidStateTransition", "SUCCEEDED")
    cloud.jobs.rules.version_before_state = True
    assert update(device, "job-0", "SUCCEEDED", expectedVersion=2)[1]["code"] == "VersionMismatch"
    cloud.assert_clean()


@pytest.mark.parametrize("members, word", [
    ({"status": "DONE"}, "status"), ({"status": "QUEUED"}, "status"), ({}, "status"),
    ({"status": "IN_PROGRESS", "statusDetails": {str(i): "x" for i in range(11)}}, "pairs"),
    ({"status": "IN_PROGRESS", "statusDetails": {"a b": "x"}}, "key"),
    ({"status": "IN_PROGRESS", "statusDetails": {"k" * 129: "x"}}, "key"),
    ({"status": "IN_PROGRESS", "statusDetails": {"a": "x" * 1025}}, "1025 characters"),
    ({"status": "IN_PROGRESS", "statusDetails": {"a": ""}}, "0 characters"),
    ({"status": "IN_PROGRESS", "statusDetails": {"a": "two\nlines"}}, "control"),
    ({"status": "IN_PROGRESS", "statusDetails": {"a": 1}}, "not a string"),
    ({"status": "IN_PROGRESS", "statusDetails": ["a"]}, "map"),
    ({"status": "IN_PROGRESS", "stepTimeoutInMinutes": 0}, "stepTimeout"),
    ({"status": "IN_PROGRESS", "stepTimeoutInMinutes": 10081}, "stepTimeout"),
    ({"status": "IN_PROGRESS", "executionNumber": "1"}, "executionNumber"),
    ({"status": "IN_PROGRESS", "expectedVersion": 1.5}, "expectedVersion"),
    ({"status": "IN_PROGRESS", "includeJobDocument": "yes"}, "includeJobDocument"),
    ({"status": "IN_PROGRESS", "clientToken": 7}, "clientToken"),
])
def test_bad_members(cloud, device, members, word):
    queue(cloud)
    verdict, answer = device.call("jobs/job-0/update", members)
    assert (verdict, answer["code"]) == ("rejected", "InvalidRequest") and word in answer["message"]
    assert [v.kind for v in cloud.violations] == ["invalid-request"]
    assert cloud.execution("dev-7", "job-0").version == 1


def test_details_at_the_limit(cloud, device):
    queue(cloud)
    details = {("k" * 127 + str(i)): "ü" * 1024 for i in range(10)}
    assert update(device, "job-0", statusDetails=details)[0] == "accepted"
    cloud.assert_clean()


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'"x"', b"\xff{}", b"null"])
def test_bad_json(cloud, device, payload):
    device.publish("jobs/$next/get", payload)
    topic, answer = device.receive()
    assert topic == "jobs/$next/get/rejected" and answer["code"] == "InvalidJson" and "clientToken" not in answer
    assert [v.kind for v in cloud.violations] == ["invalid-json"]


def test_odd_tokens_and_members_are_told(cloud, device):
    for token in ("x" * 65, 'a"b', "a\nb"):
        assert device.call("jobs/$next/get", {"clientToken": token})[1]["clientToken"] == token
    device.call("jobs/$next/get", {"clienttoken": "x"})
    assert [v.kind for v in cloud.violations] == ["client-token"] * 3 + ["unknown-member"]


def test_unknown_job(cloud, device):
    assert update(device, "nope")[1]["code"] == "ResourceNotFound"
    assert [v.kind for v in cloud.violations] == ["unknown-job"]


def test_ended_execution_is_not_described(cloud, device):
    queue(cloud)
    update(device, "job-0", "REJECTED")
    assert device.call("jobs/job-0/get")[1]["code"] == "TerminalStateReached"


def test_topic_without_operation(cloud, device):
    device.subscribe("jobs/+/+/rejected")
    for topic in ("jobs/job-0/frobnicate", "jobs/$next/update", "jobs/not an id/get"):
        assert device.call(topic)[1]["code"] == "InvalidTopic"
    cloud.sync()
    assert [v.kind for v in cloud.violations] == ["invalid-topic"] * 3


def test_other_things_are_out_of_reach(cloud, make_device):
    one, other = make_device("dev-1"), make_device("dev-2")
    cloud.create_job(["dev-1", "dev-2"], DOCUMENT, job_id="both")
    drain(one, 2), drain(other, 2)
    update(one, "both")
    update(one, "both", "SUCCEEDED")
    assert cloud.wait_for("both", "SUCCEEDED", thing="dev-1").status == "SUCCEEDED"
    assert cloud.execution("dev-2", "both").status == "QUEUED"
    assert [t for t, _ in drain(one, 2)] == ["jobs/notify", "jobs/notify-next"] and other.quiet()


def test_raw_documents_go_out_as_they_are(cloud, device):
    cloud.create_job("dev-7", b'{"broken": ')
    device.receive()
    topic, payload = device.inbox.get(timeout=5)
    assert topic.endswith("notify-next") and payload.endswith(b'"jobDocument":{"broken": }}')
    assert encode({"execution": {"jobDocument": Raw(b"\xff\x00")}}) == b'{"execution":{"jobDocument":\xff\x00}}'


def test_documents_are_limited_and_links_filled_in(cloud, device):
    with pytest.raises(ValueError):
        cloud.create_job("dev-7", {"x": "y" * 32768})
    cloud.storage.put("dir/f.bin", b"data", bucket="b")
    for url in ("https://s3.amazonaws.com/b/dir/f.bin", "https://b.s3.eu-west-1.amazonaws.com/dir/f.bin"):
        cloud.create_job("dev-7", {"u": ["${aws:iot:s3-presigned-url:" + url + "}"]})
    for execution in (m.payload.get("execution") for m in cloud.messages if m.topic.endswith("notify-next")):
        assert execution["jobDocument"]["u"][0].startswith(f"https://{cloud.storage.host}/b/dir/f.bin?X-Amz-")


def test_operator_errors(cloud):
    cloud.add_thing("dev-7")
    queue(cloud)
    for wrong in (lambda: queue(cloud), lambda: cloud.cancel("nope"),
                  lambda: cloud.create_job("dev-7", {}, job_id="a b"),
                  lambda: cloud.create_job("dev-7", {}, retries={"FAILED": 6, "TIMED_OUT": 5}),
                  lambda: cloud.create_job("dev-7", {}, timeout_minutes=10081)):
        with pytest.raises((JobError, ValueError)):
            wrong()
