"""The $package shadow: what it takes, what it refuses and with which number."""

import json

import pytest

from cloud import faults

UPDATE = "shadow/name/$package/update"


@pytest.fixture
def shadow(cloud, device):
    device.subscribe(f"{UPDATE}/accepted", f"{UPDATE}/rejected", "shadow/name/$package/get/+",
                     "shadow/name/$package/delete/+")
    return device


def report(packages, **more):
    return {"state": {"reported": packages}, **more}


def test_report_and_merge(cloud, shadow):
    verdict, answer = shadow.call(UPDATE, report({"otad-image": {"version": "1.4.2", "attributes": {"slot": "b"}}},
                                                 clientToken="p-1"))
    assert verdict == "accepted" and answer["clientToken"] == "p-1" and answer["version"] == 1
    assert answer["timestamp"] > 1e9 and answer["state"]["reported"]["otad-image"]["version"] == "1.4.2"
    assert shadow.call(UPDATE, report({"otad-image": {"version": "1.5"}, "b": {"version": "1"}}))[0] == "accepted"
    assert cloud.shadow.reported("dev-7") == {"otad-image": {"version": "1.5", "attributes": {"slot": "b"}},
                                              "b": {"version": "1"}}
    assert shadow.call(UPDATE, report({"b": None}, version=2))[0] == "accepted"
    verdict, answer = shadow.call("shadow/name/$package/get")
    assert verdict == "accepted" and set(answer["state"]["reported"]) == {"otad-image"} and answer["version"] == 3
    assert shadow.call("shadow/name/$package/delete")[0] == "accepted" and cloud.shadow.reported("dev-7") == {}
    cloud.assert_clean()


def nested(levels):
    return {"a": nested(levels - 1)} if levels else {}


@pytest.mark.parametrize("request_,code", [
    (report({"p": {"version": "1", "slot": "b"}}), 400), (report({"p": {"version": 1}}), 400),
    (report({"p": {"attributes": "x"}}), 400), (report({"p": "1.0"}), 400), (report({"a b": {}}), 400),
    (report({"p": {"attributes": nested(7)}}), 400), (report({"p": {"attributes": {"x": "y" * 8192}}}), 413),
    ({"state": {"desired": {}}}, 400), ({"state": {}}, 400), ({}, 400), ({"state": {"reported": []}}, 400),
    (report({}, jobId="x"), 400), (report({}, clientToken="t" * 65), 400), (report({}, clientToken=1), 400),
    (report({}, version=7), 409), ("[]", 400), ("nonsense", 400), ("", 400), (b"\xff", 415)])
def test_refused(cloud, shadow, request_, code):
    shadow.publish(UPDATE, request_)
    topic, answer = shadow.receive()
    assert topic == f"{UPDATE}/rejected" and answer["code"] == code and answer["message"], answer
    assert cloud.shadow.reported("dev-7") == {}
    cloud.assert_clean(allow=["shadow-request"])
    assert cloud.violations


def test_as_deep_and_large_as_may_be(cloud, shadow):
    assert shadow.call(UPDATE, report({"p": {"attributes": nested(5)}}))[0] == "accepted"
    full = report({"p": {"version": ""}})
    full["state"]["reported"]["p"]["version"] = "v" * (8192 - len(json.dumps(full)))
    assert shadow.call(UPDATE, full)[0] == "accepted"
    cloud.assert_clean()


def test_what_is_not_there(cloud, shadow):
    for operation in "get", "delete":
        assert shadow.call(f"shadow/name/$package/{operation}")[1]["code"] == 404
    cloud.assert_clean(allow=["shadow-request"])


def test_answers_only_where_subscribed(cloud, device):
    device.publish(UPDATE, report({"p": {"version": "1"}}))
    cloud.wait_until(lambda: cloud.shadow.reported("dev-7"))
    assert device.quiet()
    cloud.assert_clean()


def test_faults(cloud, shadow):
    cloud.faults.on("shadow.request", faults.in_turn(faults.refuse(500, "later"), faults.drop()), times=2)
    assert shadow.call(UPDATE, report({"p": {"version": "1"}}))[1]["code"] == 500
    shadow.publish(UPDATE, report({"p": {"version": "2"}}))
    assert shadow.call(UPDATE, report({"p": {"version": "3"}}))[0] == "accepted"
    cloud.assert_clean()


def test_retain_and_rate(cloud, make_device):
    cloud._kick_enabled = False
    device = make_device()
    device.publish(UPDATE, report({"p": {"version": "1"}}), retain=True)
    cloud.wait_until(lambda: cloud.violations, 5)
    assert {v.kind for v in cloud.violations} == {"retain"}
    for number in range(25):
        device.publish(UPDATE, report({"p": {"version": str(number)}}))
    cloud.wait_until(lambda: "shadow-rate" in {v.kind for v in cloud.violations})
    cloud.assert_clean(allow=["retain", "shadow-rate"])
