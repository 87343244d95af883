"""A network between a device and the cloud that a test can spoil: a TCP proxy on the loopback.

    proxy = Proxy(("localhost", cloud.port))
    proxy.cut()         connections break; new ones work
    proxy.refuse()      connections break, and new ones are broken off at once
    proxy.silence()     half-open: nothing breaks and nothing passes, in both directions, for old and new connections
    proxy.delay = 0.2   each piece of data waits that long
    proxy.open()        back to normal
    proxy.n_received    bytes that have come from the cloud so far
"""

import socket
import struct
import threading
import time

PIECE = 65536


class Proxy:
    def __init__(self, target, port=0, buffer=None):
        """`buffer`: how much may be on its way to the device, in bytes; None: what the kernel likes."""
        self.target = target
        self.buffer = buffer
        self.delay = 0.0
        self.n_accepted = 0
        self.n_received = 0
        self._mode = "open"
        self._changed = threading.Condition()
        self._sockets = set()
        self._threads = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name="proxy accept", daemon=True)
        self._accepting.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._set("closed")
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._accepting.join(5)
        self._listener.close()
        self._break_all()
        for thread in list(self._threads):
            thread.join(5)

    @property
    def mode(self):
        return self._mode

    def open(self):
        self._set("open")

    def cut(self):
        self._break_all()

    def refuse(self):
        self._set("refuse")
        self._break_all()

    def silence(self):
        self._set("silent")

    def _set(self, mode):
        with self._changed:
            self._mode = mode
            self._changed.notify_all()

    def _break_all(self):
        with self._changed:
            sockets = list(self._sockets)
        for sock in sockets:
            self._reset(sock)

    @staticmethod
    def _reset(sock):
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _accept(self):
        while True:
            try:
                device, _ = self._listener.accept()
            except OSError:
                if self._mode == "closed":
                    return
                continue
            self.n_accepted += 1
            if self._mode == "refuse":
                self._reset(device)
                device.close()
            else:
                self._start(self._connect, device)

    def _start(self, run, *args):
        def body():
            try:
                run(*args)
            finally:
                with self._changed:
                    self._threads.discard(threading.current_thread())
        thread = threading.Thread(target=body, name="proxy", daemon=True)
        with self._changed:
            self._threads.add(thread)
        thread.start()

    def _connect(self, device):
        with self._changed:
            self._sockets.add(device)
        cloud = None
        try:
            if self._pass():
                cloud = socket.create_connection(self.target, timeout=10)
                cloud.settimeout(None)
                if self.buffer:
                    device.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer)
                for sock in (device, cloud):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._changed:
                    self._sockets.add(cloud)
        except OSError:
            cloud = None
        if cloud is None:
            self._forget(device)
            return
        both, ends = (device, cloud), threading.Semaphore(0)

        def pump(source, sink):
            self._pump(source, sink, count=True)
            ends.release()
        self._start(pump, cloud, device)
        self._pump(device, cloud)
        ends.acquire()
        for sock in both:
            self._forget(sock)

    def _forget(self, sock):
        with self._changed:
            self._sockets.discard(sock)
        self._reset(sock)
        sock.close()

    def _pass(self):
        """Waits as long as there is silence. False: the proxy is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._mode != "silent")
            return self._mode != "closed"

    def _pump(self, source, sink, count=False):
        """Passes data on till the source has no more; the other direction may go on after that."""
        try:
            while True:
                data = source.recv(PIECE)
                if self.delay:
                    time.sleep(self.delay)
                if not self._pass():
                    break
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
                if count:
                    self.n_received += len(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
