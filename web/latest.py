"""What the bus last said of each meter: the live half of what the pages show.

Bounded, so that a flood of topics costs no more memory than a thousand meters do.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contract import topics
from contract.assembler import Assembler
from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.readings import MAX_PAYLOAD_BYTES, Reading, decode_scalar

logger = logging.getLogger(__name__)

MOST_METERS = 1000
MOST_SERVICES = 100
LARGEST_INFO_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the broker; `now_s` is the monotonic clock at its arrival."""

    topic: str
    payload: bytes
    retained: bool
    arrived: datetime
    now_s: float


@dataclass(frozen=True, slots=True)
class News:
    """What a listener is to be told: a topic, its payload as JSON text, and the reading in it."""

    topic: str
    payload: str
    reading: Reading | None = None


@dataclass(slots=True)
class Unit:
    """What a meter or a service last said: JSON text by leaf, and a meter's newest reading."""

    payloads: dict[str, str] = field(default_factory=dict)
    first_seen: datetime | None = None
    newest: Reading | None = None
    newest_until: datetime | None = None

    def said(self, leaf: str) -> Any:
        """Return the value last said under a leaf; None where there was none."""
        text = self.payloads.get(leaf)
        return None if text is None else json.loads(text)


class Latest:
    """The last words of every meter and service, and what is new in a message."""

    def __init__(self) -> None:
        self._assembler = Assembler()
        self._meters: dict[str, Unit] = {}
        self._services: dict[str, Unit] = {}
        self._full = False

    @property
    def meters(self) -> dict[str, Unit]:
        """The meters by id; those heard of longest ago come first."""
        return self._meters

    def newest(self, meter_id: str) -> Reading | None:
        """Return a meter's newest reading that was heard live."""
        unit = self._meters.get(meter_id)
        return unit.newest if unit else None

    def online(self, meter_id: str) -> bool | None:
        """Tell whether meter and bridge both say `online`; None where the meter says nothing."""
        unit = self._meters.get(meter_id)
        status = unit.said("status") if unit else None
        if not unit or status is None:
            return None
        name = (unit.said("info") or {}).get("bridge")
        bridge = self._services.get(f"_bridge/{name}")
        bridge_status = bridge.said("status") if bridge else None
        return bool(status == topics.ONLINE and bridge_status != topics.OFFLINE)

    def said(self, topic: str) -> str | None:
        """Return the JSON text last said under a topic."""
        path, _, leaf = topic.removeprefix(f"{topics.ROOT}/").rpartition("/")
        unit = self._meters.get(path) or self._services.get(path)
        return unit.payloads.get(leaf) if unit else None

    def said_topics(self) -> Iterator[str]:
        """Return every topic that something was said under."""
        for units in (self._meters, self._services):
            for path, unit in units.items():
                yield from (f"{topics.ROOT}/{path}/{leaf}" for leaf in unit.payloads)

    def take(self, message: Message) -> list[News]:
        """Return what is new in a message; what the contract does not know is nothing new."""
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            return []
        parts = topics.parse(message.topic)
        if isinstance(parts, topics.ServiceTopic):
            return self._take_service(parts, message)
        if parts is None:
            return []
        try:
            return self._take_meter(parts, message)
        except PayloadError as error:
            logger.debug("%s: %s", message.topic, error)
            return []

    def close_due(self, now_s: float, arrived: datetime) -> list[News]:
        """Return the readings of meters that send only scalars, as their bursts end."""
        return self._heard(self._assembler.close_due(now_s), arrived)

    def _take_service(self, topic: topics.ServiceTopic, message: Message) -> list[News]:
        path, leaf = f"_{topic.service}/{topic.name}", topic.leaf
        if leaf not in {"status", "info"}:
            return []
        if path not in self._services and len(self._services) >= MOST_SERVICES:
            return []
        payload = _words(leaf, message.payload)
        return _tell(self._services.setdefault(path, Unit()), message.topic, leaf, payload)

    def _take_meter(self, parts: topics.MeterTopic, message: Message) -> list[News]:
        if parts.leaf in {"status", "info"}:
            payload = _words(parts.leaf, message.payload)
            return _tell(self._unit(parts.meter_id), message.topic, parts.leaf, payload)
        news: list[News] = []
        if parts.leaf in BY_NAME:
            value = decode_scalar(parts.leaf, message.payload)
            payload = None if value is None else json.dumps(value)
            news = _tell(self._unit(parts.meter_id), message.topic, parts.leaf, payload)
        readings = self._assembler.take(
            parts,
            message.payload,
            retained=message.retained,
            arrived=message.arrived,
            now_s=message.now_s,
        )
        return news + self._heard(readings, message.arrived)

    def _heard(self, readings: list[Reading], arrived: datetime) -> list[News]:
        """File readings; one that is older than what we have is history, not news."""
        news = []
        for reading in readings:
            unit = self._unit(reading.meter_id)
            if unit.newest_until and reading.ts <= unit.newest_until:
                continue
            unit.newest = reading
            # A unit whose clock was ahead must not silence itself once it is set right.
            unit.newest_until = min(reading.ts, arrived)
            unit.first_seen = unit.first_seen or reading.ts
            unit.payloads["reading"] = text = reading.encode()
            news.append(News(topics.reading(reading.meter_id), text, reading))
        return news

    def _unit(self, meter_id: str) -> Unit:
        unit = self._meters.pop(meter_id, None) or Unit()
        if len(self._meters) >= MOST_METERS:
            forgotten = next(iter(self._meters))
            del self._meters[forgotten]
            self._assembler.forget(forgotten)
            if not self._full:
                logger.warning("more than %d meters: only the latest are live", MOST_METERS)
            self._full = True
        self._meters[meter_id] = unit
        return unit


def _tell(unit: Unit, topic: str, leaf: str, payload: str | None) -> list[News]:
    if payload is None:
        unit.payloads.pop(leaf, None)
        return []
    unit.payloads[leaf] = payload
    return [News(topic, payload)]


def _words(leaf: str, payload: bytes) -> str | None:
    """Return a status or info as JSON text; None for what is neither."""
    if leaf == "status":
        text = payload[:16].decode("utf-8", "replace")
        return json.dumps(text) if text in {topics.ONLINE, topics.OFFLINE} else None
    if len(payload) > LARGEST_INFO_BYTES:
        return None
    try:
        value = json.loads(payload, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)
