"""What AWS closes connections for: each kind of breach is seen, and the connection is closed where AWS would."""

import socket
import ssl
import time

import pytest

from cloud import Authority, Cloud, Unclean, mqtt
from cloud.conftest import Device


def kinds(cloud):
    cloud.sync()
    return [v.kind for v in cloud.violations]


def closed(device):
    """That the broker closed the connection, and not on our wish."""
    return device.disconnected.get(timeout=5) != 0


def test_good_conduct_is_clean(cloud, device):
    for _ in range(20):
        device.call("jobs/$next/get", {"clientToken": str(time.monotonic())})
    device.subscribe("streams/s/data/cbor", "streams/s/rejected/cbor")
    cloud.assert_clean()
    assert "$aws/things/dev-7/streams/s/data/cbor" in cloud.conduct.filters("dev-7")
    device.client.unsubscribe(device.prefix + "streams/s/data/cbor")
    cloud.wait_until(lambda: "$aws/things/dev-7/streams/s/data/cbor" not in cloud.conduct.filters("dev-7"), 5)


def test_filters_per_subscribe(cloud, make_device):
    device = make_device(subscribe=[f"jobs/{i}/get/accepted" for i in range(8)])
    assert kinds(cloud) == []
    device.subscribe(*[f"jobs/{i}/update/accepted" for i in range(9)])
    assert closed(device) and kinds(cloud) == ["filters-per-subscribe"]


def test_subscriptions_per_connection(cloud, make_device):
    device = make_device(subscribe=[])
    for i in range(10):
        device.subscribe(*[f"jobs/j{i}-{k}/get/accepted" for k in range(5)])
    assert kinds(cloud) == []
    device.subscribe("jobs/more/get/accepted")
    assert closed(device) and kinds(cloud) == ["subscriptions"]


@pytest.mark.parametrize("name", ["#", "$aws/things/other/jobs/notify", "$aws/things/+/jobs/notify",
                                  "$aws/things/dev-7/#",
                                  "$aws/things/dev-7/shadow/update/delta", "$share/g/$aws/things/dev-7/jobs/notify"])
def test_policy_for_subscribe(cloud, device, name):
    device.client.subscribe(name)
    assert closed(device) and kinds(cloud) == ["policy-subscribe"]


@pytest.mark.parametrize("name", ["$aws/things/other/jobs/$next/get", "$aws/things/dev-7/shadow/update", "hello"])
def test_policy_for_publish(cloud, device, name):
    device.client.publish(name, "{}", 1)
    assert closed(device) and kinds(cloud) == ["policy-publish"]


@pytest.mark.parametrize("act, kind", [
    (lambda d: d.publish("jobs/$next/get", b" " * 131073), "payload-size"),
    (lambda d: d.publish("jobs/$next/get", b"{}", qos=2), "qos2"),
    (lambda d: d.client.subscribe(d.prefix + "jobs/notify", 2), "qos2"),
    (lambda d: d.publish("jobs/$next/get", b"{}", retain=True), "retain"),
    (lambda d: d.publish("jobs/" + "x" * 240 + "/get"), "topic-length"),
    (lambda d: d.publish("jobs/a/b/c/d/e"), "topic-levels"),
    (lambda d: d.subscribe("jobs/" + "x" * 240 + "/get"), "topic-length"),
    (lambda d: d.subscribe("jobs/a/b/c/d/+"), "topic-levels"),
])
def test_limits(cloud, device, act, kind):
    act(device)
    assert closed(device) and kinds(cloud) == [kind]


def test_payload_at_the_limit(cloud, device):
    assert device.call("jobs/$next/get", b"{" + b" " * 131070 + b"}")[0] == "accepted"
    cloud.assert_clean()


def test_client_id_must_be_the_thing(cloud):
    device = Device(cloud, cloud.add_thing("dev-7"), client_id="dev-8").connect()
    assert closed(device) and kinds(cloud) == ["client-id"]
    device.close()


def test_same_client_id_twice(cloud, make_device):
    one = make_device()
    make_device()
    assert closed(one) and kinds(cloud) == ["duplicate-client-id"]


def test_retained_will(cloud, make_device):
    device = make_device(subscribe=[], will=("$aws/things/dev-7/jobs/$next/get", "{}", 1, True))
    assert closed(device) and kinds(cloud) == ["retain"]


def test_connect_rate(cloud, make_device):
    for _ in range(3):
        make_device(subscribe=[]).close()
    assert kinds(cloud) == []
    make_device(subscribe=[])
    assert kinds(cloud) == ["connect-rate"]


def test_publish_rate(cloud, device):
    for i in range(101):
        device.publish("jobs/$next/get", {"clientToken": str(i)}, qos=0)
    for _ in range(101):
        device.receive()
    assert kinds(cloud) == ["publish-rate"]


def test_repetition(cloud, device):
    for _ in range(11):
        device.call("jobs/$next/get")
    assert kinds(cloud) == ["repetition"]


def test_malformed_packets(cloud, device):
    device.client.socket().send(b"\x3f\xff\xff\xff\xff\xff")
    assert closed(device) and kinds(cloud) == ["protocol-error"]


def test_silence_beyond_the_keep_alive(cloud, device):
    # The broker takes more than five seconds to find out, so its words are put in its mouth.
    cloud.conduct.line("Client dev-7 has exceeded timeout, disconnecting.")
    assert kinds(cloud) == ["keep-alive"]


@pytest.mark.parametrize("line", ["Client dev-7 closed its connection.", "Client dev-7 disconnected.",
                                  "Client dev-7 disconnected: Protocol error.",
                                  "Bad socket read/write on client dev-7: The connection was lost.."])
def test_lost_connections_are_no_breach(cloud, device, line):
    cloud.conduct.line(line)
    assert not cloud.conduct.connected("dev-7") and kinds(cloud) == []


def test_without_kicks_the_record_is_kept(tmp_path):
    with Cloud(tmp_path, kick=False) as cloud:
        device = Device(cloud, cloud.add_thing("dev-7")).connect()
        device.publish("jobs/$next/get", b"{}", retain=True)
        cloud.wait_until(lambda: cloud.violations, 5)
        assert kinds(cloud) == ["retain"] and device.disconnected.empty()
        device.close()


def test_strangers_do_not_get_in(cloud, tmp_path):
    stranger = cloud.add_thing("dev-7", authority=Authority(tmp_path / "other"))
    context = ssl.create_default_context(cafile=cloud.ca)
    for with_certificate in (False, True):
        if with_certificate:
            context.load_cert_chain(stranger.cert, stranger.key)
        with socket.create_connection(("localhost", cloud.port)) as sock, pytest.raises((ssl.SSLError, OSError)):
            with context.wrap_socket(sock, server_hostname="localhost") as tls:
                tls.sendall(mqtt.connect_packet("dev-7", "dev-7", "x"))
                if not tls.recv(1):
                    raise ConnectionResetError
    assert not cloud.conduct.connected("dev-7")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(cloud):
    context = ssl.create_default_context(cafile=cloud.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("localhost", cloud.port)) as sock, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(sock, server_hostname="localhost")


def test_assert_clean(cloud):
    cloud.record.violation("retain", "made by the test")
    with pytest.raises(Unclean, match="made by the test"):
        cloud.assert_clean()
    with pytest.raises(Unclean):
        cloud.assert_clean(allow=["stream-*"])
    cloud.assert_clean(allow=["ret*"])
