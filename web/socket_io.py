"""Socket.IO: python-socketio 5.16 and python-engineio 4.15, limited, and with shared encoding.

Replaces in them, each covered by tests/web/test_socket_io.py:
- They pass a client's nonsense on: an event with a reserved name calls the handler of connections,
  attachments are collected without end, and a packet that cannot be parsed leaves its session
  behind and a traceback in the log. Here all of these end the session.
- The queue of a client that does not read grows without a limit.
- Three greenlets per client for pings and packets. Here one greenlet pings all clients, and events
  are written into the socket of a client that keeps up by their sender.
"""

import logging
import time
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

import engineio
import engineio.socket
import gevent
import gevent.queue
import simple_websocket
import socketio
from engineio.exceptions import EngineIOError, QueueEmpty, SocketIsClosedError
from engineio.packet import CLOSE, MESSAGE, PING, Packet
from socketio.packet import ACK, CONNECT, DISCONNECT, EVENT

from web.limits import MOST_CONNECTIONS, MOST_PER_ADDRESS, Budget, source_of
from web.websockets import (
    BURST_MESSAGES,
    LARGEST_MESSAGE_BYTES,
    MESSAGES_PER_S,
    MOST_WAITING,
    FrameSocket,
    Outcome,
    Waiting,
    WebSocket,
    handshake_problem,
    text_frame,
)

TICK_S = 1.0
MOST_PACKETS_PER_POLL = 16
"""The Python client accepts no more in one response."""
POLL_AGAIN_S = 0.05
RESERVED_EVENTS = frozenset(
    {
        "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener",
    }
)  # fmt: skip
"""Names that the official clients refuse to emit."""
_PING_FRAME = text_frame(str(PING))

# Only errors of ours have a traceback. The rest is what clients do, and may quote them.
_logger = logging.getLogger(__name__)
_logger.setLevel(logging.ERROR)
_logger.addFilter(lambda record: record.exc_info is not None)
OPTIONS: dict[str, Any] = {
    "async_mode": "gevent",
    "async_handlers": False,
    "ping_interval": 25,
    "ping_timeout": 20,
    "max_http_buffer_size": LARGEST_MESSAGE_BYTES,
    "http_compression": False,
    "manage_session": False,
    "always_connect": True,
    "logger": _logger,
    "engineio_logger": _logger,
}
"""Options for Flask-SocketIO."""


class EventMessage:
    """An event whose one argument is JSON text already, encoded once for all clients."""

    def __init__(self, name: str, argument: str) -> None:
        self.text = f'2["{name}",{argument}]'

    @cached_property
    def frame(self) -> bytes:
        """The event as a WebSocket frame."""
        return text_frame(f"{MESSAGE}{self.text}")

    @property
    def packet(self) -> Packet:
        """The event as a packet for long-polling."""
        return Packet(MESSAGE, self.text)


