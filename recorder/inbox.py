"""From a message to its contents: readings to store, a bridge's message, or a rejected message."""

import logging
import math
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from contract import topics
from contract.arrival import MOST_AHEAD
from contract.assembler import Assembler
from contract.bridge_info import meters_in
from contract.errors import PayloadError
from contract.meter_settings import MeterSettings, decode_settings
from contract.prices import PriceList, decode_prices
from contract.quantities import BY_NAME
from contract.readings import Reading, decode_reading
from contract.replay import ReplayAnswer, decode
from contract.times import format_time
from contract.topics import MeterTopic, ServiceTopic
from contract.utility_readings import UtilityEntry, decode_utility
from history.readings_table import Rejected
from recorder.scalar_hold_back import ScalarHoldBack
from service.reporting import OncePerKey

logger = logging.getLogger(__name__)

HOUR_S = 3600.0
REJECTION_WINDOW_S = 60.0
KEPT_PER_TOPIC = 10
MOST_TOPICS = 1000
MOST_LINES = 20
MOST_ANNOUNCED = 50_000
MOST_KEPT_BYTES = 1024
_SETTINGS = frozenset({"info", "set"})


@dataclass(frozen=True, slots=True)
class BridgeMessage:
    """What a bridge has published: its status, its answer to a replay request, or else its info."""

    bridge: str
    online: bool | None = None
    answer: ReplayAnswer | None = None

    @property
    def is_info(self) -> bool:
        """Whether it says no more than that there is such a bridge."""
        return self.online is None and self.answer is None


@dataclass(frozen=True, slots=True)
class SettingsMessage:
    """The settings of a meter, by its info or (`by_person`) by a message for the recorder."""

    topic: str
    payload: bytes
    meter_id: str
    settings: MeterSettings
    by_person: bool


class UtilityMessage(NamedTuple):
    """A reading of the utility's meter that a person enters or removes."""

    topic: str
    payload: bytes
    meter_id: str
    entry: UtilityEntry


class TariffPrices(NamedTuple):
    """The dynamic prices of a tariff, as they were published."""

    tariff: str
    prices: PriceList


@dataclass(slots=True)
class Contents:
    """What a message brings: readings, settings, prices …, or itself as a rejected message."""

    readings: list[Reading] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    from_bridge: BridgeMessage | None = None
    settings: SettingsMessage | None = None
    utility: UtilityMessage | None = None
    prices: TariffPrices | None = None


