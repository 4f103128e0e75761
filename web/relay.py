"""From the bus to the browsers: each reading one frame, encoded once, written straight out.

A greenlet and an encoding for each browser cost four to six times what the broker needs for a
message; written from this one loop, it costs the same. A topic goes out at most four times a
second: what comes faster is replaced by what comes last.
"""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import gevent

from contract import topics
from contract.readings import Reading
from web.latest import Latest, News
from web.outgoing import FrameSocket, text_frame
from web.subscriber import Bus

logger = logging.getLogger(__name__)

BETWEEN_FRAMES_S = 0.25
TICK_S = 0.25
BATCH = 100
"""After so many messages or browsers the others have their turn."""
MOST_FILTERS = 100
MOST_AUDIENCES = 100_000


@dataclass(eq=False, slots=True)
class Listener:
    """Somebody who listens to topics; a `raw` one gets bare readings, others Socket.IO events.

    Readings up to `after` are not sent: it has been given what was stored.
    """

    socket: FrameSocket
    filters: list[str] = field(default_factory=list)
    raw: bool = False
    after: datetime | None = None

    def wants(self, topic: str) -> bool:
        """Tell whether one of the filters covers a topic."""
        return any(topics.filter_matches(pattern, topic) for pattern in self.filters)


class Relay:
    """Tells every listener what is new on the bus."""

    def __init__(self, bus: Bus, latest: Latest) -> None:
        self._bus = bus
        self._latest = latest
        self._listeners: dict[Listener, None] = {}
        self._audiences: dict[str, tuple[Listener, ...]] = {}
        self._sent_s: dict[str, float] = {}
        self._held: dict[str, News] = {}
        self._broker = ""

    def join(self, listener: Listener) -> None:
        """Begin to tell a listener."""
        self._listeners[listener] = None
        self._audiences.clear()

    def leave(self, listener: Listener) -> None:
        """Tell a listener no more."""
        self._listeners.pop(listener, None)
        self._audiences.clear()

    def subscribe(self, listener: Listener, patterns: Iterable[str]) -> None:
        """Add topic filters to a listener, and give it what was last said under them."""
        fresh = [pattern for pattern in patterns if pattern not in listener.filters]
        listener.filters += fresh
        self._audiences.clear()
        gevent.spawn(self._tell_latest, listener, fresh)

    def unsubscribe(self, listener: Listener, patterns: Iterable[str]) -> None:
        """Take topic filters from a listener."""
        gone = set(patterns)
        listener.filters[:] = [pattern for pattern in listener.filters if pattern not in gone]
        self._audiences.clear()

    def tell_broker(self, listener: Listener) -> None:
        """Tell one listener how the connection to the broker is."""
        listener.socket.offer("broker", event_frame("broker", self._broker_state()))

    def run(self) -> None:
        """Relay for as long as the service lives."""
        while True:
            self._bus.wait(BETWEEN_FRAMES_S / 5 if self._held else TICK_S)
            self._tell_broker_change()
            self._take_messages()
            now_s = time.monotonic()
            for news in self._latest.close_due(now_s, datetime.now(UTC)):
                self._tell(news, now_s)
            self._tell_held(now_s)

    def _take_messages(self) -> None:
        taken = 0
        while message := self._bus.next_message():
            for news in self._latest.take(message):
                self._tell(news, time.monotonic())
            taken += 1
            if taken % BATCH == 0:
                gevent.sleep(0)

    def _tell(self, news: News, now_s: float) -> None:
        if not self._listeners:
            return
        if now_s - self._sent_s.get(news.topic, -1.0) < BETWEEN_FRAMES_S:
            self._held[news.topic] = news
            return
        self._held.pop(news.topic, None)
        audience = self._audience(news.topic)
        if audience:
            self._sent_s[news.topic] = now_s
            _broadcast(news, audience)

    def _tell_held(self, now_s: float) -> None:
        for news in list(self._held.values()):
            self._tell(news, now_s)
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

    def _tell_latest(self, listener: Listener, patterns: list[str]) -> None:
        """Send what was last said under new filters, at the listener's own pace."""
        found = [
            topic
            for topic in self._latest.said_topics()
            if any(topics.filter_matches(pattern, topic) for pattern in patterns)
        ]
        for topic in found:
            payload = self._latest.said(topic)
            if payload is not None and listener.wants(topic):
                try:
                    listener.socket.send(message_frame(topic, payload))
                except OSError:
                    return

    def _tell_broker_change(self) -> None:
        state = self._broker_state()
        if state != self._broker:
            self._broker = state
            frame = event_frame("broker", state)
            for listener in self._listeners:
                if not listener.raw:
                    listener.socket.offer("broker", frame)

    def _broker_state(self) -> str:
        return json.dumps({"connected": self._bus.connected, "trouble": self._bus.trouble})


def event_frame(event: str, payload: str) -> bytes:
    """Return the frame of a Socket.IO event whose one argument is JSON text already."""
    return text_frame(f'42["{event}",{payload}]')


def message_frame(topic: str, payload: str) -> bytes:
    """Return the frame that tells a browser of an MQTT message."""
    return event_frame("message", f'{{"topic":{json.dumps(topic)},"payload":{payload}}}')


def _broadcast(news: News, audience: tuple[Listener, ...]) -> None:
    raw = message = b""
    for count, listener in enumerate(audience, 1):
        if listener.raw:
            if not _is_new(news.reading, listener):
                continue
            frame = raw = raw or text_frame(news.payload)
        else:
            frame = message = message or message_frame(news.topic, news.payload)
        listener.socket.offer(news.topic, frame)
        if count % BATCH == 0:
            gevent.sleep(0)


def _is_new(reading: Reading | None, listener: Listener) -> bool:
    if reading is None:
        return False
    if listener.after is None:  # what is stored now comes too late
        listener.after = min(reading.ts, datetime.now(UTC))
        return True
    return reading.ts > listener.after
