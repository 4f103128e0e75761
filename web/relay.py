"""From the broker to the clients: each message is encoded once and written directly, at once.

A greenlet and an encoding per client cost four to six times the CPU that the broker needs for a
message; written from this one loop, it costs the same. A client that reads too slowly delays no
other: what it misses, it can query from the history, and it learns from when on.
"""

import json
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import Any, Protocol

import gevent
from paho.mqtt.matcher import MQTTMatcher

from contract import topics
from contract.readings import Reading
from contract.times import format_time
from web.latest import Latest, Update
from web.socket_io import EventMessage, Session
from web.subscriber import Subscriber
from web.websockets import Outcome, WebSocket, text_frame

TICK_S = 0.25
BATCH = 100
"""Messages or clients that are handled before other greenlets run."""
MOST_FILTERS = 100
MOST_AUDIENCES = 100_000
KEEP_ALIVE_S = 25.0
MOST_PINGS = 50
"""Clients to ping in one turn: the answers of thousands would delay the next reading."""
MOST_DELAY = timedelta(minutes=1)
"""How much earlier than its arrival a lost message may have been measured."""
_LESS_THAN_MS = timedelta(microseconds=999)
TRY_AGAIN_LATER = 1013
"""Code with which a WebSocket is closed whose reader is too slow (RFC 6455, 7.4.1; IANA)."""


class Delivery:
    """An update as it is sent, encoded when the first client needs it."""

    def __init__(self, update: Update) -> None:
        self.update = update

    @cached_property
    def frame(self) -> bytes:
        """The payload, for a WebSocket of one meter."""
        return text_frame(self.update.payload)

    @cached_property
    def event(self) -> EventMessage:
        """The event `message`."""
        return message_event(self.update.topic, self.update.payload)


class Listener(Protocol):
    """A client that receives updates."""

    @property
    def filters(self) -> Sequence[str]:
        """Filters of the topics whose updates it receives."""

    def deliver(self, delivery: Delivery) -> bool:
        """Send an update without waiting; return whether the client reads too slowly."""

    def show_state(self, name: str, state: str) -> None:
        """Send the state of the broker or the history, as JSON text."""

    def catch_up(self, latest: Latest) -> bool:
        """Complete what a slow client missed; return whether that is done."""

    def lose(self, since: datetime) -> None:
        """Tell the client that messages since a moment did not reach this service in time."""

    def keep_alive(self) -> None:
        """Check that the client is still there."""


class MeterReader:
    """A WebSocket that receives every reading of a meter, each once, in order.

    Readings up to `after` are not sent: the client has received the stored ones. With
    `with_states` it also receives the states of broker and history.
    """

    def __init__(self, socket: WebSocket, meter_id: str, *, with_states: bool = False) -> None:
        self.filters: Sequence[str] = (topics.reading(meter_id),)
        self.after: datetime | None = None
        self._socket, self._frames = socket, socket.sock
        self._meter_id, self._with_states = meter_id, with_states
        self._newest: datetime | None = None
        self._is_ended = False

    def send_first(self, reading: Reading) -> None:
        """Send the newest reading of before, unless a live one came first."""
        if self.after is None:
            self.after = min(_end_of(reading.ts), datetime.now(UTC))
            self._frames.append(text_frame(reading.encode()))

    def deliver(self, delivery: Delivery) -> bool:
        """Send a reading; end the connection of a client that is too far behind."""
        reading = delivery.update.reading
        if reading is None or self._is_ended or (self.after and reading.ts <= self.after):
            return False
        if self.after is None:  # the stored reading is still being queried, and is now too old
            self.after = min(reading.ts, datetime.now(UTC))
        if self._frames.append(delivery.frame):
            self._newest = reading.ts
        else:
            self._end("too slow", reading.ts)
        return False

    def show_state(self, name: str, state: str) -> None:
        """Send a state, if the client wants states."""
        if self._with_states:
            self._frames.append(text_frame(f'{{"{name}":{state}}}'))

    def catch_up(self, latest: Latest) -> bool:  # noqa: ARG002
        """Do nothing: a client that missed something has been disconnected."""
        return True

    def lose(self, since: datetime) -> None:
        """End the connection."""
        self._end("readings were lost", self._newest or since)

    def keep_alive(self) -> None:
        """Ping the client, if it receives nothing else."""
        self._frames.keep_alive()

    def _end(self, why: str, since: datetime) -> None:
        """Close the connection after what waits, with an address that fills the hole."""
        self._is_ended = True
        path = f"/readings/?meter={self._meter_id}&from={format_time(since)}"
        self._socket.finish(TRY_AGAIN_LATER, f"{why}; fill the hole from {path}")


