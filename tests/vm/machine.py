"""A virtual PC: switched on and off, cut from power, driven through its serial console.

Plain emulation unless OTAD_VM_ACCEL says otherwise (tcg, steady, kvm): a /dev/kvm that opens is no sign of one that works.
The PC's own reset (by a reboot, a panic, the watchdog) ends QEMU, which is then started again on the same disk: that is
much faster than a reset within QEMU. Nothing else ever restarts it, so a machine that comes back has come back by itself.

Deadlines are for two quiet cores; OTAD_VM_PATIENCE (default 4) multiplies them.
"""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

PATIENCE = float(os.environ.get("OTAD_VM_PATIENCE", "4"))
QEMU = "qemu-system-x86_64"
# A plain processor is emulated fastest; but for the instructions that TLS lives on.
PLAIN = ["-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+aes,+pclmulqdq,+movbe,+rdrand"]
# "steady" counts instructions instead of time: the machine does not notice how little of the host it gets.
ACCEL = {"tcg": ["-accel", "tcg,thread=multi", *PLAIN],
         "steady": ["-accel", "tcg,thread=single", "-icount", "shift=2", *PLAIN],
         "kvm": ["-accel", "kvm", "-cpu", "host"]}
N_CPUS = os.environ.get("OTAD_VM_CPUS", "2")    # on a host that is busy with other things one is quicker
INSIDE = "10.0.2.100"           # the address in the machine that leads to services of the host
PROMPT = b"gateway# "


def accelerator():
    return os.environ.get("OTAD_VM_ACCEL", "tcg")


class Lost(RuntimeError):
    """The machine is not there, or does not answer; the text has the end of its console."""


def missing():
    """What the host lacks to run a machine, as a text; None if nothing."""
    tools = [tool for tool in (QEMU, "qemu-img", "socat") if not shutil.which(tool)]
    return f"{', '.join(tools)} not installed" if tools else None


