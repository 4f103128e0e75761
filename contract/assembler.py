"""From MQTT messages to readings: the one class that decides it, for recorder and web alike.

A `reading` is taken as it is. A meter that sends readings is a snapshot meter: its scalars are
mirrors and are ignored, until fifteen minutes of scalars pass without a reading. A meter that
sends only scalars gets one reading per burst, closed when a quantity repeats or 2 s after it began.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from contract import topics
from contract.quantities import BY_NAME
from contract.readings import Reading, decode_reading, decode_scalar

BURST_S = 2.0
SNAPSHOT_MEMORY_S = 15 * 60.0
MAX_OPEN_BURSTS = 10_000
MAX_SNAPSHOT_METERS = 50_000
"""Of more meters that send readings, those heard of longest ago are forgotten."""


@dataclass(slots=True)
class _Burst:
    began: datetime
    closes_at_s: float
    values: dict[str, float] = field(default_factory=dict)


class Intake:
    """Turns messages into readings; pure but for the clocks it is told.

    `now_s` is a monotonic clock in seconds, `arrived` the wall clock in UTC.
    """

    def __init__(self, snapshot_meters: Iterable[str] = (), now_s: float = 0.0) -> None:
        self._last_reading_s = dict.fromkeys(snapshot_meters, now_s)
        self._bursts: dict[str, _Burst] = {}

    def take(
        self, topic: str, payload: bytes, *, retained: bool, arrived: datetime, now_s: float
    ) -> list[Reading]:
        """Return the readings that this message completes, usually none or one.

        Raises PayloadError for a payload that is not what its topic promises. Topics that are
        no business of a history (status, info, unknown leaves) give nothing.
        """
        parts = topics.parse(topic)
        if parts is None:
            return []
        if parts.leaf == "reading":
            return self._take_reading(parts.meter_id, payload, retained, arrived, now_s)
        if parts.leaf not in BY_NAME or retained or self._is_snapshot_meter(parts.meter_id, now_s):
            return []
        return self._take_scalar(parts, payload, arrived, now_s)

    def close_due(self, now_s: float) -> list[Reading]:
        """Return the readings of the bursts that have lasted long enough."""
        due = [m for m, burst in self._bursts.items() if burst.closes_at_s <= now_s]
        return [self._close(meter_id) for meter_id in due]

    def forget(self, meter_id: str) -> None:
        """Drop what is known of a meter, for whoever must bound its memory."""
        self._last_reading_s.pop(meter_id, None)
        self._bursts.pop(meter_id, None)

    def _take_reading(
        self, meter_id: str, payload: bytes, retained: bool, arrived: datetime, now_s: float
    ) -> list[Reading]:
        if not payload:  # an empty retained message deletes the topic; it says nothing
            return []
        reading = decode_reading(payload, arrived=arrived, meter_id=meter_id)
        self._remember(meter_id, now_s)
        self._bursts.pop(meter_id, None)
        if retained and reading.stamped_on_arrival:
            return []  # of unknown age: it would be filed under the wrong time
        return [reading]

    def _take_scalar(
        self, parts: topics.MeterTopic, payload: bytes, arrived: datetime, now_s: float
    ) -> list[Reading]:
        value = decode_scalar(parts.leaf, payload)
        if value is None:
            return []
        meter_id, finished = parts.meter_id, []
        burst = self._bursts.get(meter_id)
        if burst and (parts.leaf in burst.values or burst.closes_at_s <= now_s):
            finished.append(self._close(meter_id))
            burst = None
        if burst is None:
            if len(self._bursts) >= MAX_OPEN_BURSTS:
                finished.append(self._close(next(iter(self._bursts))))
            burst = self._bursts[meter_id] = _Burst(arrived, now_s + BURST_S)
        burst.values[parts.leaf] = value
        return finished

    def _close(self, meter_id: str) -> Reading:
        burst = self._bursts.pop(meter_id)
        return Reading(
            meter_id, burst.began, burst.values, stamped_on_arrival=True, from_scalars=True
        )

    def _remember(self, meter_id: str, now_s: float) -> None:
        self._last_reading_s.pop(meter_id, None)  # so that the oldest comes first
        self._last_reading_s[meter_id] = now_s
        if len(self._last_reading_s) > MAX_SNAPSHOT_METERS:
            del self._last_reading_s[next(iter(self._last_reading_s))]

    def _is_snapshot_meter(self, meter_id: str, now_s: float) -> bool:
        last_s = self._last_reading_s.get(meter_id)
        if last_s is None:
            return False
        if now_s - last_s <= SNAPSHOT_MEMORY_S:
            return True
        del self._last_reading_s[meter_id]
        return False
