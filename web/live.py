"""The live interfaces: Socket.IO for browsers, a raw WebSocket per meter for other programs."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import flask
import gevent
from flask import Blueprint, Flask, request
from flask_sock import Sock
from flask_socketio import SocketIO
from simple_websocket import ConnectionClosed

from contract import topics
from history import queries
from history.errors import StorageError
from web import socket_io, websockets
from web.context import Parts, parts
from web.meters import latest_reading
from web.relay import MOST_FILTERS, Browser, MeterReader, Relay
from web.websockets import WebSocket, handshake_problem

LONGEST_FILTER = 200
RAW_PREFIX = "/ws/"
WATCH_HISTORY_S = 2.0
READ_NAMES_S = 60.0
READ_NAMES_WITHIN_S = 1.0

blueprint = Blueprint("live", __name__)
_sock = Sock()


def init_app(app: Flask, shared: Parts) -> None:
    """Add the live interfaces to an app. Raises MeterflowError where a package conflicts."""
    websockets.install()
    socket_io.install()
    app.before_request(_check_raw)
    app.register_blueprint(blueprint)
    allowed = origin_check(shared.settings.cors_origins)
    socketio = SocketIO(app, cors_allowed_origins=allowed, **socket_io.OPTIONS)
    _Browsers(shared.relay).register(socketio)


def watch_history(shared: Parts) -> None:
    """Send clients the state of the history whenever it changes, while the service runs."""
    while True:
        if shared.relay.has_listeners:
            try:
                shared.history.check()
                trouble = None
            except StorageError as error:
                trouble = str(error)
            shared.relay.set_state("history", trouble)
        gevent.sleep(WATCH_HISTORY_S)


def read_names(shared: Parts) -> None:
    """Read which meters and bridges the history knows: made-up ones do not displace them."""
    with contextlib.suppress(StorageError), gevent.Timeout(READ_NAMES_WITHIN_S, False):
        shared.latest.keep(*shared.history.query(queries.names, empty=(set[str](), set[str]())))


def watch_names(shared: Parts) -> None:
    """Read the names again from time to time, while the service runs."""
    while True:
        gevent.sleep(READ_NAMES_S)
        read_names(shared)


def origin_check(others: tuple[str, ...]) -> Callable[[str, dict[str, Any]], bool]:
    """Return the check of a WebSocket's origin: our own pages, and those of CORS_ORIGINS.

    Browsers do not restrict WebSockets by origin: without this check, any page on the internet
    could read the meters through the browser of a visitor.
    """

    def allowed(origin: str, environ: dict[str, Any]) -> bool:
        try:
            return origin in others or urlsplit(origin).netloc == environ.get("HTTP_HOST")
        except ValueError:
            return False

    return allowed


class _Browsers:
    """The browsers connected by Socket.IO, and the events that they may send."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._browsers: dict[str, Browser] = {}
        self._server: Any = None

    def register(self, socketio: Any) -> None:
        """Register the handlers of the Socket.IO events."""
        self._server = socketio.server
        socketio.on_event("connect", self.connect)
        socketio.on_event("disconnect", self.disconnect)
        socketio.on_event("subscribe", self.subscribe)
        socketio.on_event("unsubscribe", self.unsubscribe)

    def connect(self, _auth: object = None) -> None:
        """Add a browser."""
        browser = Browser(self._server.client(_session()))
        self._browsers[_session()] = browser
        self._relay.join(browser)

    def disconnect(self, _reason: object = None) -> None:
        """Remove a browser that has disconnected."""
        browser = self._browsers.pop(_session(), None)
        if browser:
            self._relay.leave(browser)

    def subscribe(self, wanted: object = None, *_: object) -> list[str] | str:
        """Add topic filters. Returns all filters of the browser, or an error message."""
        browser, patterns = self._browsers.get(_session()), _filters(wanted)
        if isinstance(patterns, str) or not browser:
            return patterns if isinstance(patterns, str) else "not connected"
        if len({*browser.filters, *patterns}) > MOST_FILTERS:
            return f"more than {MOST_FILTERS} topic filters; use one that covers several: meters/#"
        self._relay.subscribe(browser, dict.fromkeys(patterns))
        return list(browser.filters)

    def unsubscribe(self, wanted: object = None, *_: object) -> list[str] | str:
        """Remove topic filters. Returns the remaining filters, or an error message."""
        browser, patterns = self._browsers.get(_session()), _filters(wanted)
        if isinstance(patterns, str) or not browser:
            return patterns if isinstance(patterns, str) else "not connected"
        self._relay.unsubscribe(browser, patterns)
        return list(browser.filters)


def _session() -> str:
    return str(flask.request.sid)  # type: ignore[attr-defined]  # set by Flask-SocketIO


def _filters(wanted: object) -> list[str] | str:
    """Return the topic filters that a browser sent, or an error message."""
    filters = [wanted] if isinstance(wanted, str) else wanted
    if not isinstance(filters, list) or not filters:
        return "expected a topic filter such as meters/1/#, or a list of them"
    return next((text for text in map(_filter_problem, filters) if text), filters)


def _filter_problem(pattern: object) -> str | None:
    if not isinstance(pattern, str) or len(pattern) > LONGEST_FILTER:
        return f"a topic filter should be a string of at most {LONGEST_FILTER} characters"
    levels = pattern.split("/")
    misplaced = "#" in pattern[:-1] or any(
        ("+" in level or "#" in level) and len(level) > 1 for level in levels
    )
    if levels[0] != topics.ROOT or len(levels) < 2 or misplaced or "\0" in pattern:
        return f"not a topic filter below {topics.ROOT}/: {pattern!r}"
    return None


def _check_raw() -> tuple[dict[str, str], int] | None:
    """Refuse a raw WebSocket before it is accepted: foreign origin or invalid meter id."""
    if not request.path.startswith(RAW_PREFIX):
        return None
    if not topics.METER_ID.fullmatch(request.path.removeprefix(RAW_PREFIX)):
        return {"detail": "not a meter id; see /meters/"}, 404
    problem = handshake_problem(request.environ)
    if problem:
        return {"detail": problem}, 426
    origin = request.headers.get("Origin")
    allowed = origin_check(parts().settings.cors_origins)
    if origin and not allowed(origin, request.environ):
        return {"detail": f"origin {origin} is not allowed; add it to CORS_ORIGINS"}, 403
    return None


@_sock.route("/ws/<meter_id>", bp=blueprint)  # type: ignore[untyped-decorator]
def meter_socket(socket: WebSocket, meter_id: str) -> None:
    """Send a meter's latest reading, then each live one, until the client disconnects."""
    relay, connected = parts().relay, datetime.now(UTC)
    reader = MeterReader(socket, meter_id, with_states=request.args.get("states") == "true")
    relay.join(reader)  # before the query of the history, so that no reading is lost between
    try:
        # A reading of a later time may be stored before it is received here; it will be.
        reading = latest_reading(meter_id, before=connected)
        if reading:
            reader.send_first(reading)
        while True:
            socket.receive()  # messages are ignored; the end of the connection ends the loop
    except (ConnectionClosed, OSError):
        pass
    finally:
        relay.leave(reader)
