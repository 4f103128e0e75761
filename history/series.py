"""Charts: the history of some quantities of a meter in a limited number of points.

The level follows from the width of a point, so that a year costs as little as an hour.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median_low
from typing import TypeVar

import peewee

from contract.quantities import BY_NAME
from contract.times import epoch_ms
from history.dialect import Row, fetch
from history.rollups.levels import RAW, ROLLUPS, begins, covers, start_of, width_s
from history.tables import quantity_id, read_meter, stored_quantities

T = TypeVar("T")
Values = list[float | None]
_GAP = 2.5
"""Multiple of the usual distance from which two points have a gap between them."""


@dataclass(frozen=True, slots=True)
class Column:
    """One quantity of a chart, point by point; None where there was no reading."""

    mean: Values
    min: Values
    max: Values


@dataclass(frozen=True, slots=True)
class Series:
    """A chart: the times of its points in epoch seconds, and a column for each quantity.

    A gap in the readings is one point without values. `level` is what the points come from: 0 for
    readings, else the minutes of the roll-ups.
    """

    level: int
    ts: list[float]
    columns: dict[str, Column]


def series(
    database: peewee.Database,
    meter_id: str,
    names: Iterable[str],
    since: datetime,
    until: datetime,
    points: int = 500,
) -> Series:
    """Return a chart of at most `points` points (gaps not counted) from `since` to `until`.

    A point stands for an equal slice of time and has the time at which its readings begin.
    """
    wanted = [name for name in names if name in BY_NAME]
    level, ts, values = _points(
        database, meter_id, wanted, epoch_ms(since), epoch_ms(until), points
    )
    gaps = _gaps(ts)
    nothing: Values = [None] * len(gaps)
    return Series(
        level,
        _insert(ts, gaps, [(ts[gap - 1] + ts[gap]) / 2 for gap in gaps]),
        {name: Column(*(_insert(v, gaps, nothing) for v in values[name])) for name in wanted},
    )


def columns(
    database: peewee.Database,
    meter_id: str,
    names: Iterable[str],
    since: datetime,
    until: datetime,
    points: int,
) -> dict[str, list[float | None]]:
    """Return columns for a chart: `ts` in epoch seconds, and the mean of each quantity.

    At most `points` rows, each the mean of an equal slice of time; slices without a reading are
    left out, so that a gap stays a gap.
    """
    wanted = [name for name in names if name in BY_NAME]
    _, ts, values = _points(database, meter_id, wanted, epoch_ms(since), epoch_ms(until), points)
    return {"ts": [*ts], **{name: values[name][0] for name in wanted}}


def _points(
    database: peewee.Database,
    meter_id: str,
    names: Sequence[str],
    begin: int,
    end: int,
    points: int,
) -> tuple[int, list[float], dict[str, tuple[Values, Values, Values]]]:
    """Return level, times, and (means, lowest, highest) of each quantity."""
    stored = [name for name in names if name in stored_quantities(database)]
    meter = read_meter(database, meter_id)
    level, slots = RAW, _Slots()
    if meter and stored:
        begin = max(begin, meter.first_ts)
        level = _level(database, meter.id, stored[0], begin, end, points)
        if level == RAW:
            slots.read_readings(database, meter.id, stored, begin, end, points)
        else:
            for name in stored:
                slots.read_rollups(database, level, meter.id, name, begin, end, points)
    return level, slots.times(), {name: slots.values(name) for name in names}


def _level(
    database: peewee.Database, meter: int, name: str, begin: int, end: int, points: int
) -> int:
    """Return the level whose buckets fit the slices, or the next that covers the range."""
    fitting = [level for level in ROLLUPS if width_s(level) * 1000 * points <= 2 * (end - begin)]
    fit = max(fitting, default=RAW)
    there = begins(database, meter, quantity_id(database, name), begin, end)
    levels = (RAW, *ROLLUPS)
    place = levels.index(fit)
    in_order = (*levels[place:], *reversed(levels[:place]))
    return next((level for level in in_order if covers(level, there)), RAW)


class _Slots:
    """What was read, by the number of the slice of time it belongs to."""

    def __init__(self) -> None:
        self._times: dict[int, int] = {}
        self._found: dict[str, dict[int, Row]] = {}

    def times(self) -> list[float]:
        """Return where the points lie, in epoch seconds."""
        return [self._times[slot] / 1000 for slot in sorted(self._times)]

    def values(self, name: str) -> tuple[Values, Values, Values]:
        """Return means, lowest and highest values of a quantity at those points."""
        found = self._found.get(name, {})
        rows = [found.get(slot, (None, None, None)) for slot in sorted(self._times)]
        mean, low, high = ([_in_units(row[part]) for row in rows] for part in range(3))
        return mean, low, high

    def read_readings(
        self,
        database: peewee.Database,
        meter: int,
        names: Sequence[str],
        begin: int,
        end: int,
        points: int,
    ) -> None:
        """Read the readings, all quantities at once."""
        slice_ms = max(-(-(end - begin) // points), 1)
        figures = ", ".join(f"AVG({name}), MIN({name}), MAX({name})" for name in names)
        rows = fetch(
            database,
            f"SELECT (ts - {begin}) / {slice_ms}, MIN(ts), {figures} FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts < ? GROUP BY 1 ORDER BY 1",
            (meter, begin, end),
        )
        self._times = {row[0]: row[1] for row in rows}
        for place, name in enumerate(names):
            part = slice(2 + 3 * place, 5 + 3 * place)
            self._found[name] = {row[0]: row[part] for row in rows}

    def read_rollups(
        self,
        database: peewee.Database,
        level: int,
        meter: int,
        name: str,
        begin: int,
        end: int,
        points: int,
    ) -> None:
        """Read the roll-ups of one quantity; a slice is a whole number of buckets."""
        width = width_s(level)
        first, last = start_of(begin // 1000, level), -(-end // 1000)
        slice_s = -(-(last - first) // (points * width)) * width
        figures = "SUM(n * mean) * 1.0 / SUM(n), MIN(min), MAX(max)"
        rows = fetch(
            database,
            f"SELECT (bucket - {first}) / {slice_s}, MIN(bucket), {figures} FROM rollup "
            "WHERE level = ? AND meter = ? AND quantity = "
            "(SELECT id FROM quantities WHERE name = ?) AND bucket >= ? AND bucket < ? "
            "GROUP BY 1 ORDER BY 1",
            (level, meter, name, first, last),
        )
        self._found[name] = {row[0]: row[2:] for row in rows}
        for slot, bucket, *_ in rows:
            self._times[slot] = min(bucket * 1000, self._times.get(slot, bucket * 1000))


def _in_units(value: float | None) -> float | None:
    return None if value is None else round(float(value) / 1000, 3)


def _gaps(ts: Sequence[float]) -> list[int]:
    """Return the places of the points that follow a gap."""
    if len(ts) < 3:
        return []
    apart = [later - earlier for earlier, later in pairwise(ts)]
    widest = _GAP * median_low(apart)
    return [place for place, distance in enumerate(apart, start=1) if distance > widest]


def _insert(values: Sequence[T], places: Sequence[int], more: Sequence[T]) -> list[T]:
    result: list[T] = []
    begin = 0
    for place, value in zip(places, more, strict=True):
        result += [*values[begin:place], value]
        begin = place
    return [*result, *values[begin:]]
