"""WebSockets for flask-sock and Socket.IO: whole, uncompressed frames; slow readers delay nobody.

Replaces in simple-websocket 1.1.0:
- `send`: it ignores a short write, which under gevent corrupts the stream of every slow reader.
  Here a frame is written whole, or the connection ends.
- its thread per connection, which queues messages without a limit: here the handler itself reads,
  so that a client that floods waits for us, and ends where it exceeds its budget of messages.
- the handshake: it has no option against compression, which costs 105 to 175 kB of memory per
  browser and 50 % more CPU for messages of a few hundred bytes.
- the duplicated socket: a client needs one descriptor.
"""

import base64
import binascii
import contextlib
import importlib.util
import socket
import time
from collections.abc import Iterator
from enum import Enum
from typing import Any
from weakref import WeakSet

import flask_sock
import gevent
import simple_websocket
from gevent.lock import BoundedSemaphore
from simple_websocket.ws import Base
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Event
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError, generate_accept_token

from contract.errors import MeterflowError
from web.limits import Budget

OUTGOING = "meterflow.outgoing"
"""Key of the WSGI environment under which a WebSocket keeps its FrameSocket."""
LARGEST_MESSAGE_BYTES = 65536
RECEIVE_BYTES = 4096
BURST_MESSAGES = 300
"""Messages that a client may send at once: a subscription for each of 100 filters, three times."""
MESSAGES_PER_S = 20
CLOSE_S = 2.0
MOST_WAITING = 64
"""Frames that wait for a slow reader."""
DEADLINE_S = 10.0
"""Seconds that one frame may take before the reader counts as gone."""
SEND_BUFFER_BYTES = 131_072
UNACKNOWLEDGED_MS = 20_000
"""Time after which the kernel ends a connection whose other end acknowledges nothing."""
PING = b"\x89\x00"
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: %s\r\n\r\n"
)


class Outcome(Enum):
    """What became of an offered frame."""

    SENT = "sent"
    WAITS = "waits for a slow reader"
    LEFT_OUT = "waits, and an older one was left out"


class Waiting(dict[object, Any]):
    """What waits for a slow reader: the newest of each key, and of most keys the newest ones."""

    __slots__ = ()

    def keep(self, key: object, item: Any) -> tuple[Outcome, bool]:
        """Keep an item; also return whether the newest item of another key was dropped."""
        replaced = self.pop(key, None) is not None
        dropped = len(self) >= MOST_WAITING
        if dropped:
            self.take()
        self[key] = item
        return (Outcome.LEFT_OUT if replaced or dropped else Outcome.WAITS), dropped

    def take(self) -> Any:
        """Remove and return the oldest item."""
        return self.pop(next(iter(self)))


