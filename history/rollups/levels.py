"""The levels of detail at which the history is kept: readings, and four widths of roll-ups.

A level is named by the minutes of its buckets; readings themselves are level 0. Buckets lie on
multiples of their width since the epoch, so that twelve of 5 minutes make an hour, and 24 hours
a UTC day. Every local clock in use differs from UTC by a multiple of 15 minutes, so that its
quarter-hours are those of UTC. Only counters and power have them: bills and peaks need no others.

Fine levels are deleted first, and roll-ups may lag behind readings. So a query looks which level
covers the whole of its range before it picks one.
"""

import peewee

from contract.quantities import DERIVED, POWER, QUANTITIES
from history.dialect import fetch_one
from history.voids import valid

RAW = 0
FIVE_MINUTES = 5
QUARTER_HOUR = 15
HOUR = 60
DAY = 1440
ROLLUPS = (FIVE_MINUTES, QUARTER_HOUR, HOUR, DAY)
QUARTER_HOURLY = frozenset(
    quantity.name
    for quantity in (*QUANTITIES, *DERIVED)
    if quantity.kind.counter or quantity.kind == POWER
)
"""The quantities that have roll-ups of a quarter-hour."""

Begins = dict[int, int]
"""Level to the epoch ms at which it begins within a range; only levels that have anything."""


def width_s(level: int) -> int:
    """Return how many seconds a bucket of a level lasts."""
    return level * 60


def bucket_of(ts_ms: int, level: int = FIVE_MINUTES) -> int:
    """Return the bucket of a time in epoch ms: its start, in epoch seconds."""
    return start_of(ts_ms // 1000, level)


def start_of(ts_s: int, level: int) -> int:
    """Return the start of the bucket that covers a time, both in epoch seconds."""
    return ts_s - ts_s % width_s(level)


def begins(
    database: peewee.Database, meter: int, quantity: int | None, begin: int, end: int
) -> Begins:
    """Return where each level begins between two times (epoch ms)."""
    raw = (
        "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
        f"{valid(database, meter)} ORDER BY ts LIMIT 1"
    )
    rolled_up = (
        "SELECT bucket FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
        "AND bucket >= ? AND bucket < ? ORDER BY bucket LIMIT 1"
    )
    parameters: list[int | None] = [meter, begin, end]
    for level in ROLLUPS:
        parameters += [level, meter, quantity, start_of(begin // 1000, level), -(-end // 1000)]
    parts = ", ".join(f"({part})" for part in (raw, *[rolled_up] * len(ROLLUPS)))
    first, *buckets = fetch_one(database, f"SELECT {parts}", parameters) or (None,)
    found = {} if first is None else {RAW: first}
    return found | {
        level: bucket * 1000
        for level, bucket in zip(ROLLUPS, buckets, strict=False)
        if bucket is not None
    }


def covers(level: int, begins: Begins) -> bool:
    """Return whether a level begins no later than the others, as far as their widths show."""
    return level in begins and all(
        begins[level] <= first + max(width_s(other) * 1000 - 1, 0)
        for other, first in begins.items()
    )