class Browser:
    """A client of Socket.IO. While it is slow, it receives the newest message of each topic."""

    def __init__(self, session: Session) -> None:
        self.filters: list[str] = []
        self._session = session
        self._since: datetime | None = None
        self._is_incomplete = False

    def wants(self, topic: str) -> bool:
        """Return whether one of the filters matches a topic."""
        return any(topics.filter_matches(pattern, topic) for pattern in self.filters)

    def deliver(self, delivery: Delivery) -> bool:
        """Send the event `message`."""
        update = delivery.update
        outcome = self._session.offer(update.topic, delivery.event)
        if outcome is Outcome.SENT:
            return False
        ts = update.reading.ts if update.reading else datetime.now(UTC)
        self._since = min(ts, self._since or ts)
        self._is_incomplete |= outcome is Outcome.LEFT_OUT
        return True

    def show_state(self, name: str, state: str) -> None:
        """Send the event `broker` or `history`."""
        self._session.offer(name, EventMessage(name, state))

    def send_latest(self, latest: Latest, patterns: Sequence[str]) -> None:
        """Send the latest payloads that filters match, as fast as the client reads."""
        for topic in list(latest.known_topics()):
            if any(topics.filter_matches(pattern, topic) for pattern in patterns):
                if not self._session.drain():
                    return
                payload = latest.payload(topic)
                if payload is not None and self.wants(topic):
                    self._session.offer(topic, message_event(topic, payload))

    def catch_up(self, latest: Latest) -> bool:
        """Send the event `missed` and the latest messages once the client keeps up again."""
        if self._session.is_behind:
            return False
        if self._is_incomplete and self._since:
            self.lose(self._since)
            gevent.spawn(self.send_latest, latest, list(self.filters))
        self._since, self._is_incomplete = None, False
        return True

    def lose(self, since: datetime) -> None:
        """Send the event `missed`."""
        self._session.offer("missed", EventMessage("missed", f'{{"from":"{format_time(since)}"}}'))

    def keep_alive(self) -> None:
        """Do nothing: Socket.IO has its own pings."""


