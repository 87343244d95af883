"""An installer that is started by its socket: it ends when nothing is left to do, and is there again with the next job."""

import contextlib
import os
import select
import socket
import subprocess
import threading

from gateway import make_image

IMAGE = make_image("1.1.0", 300_000)
NEXT = make_image("1.2.0", 300_000)


class Activated:
    """What otad-installer.socket and .service are: the socket is held here, and a connection starts the program."""

    def __init__(self, program, path, log):
        self._command = ["/bin/sh", "-c", 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3<&0 0</dev/null', "sh",
                         str(program.path), *program.arguments]
        self._log, self.n_starts, self._process, self._over = log, 0, None, False
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(path))
        os.chmod(path, 0o666)
        self._socket.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def running(self):
        return self._process is not None and self._process.poll() is None

    def _run(self):
        while not self._over:
            if self.running or not select.select([self._socket], [], [], 0.05)[0]:
                if self.running:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(0.05)
                continue
            self.n_starts += 1
            with open(self._log, "ab", buffering=0) as log:
                self._process = subprocess.Popen(self._command, stdin=self._socket, stdout=log, stderr=log)

    def close(self):
        self._over = True
        self._thread.join()
        if self.running:
            self._process.terminate()
            assert self._process.wait(8) == 0
        self._socket.close()


def test_installer_ends_and_comes_again(make_scene):
    scene = make_scene(gateway={"slot_size": 0, "files": ["app"], "config": {"installer": {"idle-exit-sec": 1}}})
    gateway = scene.gateway
    connected = "Connected to otad-installer, its state is idle"
    gateway.wait_output("otad", connected)
    gateway.end("otad-installer")
    installer = Activated(gateway.programs["otad-installer"], gateway.runtime / "installer.sock",
                          gateway.folder / "activated.log")
    try:
        gateway.wait(lambda: gateway.output().count(connected) == 2, what="otad to be connected again")
        for n_starts, image in ((1, IMAGE), (2, NEXT)):
            gateway.wait(lambda: not installer.running, 20, "the installer to end, as there is nothing to do")
            assert installer.n_starts == n_starts
            job = scene.update(image, name="app")
            scene.wait(job, "SUCCEEDED")
            assert gateway.files["app"].read_bytes() == image
            scene.wait_idle()
        assert installer.n_starts == 3
        assert gateway.output().count("Lost otad-installer") == 1   # the one that was ended above
    finally:
        installer.close()
    scene.expect_clean()
