"""What benchmarks of live readings share: many WebSocket clients in one thread, and publishers."""

import base64
import contextlib
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from statistics import quantiles
from typing import Any, Self

import paho.mqtt.client as paho

Frame = tuple[float, bytes]
"""When a frame arrived (time.time), and its payload."""
_TEXT, _BINARY, _PING, _PONG = 1, 2, 9, 10


class Client:
    """A WebSocket, as a browser opens it."""

    def __init__(self, port: int, path: str, *headers: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket",
            "Connection: Upgrade", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
            *headers, "", "",
        )  # fmt: skip
        self.socket.sendall("\r\n".join(head).encode())
        self._buffer = b""
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        answer, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        if b" 101 " not in answer:
            raise ConnectionError(answer.decode())

    def send(self, payload: bytes, kind: int = _TEXT) -> None:
        """Send a frame; the mask is zero."""
        size = len(payload)
        length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack("!H", size)
        self.socket.sendall(bytes((0x80 | kind,)) + length + b"\0\0\0\0" + payload)

    def frames(self) -> Iterator[bytes]:
        """Receive once, and yield the payloads that are complete by then."""
        self._receive()
        while len(self._buffer) >= 2:
            kind, size, start = self._buffer[0] & 15, self._buffer[1] & 127, 2
            if size > 125:
                start, code = (4, "!H") if size == 126 else (10, "!Q")
                if len(self._buffer) < start:
                    return
                (size,) = struct.unpack_from(code, self._buffer, 2)
            if len(self._buffer) < start + size:
                return
            payload, self._buffer = (
                self._buffer[start : start + size],
                self._buffer[start + size :],
            )
            if kind == _PING:
                self.send(payload, _PONG)
            elif payload == b"2":  # the ping of Socket.IO
                self.send(b"3")
            else:
                yield payload

    def _receive(self) -> None:
        received = self.socket.recv(262_144)
        if not received:
            raise ConnectionError("closed by the server")
        self._buffer += received


def raw(port: int, meter: str) -> Client:
    """Return a client of /ws/METER."""
    return Client(port, f"/ws/{meter}")


def socket_io(port: int, pattern: str) -> Client:
    """Return a client of Socket.IO that has subscribed to a topic filter."""
    client = Client(port, "/socket.io/?EIO=4&transport=websocket")
    client.send(b"40")
    client.send(f'42["subscribe",["{pattern}"]]'.encode())
    return client


def mqtt(port: int, pattern: str) -> Client:
    """Return a client that speaks MQTT over WebSocket to a broker, subscribed with QoS 0."""
    client = Client(port, "/mqtt", "Sec-WebSocket-Protocol: mqtt")
    name, topic = f"bench-{id(client)}".encode(), pattern.encode()
    body = b"\x00\x04MQTT\x04\x02\x00\x3c" + struct.pack("!H", len(name)) + name
    client.send(bytes((0x10, len(body))) + body, _BINARY)
    body = b"\x00\x01" + struct.pack("!H", len(topic)) + topic + b"\x00"
    client.send(bytes((0x82, len(body))) + body, _BINARY)
    return client


class Crowd:
    """Many clients, which one thread serves."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self._clients = clients
        self._selector = selectors.DefaultSelector()
        for client in clients:
            self._selector.register(client.socket, selectors.EVENT_READ, client)

    def receive(self, seconds: float) -> list[Frame]:
        """Return what arrives in so many seconds."""
        ends_s, frames = time.monotonic() + seconds, []
        while (left_s := ends_s - time.monotonic()) > 0:
            for key, _ in self._selector.select(left_s):
                client: Client = key.data
                frames += [(time.time(), payload) for payload in client.frames()]
        return frames

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for client in self._clients:
            client.socket.close()


@contextlib.contextmanager
def connected(port: int, on_message: Callable[..., Any] | None = None) -> Iterator[paho.Client]:
    """Give a client of paho that has connected, as long as the block lasts."""
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    is_connected = threading.Event()
    client.on_connect = lambda *_: is_connected.set()
    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.loop_start()
    if not is_connected.wait(10):
        raise ConnectionError("no answer from the broker")
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


@contextlib.contextmanager
def every(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    """Do some work at a fixed rate in a thread, as long as the block lasts."""
    stopped = threading.Event()

    def run() -> None:
        due_s = time.monotonic()
        while not stopped.wait(max(0.0, due_s - time.monotonic())):
            work()
            due_s += seconds

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def p50_p99(taken: Sequence[float]) -> tuple[float, float]:
    """Return the median and the 99th percentile."""
    cuts = quantiles(taken, n=100)
    return cuts[49], cuts[98]
