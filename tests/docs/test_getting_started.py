"""docs/getting-started.md: the part without AWS is run block by block, as a reader would; of the rest, what can be."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from cloud.broker import free_port
from gateway import make_image
from pages import REPO, blocks, read

PATIENCE = 60


class Reader:
    """Runs blocks as they stand, in a folder and on ports of its own."""

    def __init__(self, folder, log, build):
        self._replace = [("/tmp/otad-try", str(folder)), ("port = 18883", f"port = {free_port()}"),
                         ('"$PWD/build"', f'"{build}"'), ("build/src/cli/", f"{build}/src/cli/")]
        port = self._replace[1][1].split()[-1]
        self._replace.append(("otad-cloud start ", f"otad-cloud start --port {port} --https-port 0 "))
        self._log = log
        self._terminals = []

    def _adapt(self, code):
        for old, new in self._replace:
            code = code.replace(old, new)
        return code

    def run(self, code):
        done = subprocess.run(["bash", "-eu", "-c", self._adapt(code)], cwd=REPO, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=PATIENCE)
        return done.returncode, done.stdout + done.stderr

    def open_terminal(self, code):
        log = open(self._log, "a")
        self._terminals.append(subprocess.Popen(["bash", "-eu", "-c", self._adapt(code)], cwd=REPO, stdout=log,
                                                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True))
        log.close()

    def close(self):
        for terminal in reversed(self._terminals):
            # As Ctrl-C does: to all that was started in this terminal.
            try:
                os.killpg(terminal.pid, signal.SIGTERM)
                terminal.wait(20)
            except ProcessLookupError:
                pass
            except subprocess.TimeoutExpired:
                os.killpg(terminal.pid, signal.SIGKILL)
                terminal.wait()


@pytest.fixture
def reader(tmp_path_factory, build):
    folder = tmp_path_factory.mktemp("try")
    reader = Reader(folder, folder / "terminals.log", build)
    yield reader
    reader.close()
    print((folder / "terminals.log").read_text())


def wait_until(check, what):
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def test_every_block_does_what_the_page_says(reader):
    found = [b for b in blocks("getting-started.md") if b.what in ("run", "wait")]
    assert len(found) > 10
    output = ""
    for block in found:
        if block.text == "terminal":
            reader.open_terminal(block.code)
            if "otad-cloud start" in block.code:
                wait_until(lambda: reader.run("test -S /tmp/otad-try/cloud/control.sock")[0] == 0,
                           lambda: "the stand-in does not start")
        elif block.what == "wait":
            def is_there():
                nonlocal output
                output = reader.run(block.code)[1]
                return block.text in output
            wait_until(is_there, lambda: f"line {block.line}: waited for {block.text!r}, got: {output}")
        else:
            status, output = reader.run(block.code)
            assert status == 0 and block.text in output, f"line {block.line}: status {status}: {output}"
    assert "AWS would not have it" not in reader.run("tests/cloud/otad-cloud status --dir /tmp/otad-try/cloud")[1]


def test_otad_accepts_what_the_page_signs(tmp_path, make_scene):
    image = make_image("1.1.0")
    (tmp_path / "rootfs.img").write_bytes(image)
    code = "\n".join(b.code for b in blocks("getting-started.md") if b.what == "sign")
    done = subprocess.run(["bash", "-eu", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "Verified OK" in done.stdout, done.stderr
    scene = make_scene(trusted=False)
    (scene.gateway.trust / "codesign.pem").write_bytes((tmp_path / "codesign.pem").read_bytes())
    signature = (tmp_path / "image.sig.b64").read_text()
    job = scene.update(image, file={"signer": None, "signature": signature, "certfile": "codesign.pem"})
    scene.expect_success(job, image, "1.1.0")


STUBS = """
aws() {
        for word; do
                case $word in
                file://*) python3 -m json.tool "${word#file://}" >/dev/null || exit 9 ;;
                fileb://*) test -s "${word#fileb://}" || exit 9 ;;
                esac
        done
        echo "aws $*" >>calls
        echo value
}
note() { echo "$*" >>calls; }
cp() { note cp "$@"; }
install() { note install "$@"; }
otactl() { note otactl "$@"; }
systemctl() { note systemctl "$@"; }
curl() { echo certificate; }
"""


# Without a configuration systemd starts nothing and ends with 0; and before it has started otad, the check must fail.
IN_ORDER = ["aws iot attach-thing-principal", "aws iot describe-endpoint", "install -m 0640 -g otad device.pem.key",
            "cp /etc/otad/otad.conf.example /etc/otad/otad.conf", "install -m 0644 codesign.pem /etc/otad/trust/",
            "systemctl enable --now otad-installer.socket otad-selftest.service otad.service", "otactl check",
            "aws s3api put-object", "aws iot create-ota-update"]


def test_what_needs_aws_is_whole(tmp_path):
    """Every JSON that a command is given is JSON, every variable it uses is set by then, and all is in order."""
    policy = re.search(r"^## 5\. .*?```json\n(.*?)^```", read("cloud-protocol.md"), re.M | re.S)[1]
    assert len(re.sub(r"\s", "", policy)) < 2048       # AWS IoT's limit
    (tmp_path / "policy.json").write_text(json.dumps(json.loads(policy)))
    (tmp_path / "rootfs.img").write_bytes(b"image")
    code = STUBS + "\n".join(b.code for b in blocks("getting-started.md") if b.what in ("aws", "sign"))
    done = subprocess.run(["bash", "-eu", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    calls = (tmp_path / "calls").read_text().splitlines()
    assert any(call.startswith("aws iot create-policy ") for call in calls)
    assert [start for call in calls for start in IN_ORDER if call.startswith(start)] == IN_ORDER


def test_the_example_of_a_configuration_is_valid(programs):
    """As the page says of it; what it says has to be changed is there to be changed."""
    example = REPO / "conf" / "otad.conf"
    programs("otad", "--config", example, "--check-config")
    settings = re.findall(r"^ *([a-z-]+)(?: =|:)", example.read_text(), re.M)
    section = read("getting-started.md").split("### 3. The device's configuration")[1].split("\n### ")[0]
    row = next(line for line in section.splitlines() if line.startswith("| `/etc/otad/otad.conf`"))
    keys = [key.split(".")[-1] for key in re.findall(r"`([a-z.-]+)`", row)]
    assert len(keys) == 3 and set(keys) <= set(settings)
