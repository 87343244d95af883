#!/usr/bin/env python3
"""An HTTPS server for test-http-client.c that answers rightly, or wrongly in a chosen way.

Usage: http-server.py CERTIFICATE KEY
Prints its port, then one line a request: METHOD TARGET|Range|If-Match|User-Agent|number of the connection. For /suite
there is a second one: the cipher suite, which is the first of the client's that the server has, too.
The first path segment chooses the behaviour; the image is SIZE bytes of a pattern the test knows, too.
"""
import itertools
import socketserver
import ssl
import sys
import time

SIZE = 3_000_000
ETAG = '"one"'
IMAGE = bytes((i * 7 + (i >> 8)) & 0xFF for i in range(1 << 16)) * (SIZE // (1 << 16) + 1)
IMAGE = IMAGE[:SIZE]
CONNECTIONS = itertools.count(1)


class Handler(socketserver.StreamRequestHandler):
    def setup(self):
        self.request.do_handshake()  # in this connection's thread
        super().setup()

    def handle(self):
        number = next(CONNECTIONS)
        try:
            while self.one_request(number):
                pass
        except (OSError, ValueError):
            pass

    def one_request(self, number):
        line = self.rfile.readline().decode().strip()
        if not line:
            return False
        method, target, _ = line.split(" ")
        self.headers = {}
        while True:
            header = self.rfile.readline().decode().strip()
            if not header:
                break
            name, value = header.split(":", 1)
            self.headers[name.lower()] = value.strip()
        print(f"{method} {target}|{self.headers.get('range', '')}|{self.headers.get('if-match', '')}"
              f"|{self.headers.get('user-agent', '')}|{number}", flush=True)
        parts = target.split("?")[0].strip("/").split("/")
        return getattr(self, "do_" + parts[0].replace("-", "_"))(*parts[1:]) is not False

    def reply(self, status, headers=(), body=b"", length=None):
        text = f"HTTP/1.1 {status} Whatever\r\n"
        if length is not False:
            text += f"Content-Length: {len(body) if length is None else length}\r\n"
        text += "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.wfile.write(text.encode() + b"\r\n" + body)
        self.wfile.flush()

    def first(self):
        value = self.headers.get("range")
        return int(value.removeprefix("bytes=").removesuffix("-")) if value else 0

    def range_headers(self, first=None, last=SIZE - 1, total=SIZE, etag=ETAG):
        first = self.first() if first is None else first
        return [("Content-Range", f"bytes {first}-{last}/{total}"), ("ETag", etag)]

    # --- as it should be ---

    def do_image(self, *_):
        if self.headers.get("if-match") not in (None, ETAG):
            self.reply(412)
        elif self.first():
            self.reply(206, self.range_headers(), IMAGE[self.first():])
        else:
            self.reply(200, [("ETag", ETAG)], IMAGE)

    def do_closing(self):
        self.reply(200, [("ETag", ETAG), ("Connection", "close")], IMAGE, length=False)
        return False

    def do_chunked(self):
        self.reply(200, [("Transfer-Encoding", "chunked")], length=False)
        for i in range(0, SIZE, 100_000):
            chunk = IMAGE[i:i + 100_000]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def do_range_for_all(self):
        self.reply(206, self.range_headers(), IMAGE)

    def do_suite(self):
        print(self.request.cipher()[0], flush=True)
        self.reply(200, (), IMAGE)

    def do_weak_etag(self):
        self.reply(200, [("ETag", 'W/"one"')], IMAGE)

    # --- refusals ---

    def do_status(self, status, *_):
        self.reply(int(status))

    def do_expired(self):
        self.reply(403, [("Content-Type", "application/xml")],
                   b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code>'
                   b"<Message>Request has\x1b[31m expired</Message></Error>")

    def do_chatty_error(self):
        self.reply(403, (), b"<Code>Long</Code>" + b"x" * 100_000)

    def do_slow_down(self):
        self.reply(503, [("Retry-After", "7")], b"<Code>SlowDown</Code>")

    # --- redirects ---

    def do_away(self, n, *_):
        n = int(n)
        self.reply(302, [("Location", f"/away/{n - 1}" if n > 1 else "/image")], b"moved")

    def do_to_http(self):
        self.reply(302, [("Location", "http://localhost:1/image")])

    def do_nowhere(self):
        self.reply(302)

    def do_to_name(self):
        self.reply(307, [("Location", f"https://broker.example:{self.server.server_address[1]}/image")])

    # --- answers that do not fit ---

    def do_whole(self):
        self.reply(200, [("ETag", ETAG)], IMAGE)

    def do_other_first(self):
        self.reply(206, self.range_headers(first=self.first() + 1), IMAGE[self.first() + 1:])

    def do_other_last(self):
        self.reply(206, self.range_headers(last=SIZE - 2), IMAGE[self.first():-1])

    def do_other_total(self):
        self.reply(206, self.range_headers(last=SIZE, total=SIZE + 1), IMAGE[self.first():] + b"x")

    def do_unknown_total(self):
        self.reply(206, self.range_headers(total="*"), IMAGE[self.first():])

    def do_no_range(self):
        self.reply(206, (), IMAGE[self.first():])

    def do_other_length(self):
        self.reply(206, self.range_headers(), IMAGE[self.first():] + b"x")

    def do_longer(self):
        self.reply(200, (), IMAGE + b"x")

    def do_more(self):
        self.reply(200, [("Transfer-Encoding", "chunked")], length=False)
        body = IMAGE + b"one more"
        self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))

    def do_other_etag(self):
        self.reply(206, self.range_headers(etag='"two"'), IMAGE[self.first():])

    def do_endless_head(self):
        self.wfile.write(b"HTTP/1.1 200 Whatever\r\n")
        for i in range(2000):
            self.wfile.write(b"X-%d: %s\r\n" % (i, b"y" * 100))

    # --- trouble under way ---

    def do_truncated(self):
        self.reply(200, [("ETag", ETAG)], IMAGE[:1_000_000], length=SIZE)
        return False

    def do_short_close(self):
        self.reply(200, (), IMAGE[:1_000_000], length=False)
        return False

    def do_stall(self):
        self.reply(200, (), IMAGE[:1_000_000], length=SIZE)
        time.sleep(30)
        return False

    def do_mute(self):
        time.sleep(30)
        return False

    def do_drip(self):
        self.reply(200, (), length=SIZE)
        for i in range(300):
            self.wfile.write(IMAGE[i:i + 1])
            time.sleep(0.1)
        return False

    def do_hang_up(self):
        return False


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that went away


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
context.load_cert_chain(sys.argv[1], sys.argv[2])
with Server(("127.0.0.1", 0), Handler) as server:
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    print(server.server_address[1], flush=True)
    server.serve_forever()
