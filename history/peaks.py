"""Demand: the mean power that is drawn in a quarter-hour, which some network charges depend on.

It comes from the counter of consumption; for a meter without one, from the mean of its power. What
was counted after a gap belongs to no quarter-hour alone: a quarter-hour has a demand only if the
one before has readings, too.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import peewee

from contract.times import epoch_ms, from_epoch_ms
from history.counters import QUARTER_MS, QUARTER_S, Advances, Counters, counters_of
from history.dialect import dialect_of, fetch
from history.energy import FAR
from history.periods import Unit, edges, start_of
from history.rollups.buckets import steps
from history.rollups.fresh import stale
from history.rollups.levels import QUARTER_HOUR
from history.tables import Meter, quantity_id, read_meter, stored_quantities
from history.voids import valid

_PER_HOUR = 3600 // QUARTER_S


class Demand(NamedTuple):
    """The mean power of a quarter-hour in W."""

    start: datetime
    power: float


class Month(NamedTuple):
    """The highest demand of a local month, the first of equal ones; None without any."""

    start: datetime
    end: datetime
    highest: Demand | None


class Running(NamedTuple):
    """The running quarter-hour: its mean power in W until `measured_until`, and at its end.

    `projected` is its demand if the power stays as it was last.
    """

    start: datetime
    measured_until: datetime
    so_far: float
    projected: float


class RunningQuarter:
    """Follows the quarter-hours of a meter, reading by reading in the order of their times."""

    def __init__(self) -> None:
        self._begin = self._since = self.last_ts = 0
        self._shown: Sequence[int] | None = None
        self._energy = 0
        self._powers: list[float] = []

    def add(
        self, ts: int, shown: Sequence[int] | None, power: float | None = None
    ) -> Demand | None:
        """Add a reading (epoch ms, Wh, W), and return the demand that it completes, if any.

        `shown` is the counter of the import, and that of the export if they are netted. A reading
        that is not newer than the one before changes nothing.
        """
        if ts <= self.last_ts:
            return None
        completed, begin = None, ts - ts % QUARTER_MS
        if begin > self._begin:
            follows = begin - self.last_ts <= QUARTER_MS
            completed = self._demand() if follows else None
            self._begin, self._since = begin, begin if follows else ts
            self._shown = self._shown if follows else None
            self._energy, self._powers = 0, []
        if shown is not None:
            advances = [
                steps([ts], [value], (self.last_ts, before))[0]
                for before, value in zip(self._shown or shown, shown, strict=True)
            ]
            self._energy += advances[0] - sum(advances[1:])
            self._shown = shown
        if power is not None:
            self._powers.append(max(power, 0))
        self.last_ts = ts
        return completed

    def state(self) -> Running | None:
        """Return the running quarter-hour, None before its first reading."""
        if not self._powers and self._shown is None:
            return None
        elapsed_s = (self.last_ts - self._since) / 1000
        power = self._powers[-1] if self._powers else None
        energy_wh = self._energy_wh(elapsed_s)
        so_far = energy_wh * 3600 / elapsed_s if elapsed_s else power or 0.0
        rest_s = QUARTER_S - (self.last_ts - self._begin) / 1000
        projected = energy_wh + (so_far if power is None else power) * rest_s / 3600
        start, until = from_epoch_ms(self._begin), from_epoch_ms(self.last_ts)
        return Running(start, until, so_far, projected * _PER_HOUR)

    def _energy_wh(self, elapsed_s: float) -> float:
        if self._shown is not None:
            return max(self._energy, 0)
        return sum(self._powers) / len(self._powers) * elapsed_s / 3600

    def _demand(self) -> Demand | None:
        """Return the demand of a quarter-hour that was measured from its beginning."""
        if self._since > self._begin:
            return None
        return Demand(from_epoch_ms(self._begin), self._energy_wh(QUARTER_S) * _PER_HOUR)


@dataclass(slots=True)
class Followed:
    """A meter whose demand is followed: the counters to add, and the month's highest so far."""

    counters: tuple[str, ...]
    quarter: RunningQuarter
    highest: Demand | None


def follow(
    database: peewee.Database, meter_id: str, now: datetime, zone: ZoneInfo
) -> Followed | None:
    """Return the demand of a meter as the history has it; None for one without history."""
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        if meter is None:
            return None
        begin = epoch_ms(start_of(Unit.MONTH, now, zone)) // 1000
        running = epoch_ms(now) // QUARTER_MS * QUARTER_S
        highest = _highest(_demands(database, meter, begin, running))
        counters = counted_by(counters_of(database, meter.id))
        return Followed(counters, _running(database, meter, now), highest)


