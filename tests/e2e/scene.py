"""A cloud, a gateway and a signer, and what every test asks of them: a good end, or a bad one without harm."""

import time

from cloud import Cloud, OtaFile, WrongEnd, faults
from gateway import Gateway, make_image

THING = "gateway-1"
PROTOCOLS = {"mqtt": ["MQTT"], "https": ["HTTP"], "both": ["MQTT", "HTTP"]}

# The word in statusDetails `error` and what the FreeRTOS agent's vocabulary has for it in `reason`. Written down here
# once more, because operators' tools read these words: nobody is to change them by accident.
REASONS = {
    "document-invalid": "0x0000000c: 0x00000004",
    "document-unsupported": "0x0000000c: 0x00000004",
    "no-protocol": "aborted: 0x0000000d",
    "target-unknown": "0x000000e4: 0x00000000",
    "target-repeated": "0x000000e4: 0x00000000",
    "image-empty": "0x0000000c: 0x00000003",
    "image-too-large": "0x000000e5: 0x00000000",
    "signature-missing": "0x000000e3: 0x00000000",
    "algorithm-refused": "0x000000e3: 0x00000000",
    "download-failed": "aborted: 0x0000000e",
    "download-stalled": "aborted: 0x0000000e",
    "url-expired": "aborted: 0x0000000e",
    "url-refused": "aborted: 0x0000000e",
    "range-wrong": "aborted: 0x0000000e",
    "object-changed": "aborted: 0x0000000e",
    "stream-refused": "aborted: 0x0000000e",
    "tls-untrusted": "aborted: 0x0000000e",
    "target-missing": "0x000000e4: 0x00000000",
    "target-busy": "0x000000e4: 0x00000000",
    "target-io": "0x000000ee: 0x00000000",
    "no-space": "0x000000e5: 0x00000000",
    "boot-script": "0x000000e6: 0x00000000",
    "signature-invalid": "0x000000e3: 0x00000000",
    "signature-malformed": "0x000000e3: 0x00000000",
    "certificate-unknown": "0x000000e7: 0x00000000",
    "certificate-untrusted": "0x000000e7: 0x00000000",
    "certificate-usage": "0x000000e7: 0x00000000",
    "certificate-expired": "0x000000e7: 0x00000000",
    "key-mismatch": "0x000000e3: 0x00000000",
    "hook-failed": "0x000000ec: 0x00000000",
    "hook-timeout": "0x000000ec: 0x00000000",
    "hook-not-now": "aborted: 0x00000013",
    "activation-failed": "0x000000ec: 0x00000000",
    "reboot-failed": "rejected: 0x00000016",
    "booted-old-slot": "rejected: 0x00000011",
    "selftest-failed": "rejected: 0x000000ea",
    "selftest-timeout": "rejected: 0x000000ea",
    "version-same": "rejected: 0x00000010",
    "version-older": "rejected: 0x0000000f",
    "commit-failed": "0x000000eb: 0x00000000",
    "cancelled-locally": "aborted: 0x00000013",
    "installer": "0x000000e2: 0x00000000",
    "resources": "0x000000e1: 0x00000000",
}


