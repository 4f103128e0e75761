"""The peak and the base load of a load curve."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import peewee

from contract.quantities import BY_NAME
from contract.times import epoch_ms, from_epoch_ms
from history.dialect import Row, dialect_of, fetch_one
from history.rollups.fresh import FreshRow, stale
from history.rollups.levels import (
    FIVE_MINUTES,
    HOUR,
    QUARTER_HOUR,
    RAW,
    begins,
    covers,
    start_of,
    width_s,
)
from history.tables import quantity_id, read_meter, stored_quantities
from history.voids import valid

BASE_SHARE = 0.05
"""Share of the time for which the load stays below the base load."""


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest value and when it was measured.

    `exact_to_s` is 0 where the reading itself is still there, else the width of the roll-up that
    has the value; `ts` is then the beginning of that roll-up.
    """

    value: float
    ts: datetime
    exact_to_s: int


def peak(
    database: peewee.Database, meter_id: str, quantity: str, since: datetime, until: datetime
) -> Peak | None:
    """Return the highest value of a quantity between two times, the first where there are several.

    At the edges of the range whole 5 minutes count, or whole quarter-hours or hours once those have
    been deleted.
    """
    begin, end = epoch_ms(since), epoch_ms(until)
    found = _place(database, meter_id, quantity, begin, end)
    if found is None:
        return None
    meter, level = found
    candidates = [
        (row, at)
        for at, first, last, condition in _parts(database, meter, level, begin, end)
        if (row := _highest(database, at, meter, quantity, first, last, condition))
    ]
    if not candidates:
        return None
    best, level = max(candidates, key=lambda each: (each[0][0], -each[0][1]))
    for finer in [each for each in (QUARTER_HOUR, FIVE_MINUTES, RAW) if each < level]:
        inside = _highest(
            database, finer, meter, quantity, best[1], best[1] + width_s(level) * 1000
        )
        if inside is not None and inside[0] >= best[0]:
            best, level = inside, finer
    return Peak(best[0] / 1000, from_epoch_ms(best[1]), width_s(level))


def base_load(
    database: peewee.Database, meter_id: str, since: datetime, until: datetime
) -> float | None:
    """Return the power in W that is drawn practically always between two times.

    The mean of 5 minutes (of a quarter-hour, once those have been deleted) stays below it for a
    twentieth of the time; times of export are left out. None without readings.
    """
    begin, end = epoch_ms(since), epoch_ms(until)
    found = _place(database, meter_id, "power", begin, end, finest=FIVE_MINUTES)
    if found is None or found[1] == RAW:
        return None
    meter, level = found
    span = (start_of(begin // 1000, level), end // 1000)
    waiting = stale(database, meter, level, *span)
    columns = dialect_of(database).fetch_columns(
        ("mean", "min"),
        "rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket >= ? AND bucket < ?"
        f"{waiting.condition if waiting else ''}",
        (level, meter, quantity_id(database, "power"), *span),
        "bucket",
    )
    means = [mean for mean, lowest in zip(*columns, strict=True) if lowest >= 0]
    if waiting and "power" in stored_quantities(database):
        means += _fresh_means(waiting.rows(database, ["power"])["power"], span)
    means.sort()
    return means[int(len(means) * BASE_SHARE)] / 1000 if means else None


def _fresh_means(rows: Iterable[FreshRow], span: tuple[int, int]) -> list[float]:
    """Return the means of buckets that are not rolled up yet, without times of export."""
    found: dict[int, tuple[int, int, int]] = {}
    for bucket, n, total, lowest, _ in rows:
        if span[0] <= bucket < span[1]:
            before = found.get(bucket, (0, 0, lowest))
            found[bucket] = before[0] + n, before[1] + total, min(before[2], lowest)
    return [total / n for n, total, lowest in found.values() if lowest >= 0]


def _place(
    database: peewee.Database,
    meter_id: str,
    quantity: str,
    begin: int,
    end: int,
    finest: int = HOUR,
) -> tuple[int, int] | None:
    """Return the meter's number and the level to read.

    That is hours where the range consists of whole ones, else the finest level that covers it.
    """
    meter = read_meter(database, meter_id)
    if meter is None or quantity not in BY_NAME:
        return None
    there = begins(database, meter.id, quantity_id(database, quantity), begin, end)
    aligned = begin % 3_600_000 == 0 and end % 3_600_000 == 0
    order = (FIVE_MINUTES, QUARTER_HOUR, HOUR)
    if aligned and finest == HOUR:
        order = (HOUR, FIVE_MINUTES, QUARTER_HOUR)
    level = next((level for level in order if covers(level, there)), RAW)
    return meter.id, level


def _parts(
    database: peewee.Database, meter: int, level: int, begin: int, end: int
) -> Iterator[tuple[int, int, int, str]]:
    """Yield level, begin, end (epoch ms) and condition of what is to be searched.

    Beside the level itself that is what its rows do not have yet.
    """
    if level == RAW:
        yield RAW, begin, end, ""
        return
    waiting = stale(database, meter, level, start_of(begin // 1000, level), -(-end // 1000))
    yield level, begin, end, waiting.condition if waiting else ""
    for at, spans in ((FIVE_MINUTES, waiting.spans), (RAW, waiting.dirty)) if waiting else ():
        for a, b in spans if at < level else ():
            if max(a * 1000, begin) < min(b * 1000, end):
                yield at, max(a * 1000, begin), min(b * 1000, end), ""


def _highest(
    database: peewee.Database,
    level: int,
    meter: int,
    quantity: str,
    begin: int,
    end: int,
    condition: str = "",
) -> Row | None:
    """Return value (in thousandths) and time (in ms) of the highest of a level."""
    if level == RAW:
        if quantity not in stored_quantities(database):
            return None
        return fetch_one(
            database,
            f"SELECT {quantity}, ts FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
            f"AND {quantity} IS NOT NULL {valid(database, meter)} "
            f"ORDER BY {quantity} DESC, ts LIMIT 1",
            (meter, begin, end),
        )
    return fetch_one(
        database,
        "SELECT max, bucket * 1000 FROM rollup WHERE level = ? AND meter = ? AND quantity = "
        f"(SELECT id FROM quantities WHERE name = ?) AND bucket >= ? AND bucket < ? {condition} "
        "ORDER BY max DESC, bucket LIMIT 1",
        (level, meter, quantity, start_of(begin // 1000, level), -(-end // 1000)),
    )
