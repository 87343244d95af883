"""What an operator decides about when and how an update may happen, with the real programs."""

import json
import os
import struct
import subprocess
import threading
import time

import pytest

from gateway import make_image
from gateway.proxy import Proxy
from hostile import wire

from .scene import THING, hold

IMAGE = make_image("1.1.0", 600_000)
PATIENCE = {"hook": {"timeout-sec": 30, "give-up-sec": 30}, "selftest": {"timeout-sec": 30}, "reboot": {"timeout-sec": 30},
            "boot": {"timeout-sec": 30}, "download": {"stall-sec": 20}}


def patient(policy, **more):
    """The settings for a policy, and for a machine that may be busy with other tests."""
    return {"policy": policy, **PATIENCE, **more}


def set_local_clock(monkeypatch, text):
    """What is started from now on shows "HH:MM:SS" as local time: in a time zone made for it."""
    hours, minutes, seconds = map(int, text.split(":"))
    west = (int(time.time()) - (hours * 3600 + minutes * 60 + seconds)) % 86400
    monkeypatch.setenv("TZ", f"XXX{west // 3600:02}:{west // 60 % 60:02}:{west % 60:02}")


def start_at(scene, monkeypatch, text):
    """Powers the gateway on at this local time. Returns time.time() then."""
    set_local_clock(monkeypatch, text)
    now = time.time()
    scene.gateway.power_on()
    return now


def status(scene):
    done = scene.gateway.otactl("status", "--json")
    return json.loads(done.stdout) if done.returncode == 0 else {}


def wait_for_wait(scene, reason):
    """Until `reason` is what otad waits for; returns the status then."""
    def look():
        now = status(scene)
        return now if now and reason in ((now["waiting"] or {}).get("reason") or "") else None
    return scene.gateway.wait(look, 15, f"otad to wait for: {reason}")


def wait_for_cloud(scene, job, reason):
    scene.gateway.wait(lambda: reason in scene.cloud.execution(THING, job).details.get("waiting", ""), 10,
                       f"the cloud to hear of: {reason}")


# Windows

@pytest.mark.parametrize("protocol", ["https", "mqtt"])
def test_waits_for_the_download_window(make_scene, monkeypatch, protocol):
    """The job is taken, and told why it waits; nothing is fetched and no hook is asked before the window opens."""
    scene = make_scene(power=False, config=patient({"download-windows": ["12:00-13:00"]}))
    job = scene.update(IMAGE, protocol)
    opens = start_at(scene, monkeypatch, "11:59:53") + 7
    now = wait_for_wait(scene, "outside the download windows: until ")
    assert now["state"] == "accepted" and now["waiting"]["retry_seconds"] <= 7
    assert now["waiting"]["reason"].endswith(" 12:00") and "tries again in" in now["next"]
    assert "outside the download windows" in scene.gateway.otactl("status").stdout
    wait_for_cloud(scene, job, "outside the download windows: until ")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    assert min(c["time"] for c in scene.gateway.hook_calls("pre-install")) > opens - 2
    scene.expect_clean()


@pytest.mark.parametrize("protocol", ["https", "mqtt"])
def test_window_closes_while_downloading(make_scene, monkeypatch, protocol):
    """Suspended, over a restart, and gone on with from the byte reached when a window is open again."""
    scene = make_scene(power=False, config=patient({"download-windows": ["11:00-12:00"]}, download={"stall-sec": 9}))
    go_on = hold(scene, protocol, 300_000)
    job = scene.update(IMAGE, protocol)
    start_at(scene, monkeypatch, "11:59:56")
    now = wait_for_wait(scene, "outside the download windows: until ")
    assert now["state"] == "suspended" and not now["suspended"]
    wait_for_cloud(scene, job, "outside the download windows: until ")
    go_on()
    asked = len(scene.cloud.find_messages("http")) + len(scene.cloud.find_messages("stream"))
    scene.gateway.restart("otad")
    wait_for_wait(scene, "outside the download windows: until ")
    time.sleep(0.5)
    assert len(scene.cloud.find_messages("http")) + len(scene.cloud.find_messages("stream")) == asked
    set_local_clock(monkeypatch, "11:30:00")
    scene.gateway.restart("otad")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    if protocol == "https":
        assert int(scene.cloud.find_messages("http")[-1].payload["range"].strip("bytes=-")) > 200_000
    scene.expect_clean()


