"""Looking whether the history is whole: the file, the roll-ups against readings, gaps."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median_low

import peewee

from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, bucket_of, width_s
from history.rollups.rollups import Rollups
from history.statements import Row, fetch, fetch_one
from history.tables import Meter
from history.times import from_ms

DAY_S = width_s(DAY)
_GAP = 2.5
_SUMS = (
    "SELECT r.quantity, SUM(r.n), MIN(r.min), MAX(r.max), SUM(r.delta) "
    "FROM quantities q CROSS JOIN rollup r WHERE r.level = ? AND r.meter = ? "
    "AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ? GROUP BY r.quantity"
)
_ROWS = (
    "SELECT r.level, r.meter, r.quantity, r.bucket, r.n, r.mean, r.min, r.max, r.last, r.delta "
    "FROM quantities q CROSS JOIN rollup r WHERE r.level = ? AND r.meter = ? "
    "AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ?"
)


@dataclass(frozen=True, slots=True)
class DayOfGaps:
    """What is missing of a UTC day of a meter; `usual_s` is how far apart its readings are."""

    meter_id: str
    day: datetime
    readings: int
    gaps: int
    longest_s: float
    missing_s: float
    usual_s: float


def file_problems(database: peewee.Database) -> list[str]:
    """Return what SQLite finds wrong with its file."""
    lines = [str(row[0]) for row in fetch(database, "PRAGMA integrity_check(20)")]
    return [] if lines == ["ok"] else lines


def days_of(database: peewee.Database, meter: Meter) -> list[int]:
    """Return the UTC days (epoch s) of which all readings are still there."""
    row = fetch_one(
        database,
        "SELECT MIN(ts), MAX(ts) FROM readings_raw WHERE meter = ? AND ts >= ?",
        (meter.id, meter.closed_until),
    )
    if row is None or row[0] is None:
        return []
    return list(range(bucket_of(row[0], DAY), row[1] // 1000 + 1, DAY_S))


def differs(database: peewee.Database, meter: Meter, day: int) -> bool:
    """Tell whether the roll-ups of a day say something else than its readings.

    What is marked as due is left out. Twice, since a recorder may write in between.
    """
    rollups = Rollups(database)
    return all(_differs_now(database, rollups, meter.id, day) for _ in range(2))


def gaps(database: peewee.Database, meter: Meter) -> Iterator[DayOfGaps]:
    """Yield the days of a meter that have gaps, as far as its readings are still there."""
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
        (int(usual * _GAP), int(usual * _GAP), usual, meter.id, meter.closed_until),
    )
    for day, count, found, longest, missing in rows:
        if found:
            seconds = [float(ms) / 1000 for ms in (longest, missing, usual)]
            yield DayOfGaps(meter.name, from_ms(day * DAY_S * 1000), count, int(found), *seconds)


def _differs_now(database: peewee.Database, rollups: Rollups, meter: int, day: int) -> bool:
    end = day + DAY_S
    with database.atomic():
        marks = fetch(
            database,
            "SELECT bucket FROM rollup_dirty WHERE meter = ? AND bucket >= ? AND bucket < ?",
            (meter, day, end),
        )
        due = {bucket for (bucket,) in marks}
        stored = fetch(database, _ROWS, (FIVE_MINUTES, meter, day, end))
        made = rollups.made_from_readings(meter, day, end)
        if _but(stored, due) != _but(made, due):
            return True
        sums = [
            sorted(fetch(database, _SUMS, (level, meter, day, end)))
            for level in (FIVE_MINUTES, HOUR, DAY)
        ]
    return not due and not sums[0] == sums[1] == sums[2]


def _but(rows: list[Row], due: set[int]) -> set[Row]:
    return {tuple(row) for row in rows if row[3] not in due}
