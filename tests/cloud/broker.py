"""A real mosquitto as AWS IoT Core's message broker: mutual TLS for things, a private listener for the services.

The device listener asks for TLS 1.2 or newer and a client certificate; the certificate's common name becomes the
user name, and the access list gives each thing just its own job, stream and package-shadow topics, as the policy of
P§5 does. What mosquitto cannot refuse by itself (client id other than the thing's name, a SUBSCRIBE the policy does
not allow, too many filters ...) is read from its log by conduct.py, which then has the connection closed.
"""

import base64
import fcntl
import getpass
import hashlib
import random
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from . import mqtt

# Below the range the kernel takes outgoing ports from, so nothing but another listener can be in the way.
PORTS = range(10240, 32768)
ACCESS = """\
pattern readwrite $aws/things/%u/jobs/#
pattern readwrite $aws/things/%u/streams/#
pattern readwrite $aws/things/%u/shadow/name/$package/#
"""
CONFIG = """\
per_listener_settings true
user {user}
pid_file {folder}/mosquitto.pid
log_dest stderr
log_type all
log_timestamp false
set_tcp_nodelay true
persistence true
persistence_location {folder}/
persistent_client_expiration 1h
message_size_limit 131072
max_inflight_messages 100
max_queued_messages 100000

listener {port} 127.0.0.1
cafile {ca}
certfile {cert}
keyfile {key}
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
acl_file {folder}/things.acl

listener {service_port} 127.0.0.1
allow_anonymous false
password_file {folder}/service.passwd
"""


class BrokerError(RuntimeError):
    """mosquitto is missing or would not start."""


def free_port():
    """A loopback port nobody listens on just now; starting on it may still fail and is then tried with another."""
    for _ in range(200):
        port = random.choice(PORTS)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise BrokerError("no free port on the loopback")


def password_line(user, password):
    """mosquitto's own form of a password: PBKDF2 with SHA-512."""
    salt = secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, 101)
    return f"{user}:$7$101${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}\n"


class Broker:
    """on_line(text) gets every line of mosquitto's log, on the thread that owns the process.

    `on_up(service_port)` is called once it takes connections, `on_down()` just before it is stopped on purpose,
    `on_died(text)` when it ended by itself.
    """

    SERVICE_USER = "stand-in"

    def __init__(self, folder, authority, *, port=None, host="localhost", on_line=None, on_up=None, on_down=None,
                 on_died=None):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port, self.service_port, self._fixed_port = port, None, port is not None
        self.password = secrets.token_hex(16)
        self._ca, (self._cert, self._key) = authority.path, authority.server(host)
        self._on_line, self._on_up, self._on_down = on_line, on_up, on_down
        self._on_died = on_died
        self._process = self._thread = None
        self._ready, self._ending = threading.Event(), False
        (self.folder / "things.acl").write_text(ACCESS)
        passwd = self.folder / "service.passwd"
        passwd.touch(mode=0o600)
        passwd.write_text(password_line(self.SERVICE_USER, self.password))

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def start(self):
        """Starts mosquitto; on the same port as before if it was started before."""
        for _ in range(20):
            if not self._fixed_port:
                self.port = free_port()
            self.service_port = free_port()
            if self._launch():
                self._fixed_port = True
                if self._on_up:
                    self._on_up(self.service_port)
                return self
            if self._fixed_port:
                time.sleep(0.05)        # the old listener's port may need a moment
        raise BrokerError(f"mosquitto would not start; the end of its log:\n{self.log_tail()}")

    def stop(self):
        """Ends mosquitto orderly; sessions of persistent clients are kept on disk for the next start."""
        self._end(signal.SIGTERM)

    def kill(self):
        """Ends mosquitto with SIGKILL: connections break, sessions are lost."""
        self._end(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def pause(self):
        """Stops mosquitto without closing anything: peers see silence till resume()."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        self._process.send_signal(signal.SIGCONT)

    def disconnect(self, client_id, clean=True):
        """Closes a client's connection as AWS does (without a reason in MQTT 3.1.1)."""
        if self.running:
            try:
                mqtt.seize(self.service_port, client_id, self.SERVICE_USER, self.password, clean)
            except OSError:
                if self.running and not self._ending:
                    raise

    def log_tail(self, n=20):
        log = self.folder / "mosquitto.log"
        return "\n".join(log.read_text(errors="replace").splitlines()[-n:]) if log.exists() else "(no log)"

    def _launch(self):
        config = self.folder / "mosquitto.conf"
        config.write_text(CONFIG.format(user=getpass.getuser(), folder=self.folder, port=self.port, ca=self._ca,
                                        service_port=self.service_port, cert=self._cert, key=self._key))
        self._ready.clear()
        self._ending = False
        started = threading.Event()
        self._thread = threading.Thread(target=self._own, args=(config, started), name="mosquitto", daemon=True)
        self._thread.start()
        started.wait()
        self._ready.wait(20)
        if self._ready.is_set() and self.running:
            return True
        self._end(signal.SIGKILL)
        return False

    def _own(self, config, started):
        """The thread that starts mosquitto and reads its log till the end.

        It is this thread's death that setpriv lets the kernel answer with SIGKILL, so a test runner that is itself
        killed leaves no broker behind.
        """
        mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        try:
            if not mosquitto:
                raise BrokerError("there is no mosquitto on this machine")
            guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
            self._process = subprocess.Popen([*guard, mosquitto, "-c", str(config)], stdin=subprocess.DEVNULL,
                                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except Exception as error:
            (self.folder / "mosquitto.log").write_text(f"{error}\n")
            self._ready.set()
            return
        finally:
            started.set()
        process = self._process
        try:            # room for a burst of log lines, so that the broker never waits for us
            fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 1 << 20)
        except OSError:
            pass
        with open(self.folder / "mosquitto.log", "ab", buffering=0) as log, process.stderr as lines:
            for raw in lines:
                log.write(raw)
                line = raw.decode(errors="replace").rstrip("\n")
                if line.startswith("mosquitto version") and line.endswith(" running"):
                    self._ready.set()
                elif self._on_line:
                    self._on_line(line)
        process.wait()
        was_ready = self._ready.is_set()
        self._ready.set()
        if was_ready and not self._ending and self._on_died:
            self._on_died(f"mosquitto ended by itself with {process.returncode}: {self.log_tail(3)}")

    def _end(self, signum):
        process, thread = self._process, self._thread
        if not process:
            return
        self._ending = True
        if self._on_down:
            self._on_down()
        if process.poll() is None:
            process.send_signal(signum)
            process.send_signal(signal.SIGCONT)     # a paused one would not end
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        thread.join(10)
        self._process = None
