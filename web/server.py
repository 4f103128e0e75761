"""gevent's web server, set up for many small answers."""

import contextlib
import errno
import logging
import socket

from flask import Flask
from gevent import pywsgi

from contract.errors import MeterflowError
from service.errors import SettingsError
from web.settings import WebSettings

logger = logging.getLogger(__name__)


class Handler(pywsgi.WSGIHandler):  # type: ignore[misc]  # publishes no types
    """Answers without Nagle's delay, which costs 44 ms for each request of a kept connection."""

    def handle(self) -> None:
        """Serve the requests of one connection; that the other side goes away is no error."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().handle()

    def handle_one_response(self) -> None:
        """Answer one request; what follows a WebSocket is no further request."""
        super().handle_one_response()
        if self.environ.get("HTTP_UPGRADE"):
            self.close_connection = True


def serve(app: Flask, settings: WebSettings) -> pywsgi.WSGIServer:
    """Return a server that accepts connections.

    Raises MeterflowError where the port is taken, SettingsError where the address is none of ours.
    """
    log = pywsgi.LoggingLogAdapter(logger, logging.DEBUG)
    seen = logger.isEnabledFor(logging.DEBUG)
    server = pywsgi.WSGIServer(
        (settings.http_host, settings.http_port),
        app,
        handler_class=Handler,
        log=log if seen else None,
        error_log=log,
    )
    try:
        server.start()
    except OSError as error:
        raise _in_words(error, settings) from error
    return server


def _in_words(error: OSError, settings: WebSettings) -> MeterflowError:
    host, port = settings.http_host, settings.http_port
    if error.errno == errno.EADDRINUSE:
        return MeterflowError(
            f"port {port} of {host} is taken by another program; "
            f"stop that one, or choose another port: HTTP_PORT={min(port + 1, 65535)}"
        )
    if error.errno == errno.EACCES:
        return MeterflowError(
            f"port {port} of {host} may not be opened by this user; set HTTP_PORT to 1024 or more"
        )
    reason = str(error.strerror).partition(": (")[0]  # gevent adds the address, as a tuple
    return SettingsError(f"HTTP_HOST: cannot listen on {host} port {port}: {reason}")
