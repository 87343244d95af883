"""The systemd units: what they are allowed to do, and that systemd understands them. How they behave on a machine is
scripts/package-test's."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parent.parent.parent / "systemd"
WATCH_TRIAL = UNITS / "watch-trial"


@pytest.mark.parametrize("unit,limit", [("otad.service", 1.4), ("otad-installer.service", 3.0),
                                        ("otad-selftest.service", 4.0)])
def test_exposure(unit, limit):
    """systemd-analyze's number from 0 to 10; Debian's own services are mostly above 9."""
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", UNITS / unit],
                          capture_output=True, text=True)
    score = float(re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)[1])
    assert score <= limit, done.stdout


@pytest.fixture
def copies(tmp_path):
    """With programs that exist here, as verify looks for them."""
    for unit in UNITS.glob("otad*.s*"):
        text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.M)
        (tmp_path / unit.name.replace("@.", "@grub.")).write_text(text)
    return tmp_path


def test_systemd_understands_them(copies):
    units = sorted(copies.iterdir())
    assert len(units) == 5
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units], capture_output=True,
                          text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_verify_would_tell(copies):
    """What the test above trusts in."""
    unit = copies / "otad.service"
    unit.write_text(unit.read_text().replace("PrivateDevices=yes", "PrivateDevises=yes"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    assert "PrivateDevises" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_users_and_folders(tmp_path):
    """sysusers.d and tmpfiles.d in a tree of our own."""
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", UNITS / "sysusers.conf"], check=True, capture_output=True)
    passwd = (tmp_path / "etc" / "passwd").read_text()
    assert re.search(r"^otad:x:\d+:\d+:[^:]*:/var/lib/otad:/usr/sbin/nologin$", passwd, re.M)
    (tmp_path / "run").mkdir()
    (tmp_path / "etc" / "otad").mkdir()
    subprocess.run(["systemd-tmpfiles", "--create", f"--root={tmp_path}", UNITS / "tmpfiles.conf"], check=True)
    modes = {name: oct((tmp_path / name).stat().st_mode & 0o7777) for name in ("run/otad", "etc/otad/tls", "etc/otad/trust")}
    assert modes == {"run/otad": "0o1775", "etc/otad/tls": "0o2750", "etc/otad/trust": "0o755"}


def granted(unit):
    """The system calls that a unit's filter lets through, by systemd's own lists."""
    calls = set()
    for rule in re.findall(r"^SystemCallFilter=(.*)$", (UNITS / unit).read_text(), re.M):
        named = set()
        for word in rule.removeprefix("~").split():
            named |= members(word) if word.startswith("@") else {word}
        calls = calls - named if rule.startswith("~") else calls | named
    return calls


def members(group):
    done = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True, check=True)
    words = [line.strip() for line in done.stdout.splitlines()[1:] if not line.strip().startswith("#")]
    return set().union(*(members(w) if w.startswith("@") else {w} for w in words if w))


@pytest.mark.parametrize("unit", ["otad.service", "otad-installer.service"])
def test_clock_may_be_asked(unit):
    """By adjtimex(), which in glibc is clock_adjtime; ProtectClock= would forbid both whatever the filter says."""
    assert {"adjtimex", "clock_adjtime"} <= granted(unit)
    assert not {"settimeofday", "clock_settime", "mount", "reboot"} & granted(unit)
    assert not re.search("^ProtectClock=", (UNITS / unit).read_text(), re.M)


class Watch:
    """watch-trial with a systemctl that fails to start otad-installer `failures` times."""

    def __init__(self, folder):
        self.folder = folder
        self.state, self.log, self.failures = folder / "state", folder / "log", folder / "failures"
        self.state.mkdir()
        self.log.touch()
        self.failures.write_text("0\n")
        tool = folder / "systemctl"
        tool.write_text(f"""#!/bin/sh
echo "$*" >>{self.log}
read -r left <{self.failures}
case $1 in
start) [ "$left" -eq 0 ] || {{ echo $((left - 1)) >{self.failures}; exit 1; }}; touch {self.folder}/active ;;
is-active) [ -e {self.folder}/active ] ;;
esac
""")
        tool.chmod(0o755)

    def session(self, state, name="job#1"):
        (self.state / "session").write_text(f"session={name}\njob=job\nstate={state}\nsha256=00\n")

    def run(self, failures, seconds=0):
        self.failures.write_text(f"{failures}\n")
        self.log.write_text("")
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "OTAD_STATE_DIR": str(self.state),
                       "OTAD_WATCH_SEC": str(seconds), "OTAD_WATCH_PAUSE_SEC": "0.2"}
        return subprocess.run([WATCH_TRIAL], env=environment, capture_output=True, text=True, timeout=30)

    def calls(self):
        return [line.split()[0] for line in self.log.read_text().splitlines()]


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)


def test_watch_starts_the_installer(watch):
    watch.session("testing")
    assert watch.run(failures=0).returncode == 0
    assert watch.calls() == ["start", "is-active"]


def test_watch_tries_again(watch):
    watch.session("testing")
    assert watch.run(failures=1, seconds=10).returncode == 0
    assert watch.calls() == ["start", "is-active", "start", "is-active"]


@pytest.mark.parametrize("state", ["activating", "testing", "rolling-back"])
def test_watch_restarts_the_machine_a_few_times(watch, state):
    """One more than a slot can have starts (TRIES in boot.conf)."""
    watch.session(state)
    for _ in range(10):
        assert watch.run(failures=9).returncode == 0
        assert watch.calls()[-1] == "reboot"
    last = watch.run(failures=9)
    assert last.returncode == 1 and "10 restarts" in last.stderr and "reboot" not in watch.calls()
    watch.session(state, "another#1")       # counts for itself
    watch.run(failures=9)
    assert watch.calls()[-1] == "reboot"


def test_watch_waits_for_no_start(watch):
    """One that hangs takes none of the time to the restart."""
    watch.session("testing")
    tool = watch.folder / "systemctl"
    tool.write_text(tool.read_text().replace("start) ", "start) exec sleep 60; "))
    began = time.monotonic()
    assert watch.run(failures=0).returncode == 0
    assert watch.calls()[-1] == "reboot" and time.monotonic() - began < 15


@pytest.mark.parametrize("state", ["downloading", "verifying", "installed", "committed", "rolled-back"])
def test_watch_leaves_the_old_software_alone(watch, state):
    watch.session(state)
    done = watch.run(failures=9)
    assert done.returncode == 1 and state in done.stderr and "reboot" not in watch.calls()


def test_watch_restarts_nothing_for_an_unreadable_record(watch):
    (watch.state / "session").write_bytes(b"\0\xff garbage")
    assert watch.run(failures=9).returncode == 1
    assert "reboot" not in watch.calls()
