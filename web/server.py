"""gevent's web server, configured for many small responses, with limits for what clients do.

pywsgi (gevent 26.9) has none: a client that sends nothing, or a header every minute, keeps its
connection; at the limit of descriptors the server stops accepting; and some malformed requests put
a traceback into the log.
"""

import contextlib
import email.errors
import errno
import http.client
import io
import json
import logging
import re
import resource
import socket
import time
from types import TracebackType
from typing import Any

import gevent
from flask import Flask
from gevent import pywsgi

from contract.errors import MeterflowError
from service.errors import SettingsError
from web.limits import MOST_CONNECTIONS, Connections
from web.settings import WebSettings

logger = logging.getLogger(__name__)

_DEFECTS = (
    email.errors.FirstHeaderLineIsContinuationDefect,
    email.errors.HeaderDefect,
    email.errors.MisplacedEnvelopeHeaderDefect,
    email.errors.MissingHeaderBodySeparatorDefect,
)
_QUERY = re.compile(r"\?\S*")
FIRST_REQUEST_S = 10.0
"""Seconds until a new connection must have sent the first line of a request."""
IDLE_S = 75.0
"""Seconds that a connection may wait between two requests: longer than nginx keeps one."""
REQUEST_S = 20.0
"""Seconds in which the rest of a request must arrive."""
PIECE_BYTES = 65_536
PIECE_S = 30.0
"""Seconds in which a client must take a piece of a response."""
RESERVED_DESCRIPTORS = 128
"""For files, the broker, the database, and connections that are being refused."""
MOST_LINGERING = 64
LINGER_S = 1.0
RETRY_ACCEPT_S = 1.0
REPORT_EVERY_S = 60.0
MOST_DESCRIPTORS = 65_536
"""Limit of open files where the system has none."""
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Incoming(io.RawIOBase):
    """What a connection receives; raises TimeoutError when `deadline_s` has passed."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self.connection = connection
        self.deadline_s = 0.0
        self.has_expired = False

    def allow(self, seconds: float) -> None:
        """Set the time that is left."""
        self.deadline_s = time.monotonic() + seconds

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive into a buffer."""
        left_s = self.deadline_s - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError("the request did not arrive in time")
            self.connection.settimeout(left_s)
            count: int = self.connection.recv_into(buffer)
        except TimeoutError:
            self.has_expired = True
            raise
        return count


