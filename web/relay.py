"""From the broker to the browsers: each reading is one frame, encoded once and written directly.

A greenlet and an encoding per browser cost four to six times the CPU that the broker needs for a
message; written from this one loop, it costs the same. A topic is sent at most four times a second:
of faster updates the last one is sent.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import gevent

from contract import topics
from contract.readings import Reading
from web.latest import Latest, Update
from web.subscriber import Subscriber
from web.websockets import FrameSocket, text_frame

BETWEEN_FRAMES_S = 0.25
TICK_S = 0.25
BATCH = 100
"""Messages or listeners that are handled before other greenlets run."""
MOST_FILTERS = 100
MOST_AUDIENCES = 100_000


@dataclass(eq=False, slots=True)
class Listener:
    """A client that listens to topics: a `raw` one gets readings alone, others Socket.IO events.

    Readings up to `after` are not sent: the client has received the stored ones.
    """

    socket: FrameSocket
    filters: list[str] = field(default_factory=list)
    raw: bool = False
    after: datetime | None = None

    def wants(self, topic: str) -> bool:
        """Return whether one of the filters matches a topic."""
        return any(topics.filter_matches(pattern, topic) for pattern in self.filters)


class Relay:
    """Sends updates to the listeners that want them."""

    def __init__(self, subscriber: Subscriber, latest: Latest) -> None:
        self._subscriber = subscriber
        self._latest = latest
        self._listeners: dict[Listener, None] = {}
        self._audiences: dict[str, tuple[Listener, ...]] = {}
        self._sent_s: dict[str, float] = {}
        self._held: dict[str, Update] = {}
        self._broker = ""

    @property
    def clients(self) -> int:
        """The number of clients."""
        return len(self._listeners)

    def join(self, listener: Listener) -> None:
        """Add a listener."""
        self._listeners[listener] = None
        self._audiences.clear()

    def leave(self, listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.pop(listener, None)
        self._audiences.clear()

    def subscribe(self, listener: Listener, patterns: Iterable[str]) -> None:
        """Add topic filters to a listener, and send it the latest payloads that they match."""
        fresh = [pattern for pattern in patterns if pattern not in listener.filters]
        listener.filters += fresh
        self._audiences.clear()
        gevent.spawn(self._send_latest, listener, fresh)

    def unsubscribe(self, listener: Listener, patterns: Iterable[str]) -> None:
        """Remove topic filters from a listener."""
        gone = set(patterns)
        listener.filters[:] = [pattern for pattern in listener.filters if pattern not in gone]
        self._audiences.clear()

    def send_broker_state(self, listener: Listener) -> None:
        """Send one listener the state of the connection to the broker."""
        listener.socket.offer("broker", event_frame("broker", self._broker_state()))

    def run(self) -> None:
        """Relay messages while the service runs."""
        while True:
            self._subscriber.wait(BETWEEN_FRAMES_S / 5 if self._held else TICK_S)
            self._send_broker_change()
            self._handle_messages()
            now_s = time.monotonic()
            for update in self._latest.close_due(now_s, datetime.now(UTC)):
                self._send(update, now_s)
            self._send_held(now_s)

    def _handle_messages(self) -> None:
        count = 0
        while message := self._subscriber.next_message():
            for update in self._latest.handle(message):
                self._send(update, time.monotonic())
            count += 1
            if count % BATCH == 0:
                gevent.sleep(0)

    def _send(self, update: Update, now_s: float) -> None:
        if not self._listeners:
            return
        if now_s - self._sent_s.get(update.topic, -1.0) < BETWEEN_FRAMES_S:
            self._held[update.topic] = update
            return
        self._held.pop(update.topic, None)
        audience = self._audience(update.topic)
        if audience:
            self._sent_s[update.topic] = now_s
            _broadcast(update, audience)

    def _send_held(self, now_s: float) -> None:
        for update in list(self._held.values()):
            self._send(update, now_s)
        if len(self._sent_s) > MOST_AUDIENCES:
            self._sent_s.clear()

    def _audience(self, topic: str) -> tuple[Listener, ...]:
        audience = self._audiences.get(topic)
        if audience is None:
            if len(self._audiences) >= MOST_AUDIENCES:
                self._audiences.clear()
            audience = tuple(each for each in self._listeners if each.wants(topic))
            self._audiences[topic] = audience
        return audience

    def _send_latest(self, listener: Listener, patterns: list[str]) -> None:
        """Send the latest payloads that new filters match, at the listener's own pace."""
        found = [
            topic
            for topic in self._latest.known_topics()
            if any(topics.filter_matches(pattern, topic) for pattern in patterns)
        ]
        for topic in found:
            payload = self._latest.payload(topic)
            if payload is not None and listener.wants(topic):
                try:
                    listener.socket.send(message_frame(topic, payload))
                except OSError:
                    return

    def _send_broker_change(self) -> None:
        state = self._broker_state()
        if state != self._broker:
            self._broker = state
            frame = event_frame("broker", state)
            for listener in self._listeners:
                if not listener.raw:
                    listener.socket.offer("broker", frame)

    def _broker_state(self) -> str:
        subscriber = self._subscriber
        return json.dumps({"connected": subscriber.connected, "trouble": subscriber.trouble})


def event_frame(event: str, payload: str) -> bytes:
    """Return the frame of a Socket.IO event whose one argument is JSON text already."""
    return text_frame(f'42["{event}",{payload}]')


def message_frame(topic: str, payload: str) -> bytes:
    """Return the frame of the Socket.IO event for an MQTT message."""
    return event_frame("message", f'{{"topic":{json.dumps(topic)},"payload":{payload}}}')


def _broadcast(update: Update, audience: tuple[Listener, ...]) -> None:
    raw = message = b""
    for count, listener in enumerate(audience, 1):
        if listener.raw:
            if not _is_new(update.reading, listener):
                continue
            frame = raw = raw or text_frame(update.payload)
        else:
            frame = message = message or message_frame(update.topic, update.payload)
        listener.socket.offer(update.topic, frame)
        if count % BATCH == 0:
            gevent.sleep(0)


def _is_new(reading: Reading | None, listener: Listener) -> bool:
    if reading is None:
        return False
    if listener.after is None:  # the stored reading is still being queried, and is now too old
        listener.after = min(reading.ts, datetime.now(UTC))
        return True
    return reading.ts > listener.after
