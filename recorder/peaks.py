"""The running quarter-hour of each meter, published on `meters/<id>/peak` for those that shed load.

The leader of a group publishes all of them. It sees a share of the readings only, but counters
advance over those that it does not see.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from contract import topics
from contract.readings import Reading
from contract.times import epoch_ms, format_time
from history.errors import StorageError
from history.peaks import Demand, Followed
from history.periods import Unit, start_of
from recorder.storage import Storage

MOST_METERS = 10_000
RELOAD_S = 3600.0
"""Seconds after which a meter is read from the history again: its bill may be another."""


@dataclass(slots=True)
class _Meter:
    """A meter as it is followed; `due_s` and `reload_s` are times of the monotonic clock."""

    followed: Followed
    reload_s: float
    due_s: float = 0.0


class Peaks:
    """Follows the quarter-hours of all meters. For one thread only."""

    def __init__(self, storage: Storage, zone: ZoneInfo, interval_s: float) -> None:
        self._storage, self._zone, self._interval_s = storage, zone, interval_s
        self._meters: dict[str, _Meter] = {}
        self._unknown: dict[str, None] = {}
        self._changed: dict[str, None] = {}

    def take(self, readings: Iterable[Reading]) -> None:
        """Follow the meters of some readings; those that are old change nothing."""
        for reading in readings if self._interval_s else ():
            meter = self._meters.get(reading.meter_id)
            if meter is None:
                if len(self._meters) + len(self._unknown) < MOST_METERS:
                    self._unknown[reading.meter_id] = None
            elif self._add(meter.followed, reading):
                self._changed[reading.meter_id] = None

    def due(self, now_s: float, now: datetime) -> Iterator[tuple[str, str]]:
        """Yield topic and payload of each message that is due, by the monotonic clock `now_s`."""
        self._load_one(now_s, now)
        for meter_id in [each for each in self._changed if self._meters[each].due_s <= now_s]:
            del self._changed[meter_id]
            meter = self._meters[meter_id]
            meter.due_s = now_s + self._interval_s
            if meter.reload_s <= now_s:
                self._unknown[meter_id] = None
            if payload := _payload(meter.followed):
                yield topics.peak(meter_id), payload

    def _load_one(self, now_s: float, now: datetime) -> None:
        """Read a meter from the history; one at a time, so that nothing else waits."""
        if not self._unknown:
            return
        meter_id = next(iter(self._unknown))
        del self._unknown[meter_id]
        try:
            followed = self._storage.follow_demand(meter_id, now, self._zone)
        except StorageError:
            followed = None
        if followed:
            due_s = self._meters[meter_id].due_s if meter_id in self._meters else now_s
            self._meters[meter_id] = _Meter(followed, now_s + RELOAD_S, due_s)
            self._changed[meter_id] = None

    def _add(self, followed: Followed, reading: Reading) -> bool:
        """Add a reading to its quarter-hour; return whether it is newer than those before."""
        ts = epoch_ms(reading.ts)
        if ts <= followed.quarter.last_ts:
            return False
        values = [reading.values.get(name) for name in followed.counters]
        shown = [round(value * 1000) for value in values if value is not None]
        is_whole = len(shown) == len(values)
        completed = followed.quarter.add(
            ts, shown if is_whole else None, reading.values.get("power")
        )
        month = start_of(Unit.MONTH, reading.ts, self._zone)
        followed.highest = _highest(followed.highest, completed, month)
        return True


def _highest(before: Demand | None, completed: Demand | None, month: datetime) -> Demand | None:
    found = [each for each in (before, completed) if each and each.start >= month]
    return max(found, key=lambda demand: demand.power, default=None)


def _payload(followed: Followed) -> str | None:
    running, highest = followed.quarter.state(), followed.highest
    if running is None:
        return None
    content = {
        "ts": format_time(running.measured_until),
        "from": format_time(running.start),
        "so_far": round(running.so_far),
        "projected": round(running.projected),
        "month_peak": round(highest.power) if highest else None,
        "month_peak_at": format_time(highest.start) if highest else None,
    }
    return json.dumps({key: value for key, value in content.items() if value is not None})