class Inbox:
    """Decides what every message is. Safe to use from two threads.

    `now_s` is a monotonic clock in seconds, `arrived` the wall clock in UTC.
    """

    def __init__(
        self,
        meters: Iterable[str],
        snapshot_meters: Iterable[str],
        *,
        new_meters_per_hour: int,
        now_s: float,
    ) -> None:
        self._lock = threading.Lock()
        meters, snapshot_meters = set(meters), set(snapshot_meters)
        self._assembler = Assembler(snapshot_meters, now_s)
        self._hold_back = ScalarHoldBack(meters - snapshot_meters)
        self._new_meters = NewMeterLimit(meters, new_meters_per_hour)
        self._rejections = RejectionLimit()
        self._unknown = OncePerKey()
        self._ahead = OncePerKey()
        self.ahead_of_clock = 0
        """Counts readings that were stamped on arrival because their time was ahead."""

    @property
    def rejected(self) -> int:
        """How many messages could not be used so far."""
        return self._rejections.count

    def take(
        self, topic: str, payload: bytes, *, retained: bool, arrived: datetime, now_s: float
    ) -> Contents:
        """Return what a message brings, which is often nothing."""
        with self._lock:
            try:
                parsed = topics.parse(topic)
                if isinstance(parsed, MeterTopic) and parsed.leaf in _SETTINGS:
                    return self._take_settings(topic, parsed, payload, retained=retained)
                if isinstance(parsed, MeterTopic) and parsed.leaf == "utility":
                    return _utility(topic, parsed, payload, arrived, retained=retained)
                if isinstance(parsed, MeterTopic):
                    readings = self._assembler.take(
                        parsed, payload, retained=retained, arrived=arrived, now_s=now_s
                    )
                    return self._take_meter(parsed, payload, readings, now_s)
                if isinstance(parsed, ServiceTopic):
                    return self._take_service(parsed, payload, arrived, now_s)
                _check_stranger(topic)
            except PayloadError as error:
                return self._reject(topic, payload, error, now_s)
        return Contents()

    def close_due(self, now_s: float) -> Contents:
        """Return the readings of meters whose burst of scalars has ended."""
        with self._lock:
            assembled = self._hold_back.hold(self._assembler.close_due(now_s), now_s)
            return self._admit_scalars([*assembled, *self._hold_back.due(now_s)], now_s)

    def close_all(self, now_s: float) -> Contents:
        """Return the readings of all bursts, at the end."""
        with self._lock:
            assembled = self._hold_back.hold(self._assembler.close_due(math.inf), now_s)
            return self._admit_scalars([*assembled, *self._hold_back.rest()], now_s)

    def readings_were_late(self, now_s: float) -> None:
        """Record that the broker could not deliver readings until now."""
        with self._lock:
            self._hold_back.wait_again(now_s)

    def _take_meter(
        self, topic: MeterTopic, payload: bytes, readings: list[Reading], now_s: float
    ) -> Contents:
        if topic.leaf == "reading":
            if payload:
                self._hold_back.sends_readings(topic.meter_id)
            return self._admit(readings, now_s)
        if topic.leaf == "status" and payload == topics.ONLINE.encode():
            self._new_meters.announced_by_itself(topic.meter_id)
        known = topic.leaf in BY_NAME or topic.leaf in topics.RESERVED
        if not known and self._unknown.is_first(topic):
            name = topics.scalar(*topic)
            logger.info("%s: no quantity of the catalogue; its messages are ignored", name)
        return self._admit_scalars(self._hold_back.hold(readings, now_s), now_s)

    def _take_settings(
        self, topic: str, parsed: MeterTopic, payload: bytes, *, retained: bool
    ) -> Contents:
        """Return the settings in a message; a retained copy of a person's is of unknown age."""
        by_person = parsed.leaf == "set"
        if not payload or (by_person and retained):
            return Contents()
        settings = decode_settings(payload)
        if not by_person:
            self._new_meters.announced_by_itself(parsed.meter_id)
        message = SettingsMessage(topic, payload, parsed.meter_id, settings, by_person)
        return Contents(settings=message)

    def _take_service(
        self, topic: ServiceTopic, payload: bytes, arrived: datetime, now_s: float
    ) -> Contents:
        match topic:
            case (topics.BRIDGE, name, "status"):
                online = payload == topics.ONLINE.encode()
                return Contents(from_bridge=BridgeMessage(name, online))
            case (topics.BRIDGE, name, "replayed"):
                answer = decode(ReplayAnswer, payload)
                return Contents(from_bridge=BridgeMessage(name, answer=answer))
            case (topics.BRIDGE, name, "info") if payload:
                self._new_meters.announced_by_bridge(meters_in(payload))
                return Contents(from_bridge=BridgeMessage(name))
            case (topics.RECORDER, _, "again"):
                reading = self._assembler.stamped(decode_reading(payload, arrived=arrived))
                return self._admit([reading], now_s)
            case (topics.TARIFF, name, "prices") if payload:
                return Contents(prices=TariffPrices(name, decode_prices(payload)))
        return Contents()

    def _admit(self, readings: list[Reading], now_s: float) -> Contents:
        """Return readings as contents; raises PayloadError for those of one new meter too many."""
        for reading in readings:
            if not self._new_meters.admit(reading.meter_id, now_s):
                text = "too many new meters in this hour; see NEW_METERS_PER_HOUR"
                raise PayloadError("too_many_meters", [("", text)])
            if reading.ahead_s:
                self._count_ahead(reading)
        return Contents(readings)

    def _admit_scalars(self, readings: list[Reading], now_s: float) -> Contents:
        contents = Contents()
        for reading in readings:
            try:
                contents.readings += self._admit([reading], now_s).readings
            except PayloadError as error:
                topic = topics.scalar(reading.meter_id, next(iter(reading.values)))
                contents.rejected += self._reject(topic, b"", error, now_s).rejected
        return contents

    def _count_ahead(self, reading: Reading) -> None:
        self.ahead_of_clock += 1
        if self._ahead.is_first(reading.meter_id):
            logger.warning(
                "meter %s: the time of its readings is %.0f s ahead of this machine's clock; they "
                "are stored with their time of arrival; check both clocks",
                reading.meter_id,
                reading.ahead_s,
            )

    def reject(
        self, message: SettingsMessage | UtilityMessage, error: PayloadError, now_s: float
    ) -> Contents:
        """Return a message that does not fit the meters of the history as a rejected one."""
        with self._lock:
            return self._reject(message.topic, message.payload, error, now_s)

    def _reject(self, topic: str, payload: bytes, error: PayloadError, now_s: float) -> Contents:
        if not self._rejections.keep(topic, error.reason, str(error), now_s):
            return Contents()
        message = Rejected(topic, payload[:MOST_KEPT_BYTES], error.reason, str(error))
        return Contents(rejected=[message])