class Session(engineio.socket.Socket):  # type: ignore[misc]  # publishes no types
    """A client: events go into its WebSocket directly, or into the queue for long-polling."""

    last_ping: float | None
    """When a ping was sent that the client has not answered."""
    due_s: float
    """When the next ping is due, or at the latest its answer."""

    def __init__(self, server: Any, sid: str) -> None:
        super().__init__(server, sid)
        self._budget = Budget(BURST_MESSAGES, MESSAGES_PER_S)
        self._waiting = Waiting()
        self._frames: FrameSocket | None = None
        self._is_direct = False
        self.schedule_ping()

    def offer(self, key: object, event: EventMessage) -> Outcome:
        """Send an event without waiting, as FrameSocket does."""
        if self._is_direct and self._frames and self.queue.empty():
            return self._frames.offer(key, event.frame)
        if self.closed:
            return Outcome.SENT
        self._is_direct = False  # until the greenlet has written this one
        if self.queue.qsize() < MOST_WAITING and not self._waiting:
            self.queue.put(event.packet)
            return Outcome.SENT
        return self._waiting.keep(key, event.packet)[0]

    @property
    def is_behind(self) -> bool:
        """Whether events wait for the client."""
        if self._is_direct and self._frames:
            return self._frames.is_behind
        return bool(self._waiting) or self.queue.qsize() >= MOST_WAITING

    def drain(self) -> bool:
        """Wait until the client has caught up; return whether it is still connected."""
        while self.is_behind and not self.closed:
            if self._is_direct and self._frames:
                self._frames.drain()
            else:
                gevent.sleep(POLL_AGAIN_S)
        return not self.closed

    def poll(self) -> list[Packet]:
        """Return packets for a response, or for the greenlet that writes into the WebSocket.

        Once the greenlet has written all that waited, events need it no more.
        """
        self._is_direct = self.upgraded and self.queue.empty() and not self._waiting
        patience_s = self.server.ping_interval + self.server.ping_timeout
        first = self._next(None if self.upgraded else patience_s)
        packets = [] if first is None else [first]
        while packets and len(packets) < MOST_PACKETS_PER_POLL and not self.queue.empty():
            following = self._next(0)
            if following is None:
                self.queue.put(None)
                break
            packets.append(following)
        while self._waiting and self.queue.qsize() < MOST_WAITING:
            self.queue.put(self._waiting.take())
        return packets

    def receive(self, packet: Packet) -> None:
        """Handle a packet. Raises SocketIsClosedError where the session has ended."""
        if not self.closed and not self._budget.spend(time.monotonic()):
            self.close()
        if self.closed:
            raise SocketIsClosedError
        super().receive(packet)

    def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Handle the packets of a request. Raises EngineIOError for nonsense."""
        try:
            length = int(environ.get("CONTENT_LENGTH") or "0")
            if length > LARGEST_MESSAGE_BYTES:
                raise EngineIOError
            packets = environ["wsgi.input"].read(length).decode().split("\x1e")
        except (OSError, ValueError) as error:
            raise EngineIOError from error
        if len(packets) > MOST_PACKETS_PER_POLL or not all(map(_is_packet, packets)):
            raise EngineIOError
        for text in packets:
            self.receive(Packet(encoded_packet=text))

    def schedule_ping(self) -> None:
        """Note that the client has answered."""
        self.last_ping = None
        self.due_s = time.monotonic() + self.server.ping_interval

    def check_ping_timeout(self) -> bool:
        """Close the session where the client has not answered in time; return whether it has."""
        if self.closed:
            raise SocketIsClosedError
        answered = not self.last_ping or time.monotonic() < self.due_s
        if not answered:
            self.close(reason=self.server.reason.PING_TIMEOUT)
        return answered

    def keep_alive(self, now_s: float) -> None:
        """Ping the client, or close the session where it has not answered."""
        if self.check_ping_timeout():
            self.last_ping, self.due_s = now_s, now_s + self.server.ping_timeout
            if self._is_direct and self._frames:
                self._frames.offer(PING, _PING_FRAME)
            else:
                self.queue.put(Packet(PING))

    def close(self, wait: bool = False, abort: bool = False, reason: str | None = None) -> None:  # noqa: ARG002
        """End the session, without waiting for a client that may never read."""
        super().close(wait=False, abort=abort, reason=reason)
        self._waiting.clear()

    def _websocket_handler(self, transport: "Transport") -> list[bytes]:
        self._frames = transport.socket.sock
        handled: list[bytes] = super()._websocket_handler(transport)
        return handled

    def _next(self, timeout_s: float | None) -> Packet | None:
        try:
            packet = self.queue.get(timeout=timeout_s)
        except gevent.queue.Empty as error:
            raise QueueEmpty from error
        self.queue.task_done()
        return packet


class Transport:
    """A WebSocket as engineio uses it: messages that are no packets end it."""

    socket: WebSocket

    def __init__(self, handler: Callable[["Transport"], list[bytes]], _server: Any) -> None:
        self._handler = handler

    def __call__(self, environ: dict[str, Any], _start_response: object) -> list[bytes]:
        """Serve the connection until it ends."""
        self.socket = WebSocket(environ)
        return self._handler(self)

    def wait(self) -> str | None:
        """Return the next packet; None at the end of the connection."""
        try:
            message = self.socket.receive()
        except simple_websocket.ConnectionClosed:
            return None
        return message if isinstance(message, str) and _is_packet(message) else None

    def send(self, packet: str) -> None:
        """Send a packet. Raises OSError where the client does not read."""
        self.socket.send(packet)

    def close(self) -> None:
        """End the connection, if it has not ended."""
        if self.socket.connected:
            self.socket.close()


class EngineServer(engineio.Server):  # type: ignore[misc]  # publishes no types
    """Pings all clients from one greenlet."""

    _async: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._async = self._async | {"websocket": Transport}

    def _service_task(self) -> None:
        while True:
            gevent.sleep(TICK_S)
            now_s = time.monotonic()
            # The answers of thousands that connected at once would delay the next reading.
            most = 1 + 2 * len(self.sockets) * TICK_S / self.ping_interval
            for sid, session in list(self.sockets.items()):
                if session.closed:
                    self.sockets.pop(sid, None)
                elif now_s >= session.due_s and most > 0:
                    session.keep_alive(now_s)
                    most -= 1


class Server(socketio.Server):  # type: ignore[misc]  # publishes no types
    """Checks each packet before it is handled."""

    def client(self, sid: str) -> Session:
        """Return the session of a client. Raises KeyError where it has ended."""
        session: Session = self.eio.sockets[self.manager.eio_sid_from_sid(sid, "/")]
        return session

    def handle_request(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Serve a request, unless it is malformed or there are too many sessions."""
        query = parse_qs(environ.get("QUERY_STRING", ""))
        problem = self._problem(environ, query)
        if problem:
            start_response("400 Bad Request", [("Content-Type", "text/plain")])
            return [problem.encode()]
        if "sid" not in query and self._is_full(environ):
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"too many sessions"]
        handled: Iterable[bytes] = super().handle_request(environ, start_response)
        return handled

    def _problem(self, environ: dict[str, Any], query: dict[str, list[str]]) -> str | None:
        if "HTTP_UPGRADE" in environ or query.get("transport") == ["websocket"]:
            problem = handshake_problem(environ)
            if problem:
                return problem
        session = self.eio.sockets.get(query["sid"][0]) if "sid" in query else None
        return "the session has ended" if session and session.closed else None

    def _is_full(self, environ: dict[str, Any]) -> bool:
        source = source_of(environ.get("REMOTE_ADDR", ""))
        if source is None or len(self.environ) < MOST_PER_ADDRESS:
            return len(self.environ) >= MOST_CONNECTIONS
        of_source = sum(source_of(e["REMOTE_ADDR"]) == source for e in self.environ.values())
        return of_source >= MOST_PER_ADDRESS or len(self.environ) >= MOST_CONNECTIONS

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    def _handle_eio_message(self, session_id: str, data: object) -> None:
        if _is_sound(self.packet_class, data):
            super()._handle_eio_message(session_id, data)
        elif session_id in self.eio.sockets:
            self.eio.sockets[session_id].close()


def install() -> None:
    """Make Flask-SocketIO and engineio use these classes."""
    socketio.Server = Server
    engineio.socket.Socket = Session


def _is_packet(text: str) -> bool:
    """Return whether a client may send a text: a message of Socket.IO, or a control packet."""
    if text[:1] == str(MESSAGE):
        return text[1:2].isascii() and text[1:2].isdigit()
    return text in {str(CLOSE), "2probe", "3", "5"}


def _is_sound(packet_class: type, data: object) -> bool:
    """Return whether a message is a packet that this service handles."""
    try:
        packet = packet_class(encoded_packet=data)
    except (ValueError, TypeError, RecursionError):
        return False
    if packet.packet_type == EVENT:
        return _is_event(packet.data)
    return packet.packet_type in {CONNECT, DISCONNECT} or (
        packet.packet_type == ACK and isinstance(packet.data, list)
    )


def _is_event(data: object) -> bool:
    if not isinstance(data, list) or not data or not isinstance(data[0], str):
        return False
    return data[0] not in RESERVED_EVENTS
