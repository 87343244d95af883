"""The HTTPS face of storage.py: S3 as far as a download sees it, on the loopback.

HTTP/1.1 with keep-alive, single ranges with 206 and Content-Range, If-Match (412), ranges past the end (416), and
as S3 does a `Connection: close` after about a hundred requests (P§3.5). Large answers go from the mapped file into
the TLS socket in big pieces. A fault at "http.reply" may turn any answer into anything else.
"""

import re
import socket
import ssl
import struct
import threading
import time
from email.utils import formatdate
from http import HTTPStatus

from .faults import Event, error_body
from .storage import LinkRefused

CHUNK = 1 << 20
MAX_HEAD = 32768
REQUESTS_PER_CONNECTION = 100
IDLE_SECONDS = 30
RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Gone(Exception):
    """The connection is to be closed now."""


class HttpsServer:
    def __init__(self, record, faults, storage, cert, key, port=0, host="localhost"):
        self._record, self._faults, self._storage = record, faults, storage
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(cert, key)
        self._listener = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port = self._listener.getsockname()[1]
        storage.host = f"{host}:{self.port}"
        self._closing = threading.Event()
        self._lock, self._connections, self._threads = threading.Lock(), set(), set()
        self.n_requests = 0
        self.peers = set()      # the addresses connections came from
        self._accepting = threading.Thread(target=self._accept, name="https accept", daemon=True)
        self._accepting.start()

    def close(self):
        self._closing.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._accepting.join(5)
        self._listener.close()
        self.drop_connections()
        for thread in list(self._threads):
            thread.join(5)

    def drop_connections(self):
        """Breaks every open connection, as a network does."""
        with self._lock:
            for sock in self._connections:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _accept(self):
        while not self._closing.is_set():
            try:
                sock, address = self._listener.accept()
            except OSError:
                if self._closing.is_set():
                    return
                continue
            self.peers.add(address[0])
            thread = threading.Thread(target=self._serve, args=(sock,), name="https connection", daemon=True)
            with self._lock:
                self._connections.add(sock)
                self._threads.add(thread)
            thread.start()

    def _serve(self, plain):
        sock = plain
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(IDLE_SECONDS)
            sock = self._tls.wrap_socket(plain, server_side=True)
            with self._lock:
                self._connections.discard(plain)
                self._connections.add(sock)
            if self._closing.is_set():
                return
            buffer = bytearray()
            for count in range(1, REQUESTS_PER_CONNECTION + 1):
                if not self._request(sock, buffer, last=count == REQUESTS_PER_CONNECTION):
                    break
        except (Gone, OSError, ValueError):     # the peer left, or sent what is no HTTP at all
            pass
        except Exception as error:              # noqa: must reach the test
            self._record.failure(error, "https connection")
        finally:
            with self._lock:
                self._connections -= {plain, sock}
                self._threads.discard(threading.current_thread())
            sock.close()

    # One request

    def _request(self, sock, buffer, last):
        method, target, headers = self._read_head(sock, buffer)
        self.n_requests += 1
        reply = self._reply(method, target, headers)
        close = last or headers.get("connection", "").lower() == "close"
        if close:
            reply.headers["Connection"] = "close"
        self._faults.fire(reply)
        path = target.partition("?")[0]
        self._record.message("http", None, f"{method} {path}", {"range": headers.get("range"),
                             "if_match": headers.get("if-match"), "status": reply.status,
                             "content_range": reply.headers.get("Content-Range")}, len(reply.body), reply.note)
        if reply.dropped:
            self._closing.wait(IDLE_SECONDS)
            raise Gone
        if reply.delay:
            self._closing.wait(reply.delay)
        if reply.reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise Gone
        self._send(sock, reply, with_body=method != "HEAD")
        return not close

    @staticmethod
    def _read_head(sock, buffer):
        while b"\r\n\r\n" not in buffer:
            data = sock.recv(8192)
            if not data or len(buffer) > MAX_HEAD:
                raise Gone
            buffer += data
        head, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        buffer[:] = rest
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        return method, target, {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}

    def _reply(self, method, target, headers):
        reply = Event("http.reply", None, target, method=method, path=target.partition("?")[0], headers_in=headers,
                      range=None, status=200, object=None, body=memoryview(b""), cut=None, stall=None, rate=None,
                      reset=False, headers={"Server": "AmazonS3", "x-amz-request-id": "0A49CE4060975EAC",
                                            "Date": formatdate(usegmt=True)})
        if "authorization" in headers:
            self._violation("http-authorization", "an Authorization header beside a presigned link")
            return self._refuse(reply, 400)
        if method != "GET":
            self._violation("http-method", f"{method}: the link is signed for GET")
            return self._refuse(reply, 403)
        try:
            obj = self._storage.open(headers.get("host"), target)
        except LinkRefused as refused:
            if refused.fault:
                self._violation(refused.fault, f"{reply.path}: {refused}")
            return self._refuse(reply, refused.status, refused.body)
        reply.object = obj
        if "if-match" in headers and headers["if-match"] not in ("*", obj.etag):
            return self._refuse(reply, 412)
        reply.headers.update({"ETag": obj.etag, "Last-Modified": formatdate(obj.modified, usegmt=True),
                              "Accept-Ranges": "bytes", "Content-Type": "application/octet-stream"})
        reply.body = obj.view()
        wanted = RANGE.fullmatch(headers.get("range", ""))      # anything else S3 answers with the whole object
        if wanted and (wanted[1] or wanted[2]):
            first, last = self._bounds(wanted, obj.size)
            if first > last or first >= obj.size:
                self._violation("http-range", f"{headers['range']} of {obj.size} bytes")
                reply.headers.pop("ETag")
                reply.headers["Content-Range"] = f"bytes */{obj.size}"
                return self._refuse(reply, 416)
            reply.range, reply.status = (first, last), 206
            reply.body = obj.view()[first:last + 1]
            reply.headers["Content-Range"] = f"bytes {first}-{last}/{obj.size}"
        return reply

    @staticmethod
    def _bounds(wanted, size):
        if not wanted[1]:
            return max(0, size - int(wanted[2])), size - 1
        return int(wanted[1]), min(int(wanted[2]), size - 1) if wanted[2] else size - 1

    @staticmethod
    def _refuse(reply, status, body=None):
        reply.status, reply.body = status, memoryview(body or error_body(status))
        reply.headers["Content-Type"] = "application/xml"
        return reply

    def _violation(self, kind, detail):
        self._record.violation(kind, detail)

    # The answer

    def _send(self, sock, reply, with_body):
        headers = dict(reply.headers)
        headers.setdefault("Content-Length", str(len(reply.body)))
        phrase = HTTPStatus(reply.status).phrase if reply.status in HTTPStatus._value2member_map_ else "Status"
        head = f"HTTP/1.1 {reply.status} {phrase}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        sock.sendall(head.encode("latin-1"))
        if with_body:
            self._send_body(sock, reply)

    def _send_body(self, sock, reply):
        body, sent = reply.body, 0
        end = len(body) if reply.cut is None else min(reply.cut, len(body))
        chunk = CHUNK if reply.rate is None else max(1, int(reply.rate / 20))
        started = time.monotonic()
        while sent < end:
            upto = min(end, sent + chunk)
            if reply.stall and sent <= reply.stall[0] < upto:
                upto = reply.stall[0] or sent
                sock.sendall(body[sent:upto])
                sent = upto
                if self._closing.wait(reply.stall[1]):
                    raise Gone
                reply.stall = None
                continue
            sock.sendall(body[sent:upto])
            sent = upto
            if reply.rate is not None and self._closing.wait(max(0.0, started + sent / reply.rate - time.monotonic())):
                raise Gone
        if reply.cut is not None and reply.cut < len(body):
            raise Gone
