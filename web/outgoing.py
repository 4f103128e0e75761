"""The sending side of a WebSocket: whole frames in order, and no reader can hold up the others.

Three writers share a socket: simple-websocket (pongs, pings, close), engineio (its packets) and
our relay. simple-websocket calls `send` once and ignores a short write, which under gevent
corrupts the stream of every slow reader; so here a frame is written whole or the connection ends.
"""

import contextlib
import socket
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

MOST_WAITING = 64
"""How many frames wait for a slow reader; the oldest are dropped first."""
DEADLINE_S = 10.0
"""How long one frame may take; then the reader counts as gone."""
SEND_BUFFER_BYTES = 131_072


class FrameSocket:
    """A gevent socket whose `send` sends all, and whose `offer` never blocks.

    Whatever else is asked of it is asked of the socket itself.
    """

    def __init__(self, connection: Any) -> None:
        self._socket = connection
        self._turn = BoundedSemaphore(1)
        self._waiting: dict[str, bytes] = {}
        self._writer: gevent.Greenlet | None = None
        self.alive = True
        self.dropped = 0
        with contextlib.suppress(OSError):  # else the kernel keeps megabytes for a slow reader
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def send(self, frame: bytes) -> int:
        """Send a frame whole, waiting for the reader; raises OSError where it does not read."""
        with self._turn:
            self._send_all(frame)
        return len(frame)

    def offer(self, key: str, frame: bytes) -> None:
        """Send a frame at once if the reader keeps up, else keep it until it does.

        A frame that still waits is replaced by a newer one of the same `key`.
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
        """End the connection; the web server that shares it sees the end, too."""
        self.alive = False
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
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
            self._give_up()
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
            with gevent.Timeout(DEADLINE_S, TimeoutError("the reader does not read")):
                self._socket.sendall(frame)
        except OSError:
            self._give_up()
            raise

    def _give_up(self) -> None:
        # No close frame: half a frame may be on its way. `shutdown` also wakes whoever reads.
        self.alive = False
        self._waiting.clear()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


def text_frame(text: str) -> bytes:
    """Return a WebSocket text frame from the server, uncompressed (RFC 6455, section 5.2)."""
    payload = text.encode()
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
