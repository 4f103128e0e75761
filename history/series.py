"""Charts: the history of some quantities of a meter in a limited number of points.

The level is the coarsest that has as many buckets as points were asked for, so that a year costs
as little as a day. Readings that are not rolled up yet are in it.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import inf
from statistics import median_low
from typing import Any, TypeVar

import peewee

from contract.quantities import BY_NAME
from contract.times import epoch_ms
from history.dialect import Slices, dialect_of
from history.rollups.fresh import FreshRow, stale
from history.rollups.levels import (
    QUARTER_HOUR,
    QUARTER_HOURLY,
    RAW,
    ROLLUPS,
    Begins,
    begins,
    covers,
    start_of,
    width_s,
)
from history.tables import Meter, quantity_id, read_meter, stored_quantities
from history.voids import valid

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
    numbers = points, points
    level, ts, values = _points(database, meter_id, wanted, (since, until), numbers, extremes=True)
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
    most: int | None = None,
) -> dict[str, Sequence[float | None]]:
    """Return columns for a chart: `ts` in epoch seconds, and the mean of each quantity.

    At most `points` rows, each the mean of an equal slice of time; slices without a reading are
    left out, so that a gap stays a gap. With `most` there may be more, up to those of the level
    that has as many as `points`.
    """
    wanted = [name for name in names if name in BY_NAME]
    numbers = points, most or points
    _, ts, values = _points(database, meter_id, wanted, (since, until), numbers, extremes=False)
    return {"ts": [*ts], **{name: values[name][0] for name in wanted}}


def _points(
    database: peewee.Database,
    meter_id: str,
    names: Sequence[str],
    span: tuple[datetime, datetime],
    numbers: tuple[int, int],
    *,
    extremes: bool,
) -> tuple[int, list[float], dict[str, list[Values]]]:
    """Return level, times, and the means of each quantity; with `extremes` also lowest, highest.

    `numbers` are those of the points that the level should have, and that are returned at most.
    """
    points, most = numbers
    known = stored_quantities(database)
    stored = [name for name in dict.fromkeys(names) if name in known]
    meter = read_meter(database, meter_id)
    begin, end = epoch_ms(span[0]), epoch_ms(span[1])
    if meter:
        begin, end = max(begin, meter.first_ts), min(end, meter.last_ts + 1)
    if not (meter and stored) or begin >= end:
        return RAW, [], {name: [[], [], []] for name in names}
    there = begins(database, meter.id, quantity_id(database, stored[0]), begin, end)
    level = _level(meter, stored, there, (begin, end), points)
    if level == RAW:
        ts, found = _from_readings(database, meter, stored, (begin, end), most, extremes)
    else:
        first, last = start_of(begin // 1000, level), -(-end // 1000)
        slices = Slices(first, last, most, width_s(level))
        ts, found = _from_rollups(database, level, meter, stored, slices, extremes)
    absent: list[Values] = [[None] * len(ts)] * 3
    return level, ts, {name: found.get(name, absent) for name in names}


def _level(
    meter: Meter, names: Iterable[str], there: Begins, span: tuple[int, int], points: int
) -> int:
    """Return the coarsest level with a bucket for each point, or the next that covers the range.

    Quarter-hours are for times whose 5 minutes are gone: equal slices have fewer of them.
    """
    begin, end = span
    widths = {level: width_s(level) * 1000 for level in ROLLUPS if level != QUARTER_HOUR}
    fitting = [level for level, ms in widths.items() if -(-end // ms) - begin // ms >= points]
    finest = max(fitting, default=RAW)
    if finest == RAW and begin >= meter.retention_watermark:
        return RAW
    levels = [RAW, *ROLLUPS]
    if not QUARTER_HOURLY.issuperset(names):
        levels.remove(QUARTER_HOUR)
    place = levels.index(finest)
    in_order = (*levels[place:], *reversed(levels[:place]))
    return next((level for level in in_order if covers(level, there)), RAW)


def _from_readings(
    database: peewee.Database,
    meter: Meter,
    names: Sequence[str],
    span: tuple[int, int],
    points: int,
    extremes: bool,
) -> tuple[list[float], dict[str, list[Values]]]:
    """Read the readings, all quantities at once."""
    figures = ["MIN(ts) / 1000.0"]
    for name in names:
        figures.append(f"ROUND(AVG({name})) / 1000.0")
        figures += [f"MIN({name}) / 1000.0", f"MAX({name}) / 1000.0"] if extremes else []
    _, ts, *values = dialect_of(database).fetch_slices(
        f"readings_raw WHERE meter = ? {valid(database, meter.id)}",
        (meter.id,),
        "ts",
        Slices(*span, points),
        figures,
    ) or [[]] * (len(figures) + 1)
    each = len(values) // len(names)
    return ts, {name: values[n * each : (n + 1) * each] for n, name in enumerate(names)}


def _from_rollups(
    database: peewee.Database,
    level: int,
    meter: Meter,
    names: Sequence[str],
    slices: Slices,
    extremes: bool,
) -> tuple[list[float], dict[str, list[Values]]]:
    """Read the roll-ups of each quantity; a slice is a whole number of buckets."""
    figures = ["MIN(bucket) * 1.0", "SUM(n) * 1.0"]
    figures += ["ROUND(SUM(n * mean) * 1.0 / SUM(n)) / 1000.0"]
    figures += ["MIN(min) / 1000.0", "MAX(max) / 1000.0"] if extremes else []
    dialect, found = dialect_of(database), {}
    waiting = stale(database, meter.id, level, slices.begin, slices.end)
    fresh = waiting.rows(database, names) if waiting else {}
    for name in names:
        columns = dialect.fetch_slices(
            "rollup WHERE level = ? AND meter = ? AND quantity = ?"
            f"{waiting.condition if waiting else ''}",
            (level, meter.id, quantity_id(database, name)),
            "bucket",
            slices,
            figures,
        )
        found[name] = _with_fresh(columns or [[] for _ in ["", *figures]], slices, fresh.get(name))
    return _aligned({name: columns for name, columns in found.items() if columns[0]})


def _with_fresh(
    columns: list[list[Any]], slices: Slices, fresh: Iterable[FreshRow] | None
) -> list[list[Any]]:
    """Return slices together with rows that `rollup` does not have yet, without their counts."""
    slots, figures = columns[0], columns[1:]
    for bucket, n, total, lowest, highest in fresh or ():
        slot = (bucket - slices.begin) // slices.width * slices.number // slices.keys
        place = bisect_left(slots, slot)
        row = [float(bucket), n, round(total / n) / 1000, lowest / 1000, highest / 1000]
        if place < len(slots) and slots[place] == slot:
            for column, value in zip(
                figures, _merged([f[place] for f in figures], row), strict=False
            ):
                column[place] = value
        else:
            for column, value in zip(columns, [slot, *row], strict=False):
                column.insert(place, value)
    starts, _, *values = figures
    return [slots, starts, *values]


def _merged(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return start, number, mean and extremes (where `one` has them) of two parts of a slice."""
    n = one[1] + other[1]
    mean = round((one[1] * one[2] + other[1] * other[2]) / n, 3)
    extremes = [min(one[3], other[3]), max(one[4], other[4])] if len(one) > 3 else []
    return [min(one[0], other[0]), n, mean, *extremes]


def _aligned(
    found: dict[str, list[list[Any]]],
) -> tuple[list[float], dict[str, list[Values]]]:
    """Return the times of all slices that any quantity has, and the figures of each at those."""
    times: dict[int, float] = {}
    for numbers, ts, *_ in found.values():
        others, times = times, dict(zip(numbers, ts, strict=True))
        for slot, other in others.items():
            times[slot] = min(other, times.get(slot, inf))
    slots = sorted(times)
    aligned = {}
    for name, (numbers, _, *figures) in found.items():
        if len(numbers) < len(slots):
            by_slot = (dict(zip(numbers, figure, strict=True)) for figure in figures)
            figures = [[values.get(slot) for slot in slots] for values in by_slot]
        aligned[name] = figures
    return [times[slot] for slot in slots], aligned


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
