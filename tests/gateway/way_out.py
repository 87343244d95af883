"""Proxies between a device and the cloud: real ones from Debian, and a strict small one that misbehaves on demand.

    with StrictProxy({("iot.example.invalid", 443): ("127.0.0.1", port)}) as proxy: ...
        proxy.url           http://127.0.0.1:PORT
        proxy.asked         every CONNECT so far, as (host, port)
        proxy.answer = "HTTP/1.1 403 Forbidden\\r\\n\\r\\n"     to all; "" is silence, None ends the connection
"""

import base64
import shutil
import socket
import subprocess
import threading
import time

SOURCE = "127.0.0.5"    # where the real ones connect from, so that the cloud can tell who came through them


class StrictProxy:
    """CONNECT to what `routes` names, from whoever has the `credentials`; a name is never looked up, so no way leads past
    it to a host that only `routes` knows."""

    def __init__(self, routes=None, credentials=None):
        self.routes, self.credentials = routes or {}, credentials
        self.asked, self.n_accepted = [], 0
        self.answer = False         # False: as it should be
        self.refused = {}           # port -> answer for it
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._sockets = set()
        threading.Thread(target=self._accept, name="strict proxy", daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for sock in list(self._sockets):
            self._end(sock)

    def _end(self, sock):
        self._sockets.discard(sock)
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        sock.close()

    def _accept(self):
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                return
            self.n_accepted += 1
            self._sockets.add(device)
            threading.Thread(target=self._serve, args=(device,), name="strict proxy", daemon=True).start()

    def _serve(self, device):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                data = device.recv(4096)
                if not data:
                    return
                head += data
            assert head.endswith(b"\r\n\r\n"), "the device speaks before the way is open"
            answer, target = self._judge(head.decode("ascii"))
            if answer:
                device.sendall(answer.encode())
            if target:
                self._pass_on(device, target)
            elif answer is not None:
                device.recv(1)      # till the device gives up
        except OSError:
            pass
        finally:
            self._end(device)

    def _judge(self, head):
        """The answer, and where to go on a good one."""
        lines = head.split("\r\n")
        method, place, version = lines[0].split(" ")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        assert method == "CONNECT" and version == "HTTP/1.1" and headers["Host"] == place
        host, _, port = place.rpartition(":")
        key = (host, int(port))
        self.asked.append(key)
        if self.answer is not False:
            return self.answer, None
        if self.credentials:
            wanted = "Basic " + base64.b64encode(self.credentials.encode()).decode()
            if headers.get("Proxy-Authorization") != wanted:
                return 'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\n\r\n', None
        if key[1] in self.refused:
            return self.refused[key[1]], None
        if key not in self.routes:
            return "HTTP/1.1 502 Bad Gateway\r\n\r\n", None
        return "HTTP/1.1 200 Connection established\r\n\r\n", self.routes[key]

    def _pass_on(self, device, target):
        with socket.create_connection(target, timeout=10) as cloud:
            cloud.settimeout(None)
            self._sockets.add(cloud)
            back = threading.Thread(target=self._pump, args=(cloud, device), daemon=True)
            back.start()
            self._pump(device, cloud)
            back.join()
            self._sockets.discard(cloud)

    @staticmethod
    def _pump(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


class RealProxy:
    """tinyproxy ("http") or microsocks ("socks5"), connecting from SOURCE."""

    def __init__(self, kind, folder, port, credentials=None):
        self.url = f"{kind}://127.0.0.1:{port}"
        user, _, password = (credentials or "").partition(":")
        if kind == "http":
            conf = folder / "tinyproxy.conf"
            conf.write_text(f"Port {port}\nListen 127.0.0.1\nBind {SOURCE}\nTimeout 600\nMaxClients 50\n"
                            f"LogFile \"{folder / 'tinyproxy.log'}\"\n"
                            + (f"BasicAuth {user} {password}\n" if user else ""))
            command = ["tinyproxy", "-d", "-c", str(conf)]
        else:
            command = ["microsocks", "-i", "127.0.0.1", "-p", str(port), "-b", SOURCE]
            command += ["-u", user, "-P", password] if user else []
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self._process = subprocess.Popen([*guard, *command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.02)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