def months(
    database: peewee.Database,
    meter_id: str,
    since: datetime,
    until: datetime,
    zone: ZoneInfo,
    *,
    now: datetime = FAR,
) -> list[Month]:
    """Return the highest demand of each month that `since` to `until` touches.

    The quarter-hour that runs at `now` has none yet.
    """
    moments = edges(Unit.MONTH, since, until, zone)
    seconds = [epoch_ms(moment) // 1000 for moment in moments]
    over = min(seconds[-1], epoch_ms(now) // QUARTER_MS * QUARTER_S)
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        demands = _demands(database, meter, seconds[0], over) if meter else []
    found = []
    for (start, end), (first, last) in zip(pairwise(moments), pairwise(seconds), strict=True):
        begin, stop = bisect_left(demands, (first,)), bisect_left(demands, (last,))
        highest = _highest(demands[begin:stop])
        found.append(Month(start.astimezone(zone), end.astimezone(zone), highest))
    return found


def _highest(demands: Sequence[tuple[int, float]]) -> Demand | None:
    best = max(demands, key=lambda each: (each[1], -each[0]), default=None)
    return Demand(from_epoch_ms(best[0] * 1000), best[1]) if best else None


def running(database: peewee.Database, meter_id: str, now: datetime) -> Running | None:
    """Return the running quarter-hour, None before its first reading."""
    begin = epoch_ms(now) // QUARTER_MS * QUARTER_MS
    with dialect_of(database).snapshot():
        meter = read_meter(database, meter_id)
        if meter is None or meter.last_ts < begin:
            return None
        return _running(database, meter, now).state()


def _running(database: peewee.Database, meter: Meter, now: datetime) -> RunningQuarter:
    quarter = RunningQuarter()
    begin = epoch_ms(now) // QUARTER_MS * QUARTER_MS
    for reading in _readings(database, meter, begin - QUARTER_MS):
        quarter.add(*reading)
    return quarter


def _demands(
    database: peewee.Database, meter: Meter, begin: int, end: int
) -> list[tuple[int, float]]:
    """Return start (epoch s) and mean power in W of the quarter-hours with a demand, in order."""
    counter = counters_of(database, meter.id).imported
    advances = Advances(database, meter.id, [counter])
    counted = advances.measured_quarters(counter, begin - QUARTER_S, end)
    powers: dict[int, float] = {q: advance * _PER_HOUR for q, advance in counted.items()}
    if not powers:
        powers = _mean_powers(database, meter, begin - QUARTER_S, end)
    return [
        (quarter, float(max(power, 0)))
        for quarter, power in sorted(powers.items())
        if quarter >= begin and quarter - QUARTER_S in powers
    ]


def _mean_powers(database: peewee.Database, meter: Meter, begin: int, end: int) -> dict[int, float]:
    waiting = stale(database, meter.id, QUARTER_HOUR, begin, end)
    quarters, means = dialect_of(database).fetch_columns(
        ("bucket", "mean"),
        "rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket >= ? AND bucket < ?"
        f"{waiting.condition if waiting else ''}",
        (QUARTER_HOUR, meter.id, quantity_id(database, "power"), begin, end),
        "bucket",
    )
    sums = {quarter: (1, mean) for quarter, mean in zip(quarters, means, strict=True)}
    is_stored = "power" in stored_quantities(database)
    rows = waiting.rows(database, ["power"])["power"] if waiting and is_stored else ()
    for quarter, n, total, *_ in rows:
        before = sums.get(quarter, (0, 0))
        sums[quarter] = (before[0] + n, before[1] + total)
    return {quarter: total / n / 1000 for quarter, (n, total) in sums.items()}


def _readings(
    database: peewee.Database, meter: Meter, begin: int
) -> list[tuple[int, Sequence[int] | None, float | None]]:
    """Return time, counters (Wh) and power (W) of the readings from a time on."""
    stored = stored_quantities(database)
    names = [*counted_by(counters_of(database, meter.id)), "power"]
    columns = ", ".join(name if name in stored else "NULL" for name in names)
    rows = fetch(
        database,
        f"SELECT ts, {columns} FROM readings_raw WHERE meter = ? AND ts >= ? "
        f"{valid(database, meter.id)} ORDER BY ts",
        (meter.id, begin),
    )
    return [
        (ts, None if None in shown else shown, None if power is None else power / 1000)
        for ts, *shown, power in rows
    ]


def counted_by(counters: Counters) -> tuple[str, ...]:
    """Return the counters of readings that a demand is computed from, as `RunningQuarter` does."""
    own = counters.registers
    return (own.imported,) if own == counters else own
