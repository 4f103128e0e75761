"""gevent's web server, configured for many small responses."""

import contextlib
import errno
import logging
import re
import socket

from flask import Flask
from gevent import pywsgi

from contract.errors import MeterflowError
from service.errors import SettingsError
from web.settings import WebSettings

logger = logging.getLogger(__name__)

_QUERY = re.compile(r"\?\S*")


class Handler(pywsgi.WSGIHandler):  # type: ignore[misc]  # publishes no types
    """Switches Nagle's algorithm off: it delays every request of a kept connection by 44 ms."""

    def handle(self) -> None:
        """Serve the requests of one connection; a client that disconnects is not an error."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().handle()

    def handle_one_response(self) -> None:
        """Answer one request; a WebSocket is the last of its connection."""
        super().handle_one_response()
        if self.environ.get("HTTP_UPGRADE"):
            self.close_connection = True

    def format_request(self) -> str:
        """Return the line of a request for the log, without the query: it may hold a secret."""
        line: str = super().format_request()
        return _QUERY.sub("?…", line)


def serve(app: Flask, settings: WebSettings) -> pywsgi.WSGIServer:
    """Return a server that accepts connections.

    Raises MeterflowError where the port is in use, SettingsError where the address is not local.
    """
    log = pywsgi.LoggingLogAdapter(logger, logging.DEBUG)
    server = pywsgi.WSGIServer(
        (settings.http_host, settings.http_port),
        app,
        handler_class=Handler,
        log=log if logger.isEnabledFor(logging.DEBUG) else None,
        error_log=log,
    )
    try:
        server.start()
    except OSError as error:
        raise _listen_error(error, settings) from error
    return server


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
