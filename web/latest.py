"""The latest messages of every meter and service: the live half of what the pages show.

Bounded, so that a flood of topics needs no more memory than a thousand meters. Anyone may invent
meters, bridges and recorders: meters and bridges that the history knows stay.
"""

import json
import logging
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from contract import topics
from contract.assembler import Assembler
from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.readings import MAX_PAYLOAD_BYTES, Reading, decode_scalar

logger = logging.getLogger(__name__)

MOST_METERS = 1000
MOST_SERVICES = 100
"""Bridges that the history does not know, and as many recorders."""
LARGEST_INFO_BYTES = 16_384
"""Of a meter; that of a bridge lists its gateways and meters, and may be as large as a message."""
RECENT = timedelta(seconds=60)
"""How long readings are kept for charts: a recorder stores them up to 30 s after they arrive."""
MOST_RECENT = 10_000
STATE_LEAVES = frozenset({"status", "info"})


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the broker, its topic parsed; `now_s` is the monotonic clock at its arrival."""

    topic: str
    parsed: topics.MeterTopic | topics.ServiceTopic
    payload: bytes
    retained: bool
    arrived: datetime
    now_s: float

    @classmethod
    def of(
        cls, topic: str, payload: bytes, *, retained: bool, arrived: datetime, now_s: float
    ) -> Self | None:
        """Return the message; None where its topic is not of the contract, or it is too large."""
        parsed = topics.parse(topic)
        if parsed is None or len(payload) > MAX_PAYLOAD_BYTES:
            return None
        return cls(topic, parsed, payload, retained, arrived, now_s)


@dataclass(frozen=True, slots=True)
class Update:
    """A change that listeners receive: a topic, its payload as JSON text, and its reading."""

    topic: str
    payload: str
    reading: Reading | None = None


@dataclass(slots=True)
class Source:
    """A meter or a service: its latest payloads (JSON text by leaf), a meter's newest reading."""

    payloads: dict[str, str] = field(default_factory=dict)
    first_seen: datetime | None = None
    newest: Reading | None = None
    newest_until: datetime | None = None
    messages: int = 0
    """Status and info messages of a service: a made-up one seldom sends as many as a real one."""

    def value(self, leaf: str) -> Any:
        """Return the last value of a leaf; None where there is none."""
        text = self.payloads.get(leaf)
        return None if text is None else json.loads(text)

    def is_newer(self, reading: Reading) -> bool:
        """Return whether a reading is newer than the newest."""
        if self.newest is None or self.newest_until is None:
            return True
        return reading.ts > self.newest_until and reading.ts != self.newest.ts