def _utility(
    topic: str, parsed: MeterTopic, payload: bytes, arrived: datetime, *, retained: bool
) -> Contents:
    """Return the reading of the utility's meter in a message, unless that is a retained copy."""
    if not payload or retained:
        return Contents()
    entry = decode_utility(payload)
    if entry.ts > arrived + MOST_AHEAD:
        text = f"should not be in the future (got {format_time(entry.ts)})"
        raise PayloadError("bad_ts", [("ts", text)])
    return Contents(utility=UtilityMessage(topic, payload, parsed.meter_id, entry))


def _check_stranger(topic: str) -> None:
    """Raise PayloadError for a topic that was meant to be a meter's; ignore all others."""
    level = topic.split("/")
    leaf_is_ours = level[-1] == "reading" or level[-1] in BY_NAME
    if leaf_is_ours and level[1:2] != [""] and not topic.startswith(f"{topics.ROOT}/_"):
        text = "the id of a meter is 1 to 32 letters, digits, '_' or '-', a letter or digit first"
        raise PayloadError("bad_topic", [("", text)])


class NewMeterLimit:
    """Admits known meters, and a limited number of new ones an hour: a flood of made-up ids.

    Each kind of announcement has a limit of its own, so that a flood of one keeps out nobody with
    a better one: best is to be in the info of a bridge, then to have a status or an info of its
    own. With rights, only bridges can publish the one, and only the meter's own user the other.
    """

    def __init__(self, known: Iterable[str], per_hour: int) -> None:
        self._known = set(known)
        self._per_hour = per_hour
        self._hour_began_s = float("-inf")
        self._this_hour = Counter[int]()
        self._announced: tuple[dict[str, None], dict[str, None]] = ({}, {})

    def announced_by_itself(self, meter_id: str) -> None:
        """Note that a meter has published a status or an info."""
        self._note(0, meter_id)

    def announced_by_bridge(self, meter_ids: Iterable[str]) -> None:
        """Note that a bridge lists these meters."""
        for meter_id in meter_ids:
            self._note(1, meter_id)

    def admit(self, meter_id: str, now_s: float) -> bool:
        """Return whether to keep a meter's readings."""
        if meter_id in self._known:
            return True
        if now_s - self._hour_began_s >= HOUR_S:
            self._hour_began_s = now_s
            self._this_hour.clear()
        limit = self._limit_with_room(meter_id)
        if limit is None:
            return False
        self._this_hour[limit] += 1
        self._known.add(meter_id)
        for announced in self._announced:
            announced.pop(meter_id, None)
        logger.info("meter %s: first reading", meter_id)
        return True

    def _note(self, kind: int, meter_id: str) -> None:
        announced = self._announced[kind]
        if meter_id not in self._known:
            announced.pop(meter_id, None)  # so that the oldest comes first
            announced[meter_id] = None
            if len(announced) > MOST_ANNOUNCED:
                del announced[next(iter(announced))]

    def _limit_with_room(self, meter_id: str) -> int | None:
        """Return the best limit that a meter may use up and that has room: 2, 1 or 0."""
        kinds = [kind for kind in (1, 0) if meter_id in self._announced[kind]]
        best = kinds[0] + 1 if kinds else 0
        with_room = (each for each in range(best, -1, -1) if self._this_hour[each] < self._per_hour)
        return next(with_room, None)


class RejectionLimit:
    """Limits the cost of a flood of unusable messages: ten rows a minute and topic, one line each.

    The first of each reason in a minute is always kept.
    """

    def __init__(self) -> None:
        self._began_s = float("-inf")
        self._seen: Counter[str] = Counter()
        self._reasons: set[str] = set()
        self.count = 0

    def keep(self, topic: str, reason: str, detail: str, now_s: float) -> bool:
        """Count an unusable message; return whether to keep it for a person to look at."""
        self.count += 1
        if now_s - self._began_s >= REJECTION_WINDOW_S:
            self._began_s = now_s
            self._seen.clear()
            self._reasons.clear()
        is_first = reason not in self._reasons
        self._reasons.add(reason)
        if topic not in self._seen and len(self._seen) >= MOST_TOPICS and not is_first:
            return False
        self._seen[topic] += 1
        if is_first or (self._seen[topic] == 1 and len(self._seen) <= MOST_LINES):
            logger.warning("%.100s: message rejected (%s): %.200s", topic, reason, detail)
        return is_first or self._seen[topic] <= KEPT_PER_TOPIC
