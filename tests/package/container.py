"""A Debian machine in a container: systemd as PID 1, from a clean tree, on the host's loopback. Needs root.

The clean tree is made once by mmdebstrap and kept outside of the project, ${XDG_CACHE_HOME:-~/.cache}/otad. In its folder
/debs lies what the packages depend on, as an archive for apt: nothing of it is installed, and no network is needed."""

import hashlib
import os
import pty
import select
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

PACKAGES = "systemd systemd-sysv dbus".split()
# What control files name (shlibs: included), what the boot scripts call, polkit, a token, and what runs debian/tests.
OFFERED = """ca-certificates libaio1 libc-ares2 libcbor0.8 libcjson1 libconfig9 libcurl4 libmosquitto1 libssl3 libsystemd0
    mosquitto openssl python3 python3-cbor2 python3-cryptography grub-common libubootenv-tool polkitd
    libengine-pkcs11-openssl opensc softhsm2 autopkgtest dpkg-dev""".split()
RECIPE = r"""set -eu
mkdir -p "$1/debs/partial"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get install --yes --quiet=2 --download-only --no-install-recommends \
        --option Dir::Cache::archives="$1/debs" OFFERED
rm -rf "$1/debs/partial" "$1/debs/lock" "$1"/var/cache/apt/*.bin "$1"/var/lib/apt/lists/*
index=dists/bookworm/main/binary-$(dpkg --print-architecture)
mkdir -p "$1/debs/$index"
(cd "$1/debs" && dpkg-scanpackages --multiversion . >$index/Packages 2>/dev/null)
rm -f "$1"/etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/debs bookworm main' >"$1/etc/apt/sources.list"
chroot "$1" apt-get update --quiet
: >"$1/etc/machine-id"
"""
MIRROR = os.environ.get("OTAD_DEBIAN_MIRROR", "http://deb.debian.org/debian")
RESTART = 133     # how nspawn, when it keeps to its unit, ends for a machine that wants to be started again
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def clean_tree():
    """The path of a tar archive."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otad"
    hook = RECIPE.replace("OFFERED", " ".join(OFFERED))
    key = hashlib.sha256(f"{PACKAGES} {hook}".encode()).hexdigest()[:12]
    archive = cache / f"debian-12-{key}.tar"
    if not archive.exists():
        cache.mkdir(parents=True, exist_ok=True)
        new, script = cache / f"new-{os.getpid()}.tar", cache / f"new-{os.getpid()}.sh"
        try:
            script.write_text("#!/bin/sh\n" + hook)
            script.chmod(0o755)
            # --skip: the packages that were downloaded for /debs would be taken away again.
            subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}",
                            "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/man/*",
                            "--customize-hook=rm -f $1/etc/dpkg/dpkg.cfg.d/99mmdebstrap", f"--customize-hook={script}",
                            "--skip=cleanup/apt", "bookworm", new, MIRROR], check=True, timeout=900)
            new.rename(archive)
        finally:
            new.unlink(missing_ok=True)
            script.unlink(missing_ok=True)
    return archive


class Container:
    """Switched on and off; run() is a command in it, as root. `console` has what was written to its terminal."""

    def __init__(self, folder):
        self.root = folder / "root"
        self.root.mkdir()
        self.process, self.leader, self.console = None, None, b""
        subprocess.run(["tar", "-xf", clean_tree(), "-C", self.root, "--numeric-owner"], check=True)
        (self.root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
        # This machine need not survive a power cut.
        (self.root / "etc" / "dpkg" / "dpkg.cfg.d" / "unsafe-io").write_text("force-unsafe-io\n")
        # Timers and terminals are of no use here and cost time at each start.
        for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
                     "fstrim.timer", "console-getty.service", "systemd-timesyncd.service", "e2scrub_reap.service"):
            (self.root / "etc" / "systemd" / "system" / unit).symlink_to("/dev/null")

    def power_on(self):
        # nspawn with a pipe instead of a terminal prints nothing and seems to hang.
        master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", "--boot", "--directory", self.root, "--register=no", "--keep-unit",
             "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--machine", f"otad-package-{os.getpid()}"],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        threading.Thread(target=self._drain, args=(master,), daemon=True).start()
        self.wait_up()

    def _drain(self, master):
        try:
            while True:
                select.select([master], [], [])
                self.console = (self.console + os.read(master, 65536))[-100000:]
        except OSError:
            os.close(master)

    def find_leader(self):
        """PID 1 of the container as the host sees it, or None."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
            for pid in children:
                status = Path(f"/proc/{pid}/status").read_text()
                ids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
                if len(ids) > 1 and ids[-1] == "1":
                    return int(pid)
        except (OSError, StopIteration):
            pass
        return None

    def wait_restart(self, timeout=90):
        """Until the machine has gone down to start again, and has."""
        code = self.process.wait(timeout)
        if code != RESTART:
            raise RuntimeError(f"the container ended with {code}: {self.console.decode(errors='replace')}")
        self.power_on()

    def wait_up(self, timeout=90):
        """Until the machine has started."""
        deadline = time.monotonic() + timeout
        state = ""
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the container ended: {self.console.decode(errors='replace')}")
            self.leader = self.find_leader()
            if self.leader:
                state = self.run("systemctl", "is-system-running", check=False).strip()
                if state in ("running", "degraded"):
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the machine is not up after {timeout} s but '{state}': {self.console.decode(errors='replace')}")

    def run(self, *command, check=True, timeout=300):
        """Its output, both streams."""
        done = subprocess.run(["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "--wdns=/", "--", *command],
                              env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=timeout)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def sh(self, script, **more):
        return self.run("sh", "-euc", script, **more)

    def wait(self, script, timeout=30):
        """Until a shell script ends with 0; its output."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.sh(script)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.2)

    def path(self, inside):
        return self.root / inside.lstrip("/")

    def write(self, inside, text, mode=0o644):
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def power_off(self):
        if not self.process:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                leader = self.find_leader()
                if leader:
                    os.kill(leader, signal.SIGKILL)
                self.process.wait()
        self.process = None

    def remove(self):
        self.power_off()
        shutil.rmtree(self.root, ignore_errors=True)