class Relay:
    """Sends updates to the listeners that want them."""

    def __init__(self, subscriber: Subscriber, latest: Latest) -> None:
        self._subscriber = subscriber
        self._latest = latest
        self._listeners: dict[Listener, float] = {}  # and when to check each again, in this order
        self._by_filter: Any = MQTTMatcher()  # type: ignore[no-untyped-call]
        self._audiences: dict[str, tuple[Listener, ...]] = {}
        self._behind: dict[Listener, None] = {}
        self._states: dict[str, str] = {}
        self._handled = datetime.now(UTC)
        self._dropped = 0

    @property
    def has_listeners(self) -> bool:
        """Whether any client is connected."""
        return bool(self._listeners)

    @property
    def clients(self) -> int:
        """The number of clients."""
        return len(self._listeners)

    def join(self, listener: Listener) -> None:
        """Add a listener, and send it the state of broker and history."""
        self._listeners[listener] = time.monotonic() + KEEP_ALIVE_S
        self._add(listener, listener.filters)
        for name, state in self._states.items():
            listener.show_state(name, state)

    def leave(self, listener: Listener) -> None:
        """Remove a listener."""
        if self._listeners.pop(listener, None) is not None:
            self._remove(listener, listener.filters)
            self._behind.pop(listener, None)

    def subscribe(self, browser: Browser, patterns: Iterable[str]) -> None:
        """Add topic filters to a browser, and send it the latest payloads that they match."""
        fresh = [pattern for pattern in patterns if pattern not in browser.filters]
        browser.filters += fresh
        self._add(browser, fresh)
        gevent.spawn(browser.send_latest, self._latest, fresh)

    def unsubscribe(self, browser: Browser, patterns: Iterable[str]) -> None:
        """Remove topic filters from a browser."""
        gone = [pattern for pattern in set(patterns) if pattern in browser.filters]
        browser.filters[:] = [pattern for pattern in browser.filters if pattern not in gone]
        self._remove(browser, gone)

    def set_state(self, name: str, trouble: str | None) -> None:
        """Send the state of the broker or the history to all, if it has changed."""
        state = json.dumps({"connected": trouble is None, "trouble": trouble})
        if self._states.get(name) != state:
            self._states[name] = state
            for listener in list(self._listeners):
                listener.show_state(name, state)

    def run(self) -> None:
        """Relay messages while the service runs."""
        while True:
            self._subscriber.wait(TICK_S)
            self.set_state("broker", self._subscriber.trouble)
            self._handle_messages()
            for update in self._latest.close_due(time.monotonic(), datetime.now(UTC)):
                self._send(update)
            self._look_after()

    def _handle_messages(self) -> None:
        count = 0
        while message := self._subscriber.next_message():
            self._report_losses()
            self._handled = message.arrived
            for update in self._latest.handle(message):
                self._send(update)
            count += 1
            if count % BATCH == 0:
                gevent.sleep(0)

    def _send(self, update: Update) -> None:
        audience = self._audience(update.topic) if self._listeners else ()
        delivery = Delivery(update)
        for count, listener in enumerate(audience, 1):
            if listener.deliver(delivery):
                self._behind[listener] = None
            if count % BATCH == 0:
                gevent.sleep(0)

    def _look_after(self) -> None:
        """Complete what slow clients missed, and check that silent ones are still there."""
        for listener in list(self._behind):
            if listener.catch_up(self._latest):
                self._behind.pop(listener, None)
        now_s = time.monotonic()
        for listener, due_s in list(islice(self._listeners.items(), MOST_PINGS)):
            if due_s > now_s:
                break
            listener.keep_alive()
            self._listeners.pop(listener)
            self._listeners[listener] = now_s + KEEP_ALIVE_S

    def _report_losses(self) -> None:
        dropped = self._subscriber.dropped
        if dropped != self._dropped:
            self._dropped = dropped
            for listener in list(self._listeners):
                listener.lose(self._handled - MOST_DELAY)

    def _audience(self, topic: str) -> tuple[Listener, ...]:
        audience = self._audiences.get(topic)
        if audience is None:
            if len(self._audiences) >= MOST_AUDIENCES:
                self._audiences.clear()
            found: dict[Listener, None] = {}
            for listeners in self._by_filter.iter_match(topic):
                found |= listeners
            audience = self._audiences[topic] = tuple(found)
        return audience

    def _add(self, listener: Listener, patterns: Iterable[str]) -> None:
        for pattern in patterns:
            try:
                self._by_filter[pattern][listener] = None
            except KeyError:
                self._by_filter[pattern] = {listener: None}
        self._audiences.clear()

    def _remove(self, listener: Listener, patterns: Iterable[str]) -> None:
        for pattern in patterns:
            listeners = self._by_filter[pattern]
            listeners.pop(listener, None)
            if not listeners:
                del self._by_filter[pattern]
        self._audiences.clear()


def _end_of(ts: datetime) -> datetime:
    """Return the last moment that the history stores under this time: it keeps milliseconds."""
    return ts if ts.microsecond % 1000 else ts + _LESS_THAN_MS


def message_event(topic: str, payload: str) -> EventMessage:
    """Return the event for an MQTT message."""
    return EventMessage("message", f'{{"topic":{json.dumps(topic)},"payload":{payload}}}')
