"""WebSockets as we want them of simple-websocket, for flask-sock and Socket.IO alike."""

import importlib.util
from typing import Any

import flask_sock
import gevent
import gevent.event
import gevent.selectors
import simple_websocket
from engineio.async_drivers.gevent import Thread

from contract.errors import MeterflowError
from web.outgoing import FrameSocket

OUTGOING = "meterflow.outgoing"
"""Where the WSGI environment of a WebSocket holds its FrameSocket."""
LARGEST_MESSAGE_BYTES = 65536
PING_INTERVAL_S = 25
GOODBYE_S = 2.0

SERVER_OPTIONS = {
    "ping_interval": PING_INTERVAL_S,
    "thread_class": Thread,
    "event_class": gevent.event.Event,
    "selector_class": gevent.selectors.DefaultSelector,
}
"""What flask-sock must pass on: greenlets in place of real threads on gevent's sockets."""


class WebSocket(simple_websocket.Server):  # type: ignore[misc]  # publishes no types
    """A server's WebSocket that sends whole frames, uncompressed, and takes no huge ones.

    Compression costs 105 to 175 kB of memory per browser and half as much CPU again, for
    messages of a few hundred bytes; simple-websocket has no switch for it.
    """

    def __init__(self, environ: dict[str, Any], **options: Any) -> None:
        environ.pop("HTTP_SEC_WEBSOCKET_EXTENSIONS", None)
        options.setdefault("max_message_size", LARGEST_MESSAGE_BYTES)
        super().__init__(environ, **options)

    sock: Any

    def handshake(self) -> None:
        """Put our socket in place before the first byte goes out."""
        self.sock = self.environ[OUTGOING] = FrameSocket(self.sock)
        super().handshake()

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Say goodbye, and end the connection even where nobody answers."""
        super().close(reason, message)
        self.event.set()
        gevent.spawn_later(GOODBYE_S, self.sock.close)


def install() -> None:
    """Make flask-sock and engineio use our WebSocket.

    Raises MeterflowError where gevent-websocket is installed: engineio would silently prefer it.
    """
    if importlib.util.find_spec("geventwebsocket"):
        raise MeterflowError(
            "the package gevent-websocket is installed and replaces the WebSockets of this "
            "service; remove it: pip uninstall gevent-websocket"
        )
    simple_websocket.Server = WebSocket  # engineio looks it up there with each connection
    flask_sock.Server = WebSocket