class Handler(pywsgi.WSGIHandler):  # type: ignore[misc]  # publishes no types
    """Serves a connection.

    Switches Nagle's algorithm off: it delays every request of a kept connection by 44 ms.
    """

    def __init__(self, connection: Any, address: Any, server: "Server") -> None:
        self._incoming = Incoming(connection)
        super().__init__(connection, address, server, rfile=io.BufferedReader(self._incoming))
        self._wait_s = FIRST_REQUEST_S

    def handle(self) -> None:
        """Serve the requests of one connection; a client that disconnects is not an error."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().handle()

    def read_requestline(self) -> str:
        """Return the first line of a request."""
        self._incoming.allow(self._wait_s)
        line: str = super().read_requestline()
        self._incoming.allow(REQUEST_S)
        self._wait_s = IDLE_S
        return line

    def read_request(self, raw_requestline: str) -> bool:
        """Parse a request. Raises ValueError where it is malformed."""
        is_parsed: bool = super().read_request(raw_requestline)
        # The parser is one of mails, which takes the rest for the body, and wants its parts.
        if any(isinstance(each, _DEFECTS) for each in self.headers.defects):
            raise ValueError("malformed header")
        return is_parsed

    def handle_one_response(self) -> None:
        """Answer one request; a WebSocket, or a request that did not arrive, is the last one."""
        super().handle_one_response()
        if self.environ.get("HTTP_UPGRADE") or self._incoming.has_expired:
            self.close_connection = True

    def format_request(self) -> str:
        """Return the line of a request for the log, without the query: it may hold a secret."""
        line: str = super().format_request()
        return _QUERY.sub("?…", line)

    def handle_error(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType
    ) -> None:
        """Print the traceback of an error, unless the client has disconnected or does not read."""
        if isinstance(error, ConnectionError | TimeoutError) or not self.socket:
            self.close_connection = True
        else:
            super().handle_error(kind, error, trace)

    def _handle_client_error(self, error: Exception) -> tuple[str, bytes] | None:
        self.socket.settimeout(PIECE_S)
        if isinstance(error, TimeoutError):
            return "408", _refusal("408 Request Timeout", "the request did not arrive in time")
        if isinstance(error, OSError):
            return None
        if isinstance(error, http.client.HTTPException):
            text = "more or longer headers than this service accepts"
            return "431", _refusal("431 Request Header Fields Too Large", text)
        response: tuple[str, bytes] = super()._handle_client_error(error)
        return response

    def _sendall(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE_BYTES):
            self.socket.settimeout(PIECE_S)
            super()._sendall(data[start : start + PIECE_BYTES])


class Server(pywsgi.WSGIServer):  # type: ignore[misc]  # publishes no types
    """Accepts connections, and refuses those beyond the limits with an answer."""

    def __init__(self, address: tuple[str, int], app: Flask, connections: Connections) -> None:
        log = pywsgi.LoggingLogAdapter(logger, logging.DEBUG)
        super().__init__(
            address,
            app,
            handler_class=Handler,
            log=log if logger.isEnabledFor(logging.DEBUG) else None,
            error_log=log,
        )
        self._connections = connections
        self._lingering = 0
        self._reported_s = -REPORT_EVERY_S

    def do_read(self) -> tuple[Any, Any] | None:
        """Accept a connection; return None where there is none, or it is refused."""
        try:
            accepted: tuple[Any, Any] | None = super().do_read()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._report(str(error.strerror))
            self.stop_accepting()
            gevent.spawn_later(RETRY_ACCEPT_S, self._start_accepting_if_started)
            return None
        if accepted is None:
            return None
        refusal = self._connections.admit(accepted[1][0])
        if refusal is None:
            return accepted
        self._report(refusal)
        gevent.spawn(self._refuse, accepted[0], refusal)
        return None

    def handle(self, connection: Any, address: Any) -> None:
        """Serve a connection."""
        try:
            super().handle(connection, address)
        finally:
            self._connections.release(address[0])

    def _report(self, reason: str) -> None:
        now_s = time.monotonic()
        if now_s >= self._reported_s + REPORT_EVERY_S:
            self._reported_s = now_s
            logger.warning("connections: %s; further ones are refused", reason)

    def _refuse(self, connection: Any, reason: str) -> None:
        """Answer, and wait a moment for the request: otherwise its arrival would end the answer."""
        self._lingering += 1
        with contextlib.suppress(OSError), gevent.Timeout(LINGER_S, False):
            connection.sendall(_refusal("503 Service Unavailable", reason, "Retry-After: 10\r\n"))
            connection.shutdown(socket.SHUT_WR)
            while self._lingering <= MOST_LINGERING and connection.recv(PIECE_BYTES):
                pass
        connection.close()
        self._lingering -= 1


def serve(app: Flask, settings: WebSettings) -> Server:
    """Return a server that accepts connections.

    Raises MeterflowError where the port is in use, SettingsError where the address is not local.
    """
    most = min(MOST_CONNECTIONS, raise_descriptor_limit() - RESERVED_DESCRIPTORS)
    trusted = getattr(settings, "trusted_proxies", ())
    server = Server((settings.http_host, settings.http_port), app, Connections(most, trusted))
    try:
        server.start()
    except OSError as error:
        raise _listen_error(error, settings) from error
    return server


def raise_descriptor_limit() -> int:
    """Raise the limit of open files as far as the system allows; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(ValueError, OSError):  # macOS allows less than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def _refusal(status: str, detail: str, header: str = "") -> bytes:
    body = json.dumps({"detail": detail})
    head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n{header}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _listen_error(error: OSError, settings: WebSettings) -> MeterflowError:
    host, port = settings.http_host, settings.http_port
    if error.errno == errno.EADDRINUSE:
        return MeterflowError(
            f"port {port} on {host} is in use by another program; "
            f"stop that program, or set another port: HTTP_PORT={min(port + 1, 65535)}"
        )
    if error.errno == errno.EACCES:
        return MeterflowError(
            f"port {port} on {host} requires more rights; set HTTP_PORT to 1024 or more"
        )
    reason = str(error.strerror).partition(": (")[0]  # gevent adds the address, as a tuple
    return SettingsError(f"HTTP_HOST: cannot listen on {host} port {port}: {reason}")