class FrameSocket:
    """A gevent socket whose `send` sends everything, and whose `offer` never blocks.

    All other attributes are those of the socket.
    """

    __slots__ = (
        "_awaits_answer", "_send_now", "_silent", "_socket", "_turn", "_waiting", "_writer",
        "alive", "dropped",
    )  # fmt: skip

    def __init__(self, connection: Any) -> None:
        self._socket = connection
        self._send_now = connection._sock.send  # gevent's own `send` costs as much again
        self._turn = BoundedSemaphore(1)
        self._waiting = Waiting()
        self._writer: gevent.Greenlet | None = None
        self._silent, self._awaits_answer = True, False
        self.alive = True
        self.dropped = 0
        with contextlib.suppress(OSError):  # otherwise the kernel keeps megabytes per slow reader
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        with contextlib.suppress(OSError, AttributeError):  # Linux, and TCP alone
            option = socket.TCP_USER_TIMEOUT
            connection.setsockopt(socket.IPPROTO_TCP, option, UNACKNOWLEDGED_MS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    @property
    def is_behind(self) -> bool:
        """Whether frames wait for the reader."""
        return self._writer is not None

    def recv(self, most: int) -> bytes:
        """Receive at most `most` bytes."""
        received: bytes = self._socket.recv(most)
        self._awaits_answer = False
        return received

    def send(self, frame: bytes) -> int:
        """Send a whole frame, waiting for the reader. Raises OSError where it does not read."""
        with self._turn:
            self._send_all(frame)
        return len(frame)

    def offer(self, key: object, frame: bytes) -> Outcome:
        """Send a frame at once if the reader keeps up, otherwise keep it until the reader does.

        A newer frame of the same `key` replaces one that still waits.
        """
        if self._is_ready():
            return Outcome.SENT if self._begin(frame) else Outcome.WAITS
        if not self.alive:
            return Outcome.SENT
        outcome, dropped = self._waiting.keep(key, frame)
        self.dropped += dropped
        self._start_writer()
        return outcome

    def append(self, frame: bytes) -> bool:
        """Send a frame after all before it; return False where too many wait already."""
        if self._is_ready():
            self._begin(frame)
        elif self.alive:
            if len(self._waiting) >= MOST_WAITING:
                return False
            self._waiting[object()] = frame
            self._start_writer()
        return True

    def finish(self, frame: bytes) -> None:
        """Send a last frame after those that wait, and then end the connection."""
        self._waiting[object()] = frame
        self._start_writer()
        gevent.spawn(self._close_after, self._writer)

    def drain(self) -> None:
        """Wait until the reader has caught up, or the connection has ended."""
        if self._writer:
            self._writer.join()

    def keep_alive(self) -> None:
        """Ping a client to which nothing was sent since the last call; end one that is gone."""
        if self._awaits_answer:
            self._end()
        elif self._silent:
            self._awaits_answer = True
            self.offer(PING, PING)
        self._silent = True

    def close(self) -> None:
        """End the connection, also for the web server that shares it."""
        self._end()
        self._socket.close()

    def _is_ready(self) -> bool:
        return self._writer is None and self.alive and not self._turn.locked()

    def _begin(self, frame: bytes) -> bool:
        """Send what the kernel takes; leave the rest to a greenlet. Return whether that is all."""
        try:
            sent = self._send_now(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end()
            return True
        self._silent = False
        if sent == len(frame):
            return True
        self._turn.acquire()
        self._writer = gevent.spawn(self._write, frame[sent:])  # which now has the turn
        return False

    def _start_writer(self) -> None:
        if not self._writer:
            self._writer = gevent.spawn(self._write, b"")

    def _write(self, rest: bytes) -> None:
        with contextlib.suppress(OSError):
            if rest:
                try:
                    self._send_all(rest)
                finally:
                    self._turn.release()
            while self._waiting:
                with self._turn:
                    if self._waiting:
                        self._send_all(self._waiting.take())
        self._writer = None

    def _send_all(self, frame: bytes) -> None:
        if not self.alive:
            raise BrokenPipeError("the connection has ended")
        self._silent = False
        try:
            with gevent.Timeout(DEADLINE_S, TimeoutError("the client does not read")):
                self._socket.sendall(frame)
        except OSError:
            self._end()
            raise

    def _close_after(self, writer: gevent.Greenlet) -> None:
        writer.join()
        gevent.sleep(CLOSE_S)
        self.close()

    def _end(self) -> None:
        """Shut the connection down without a close frame: half a frame may have been sent.

        `shutdown` also wakes the greenlet that reads.
        """
        self.alive = False
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class _Unused:
    """Stands in for the thread and the event of simple-websocket."""

    name = ""

    def __init__(self, target: object = None) -> None:
        pass

    def start(self) -> None:
        pass

    def set(self) -> None:
        pass


class _Flood(OSError):
    """More messages than the budget of a client."""


class _BudgetedConnection(Connection):
    def __init__(self) -> None:
        super().__init__(ConnectionType.SERVER)
        self._budget = Budget(BURST_MESSAGES, MESSAGES_PER_S)

    def events(self) -> Iterator[Event]:  # type: ignore[override]  # a generator is one, too
        for event in super().events():
            if not self._budget.spend(time.monotonic()):
                raise _Flood
            yield event


class WebSocket(simple_websocket.Server):  # type: ignore[misc]  # publishes no types
    """A server's WebSocket; check `handshake_problem` before one is made."""

    sock: FrameSocket

    def __init__(self, environ: dict[str, Any], **_options: Any) -> None:
        self.environ = environ
        self.mode = "gevent"
        sock = environ[OUTGOING] = FrameSocket(environ["wsgi.input"].raw.connection)
        Base.__init__(
            self,
            sock,
            connection_type=ConnectionType.SERVER,
            max_message_size=LARGEST_MESSAGE_BYTES,
            thread_class=_Unused,
            event_class=_Unused,
        )

    def handshake(self) -> None:
        """Accept the connection."""
        self.sock.settimeout(None)
        key = self.environ["HTTP_SEC_WEBSOCKET_KEY"].encode("latin-1")
        self.sock.send(_ACCEPTED % generate_accept_token(key))
        self.ws = _BudgetedConnection()
        self.connected = True
        open_sockets.add(self)

    def receive(self, timeout: float | None = None) -> str | bytes:  # noqa: ARG002
        """Return the next message. Raises ConnectionClosed at the end of the connection."""
        while self.connected and not self.input_buffer:
            self._receive_more()
        if self.input_buffer:
            message: str | bytes = self.input_buffer.pop(0)
            return message
        raise simple_websocket.ConnectionClosed(self.close_reason, self.close_message)

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Send a close frame, and end the connection even where the client does not answer it."""
        if not self.connected:
            raise simple_websocket.ConnectionClosed(self.close_reason, self.close_message)
        self.connected = False
        with contextlib.suppress(OSError, LocalProtocolError):
            code = CloseReason.NORMAL_CLOSURE if reason is None else reason
            self.sock.send(self.ws.send(CloseConnection(code, message)))
        gevent.spawn_later(CLOSE_S, self.sock.close)

    def finish(self, code: int, reason: str) -> None:
        """Send a close frame after the frames that wait, and do not wait for that."""
        with contextlib.suppress(LocalProtocolError):  # it is closing already
            self.sock.finish(self.ws.send(CloseConnection(code, reason)))

    def _receive_more(self) -> None:
        try:
            received = self.sock.recv(RECEIVE_BYTES)
            if received:
                self.ws.receive_data(received)
            self.connected = bool(received) and self._handle_events()
        except _Flood:
            self.close(CloseReason.POLICY_VIOLATION, "too many messages")
        except (OSError, LocalProtocolError):
            self.connected = False


def handshake_problem(environ: dict[str, Any]) -> str | None:
    """Return what is wrong with a request for a WebSocket; None where nothing is."""
    tokens = environ.get("HTTP_CONNECTION", "").lower().replace(" ", "").split(",")
    if environ.get("HTTP_UPGRADE", "").lower() != "websocket" or "upgrade" not in tokens:
        return "this address is a WebSocket; connect with ws://"
    if environ.get("HTTP_SEC_WEBSOCKET_VERSION") != "13":
        return "Sec-WebSocket-Version should be 13"
    try:
        key = base64.b64decode(environ.get("HTTP_SEC_WEBSOCKET_KEY", ""), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    return None if len(key) == 16 else "Sec-WebSocket-Key should be 16 bytes in base64"


open_sockets: WeakSet[WebSocket] = WeakSet()
"""The WebSockets of this process; some may have been closed."""


def text_frame(text: str) -> bytes:
    """Return a WebSocket text frame of the server, uncompressed (RFC 6455, section 5.2)."""
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload


def install() -> None:
    """Make flask-sock use our WebSocket.

    Raises MeterflowError where gevent-websocket is installed: engineio would silently prefer it.
    """
    if importlib.util.find_spec("geventwebsocket"):
        raise MeterflowError(
            "the package gevent-websocket replaces the WebSockets of this service; "
            "remove it: pip uninstall gevent-websocket"
        )
    flask_sock.Server = WebSocket
