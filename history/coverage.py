"""From when on each level has something to say about a stretch of time.

Fine levels are thinned out first, and roll-ups may lag behind readings; so a query looks which
level covers the whole of its range before it picks one.
"""

import peewee

from history.rollups.levels import RAW, ROLLUPS, start_of, width_s
from history.statements import fetch_one

Firsts = dict[int, int]
"""Level to the epoch ms at which it begins within the range; only levels that have anything."""


def quantity_number(database: peewee.Database, name: str) -> int | None:
    """Return the number that stands for a quantity in `rollup`."""
    row = fetch_one(database, "SELECT id FROM quantities WHERE name = ?", (name,))
    return row[0] if row else None


def firsts(
    database: peewee.Database, meter: int, quantity: int | None, begin: int, end: int
) -> Firsts:
    """Look where each level begins between two times (epoch ms)."""
    found = {}
    raw = fetch_one(
        database,
        "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? ORDER BY ts LIMIT 1",
        (meter, begin, end),
    )
    if raw:
        found[RAW] = raw[0]
    for level in ROLLUPS:
        row = fetch_one(
            database,
            "SELECT bucket FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
            "AND bucket >= ? AND bucket < ? ORDER BY bucket LIMIT 1",
            (level, meter, quantity, start_of(begin // 1000, level), -(-end // 1000)),
        )
        if row:
            found[level] = row[0] * 1000
    return found


def covers(level: int, firsts: Firsts) -> bool:
    """Tell whether a level begins no later than the others do, as far as they can tell."""
    return level in firsts and all(
        firsts[level] <= first + max(width_s(other) * 1000 - 1, 0)
        for other, first in firsts.items()
    )
