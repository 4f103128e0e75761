"""What older versions stored without its roll-ups, a day at a time.

`meters.backfill_from`: readings from this time on (epoch ms) have yet to be rolled up.
`meters.quarters_from`: 5 minutes from this time on (epoch s) have yet to make quarter-hours.
"""

import logging

import peewee

from history.dialect import dialect_of, fetch, fetch_one, placeholders, run, transaction
from history.rollups.combining import combine
from history.rollups.dirty_buckets import DirtyBucket, DirtyBuckets
from history.rollups.levels import (
    DAY,
    FIVE_MINUTES,
    QUARTER_HOUR,
    QUARTER_HOURLY,
    bucket_of,
    start_of,
    width_s,
)
from history.tables import quantity_ids

logger = logging.getLogger(__name__)


class Backfill:
    """Works off what an older version left; only the thread that writes uses it."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._dialect = dialect_of(database)
        self._dirty = DirtyBuckets(database)
        numbers = quantity_ids(database)
        self._quarter_hourly = sorted(numbers[name] for name in QUARTER_HOURLY)

    def any(self) -> bool:
        """Return whether there is anything to do."""
        return self._next("backfill_from") is not None or self._next("quarters_from") is not None

    def step(self) -> bool:
        """Mark a day of readings as dirty, or make its quarter-hours; return whether it did."""
        with transaction(self._database):
            return self._mark_readings() or self._make_quarters()

    def _mark_readings(self) -> bool:
        found = self._next("backfill_from")
        if found is None:
            return False
        meter, name, since = found
        first = fetch_one(
            self._database,
            "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? ORDER BY ts LIMIT 1",
            (meter, since),
        )
        if first is None:
            logger.info("meter %s: all its readings are rolled up", name)
            end = None
        else:
            end = (bucket_of(first[0], DAY) + width_s(DAY)) * 1000
            self._dirty.add(buckets_between(self._database, meter, first[0], end))
        run(self._database, "UPDATE meters SET backfill_from = ? WHERE id = ?", (end, meter))
        return True

    def _make_quarters(self) -> bool:
        found = self._next("quarters_from")
        if found is None:
            return False
        meter, name, since = found
        self._dialect.lock_meters([meter])
        first = fetch_one(
            self._database,
            "SELECT MIN((SELECT MIN(bucket) FROM rollup WHERE level = ? AND meter = ? "
            "AND quantity = q.id AND bucket >= ?)) FROM quantities q "
            f"WHERE q.id IN ({placeholders(self._quarter_hourly)})",
            (FIVE_MINUTES, meter, since, *self._quarter_hourly),
        )
        if first is None or first[0] is None:
            logger.info("meter %s: its 5-minute roll-ups are summed up to quarter-hours", name)
            end = None
        else:
            begin = start_of(first[0], DAY)
            end = begin + width_s(DAY)
            combine(self._database, QUARTER_HOUR, meter, begin, end, self._quarter_hourly)
        run(self._database, "UPDATE meters SET quarters_from = ? WHERE id = ?", (end, meter))
        return True

    def _next(self, column: str) -> tuple[int, str, int] | None:
        row = fetch_one(
            self._database,
            f"SELECT id, name, {column} FROM meters WHERE {column} IS NOT NULL ORDER BY id LIMIT 1",
        )
        return (row[0], row[1], row[2]) if row else None


def buckets_between(
    database: peewee.Database, meter: int, begin: int, end: int
) -> list[DirtyBucket]:
    """Return the 5-minute buckets that hold readings from `begin` to before `end` (ms)."""
    width_ms = width_s(FIVE_MINUTES) * 1000
    rows = fetch(
        database,
        f"SELECT DISTINCT ts / {width_ms} FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ?",
        (meter, begin, end),
    )
    return [(meter, bucket_of(row[0] * width_ms)) for row in rows]
