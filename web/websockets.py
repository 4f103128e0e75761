"""WebSockets for flask-sock and Socket.IO: whole, uncompressed frames; slow readers delay nobody.

Three writers share a socket: simple-websocket (pongs, pings, close), engineio (its packets) and
our relay. simple-websocket 1.1 calls `send` once and ignores a short write, which under gevent
corrupts the stream of every slow reader. Here a frame is written whole, or the connection ends.
"""

import contextlib
import importlib.util
import socket
from typing import Any
from weakref import WeakSet

import flask_sock
import gevent
import gevent.event
import gevent.selectors
import simple_websocket
from engineio.async_drivers.gevent import Thread
from gevent.lock import BoundedSemaphore

from contract.errors import MeterflowError

OUTGOING = "meterflow.outgoing"
"""Key of the WSGI environment under which a WebSocket keeps its FrameSocket."""
LARGEST_MESSAGE_BYTES = 65536
PING_INTERVAL_S = 25
CLOSE_S = 2.0
MOST_WAITING = 64
"""Frames that wait for a slow reader; the oldest are dropped first."""
DEADLINE_S = 10.0
"""Seconds that one frame may take before the reader counts as gone."""
SEND_BUFFER_BYTES = 131_072

SERVER_OPTIONS = {
    "ping_interval": PING_INTERVAL_S,
    "thread_class": Thread,
    "event_class": gevent.event.Event,
    "selector_class": gevent.selectors.DefaultSelector,
}
"""Options that flask-sock passes on: greenlets in place of native threads on gevent's sockets."""


class FrameSocket:
    """A gevent socket whose `send` sends everything, and whose `offer` never blocks.

    All other attributes are those of the socket.
    """

    def __init__(self, connection: Any) -> None:
        self._socket = connection
        self._turn = BoundedSemaphore(1)
        self._waiting: dict[str, bytes] = {}
        self._writer: gevent.Greenlet | None = None
        self.alive = True
        self.dropped = 0
        with contextlib.suppress(OSError):  # otherwise the kernel keeps megabytes per slow reader
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, frame: bytes) -> int:
        """Send a whole frame, waiting for the reader. Raises OSError where it does not read."""
        with self._turn:
            self._send_all(frame)
        return len(frame)

    def offer(self, key: str, frame: bytes) -> None:
        """Send a frame at once if the reader keeps up, otherwise keep it until the reader does.

        A newer frame of the same `key` replaces one that still waits.
        """
        if not self.alive:
            return
        if self._writer or not self._turn.acquire(blocking=False):
            self._keep(key, frame)
            return
        rest = self._send_now(frame)
        if rest:
            self._writer = gevent.spawn(self._write, rest)  # which now has the turn
        else:
            self._turn.release()

    def close(self) -> None:
        """End the connection, also for the web server that shares it."""
        self._end()
        self._socket.close()

    def _keep(self, key: str, frame: bytes) -> None:
        self._waiting.pop(key, None)
        if len(self._waiting) >= MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1
        self._waiting[key] = frame
        if not self._writer:
            self._writer = gevent.spawn(self._write, b"")

    def _send_now(self, frame: bytes) -> bytes:
        try:
            return frame[self._socket.send(frame, timeout=0.0) :]
        except BlockingIOError:
            return frame
        except OSError:
            self._end()
            return b""

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
                        self._send_all(self._waiting.pop(next(iter(self._waiting))))
        self._writer = None

    def _send_all(self, frame: bytes) -> None:
        if not self.alive:
            raise BrokenPipeError("the connection has ended")
        try:
            with gevent.Timeout(DEADLINE_S, TimeoutError("the client does not read")):
                self._socket.sendall(frame)
        except OSError:
            self._end()
            raise

    def _end(self) -> None:
        """Shut the connection down without a close frame: half a frame may have been sent.

        `shutdown` also wakes the greenlet that reads.
        """
        self.alive = False
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class WebSocket(simple_websocket.Server):  # type: ignore[misc]  # publishes no types
    """A server's WebSocket that sends whole frames, uncompressed, and limits received messages.

    Compression costs 105 to 175 kB of memory per browser and 50 % more CPU for messages of a few
    hundred bytes. simple-websocket has no option against it.
    """

    def __init__(self, environ: dict[str, Any], **options: Any) -> None:
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        options.setdefault("max_message_size", LARGEST_MESSAGE_BYTES)
        super().__init__(environ, **options)

    sock: Any

    def handshake(self) -> None:
        """Wrap the socket before the first byte is sent."""
        self.sock = self.environ[OUTGOING] = FrameSocket(self.sock)
        super().handshake()
        open_sockets.add(self)

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Send a close frame, and end the connection even where the client does not answer it."""
        super().close(reason, message)
        self.event.set()
        gevent.spawn_later(CLOSE_S, self.sock.close)


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
    """Make flask-sock and engineio use our WebSocket.

    Raises MeterflowError where gevent-websocket is installed: engineio would silently prefer it.
    """
    if importlib.util.find_spec("geventwebsocket"):
        raise MeterflowError(
            "the package gevent-websocket replaces the WebSockets of this service; "
            "remove it: pip uninstall gevent-websocket"
        )
    simple_websocket.Server = WebSocket  # engineio looks it up there for each connection
    flask_sock.Server = WebSocket