class Latest:
    """The latest messages of every meter and service, and what a new message changes in them."""

    def __init__(self) -> None:
        self._assembler = Assembler()
        self._meters: dict[str, Source] = {}
        self._services: dict[str, Source] = {}
        self._in_history: Collection[str] = ()
        self._recent: deque[tuple[datetime, Reading]] = deque(maxlen=MOST_RECENT)
        self._full = False

    def keep(self, meters: Collection[str], bridges: Collection[str]) -> None:
        """Keep the meters and bridges of the history, also in a flood of others."""
        self._in_history = {*meters, *(f"_{topics.BRIDGE}/{bridge}" for bridge in bridges)}

    @property
    def meters(self) -> dict[str, Source]:
        """The meters by id; the one with the oldest message comes first."""
        return self._meters

    @property
    def services(self) -> dict[str, Source]:
        """The bridges and recorders, as in `_recorder/main`."""
        return self._services

    def newest(self, meter_id: str) -> Reading | None:
        """Return a meter's newest live reading."""
        meter = self._meters.get(meter_id)
        return meter.newest if meter else None

    def recent(self, meter_id: str, since: datetime) -> Iterator[Reading]:
        """Return the readings of a meter that have just arrived, the oldest first."""
        for _, reading in self._recent:
            if reading.meter_id == meter_id and reading.ts >= since:
                yield reading

    def online(self, meter_id: str) -> bool | None:
        """Return whether a meter is online and its bridge not offline; None without a status."""
        meter = self._meters.get(meter_id)
        status = meter.value("status") if meter else None
        if not meter or status is None:
            return None
        name = (meter.value("info") or {}).get("bridge")
        bridge = self._services.get(f"_bridge/{name}")
        bridge_status = bridge.value("status") if bridge else None
        return bool(status == topics.ONLINE and bridge_status != topics.OFFLINE)

    def payload(self, topic: str) -> str | None:
        """Return the last payload of a topic as JSON text."""
        path, _, leaf = topic.removeprefix(f"{topics.ROOT}/").rpartition("/")
        source = self._meters.get(path) or self._services.get(path)
        return source.payloads.get(leaf) if source else None

    def known_topics(self) -> Iterator[str]:
        """Return every topic that has a payload."""
        for sources in (self._meters, self._services):
            for path, source in sources.items():
                yield from (f"{topics.ROOT}/{path}/{leaf}" for leaf in source.payloads)

    def handle(self, message: Message) -> list[Update]:
        """Return what a message changes; an invalid one changes nothing."""
        if isinstance(message.parsed, topics.ServiceTopic):
            return self._handle_service(message.parsed, message)
        try:
            return self._handle_meter(message.parsed, message)
        except PayloadError as error:
            logger.debug("%s: %s", message.topic, error)
            return []

    def close_due(self, now_s: float, arrived: datetime) -> list[Update]:
        """Return the readings of meters that send only scalars, as their bursts end."""
        return self._readings(self._assembler.close_due(now_s), arrived)

    def _handle_service(self, parsed: topics.ServiceTopic, message: Message) -> list[Update]:
        if parsed.leaf not in STATE_LEAVES:
            return []
        path = f"_{parsed.service}/{parsed.name}"
        if parsed.leaf not in STATE_LEAVES:
            return []
        payload = _status_or_info(parsed.leaf, message.payload, MAX_PAYLOAD_BYTES)
        if path not in self._services:
            if payload is None:
                return []
            self._make_room(f"_{parsed.service}/")
        source = self._services.setdefault(path, Source())
        source.messages += 1
        return _set(source, message, parsed.leaf, payload)

    def _make_room(self, kind: str) -> None:
        """Forget the service with the fewest messages, where too many are not in the history."""
        services = self._services
        others = [each for each in services if each.startswith(kind) and not self._knows(each)]
        if len(others) >= MOST_SERVICES:
            del services[min(others, key=lambda path: services[path].messages)]

    def _knows(self, path: str) -> bool:
        return path in self._in_history

    def _handle_meter(self, parsed: topics.MeterTopic, message: Message) -> list[Update]:
        meter_id, leaf = parsed
        if leaf in STATE_LEAVES:
            payload = _status_or_info(leaf, message.payload, LARGEST_INFO_BYTES)
            return _set(self._meter(meter_id), message, leaf, payload)
        updates: list[Update] = []
        if leaf in BY_NAME:
            value = decode_scalar(leaf, message.payload)
            payload = None if value is None else json.dumps(value)
            updates = _set(self._meter(meter_id), message, leaf, payload)
        readings = self._assembler.take(
            parsed,
            message.payload,
            retained=message.retained,
            arrived=message.arrived,
            now_s=message.now_s,
        )
        return updates + self._readings(readings, message.arrived)

    def _readings(self, readings: list[Reading], arrived: datetime) -> list[Update]:
        """Keep readings that are newer than the meter's newest; older ones are for the history."""
        updates = []
        for reading in readings:
            meter = self._meter(reading.meter_id)
            if not meter.is_newer(reading):
                continue
            meter.newest = reading
            # A device whose clock was ahead must not silence itself once the clock is set right.
            meter.newest_until = min(reading.ts, arrived)
            meter.first_seen = meter.first_seen or reading.ts
            meter.payloads["reading"] = text = reading.encode()
            self._keep(reading, arrived)
            updates.append(Update(topics.reading(reading.meter_id), text, reading))
        return updates

    def _keep(self, reading: Reading, arrived: datetime) -> None:
        self._recent.append((arrived, reading))
        while arrived - self._recent[0][0] > RECENT:
            self._recent.popleft()

    def _meter(self, meter_id: str) -> Source:
        meter = self._meters.pop(meter_id, None) or Source()
        if len(self._meters) >= MOST_METERS:
            others = (each for each in self._meters if not self._knows(each))
            forgotten = next(others, next(iter(self._meters)))
            del self._meters[forgotten]
            self._assembler.forget(forgotten)
            if not self._full:
                logger.warning(
                    "more than %d meters: only the most recent are shown live", MOST_METERS
                )
            self._full = True
        self._meters[meter_id] = meter
        return meter


def _set(source: Source, message: Message, leaf: str, payload: str | None) -> list[Update]:
    """Keep a payload. A retained one that is known is no update: the broker repeats them all."""
    if payload is None:
        source.payloads.pop(leaf, None)
        return []
    if message.retained and source.payloads.get(leaf) == payload:
        return []
    source.payloads[leaf] = payload
    return [Update(message.topic, payload)]


def _status_or_info(leaf: str, payload: bytes, most_bytes: int) -> str | None:
    """Return a status or info as JSON text; None where it is invalid or too large."""
    if leaf == "status":
        text = payload[:16].decode("utf-8", "replace")
        return json.dumps(text) if text in {topics.ONLINE, topics.OFFLINE} else None
    if len(payload) > most_bytes:
        return None
    try:
        value = json.loads(payload, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
