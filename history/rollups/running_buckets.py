"""The running buckets: quarters, hours and days that are not over.

Their rows are stored with the first 5 minutes in them, and again once they are over. To store them
in each round would write a page for each quantity and level. Queries read the 5 minutes instead.
"""

from collections.abc import Collection, Iterable

import peewee

from history.dialect import fetch, placeholders, run_many

RunningBucket = tuple[int, int, int]
"""A level, a meter's number and the start of the bucket."""


class RunningBuckets:
    """Reads and writes `rollup_running`, in the transaction of the caller."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database

    def add(self, buckets: Iterable[RunningBucket]) -> None:
        """Note that these buckets are running."""
        run_many(
            self._database,
            "INSERT INTO rollup_running (meter, minutes, bucket) VALUES (?, ?, ?) "
            "ON CONFLICT (meter, minutes, bucket) DO NOTHING",
            [(meter, level, bucket) for level, meter, bucket in sorted(set(buckets))],
        )

    def remove(self, buckets: Iterable[RunningBucket]) -> None:
        """Remove buckets that are over, and have been computed."""
        run_many(
            self._database,
            "DELETE FROM rollup_running WHERE minutes = ? AND meter = ? AND bucket = ?",
            list(buckets),
        )

    def of(self, meters: Collection[int]) -> set[RunningBucket]:
        """Return the running buckets of some meters."""
        rows = fetch(
            self._database,
            "SELECT minutes, meter, bucket FROM rollup_running "
            f"WHERE meter IN ({placeholders(meters)})",
            list(meters),
        )
        return {(level, meter, bucket) for level, meter, bucket in rows}

    def between(self, level: int, meter: int, begin: int, end: int) -> list[int]:
        """Return a meter's running buckets of a level between two times (epoch s)."""
        rows = fetch(
            self._database,
            "SELECT bucket FROM rollup_running WHERE minutes = ? AND meter = ? "
            "AND bucket >= ? AND bucket < ? ORDER BY bucket",
            (level, meter, begin, end),
        )
        return [bucket for (bucket,) in rows]

    def over(self, now_s: float, limit: int) -> list[RunningBucket]:
        """Return some of the buckets that do not run at that time, finer levels first."""
        rows = fetch(
            self._database,
            "SELECT minutes, meter, bucket FROM rollup_running "
            "WHERE bucket + minutes * 60 <= ? OR bucket > ? "
            "ORDER BY minutes, meter, bucket LIMIT ?",
            (int(now_s), int(now_s), limit),
        )
        return [(level, meter, bucket) for level, meter, bucket in rows]
