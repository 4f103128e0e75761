"""From MQTT messages to readings, for recorder and web alike.

A `reading` is taken as it is. A meter that sends readings is a snapshot meter: its scalars are
mirrors and are ignored, until fifteen minutes of scalars pass without a reading. A meter that
sends only scalars gets one reading per burst, closed when a quantity repeats or 2 s after it began.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from contract.arrival import ArrivalTimes
from contract.quantities import BY_NAME
from contract.readings import Reading, decode_reading, decode_scalar
from contract.topics import MeterTopic

BURST_S = 2.0
SNAPSHOT_MEMORY_S = 15 * 60.0
MAX_OPEN_BURSTS = 10_000
MAX_SNAPSHOT_METERS = 50_000
"""Beyond this number the snapshot meter whose last reading is the oldest is forgotten."""


@dataclass(slots=True)
class _Burst:
    began: datetime
    closes_at_s: float
    values: dict[str, float] = field(default_factory=dict)


class Assembler:
    """Makes readings of messages; does no I/O, and time is an argument.

    `now_s` is a monotonic clock in seconds, `arrived` the wall clock in UTC.
    """

    def __init__(self, snapshot_meters: Iterable[str] = (), now_s: float = 0.0) -> None:
        self._last_reading_s = dict.fromkeys(snapshot_meters, now_s)
        self._bursts: dict[str, _Burst] = {}
        self._arrivals = ArrivalTimes()

    def take(
        self, topic: MeterTopic, payload: bytes, *, retained: bool, arrived: datetime, now_s: float
    ) -> list[Reading]:
        """Return the readings that this message completes, usually none or one.

        Raises PayloadError for a payload that is not what its topic promises. Other leaves than
        `reading` and the quantities give nothing.
        """
        if topic.leaf == "reading":
            return self._take_reading(topic.meter_id, payload, retained, arrived, now_s)
        if topic.leaf not in BY_NAME or retained or self._is_snapshot_meter(topic.meter_id, now_s):
            return []
        return self._take_scalar(topic, payload, arrived, now_s)

    def stamped(self, reading: Reading) -> Reading:
        """Return a reading; one that was stamped on arrival gets a millisecond of its own."""
        if not reading.stamped_on_arrival:
            return reading
        return replace(reading, ts=self._arrivals.stamp(reading.meter_id, reading.ts))

    def close_due(self, now_s: float) -> list[Reading]:
        """Return the readings of the bursts that have lasted long enough."""
        due = [m for m, burst in self._bursts.items() if burst.closes_at_s <= now_s]
        return [self._close(meter_id) for meter_id in due]

    def forget(self, meter_id: str) -> None:
        """Drop what is known of a meter, for callers that bound their memory."""
        self._last_reading_s.pop(meter_id, None)
        self._bursts.pop(meter_id, None)
        self._arrivals.forget(meter_id)

    def _take_reading(
        self, meter_id: str, payload: bytes, retained: bool, arrived: datetime, now_s: float
    ) -> list[Reading]:
        if not payload:  # an empty retained message deletes the topic and holds no reading
            return []
        reading = decode_reading(payload, arrived=arrived, meter_id=meter_id)
        self._remember(meter_id, now_s)
        self._bursts.pop(meter_id, None)
        if retained and reading.stamped_on_arrival:
            return []  # of unknown age: it would be stored under the wrong time
        return [self.stamped(reading)]

    def _take_scalar(
        self, topic: MeterTopic, payload: bytes, arrived: datetime, now_s: float
    ) -> list[Reading]:
        value = decode_scalar(topic.leaf, payload)
        if value is None:
            return []
        meter_id, finished = topic.meter_id, []
        burst = self._bursts.get(meter_id)
        if burst and (topic.leaf in burst.values or burst.closes_at_s <= now_s):
            finished.append(self._close(meter_id))
            burst = None
        if burst is None:
            if len(self._bursts) >= MAX_OPEN_BURSTS:
                finished.append(self._close(next(iter(self._bursts))))
            burst = self._bursts[meter_id] = _Burst(arrived, now_s + BURST_S)
        burst.values[topic.leaf] = value
        return finished

    def _close(self, meter_id: str) -> Reading:
        burst = self._bursts.pop(meter_id)
        ts = self._arrivals.stamp(meter_id, burst.began)
        return Reading(meter_id, ts, burst.values, stamped_on_arrival=True, from_scalars=True)

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
