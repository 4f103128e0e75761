"""From a message to what is to be stored of it: readings, or the refusal."""

import logging
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from contract import topics
from contract.assembler import Intake
from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.readings import Reading, decode_reading
from contract.replay import ReplayAnswer, decode
from history.readings_table import Rejected
from recorder.new_meter_limit import Newcomers
from recorder.rejections import Refusals
from recorder.scalar_hold_back import EarlyScalars

logger = logging.getLogger(__name__)

MOST_UNKNOWN = 1000


@dataclass(frozen=True, slots=True)
class BridgeWord:
    """What a bridge says of itself: that it is online or not, or what it has sent again."""

    bridge: str
    online: bool = False
    answer: ReplayAnswer | None = None


@dataclass(slots=True)
class Contents:
    """What a message brings: readings to store, or the message itself as a rejected one."""

    readings: list[Reading] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    word: BridgeWord | None = None


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
        self._intake = Intake(snapshot_meters, now_s)
        self._early = EarlyScalars(meters - snapshot_meters)
        self._newcomers = Newcomers(meters, new_meters_per_hour)
        self._refusals = Refusals()
        self._unknown: set[str] = set()

    @property
    def refused(self) -> int:
        """How many messages could not be used so far."""
        return self._refusals.count

    def take(
        self, topic: str, payload: bytes, *, retained: bool, arrived: datetime, now_s: float
    ) -> Contents:
        """Return what a message brings, which is often nothing."""
        with self._lock:
            parts = topics.parse(topic)
            if parts is None:
                return self._take_other(topic, payload, arrived, now_s)
            try:
                readings = self._intake.take(
                    topic, payload, retained=retained, arrived=arrived, now_s=now_s
                )
            except PayloadError as error:
                return self._refuse(topic, payload, error.reason, str(error), now_s)
            if parts.leaf == "reading":
                if payload:
                    self._early.sends_readings(parts.meter_id)
                return self._admit(readings, topic, payload, now_s)
            if not readings:
                self._notice(topic)
            return self._admit_scalars(self._early.hold(readings, now_s), now_s)

    def close_due(self, now_s: float) -> Contents:
        """Return the readings of meters whose burst of scalars is over."""
        with self._lock:
            sure = self._early.hold(self._intake.close_due(now_s), now_s)
            return self._admit_scalars([*sure, *self._early.due(now_s)], now_s)

    def close_all(self, now_s: float) -> Contents:
        """Return those of all bursts, at the end."""
        with self._lock:
            sure = self._early.hold(self._intake.close_due(math.inf), now_s)
            return self._admit_scalars([*sure, *self._early.rest()], now_s)

    def readings_were_late(self, now_s: float) -> None:
        """Take note that the broker could not give out readings until now."""
        with self._lock:
            self._early.wait_anew(now_s)

    def _admit(self, readings: list[Reading], topic: str, payload: bytes, now_s: float) -> Contents:
        for reading in readings:
            if not self._newcomers.admit(reading.meter_id, now_s):
                text = "too many new meters in this hour; see NEW_METERS_PER_HOUR"
                return self._refuse(topic, payload, "too_many_meters", text, now_s)
        return Contents(readings)

    def _admit_scalars(self, readings: list[Reading], now_s: float) -> Contents:
        contents = Contents()
        for reading in readings:
            topic = topics.scalar(reading.meter_id, next(iter(reading.values)))
            admitted = self._admit([reading], topic, b"", now_s)
            contents.readings += admitted.readings
            contents.rejected += admitted.rejected
        return contents

    def _take_other(self, topic: str, payload: bytes, arrived: datetime, now_s: float) -> Contents:
        """Take a message that is on no topic of a meter."""
        bridge = topics.parse_bridge(topic)
        if bridge:
            return self._take_word(bridge, topic, payload, now_s)
        if not topics.is_sent_again(topic):
            return self._take_stranger(topic, payload, now_s)
        try:
            reading = decode_reading(payload, arrived=arrived)
        except PayloadError as error:
            return self._refuse(topic, payload, error.reason, str(error), now_s)
        return self._admit([reading], topic, payload, now_s)

    def _take_word(
        self, bridge: topics.BridgeTopic, topic: str, payload: bytes, now_s: float
    ) -> Contents:
        if bridge.leaf == "status":
            return Contents(word=BridgeWord(bridge.name, payload == topics.ONLINE.encode()))
        if bridge.leaf != "replayed":
            return Contents()
        try:
            answer = decode(ReplayAnswer, payload)
        except PayloadError as error:
            return self._refuse(topic, payload, error.reason, str(error), now_s)
        return Contents(word=BridgeWord(bridge.name, answer=answer))

    def _take_stranger(self, topic: str, payload: bytes, now_s: float) -> Contents:
        level = topic.split("/")
        leaf_is_ours = level[-1] == "reading" or level[-1] in BY_NAME
        if not leaf_is_ours or level[1:2] == [""] or topic.startswith(f"{topics.ROOT}/_"):
            return Contents()
        text = "a meter's name is 1 to 32 letters, digits, '_' or '-', a letter or digit first"
        return self._refuse(topic, payload, "bad_topic", text, now_s)

    def _notice(self, topic: str) -> None:
        leaf = topic.rpartition("/")[2]
        if leaf in BY_NAME or leaf in topics.RESERVED or topic in self._unknown:
            return
        if len(self._unknown) < MOST_UNKNOWN:
            self._unknown.add(topic)
            logger.info("%s: no quantity has that name; its messages are ignored", topic)

    def _refuse(
        self, topic: str, payload: bytes, reason: str, detail: str, now_s: float
    ) -> Contents:
        if not self._refusals.keep(topic, reason, detail, now_s):
            return Contents()
        return Contents(rejected=[Rejected(topic, payload[:1024], reason, detail)])
