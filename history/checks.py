"""Checks of the history: roll-ups against their readings, and gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median_low

import peewee

from contract.times import from_epoch_ms
from history.dialect import Row, fetch, fetch_one
from history.rollups.combining import combined
from history.rollups.dirty_buckets import DirtyBuckets
from history.rollups.five_minutes import FiveMinutes
from history.rollups.levels import (
    DAY,
    FIVE_MINUTES,
    HOUR,
    QUARTER_HOUR,
    QUARTER_HOURLY,
    bucket_of,
    width_s,
)
from history.rollups.running_buckets import RunningBuckets
from history.tables import Meter, quantity_ids

DAY_S = width_s(DAY)
_GAP = 2.5
_ROWS = (
    "SELECT r.level, r.meter, r.quantity, r.bucket, r.n, r.mean, r.min, r.max, r.last, r.delta "
    "FROM quantities q CROSS JOIN rollup r WHERE r.level = ? AND r.meter = ? "
    "AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ?"
)


@dataclass(frozen=True, slots=True)
class DayOfGaps:
    """A UTC day of a meter with gaps; `usual_s` is the usual distance of its readings."""

    meter_id: str
    day: datetime
    readings: int
    gaps: int
    longest_s: float
    missing_s: float
    usual_s: float


def days_of(database: peewee.Database, meter: Meter) -> list[int]:
    """Return the UTC days (epoch s) of which all readings are there, and have been rolled up."""
    row = fetch_one(
        database,
        "SELECT MIN(ts), MAX(ts) FROM readings_raw WHERE meter = ? AND ts >= ?",
        (meter.id, meter.retention_watermark),
    )
    if row is None or row[0] is None:
        return []
    days = range(bucket_of(row[0], DAY), row[1] // 1000 + 1, DAY_S)
    return [day for day in days if meter.backfill_from is None or day * 1000 < meter.backfill_from]


def older_days_of(database: peewee.Database, meter: Meter) -> list[int]:
    """Return the UTC days (epoch s) that have roll-ups, but no longer their readings."""
    rows = fetch(
        database,
        "SELECT DISTINCT bucket FROM rollup WHERE level = ? AND meter = ? ORDER BY bucket",
        (DAY, meter.id),
    )
    newer = set(days_of(database, meter))
    return [day for (day,) in rows if day not in newer and day * 1000 < meter.retention_watermark]


def differs(database: peewee.Database, meter: Meter, day: int) -> bool:
    """Return whether the roll-ups of a day differ from what its readings lead to.

    Dirty buckets are left out. The comparison is made twice, since a recorder may write meanwhile.
    """
    return all(_differs_now(database, meter.id, day) for _ in range(2))


def levels_differ(database: peewee.Database, meter: Meter, day: int) -> bool:
    """Return whether a level of a day's roll-ups differs from what the next finer one leads to."""
    return all(_levels_differ(database, meter.id, day) for _ in range(2))


def gaps(database: peewee.Database, meter: Meter) -> Iterator[DayOfGaps]:
    """Yield the days of a meter that have gaps, as far as retention has kept its readings."""
    newest = fetch(
        database,
        "SELECT ts FROM readings_raw WHERE meter = ? ORDER BY ts DESC LIMIT 1000",
        (meter.id,),
    )
    apart = [later[0] - earlier[0] for later, earlier in pairwise(newest)]
    if not apart:
        return
    usual = median_low(apart)
    rows = fetch(
        database,
        "SELECT ts / 86400000, COUNT(*), SUM(CASE WHEN apart > ? THEN 1 ELSE 0 END), MAX(apart), "
        "SUM(CASE WHEN apart > ? THEN apart - ? ELSE 0 END) FROM (SELECT ts, "
        "ts - LAG(ts) OVER (ORDER BY ts) AS apart FROM readings_raw "
        "WHERE meter = ? AND ts >= ?) numbered GROUP BY 1 ORDER BY 1",
        (int(usual * _GAP), int(usual * _GAP), usual, meter.id, meter.retention_watermark),
    )
    for day, count, found, longest, missing in rows:
        if found:
            seconds = [float(ms) / 1000 for ms in (longest, missing, usual)]
            yield DayOfGaps(
                meter.name, from_epoch_ms(day * DAY_S * 1000), count, int(found), *seconds
            )


def _differs_now(database: peewee.Database, meter: int, day: int) -> bool:
    end = day + DAY_S
    with database.atomic():
        dirty = set(DirtyBuckets(database).between(meter, day, end))
        stored = fetch(database, _ROWS, (FIVE_MINUTES, meter, day, end))
        computed = FiveMinutes(database).computed(meter, day, end)
        if _without(stored, dirty) != _without(computed, dirty):
            return True
        return not dirty and _levels_differ(database, meter, day)


def _levels_differ(database: peewee.Database, meter: int, day: int) -> bool:
    end = day + DAY_S
    running = RunningBuckets(database)
    if any(running.between(each, meter, day, end) for each in (QUARTER_HOUR, HOUR, DAY)):
        return False
    numbers = quantity_ids(database)
    for level in (QUARTER_HOUR, HOUR, DAY):
        quantities = set(numbers.values())
        if level == QUARTER_HOUR:
            if _waits_for_quarters(database, meter, day):
                continue
            quantities = {numbers[name] for name in QUARTER_HOURLY}
        computed = combined(database, level, meter, day, end, quantities)
        stored = fetch(database, _ROWS, (level, meter, day, end))
        if computed and set(computed) != set(stored):
            return True
    return False


def _waits_for_quarters(database: peewee.Database, meter: int, day: int) -> bool:
    """Return whether the recorder has yet to make a day's quarter-hours.

    An older version had none.
    """
    row = fetch_one(database, "SELECT quarters_from FROM meters WHERE id = ?", (meter,))
    return row is not None and row[0] is not None and row[0] <= day


def _without(rows: list[Row], dirty: set[int]) -> set[Row]:
    return {tuple(row) for row in rows if row[3] not in dirty}
