#!/usr/bin/env python3
"""A broker for the MQTT tests that misbehaves in a chosen way.

Usage: fake-broker.py MODE [ADDRESS]   (in a folder made by make-certs.sh)
Prints its port, then for each TLS connection: sni=NAME alpn=NAME, then one line a packet received.
Source of the packets: MQTT 5.0, OASIS, chapter 3.
"""
import socket
import ssl
import sys
import threading
import time

MODE = sys.argv[1]
CONNACK = bytes([0x20, 3, 0, 0, 0])


def packets(connection):
    buffer = b""
    while True:
        data = connection.recv(65536)
        if not data:
            return
        buffer += data
        while len(buffer) >= 2:
            length, shift, at = 0, 0, 1
            while True:
                length |= (buffer[at] & 0x7F) << shift
                shift += 7
                at += 1
                if not buffer[at - 1] & 0x80 or at >= len(buffer):
                    break
            if len(buffer) < at + length:
                break
            yield buffer[0] >> 4, buffer[0] >> 1 & 3, buffer[at:at + length]
            buffer = buffer[at + length:]


def remaining(n):
    out = b""
    while True:
        n, digit = n // 128, n % 128
        out += bytes([digit | (0x80 if n else 0)])
        if not n:
            return out


def on_connect(connection):
    if MODE == "mute":
        return
    if MODE == "refuse-connect":
        connection.sendall(bytes([0x20, 3, 0, 0x87, 0]))
    elif MODE == "refuse-3.1.1":
        connection.sendall(bytes([0x20, 2, 0, 5]))
    elif MODE == "garbage":
        connection.sendall(CONNACK + b"\xff\xff\xff\xff\xff\xff\xff")
    elif MODE == "huge":
        connection.sendall(CONNACK + b"\x30" + remaining(200_000_000) + b"\0\1t\0")
        while True:
            connection.sendall(b"x" * 65536)
    elif MODE in ("keep-alive", "keep-alive-unanswered"):
        connection.sendall(bytes([0x20, 6, 0, 0, 3, 0x13, 0, 1]))  # Server Keep Alive 1 s
    else:
        connection.sendall(CONNACK)


def on_subscribe(connection, body):
    identifier = body[:2]
    if MODE == "taken-over":
        connection.sendall(bytes([0xE0, 2, 0x8E, 0]))
    elif MODE == "close-on-subscribe":
        return False
    elif MODE == "reset-on-subscribe":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return False
    elif MODE == "refuse-subscribe":
        connection.sendall(bytes([0x90, 5]) + identifier + bytes([0, 1, 0x87]))
    elif MODE == "short-suback":
        connection.sendall(bytes([0x90, 4]) + identifier + bytes([0, 1]))
    elif MODE != "no-suback":
        connection.sendall(bytes([0x90, 5]) + identifier + bytes([0, 1, 1]))
    return True


def on_publish(connection, qos, body):
    length = int.from_bytes(body[:2], "big")
    identifier = body[2 + length:4 + length]
    if MODE == "slow" and qos == 1:
        connection.sendall(bytes([0x40, 2]) + identifier)
    elif MODE == "refuse-publish":
        connection.sendall(bytes([0x40, 4]) + identifier + bytes([0x97, 0]))


def serve(connection):
    try:
        connection.do_handshake()
        print(f"sni={connection.name} alpn={connection.selected_alpn_protocol()}", flush=True)
        for kind, qos, body in packets(connection):
            print(f"packet {kind}", flush=True)
            if kind == 1:
                on_connect(connection)
            elif kind == 3:
                on_publish(connection, qos, body)
            elif kind == 8 and not on_subscribe(connection, body):
                break
            elif kind == 12 and MODE == "keep-alive":
                connection.sendall(bytes([0xD0, 0]))
            elif kind == 14:
                break
            if MODE == "slow" and kind == 1:
                time.sleep(0.5)
            if MODE == "deaf" and kind == 1:
                time.sleep(60)  # reads no more
    except OSError:
        pass
    finally:
        connection.close()


class Connection(ssl.SSLSocket):
    name = None


def on_server_name(connection, name, _context):
    connection.name = name


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.sslsocket_class = Connection
context.load_cert_chain("server.pem", "server.key")
context.load_verify_locations("ca.pem")
context.verify_mode = ssl.CERT_REQUIRED
context.sni_callback = on_server_name
context.set_alpn_protocols(["other", "x-amzn-mqtt-ca"])

listener = socket.create_server((sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
held = []
while True:
    client, _ = listener.accept()
    if MODE == "silent":
        held.append(client)
        continue
    tls = context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=serve, args=(tls,), daemon=True).start()