def test_waits_for_the_activation_window(make_scene, monkeypatch):
    """Downloaded and verified at any time; activated and rebooted only in the window."""
    scene = make_scene(power=False, config=patient({"activate-windows": ["12:00-13:00"]}))
    job = scene.update(IMAGE)
    opens = start_at(scene, monkeypatch, "11:59:53") + 7
    now = wait_for_wait(scene, "outside the activation windows: until ")
    assert now["state"] == "installed" and scene.gateway.loader.primary == "A"
    wait_for_cloud(scene, job, "outside the activation windows: until ")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    assert min(c["time"] for c in scene.gateway.hook_calls("activate")) > opens - 2
    scene.expect_clean()


# Bandwidth

@pytest.mark.parametrize("protocol", ["https", "mqtt"])
def test_bandwidth_is_bounded(make_scene, protocol):
    """At most a tenth above, over some seconds, and not starved: by the bytes that came over the network, not by what otad
    says."""
    bound = 200_000
    image = make_image("1.1.0", 8 * bound)
    scene = make_scene(slot_size=4 << 20, config=patient({"max-bytes-per-sec": bound}))
    with Proxy(("localhost", scene.cloud.https.port), buffer=16384) as store:
        scene.cloud.storage.host = f"localhost:{store.port}"
        network = store if protocol == "https" else scene.gateway.proxy
        job = scene.update(image, protocol)
        # What fills the buffers on the way at first is no matter.
        scene.gateway.wait(lambda: network.n_received > 2 * bound, 15, "the first bytes")
        began, before = time.monotonic(), network.n_received
        time.sleep(4)
        rate = (network.n_received - before) / (time.monotonic() - began)
        assert bound / 2 < rate < 1.1 * bound, rate     # a busy machine may make it less
        scene.expect_success(job, image, "1.1.0", timeout=60)
    scene.expect_clean()


# Metered connections

class NetworkManager(wire.Wire):
    """As much of it as otad asks for: the name on the bus and the property Metered. `word` None: it never answers."""

    NAME, PATH = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
    BUS = {"path": "/org/freedesktop/DBus", "interface": "org.freedesktop.DBus",
           "fields": [(6, ("s", "org.freedesktop.DBus"))]}

    def __init__(self, socket, word):
        super().__init__(socket, timeout=3600)
        self.word, self.n_asked = word, 0
        self.call("Hello", **self.BUS)
        assert self.call("RequestName", "su", [self.NAME, 0], **self.BUS) == (1,)
        threading.Thread(target=self._serve, daemon=True).start()

    def _next(self, deadline):
        while len(self._data) < 16:
            self._receive(deadline)
        self._asked_serial = struct.unpack_from("<I", self._data, 8)[0]
        return super()._next(deadline)

    def _serve(self):
        try:
            while True:
                kind, fields, body, _ = self._next(time.monotonic() + 3600)
                if kind != wire.CALL or fields[3] != "Get":
                    continue
                assert body == [self.NAME, "Metered"]
                self.n_asked += 1
                if self.word is not None:
                    answer_to = [(5, ("u", self._asked_serial)), (6, ("s", fields[7]))]
                    self.send(wire.message(wire.RETURN, 1000 + self.n_asked, path=None, interface=None, signature="v",
                                           body=wire.marshal("v", [("u", self.word)]), fields=answer_to))
        except (wire.Gone, OSError):
            pass

    def say(self, word):
        """The connection has become another."""
        self.word = word
        self.send(wire.message(wire.SIGNAL, 2000, member="PropertiesChanged", path=self.PATH,
                               interface="org.freedesktop.DBus.Properties", signature="sa{sv}as",
                               body=wire.marshal("sa{sv}as", [self.NAME, [("Metered", ("u", word))], []])))


def test_waits_while_metered(make_scene):
    """As NetworkManager tells: waits, goes on, is suspended in the middle, and goes on from there."""
    scene = make_scene(power=False, bus=True, config=patient({"metered-max-bytes": 300_000}))
    with NetworkManager(scene.gateway.runtime / "bus", 1) as manager:
        job = scene.update(IMAGE)
        scene.gateway.power_on()
        now = wait_for_wait(scene, f"the connection is metered: {len(IMAGE)} bytes are more than 300000")
        assert now["state"] == "accepted" and now["waiting"]["retry_seconds"] is None
        wait_for_cloud(scene, job, "the connection is metered: ")
        assert not scene.cloud.find_messages("http")
        go_on = hold(scene, "https", 300_000)
        manager.say(2)
        scene.gateway.wait(lambda: (status(scene).get("download") or {}).get("held") == 300_000, 15, "half of it")
        manager.say(3)
        assert wait_for_wait(scene, "the connection is metered: ")["state"] == "suspended"
        go_on()
        asked = len(scene.cloud.find_messages("http"))
        time.sleep(0.5)
        assert len(scene.cloud.find_messages("http")) == asked
        manager.say(4)
        scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
        assert scene.cloud.find_messages("http")[-1].payload["range"] == "bytes=300000-"
        scene.expect_clean()