class Scene:
    """`cloud` and `gateway`: options for the two. `trusted` False: the signer's certificate is not on the gateway."""

    def __init__(self, folder, *, build=None, cloud=None, gateway=None, trusted=True, power=True, **gateway_options):
        self.cloud = Cloud(folder / "cloud", **(cloud or {})).start()
        self.gateway = None
        self.allowed = set()            # kinds of violation this test provokes
        self.extra_connects = 0         # connections broken or refused on purpose
        try:
            self.signer = self.cloud.add_signer("codesign")
            self.gateway = Gateway(folder / "gateway", self.cloud, THING, build=build, **(gateway or {}),
                                   **gateway_options)
            self.factory = self.gateway.digest("A") if self.gateway.slots else None     # as it left the factory
            if trusted:
                self.gateway.trust_signer(self.signer)
            if power:
                self.gateway.power_on()
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.gateway:
            self.gateway.close()
        self.cloud.close()

    def check(self):
        self.gateway.check()

    def report(self):
        return f"{self.gateway.report() if self.gateway else ''}\n===== cloud\n{self.cloud.report()}\n" \
               f"{self.cloud.record.tail(60)}"

    # Jobs

    def file(self, image, name="rootfs.img", **options):
        options.setdefault("signer", self.signer)
        return OtaFile(name, image, **options)

    def update(self, image, protocol="https", name="rootfs.img", *, file=None, **options):
        """Queues an update of one file. `file`: options for OtaFile; `options` for create_ota_update."""
        return self.update_files([self.file(image, name, **(file or {}))], protocol, **options)

    def update_files(self, files, protocol="https", **options):
        return self.cloud.create_ota_update(THING, files, PROTOCOLS[protocol], **options)

    def wait(self, job, status, timeout=25, number=None):
        """Waits for a status of a job; a gateway where something broke ends the wait at once."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.cloud.wait_for(job, status, 0.5, THING, number)
            except (TimeoutError, WrongEnd) as error:
                self.gateway.check()
                if isinstance(error, WrongEnd) or time.monotonic() > deadline:
                    raise

    def wait_idle(self, timeout=10):
        """The gateway has done with its update: the final status is accepted, the hook has cleaned up."""
        self.gateway.wait(lambda: not (self.gateway.folder / "installer-state" / "session").exists()
                          and not (self.gateway.folder / "state" / "outbox").exists(), timeout, "end of the update")

    # The two ends

    def expect_success(self, job, image, version, *, previous="1.0.0", timeout=25, number=None):
        """The job is SUCCEEDED and says so in every detail, and the gateway runs the image from the other slot."""
        execution = self.wait(job, "SUCCEEDED", timeout, number)
        details = dict(execution.details)
        self._check_receive(details.pop("receive"), len(image), complete=True)
        assert details == {"reason": f"accepted  v{version}", "updatedBy": f"  v{previous}", "phase": "committed"}
        gateway = self.gateway
        assert gateway.version == version and gateway.holds(gateway.slot, image)
        assert gateway.loader.primary == gateway.slot and gateway.loader.state(gateway.slot) == "good"
        self.wait_idle()
        stages = [c["stage"] for c in gateway.hook_calls() if c["OTAD_JOB_ID"] == job.id]
        assert stages[-1] == "cleanup" and "rollback" not in stages
        return execution

    def expect_failure(self, job, error, *, status="FAILED", phase="rolled-back", touched=True, version="1.0.0",
                       slot="A", before=None, timeout=25, number=None, next_job=True):
        """The job ended badly with this word, and no harm is done: the old software runs, its bytes are those of
        before, the slot that was written to is bad, and the next good job works. `touched` False: it ended before
        anything was written; None: whether the other slot is bad by now is of no matter. `before`: digest of the
        slot that ran, where the factory's is not meant."""
        execution = self.wait(job, status, timeout, number)
        details = dict(execution.details)
        assert details.pop("error") == error, execution
        assert details.pop("reason") == REASONS[error], execution
        assert details.pop("phase") == phase, execution
        assert len(details.pop("detail")) > 10, execution
        details.pop("receive", None)
        assert not details, execution
        self.expect_unharmed(version=version, slot=slot, before=before, touched=touched)
        if next_job:
            self.expect_next_works(previous=version)
        return execution

    def expect_unharmed(self, *, version="1.0.0", slot="A", before=None, touched=True):
        gateway = self.gateway
        self.wait_idle()
        other = "B" if slot == "A" else "A"
        assert gateway.slot == slot and gateway.version == version
        assert gateway.digest(slot) == (before or self.factory)
        assert gateway.loader.primary == slot and gateway.loader.state(slot) == "good"
        if touched is not None:
            assert gateway.loader.state(other) == ("bad" if touched else "good")

    def expect_next_works(self, version="9.0.0", protocol="https", previous="1.0.0"):
        """A good update, after whatever happened: the proof that nothing was left behind. Then the cloud is asked
        whether it has seen anything AWS would refuse."""
        image = make_image(version, 200_000)
        job = self.update(image, protocol)
        self.expect_success(job, image, version, previous=previous)
        self.expect_clean()

    def expect_clean(self):
        """Nothing AWS would refuse; connections only where there was a reason for one. A simulated machine starts so
        fast that its connections come closer than AWS wants them, so they are counted instead."""
        self.gateway.check()
        self.cloud.assert_clean(allow={"connect-rate", *self.allowed})
        connects = len(self.cloud.find_messages("event", "^connected$"))
        most = self.gateway.programs["otad"].n_starts + self.extra_connects
        assert connects <= most, f"{connects} connections, and reason for {most}"

    @staticmethod
    def _check_receive(text, size, complete, block=16384):
        have, total = map(int, text.split("/"))
        assert total == -(-size // block) and (have == total if complete else have <= total)


def hold_stream(cloud, n_blocks):
    """Lets no more blocks of a stream through than the first n. Returns the rule: off() lets the rest pass."""
    def thin_out(event):
        event.blocks[:] = [b for b in event.blocks if b < n_blocks]
        if not event.blocks:
            event.copies = 0
            event.mark("held")
    return cloud.faults.on("stream.request", thin_out, match=lambda e: e.operation == "get")


def hold_https(cloud, n_bytes):
    """Downloads stop dead after n bytes. Returns a function that lets them go on."""
    rule = cloud.faults.on("http.reply", faults.stall(n_bytes, 3600))

    def let_go():
        rule.off()
        cloud.https.drop_connections()
    return let_go


def hold(scene, protocol, n_bytes, block=16384):
    """Holds the download after about n bytes by whichever protocol. Returns a function that lets it go on."""
    if protocol == "mqtt":
        return hold_stream(scene.cloud, n_bytes // block).off
    return hold_https(scene.cloud, n_bytes)
