"""Shows otad at work: four updates of a simulated gateway, told in plain words, each claim checked before it is made.

Started by scripts/demo. Real are otad, otad-installer, otactl, the broker (mosquitto) and everything between them;
played are the cloud's services behind the broker (tests/cloud) and the machine: two slots as files, boot loader, power.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cloud import Cloud, OtaFile, faults                     # noqa: E402
from cloud.job_queue import TERMINAL                         # noqa: E402
from gateway import Gateway, make_image, read_header         # noqa: E402

THING = "gateway-1"
MIB = 1 << 20
WORDS = {
    "accepted": "accepted the job", "downloading": "downloads", "suspended": "waits",
    "verifying": "verifies the signature",
    "installed": "verified", "activating": "switches slots and restarts", "testing": "tests the new software",
    "committed": "committed", "rolling-back": "goes back to the old software", "rolled-back": "went back",
}


class Wrong(Exception):
    """Something the demo would have claimed is not so."""


class Screen:
    """Lines for a person. On a terminal the line of progress is drawn over itself, elsewhere each step is a line."""

    def __init__(self, stream=sys.stdout):
        self.stream, self.is_terminal = stream, stream.isatty()
        self._drawn, self._last = False, None

    def style(self, code, text):
        return f"\x1b[{code}m{text}\x1b[0m" if self.is_terminal else text

    def line(self, text=""):
        self._clear()
        print(text, file=self.stream, flush=True)

    def title(self, text):
        self.line()
        self.line(self.style("1", text))

    def checked(self, text):
        self.line(f"   {self.style('32', 'ok')}   {text}")

    def progress(self, step, percent=None):
        """Percent draws a bar; without a terminal only each quarter is told."""
        if self.is_terminal:
            filled = int(24 * percent / 100) if percent is not None else 0
            bar = f"  [{'#' * filled}{'.' * (24 - filled)}] {percent:3d} %" if percent is not None else ""
            print(f"\r\x1b[K   ..   {step}{bar}", end="", file=self.stream, flush=True)
            self._drawn = True
            return
        what = (step, percent // 25 if percent is not None else None)
        if what != self._last:
            self.line(f"   ..   {step}" + (f", {percent} %" if percent is not None else ""))
        self._last = what

    def _clear(self):
        if self._drawn:
            print("\r\x1b[K", end="", file=self.stream)
        self._drawn, self._last = False, None


class Demo:
    def __init__(self, folder, build, screen):
        self.folder, self.screen = Path(folder), screen
        self.cloud = Cloud(self.folder / "cloud", throttle=True)
        self.build = build

    def run(self):
        started = time.monotonic()
        with self.cloud:
            with Gateway(self.folder / "gateway", self.cloud, THING, build=self.build, slot_size=8 * MIB,
                         config={"selftest": {"timeout-sec": 30}, "download": {"block-bytes": 32768}}) as gateway:
                self.gateway = gateway
                self.signer = self.cloud.add_signer("codesign")
                gateway.trust_signer(self.signer)
                try:
                    self.start()
                    self.update_by_mqtt()
                    self.update_by_https()
                    self.refuse_tampered()
                    self.roll_back_broken()
                    self.finish()
                except Exception:
                    self.screen.line()
                    self.screen.line(gateway.report(25))
                    raise
        self.screen.line()
        self.screen.line(f"All of it was checked as it was said, in {time.monotonic() - started:.0f} seconds.")

    # The acts

    def start(self):
        self.screen.title("A gateway runs software 1.0.0")
        self.gateway.power_on()
        self.cloud.wait_connected(THING)
        self.gateway.wait(lambda: self.status().get("connected"), 10, "otad that says it is connected")
        self.expect(self.gateway.version == "1.0.0" and self.gateway.slot == "A", "it runs 1.0.0 from slot A")
        self.screen.checked("otad is connected to the broker, by TLS with the gateway's own certificate")
        self.show_slots()

    def update_by_mqtt(self):
        self.screen.title("Update to 1.1.0, sent by MQTT, as fast as AWS IoT allows (512 KB/s)")
        image = make_image("1.1.0", 2 * MIB)
        self.good_update(image, "1.1.0", "MQTT", "B")
        n_blocks = len(self.cloud.find_messages("cloud", "/data/cbor$"))
        self.expect(n_blocks == len(image) // 32768, f"{n_blocks} blocks were sent")
        self.screen.checked(f"{n_blocks} blocks of 32 KiB, none asked for twice")
        self.show_slots()

    def update_by_https(self):
        self.screen.title("Update to 1.2.0, fetched by HTTPS; the connection breaks half way")
        self.cloud.faults.on("http.reply", faults.slow(2 * MIB))
        self.cloud.faults.on("http.reply", faults.cut(3 * MIB), times=1)
        image = make_image("1.2.0", 6 * MIB)
        self.good_update(image, "1.2.0", "HTTP", "A")
        self.cloud.faults.clear()
        requests = [m.payload for m in self.cloud.find_messages("http")]
        resumed = requests[-1]["range"]
        self.expect(len(requests) == 2 and resumed == f"bytes={3 * MIB}-", f"resumed at {resumed}")
        self.screen.checked("after the break it went on from byte 3145728, not from the beginning")
        self.show_slots()

    def refuse_tampered(self):
        self.screen.title("Somebody changes one bit of update 1.3.0 on its way")
        gateway, before = self.gateway, self.gateway.digest(self.gateway.slot)
        image, told_before = make_image("1.3.0", MIB), len(gateway.loader.calls())
        changed = bytearray(image)
        changed[len(changed) // 2] ^= 1

        def change(reply):
            reply.body = memoryview(changed)
        rule = self.cloud.faults.on("http.reply", change)
        execution = self.follow(self.queue(image, "HTTP"))
        rule.off()
        self.expect(rule.hits == 1, "the changed image was sent")
        self.expect(execution.status == "FAILED" and execution.details["error"] == "signature-invalid",
                    "the job FAILED with signature-invalid")
        self.screen.checked(f"refused: {execution.details['detail']}")
        self.expect(gateway.slot == "A" and gateway.version == "1.2.0" and gateway.digest("A") == before,
                    "slot A runs 1.2.0, unchanged")
        self.expect(gateway.n_boots == 3, "no restart")
        self.screen.checked("1.2.0 runs on, not a byte of its slot was touched, and the machine was not restarted")
        self.expect(gateway.loader.primary == "A" and gateway.loader.state("B") == "bad"
                    and "set-primary B" not in gateway.loader.calls()[told_before:], "slot B is marked bad")
        self.screen.checked("the boot loader was never told to start it: slot B is marked bad")
        self.show_slots()

    def roll_back_broken(self):
        self.screen.title("Update 1.4.0 is well signed, but it does not work")
        gateway, before = self.gateway, self.gateway.digest(self.gateway.slot)
        job = self.queue(make_image("1.4.0", MIB, selftest="fail"), "HTTP")
        execution = self.follow(job)
        self.expect(execution.status == "FAILED" and execution.details["error"] == "selftest-failed",
                    "the job FAILED with selftest-failed")
        tested = [c for c in gateway.hook_calls("selftest") if c["OTAD_JOB_ID"] == job.id]
        self.expect(len(tested) == 1 and tested[0]["OTAD_VERSION"] == "1.4.0", "1.4.0 was started and tested")
        self.screen.checked("1.4.0 was started, and its self-test said: the new software does not work")
        self.expect("the new software does not work" in execution.details["detail"], "the cloud has the reason")
        self.screen.checked("the cloud knows why the job failed")
        self.expect(gateway.slot == "A" and gateway.version == "1.2.0" and gateway.digest("A") == before
                    and gateway.loader.primary == "A" and gateway.loader.state("A") == "good",
                    "slot A runs 1.2.0 again")
        self.screen.checked("the gateway restarted into 1.2.0 by itself, unchanged")
        self.show_slots()

    def finish(self):
        self.screen.title("At the end")
        self.gateway.wait(lambda: self.status().get("state") == "idle", 10, "idle otad")
        self.gateway.check()
        # A simulated machine restarts so fast that its connections come closer than AWS wants them.
        self.cloud.assert_clean(allow=["connect-rate"])
        self.screen.checked("nothing was sent that AWS IoT would have refused, and nothing is left to do")

    # What the acts are made of

    def expect(self, is_so, claim):
        if not is_so:
            raise Wrong(f"this is not so: {claim}")

    def queue(self, image, protocol):
        return self.cloud.create_ota_update(THING, [OtaFile("rootfs.img", image, self.signer)], [protocol])

    def good_update(self, image, version, protocol, slot):
        gateway, old, old_digest = self.gateway, self.gateway.slot, self.gateway.digest(self.gateway.slot)
        execution = self.follow(self.queue(image, protocol))
        self.expect(execution.status == "SUCCEEDED", "the job SUCCEEDED")
        self.expect(gateway.slot == slot and gateway.version == version and gateway.holds(slot, image),
                    f"slot {slot} holds the image and runs {version}")
        self.expect(gateway.loader.primary == slot and gateway.loader.state(slot) == "good", f"slot {slot} is good")
        self.screen.checked(f"{version} was verified, started, tested and committed; the cloud says SUCCEEDED")
        self.expect(gateway.digest(old) == old_digest, f"slot {old} is as it was")

    def status(self):
        """What otactl says; {} while otad is not there, as in a restart."""
        done = self.gateway.otactl("status", "--json")
        try:
            return json.loads(done.stdout) if done.returncode == 0 else {}
        except ValueError:
            return {}

    def follow(self, job, timeout=40):
        """Shows the update's way till the cloud has its end. Returns the execution."""
        deadline = time.monotonic() + timeout
        while True:
            execution = self.cloud.execution(THING, job)
            if execution.status in TERMINAL:
                self.gateway.wait(lambda: self.status().get("state") == "idle", 15, "otad that has done with it")
                return execution
            self.gateway.check()
            if time.monotonic() > deadline:
                raise Wrong(f"no end of {job} within {timeout} s: {execution}")
            status = self.status()
            state, download = status.get("state"), status.get("download")
            if state == "downloading" and download:
                self.screen.progress(f"otad downloads by {download['protocol']}", download["percent"])
            elif state in WORDS:
                self.screen.progress(f"otad {WORDS[state]}")
            time.sleep(0.05)

    def show_slots(self):
        gateway = self.gateway
        for slot, path in gateway.slots.items():
            version = read_header(path).get("IMAGE_VERSION", "-")
            mark = "runs" if slot == gateway.slot else "bad, not to be started" if gateway.loader.state(slot) == "bad" \
                else "ready to go back to"
            self.screen.line(f"        slot {slot}   {version:<8} {mark}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="meson's build folder (default: build)")
    options = parser.parse_args()
    folder, screen = tempfile.mkdtemp(prefix="otad-demo-"), Screen()
    screen.line("otad updates a simulated gateway from a local stand-in for AWS IoT Core. Nothing leaves this machine.")
    try:
        Demo(folder, options.build, screen).run()
    except KeyboardInterrupt:
        screen.line("\nInterrupted.")
        shutil.rmtree(folder, ignore_errors=True)
        return 130
    except Exception as error:      # noqa: whatever went wrong, the demo has not shown what it says
        screen.line(f"\nThe demo failed: {error}\nAll logs are in {folder}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