class Machine:
    """`services` maps ports of INSIDE to ports of the host's loopback; nothing else can be reached from within."""

    def __init__(self, folder, disk, services, disk_format="raw", write_log=None, clock=None, firmware=()):
        self.folder, self.disk, self.format = Path(folder), disk, disk_format
        self.services, self.clock, self.firmware = dict(services), clock, list(firmware)
        self.write_log = write_log      # a path: all writes to the disk are recorded, a file for each start
        self.console = bytearray()      # all that came over the serial line, of all starts
        self.changed = threading.Condition()
        self.starts, self.process, self.running = 0, None, False
        self.start_seconds = None       # what the last start took that came as far as a shell
        self._serial = self._qmp = self._started = None
        self._marks = itertools.count(1)
        self._keeper = None
        self.link_up = True
        self.watcher = None             # called with what comes over the serial line

    # ---- power ----

    def power_on(self, snapshot=None):
        """Starts it; from now on it starts again whenever it resets itself."""
        assert not self.running
        self.running = True
        self._start(snapshot)
        self._keeper = threading.Thread(target=self._keep, name="machine", daemon=True)
        self._keeper.start()

    def cut(self):
        """The power goes, at once: what the machine had not flushed is lost."""
        with self.changed:
            self.running = False
            if self.process and self.process.poll() is None:
                self.process.kill()
        if self._keeper:
            self._keeper.join()
            self._keeper = None

    def wait_off(self, timeout=60):
        """Until it has switched itself off."""
        deadline = time.monotonic() + timeout * PATIENCE
        with self.changed:
            while self.running:
                if not self.changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise Lost(f"the machine is still on\n{self._tail()}")
        self.cut()

    def power_off(self):
        """As an operator would."""
        self.wait_shell()
        self._serial.sendall(b"poweroff\n")
        self.wait_off()

    def write_logs(self):
        return sorted(self.write_log.parent.glob(f"{self.write_log.name}.*"))

    def command(self):
        sockets = []
        for name in "serial", "qmp":
            (self.folder / name).unlink(missing_ok=True)
            sockets.append(f"path={self.folder / name}")
        net = "user,id=n0,restrict=on" + "".join(
            f",guestfwd=tcp:{INSIDE}:{inside}-cmd:socat - TCP4:127.0.0.1:{outside}"
            for inside, outside in self.services.items())
        drive = f"file={self.disk},format={self.format},cache=writeback"
        if self.write_log:
            log = Path(f"{self.write_log}.{self.starts:03}")
            log.touch()
            drive = (f"driver=blklogwrites,file.driver=file,file.filename={self.disk},log.driver=file,"
                     f"log.filename={log}")
        return [QEMU, "-machine", "q35", *ACCEL[accelerator()], "-smp", N_CPUS, "-m", "512",
                "-nodefaults", "-no-user-config", "-display", "none", "-vga", "none", "-no-reboot", *self.firmware,
                "-chardev", f"socket,id=s0,server=on,wait=on,{sockets[0]}", "-serial", "chardev:s0",
                "-chardev", f"socket,id=q0,server=on,wait=off,{sockets[1]}", "-mon", "chardev=q0,mode=control",
                "-drive", f"if=none,id=d0,{drive}", "-device", "virtio-blk-pci,drive=d0",
                "-netdev", net, "-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci",
                "-device", "i6300esb", "-watchdog-action", "reset",
                *(["-rtc", f"base={self.clock}"] if self.clock else [])]

    def _start(self, snapshot=None):
        self.starts += 1
        self.reason, self._started = None, None if snapshot else time.monotonic()
        command = self.command() + (["-loadvm", snapshot] if snapshot else [])
        with open(self.folder / "qemu.log", "a") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._serial = self._connect("serial")      # first: QEMU waits for it, so that no word is lost
        self._qmp = Qmp(self._connect("qmp"))
        self.console_start = len(self.console)
        self._shell_ready = False
        if not self.link_up:
            self._qmp.call("set_link", name="n0", up=False)
        threading.Thread(target=self._listen, args=(self._serial,), name="serial", daemon=True).start()

    def _connect(self, name):
        deadline = time.monotonic() + 10 * PATIENCE
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(self.folder / name))
                return sock
            except OSError:
                sock.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise Lost(f"QEMU does not start: {(self.folder / 'qemu.log').read_text()[-2000:]}") from None
            time.sleep(0.02)

    def _keep(self):
        """Waits for its end and starts it again if it was a reset."""
        while True:
            self.process.wait()
            reason = self._qmp.wait_end()
            with self.changed:
                self.reason = reason
                if self.running and reason == "guest-reset":
                    self._say(f"\n---- reset, start {self.starts + 1} ----\n".encode())
                    self._start()
                else:
                    self.running = False
                self.changed.notify_all()
                if not self.running:
                    return

    def _listen(self, serial):
        while True:
            try:
                data = serial.recv(65536)
            except OSError:
                return
            if not data:
                return
            with self.changed:
                self._say(data)

    def _say(self, data):
        self.console += data
        if self._started and PROMPT in self.console[self.console_start:]:
            self.start_seconds, self._started = time.monotonic() - self._started, None
        if self.watcher:
            self.watcher(bytes(data))
        with open(self.folder / "console.log", "ab") as log:
            log.write(data)
        self.changed.notify_all()

    # ---- what surrounds it ----

    def plug(self, is_in):
        """The network cable."""
        self.link_up = is_in
        self._qmp.call("set_link", name="n0", up=is_in)

    def save(self, name):
        """A snapshot of the running machine; its disk must be qcow2."""
        answer = self._qmp.call("human-monitor-command", **{"command-line": f"savevm {name}"})
        if answer:
            raise Lost(f"savevm: {answer}")

    # ---- its console ----

    def text(self, since=None):
        with self.changed:
            return bytes(self.console[self.console_start if since is None else since:]).decode(errors="replace")

    def mark(self):
        """The end of the console so far, for `since`."""
        with self.changed:
            return len(self.console)

    def wait_text(self, pattern, timeout, since=0):
        """Until the console has a regular expression; its match."""
        deadline = time.monotonic() + timeout * PATIENCE
        with self.changed:
            while True:
                found = re.search(pattern.encode(), self.console[since:])
                if found:
                    return found
                if not self.running:
                    raise Lost(f"waited for '{pattern}', but the machine is off ({self.reason})\n{self._tail()}")
                if not self.changed.wait(max(0.0, deadline - time.monotonic())) and time.monotonic() >= deadline:
                    raise Lost(f"waited {timeout * PATIENCE:.0f} s for '{pattern}'\n{self._tail()}")

    def wait_shell(self, timeout=60):
        """Until somebody could type."""
        deadline = time.monotonic() + timeout * PATIENCE
        with self.changed:
            while PROMPT not in self.console[self.console_start:]:
                left = deadline - time.monotonic()
                if not self.running or left < 0:
                    raise Lost(f"no shell after {timeout * PATIENCE:.0f} s (on: {self.running})\n{self._tail()}")
                self.changed.wait(left)
            if self._shell_ready:
                return
            self._shell_ready = True
        self._serial.sendall(b'stty -echo cols 1000; bind "set enable-bracketed-paste off"; PS1=; echo "R"EADY\n')
        self.wait_text("READY", timeout, self.console_start)

    def adopt(self):
        """After power_on() from a snapshot in which a shell was already waiting."""
        with self.changed:
            self._shell_ready = True
            self.console_start = len(self.console)
            self._say(PROMPT)

    def type(self, data):
        self._serial.sendall(data)

    def run(self, command, timeout=20, check=True):
        """A command line typed in, as root. What it printed; RuntimeError if it failed."""
        self.wait_shell()
        number, since = next(self._marks), self.mark()
        self._serial.sendall(f'{command}\necho "E"ND{number}:$?:\n'.encode())
        found = self.wait_text(rf"END{number}:(\d+):", timeout, since)
        said = bytes(self.console[since:since + found.start()]).decode(errors="replace").replace("\r\n", "\n")
        if check and found[1] != b"0":
            raise RuntimeError(f"{command}: status {found[1].decode()}\n{said}")
        return said

    def _tail(self):
        return "... " + bytes(self.console[-3000:]).decode(errors="replace")


class Qmp:
    """QEMU's monitor. Events are kept only as far as the machine's end needs them."""

    def __init__(self, sock):
        self._sock, self._lines = sock, sock.makefile("r")
        self._answers, self._changed = {}, threading.Condition()
        self._ended, self._why, self._ids = False, None, itertools.count(1)
        threading.Thread(target=self._read, name="qmp", daemon=True).start()
        self.call("qmp_capabilities")

    def _read(self):
        try:
            for line in self._lines:
                message = json.loads(line)
                with self._changed:
                    if message.get("event") == "SHUTDOWN":
                        self._why = message["data"]["reason"]
                    elif "id" in message:
                        self._answers[message["id"]] = message
                    self._changed.notify_all()
        except (OSError, ValueError):
            pass
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def call(self, command, **arguments):
        number = next(self._ids)
        self._sock.sendall((json.dumps({"execute": command, "arguments": arguments, "id": number}) + "\n").encode())
        with self._changed:
            self._changed.wait_for(lambda: number in self._answers or self._ended, 60 * PATIENCE)
            answer = self._answers.pop(number, None)
        if not answer or "error" in answer:
            raise Lost(f"{command}: {answer}")
        return answer["return"]

    def wait_end(self):
        """Why the machine went down: guest-reset, guest-shutdown, or None when it was killed."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended, 10)
            return self._why