def test_small_images_do_not_wait(make_scene):
    scene = make_scene(config=patient({"metered": "yes", "metered-max-bytes": len(IMAGE)}))
    job = scene.update(IMAGE)
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    larger = scene.update(IMAGE + b"x")
    wait_for_wait(scene, f"the connection is metered: {len(IMAGE) + 1} bytes are more than {len(IMAGE)}")
    scene.cloud.cancel(larger, force=True)
    scene.wait_idle()


@pytest.mark.parametrize("manager", ["none", "silent"])
def test_nobody_tells_of_metered_connections(make_scene, manager):
    """Without NetworkManager a connection is not metered, and one that hangs holds nothing up."""
    scene = make_scene(power=False, bus=True, config=patient({"metered-max-bytes": 1}))
    if manager == "silent":
        scene.manager = NetworkManager(scene.gateway.runtime / "bus", None)
    job = scene.update(IMAGE)
    scene.gateway.power_on()
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    if manager == "silent":
        assert scene.manager.n_asked > 0
        scene.manager.close()
    scene.expect_clean()


# The hook

@pytest.mark.parametrize("stage", ["pre-install", "post-install", "activate", "reboot"])
def test_hook_is_asked_first(make_scene, stage):
    """Before the download, before the switch, before the reboot: its reason is shown here and in the cloud, it is asked
    again every hook.retry-sec, and with a patience of 0 it is never too late."""
    scene = make_scene(config=patient({}, hook={"timeout-sec": 30, "give-up-sec": 0}))
    scene.gateway.plan_hook(stage, exit=75, times=4, reason="the pump is running")
    job = scene.update(IMAGE)
    scene.extra_connects += 4 * (stage == "reboot")     # it had said goodbye
    now = wait_for_wait(scene, "the hook says not now: ")
    assert "the pump is running" in now["waiting"]["reason"]
    assert stage != "pre-install" or not scene.cloud.find_messages("http")
    assert scene.gateway.slot == "A" and (stage == "reboot" or scene.gateway.loader.primary == "A")
    if stage != "reboot":       # then there is a connection for a moment only
        wait_for_cloud(scene, job, "the pump is running")
    scene.expect_success(job, IMAGE, "1.1.0", timeout=60)
    times = [c["time"] for c in scene.gateway.hook_calls(stage)]
    assert len(times) == 5 and all(b - a > 0.9 for a, b in zip(times, times[1:]))
    scene.expect_clean()


# Room for others

@pytest.mark.parametrize("rule", [{"min-free-bytes": 1 << 40}, {"min-free-percent": 90}])
@pytest.mark.parametrize("name", ["app", "rootfs.img"])
def test_leaves_free_space(make_scene, name, rule):
    """Of the file system of a file, and of the state folder for slots, too; ended before a byte is written."""
    scene = make_scene(files=["app"], config=patient(rule))
    usage = os.statvfs(scene.gateway.folder)
    if "min-free-percent" in rule and usage.f_bavail * 10 > usage.f_blocks * 9:
        pytest.skip("this file system is nearly empty")
    job = scene.update(IMAGE, name=name)
    execution = scene.wait(job, "FAILED")
    assert execution.details["error"] == "no-space" and "have to stay free" in execution.details["detail"]
    if "min-free-bytes" in rule:
        assert f" {1 << 40} have to stay free" in execution.details["detail"]
    assert not scene.cloud.find_messages("http") and not scene.gateway.hook_calls("pre-install")
    scene.expect_unharmed(touched=False)


@pytest.mark.parametrize("word, told", [("normal", None), ("low", "best-effort: prio 7"), ("idle", "idle")])
def test_priority_of_the_installer(make_scene, word, told):
    scene = make_scene(config=patient({"io-priority": word, "nice": 7 if told else 0}))
    pid = scene.gateway.programs["otad-installer"].pid

    def look():
        io = subprocess.run(["ionice", "-p", str(pid)], capture_output=True, text=True, timeout=10).stdout.strip()
        return io == told if told else io.startswith("none")
    scene.gateway.wait(look, what=f"I/O priority {word}")
    assert os.getpriority(os.PRIO_PROCESS, pid) == os.getpriority(os.PRIO_PROCESS, 0) + (7 if told else 0)
    scene.expect_next_works("1.1.0")
