"""The dirty buckets: 5 minutes of a meter whose roll-ups have to be computed again.

A reading changes its own bucket, and that of the next later reading: the energy there is counted
from the reading before. For a counter that not every reading has, "next" is the next reading that
has it; for netting, the next that has both counters.
"""

from collections.abc import Iterable, Mapping

import peewee

from contract.quantities import QUANTITIES
from history.day_checksums import DayChecksums
from history.dialect import Row, fetch, fetch_one, run_many
from history.rollups.levels import FIVE_MINUTES, bucket_of, width_s
from history.rollups.netting import EXPORT, IMPORT
from history.tables import stored_quantities
from history.voids import valid

COUNTERS = tuple(quantity.name for quantity in QUANTITIES if quantity.kind.counter)

BOTH = (IMPORT, EXPORT)

DirtyBucket = tuple[int, int]
"""A meter's number and the start of the bucket."""


class DirtyBuckets:
    """Reads and writes `rollup_dirty`, in the transaction of the caller."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._checksums = DayChecksums(database)

    def add(self, buckets: Iterable[DirtyBucket]) -> None:
        """Mark these buckets as dirty."""
        dirty = sorted(set(buckets))
        run_many(
            self._database,
            "INSERT INTO rollup_dirty (meter, bucket) VALUES (?, ?) "
            "ON CONFLICT (meter, bucket) DO NOTHING",
            dirty,
        )
        self._checksums.forget(dirty)

    def remove(self, buckets: Iterable[DirtyBucket]) -> None:
        """Remove buckets whose roll-ups have been computed."""
        run_many(
            self._database, "DELETE FROM rollup_dirty WHERE meter = ? AND bucket = ?", list(buckets)
        )

    def after(self, bucket: DirtyBucket, limit: int) -> list[DirtyBucket]:
        """Return the dirty buckets after this one, in the order of meters and times."""
        rows = fetch(
            self._database,
            "SELECT meter, bucket FROM rollup_dirty WHERE (meter, bucket) > (?, ?) "
            "ORDER BY meter, bucket LIMIT ?",
            (*bucket, limit),
        )
        return [(meter, start) for meter, start in rows]

    def between(self, meter: int, begin: int, end: int) -> list[int]:
        """Return a meter's dirty buckets between two times (epoch s), in their order."""
        rows = fetch(
            self._database,
            "SELECT bucket FROM rollup_dirty WHERE meter = ? AND bucket >= ? AND bucket < ? "
            "ORDER BY bucket",
            (meter, begin, end),
        )
        return [bucket for (bucket,) in rows]

    def any(self) -> bool:
        """Return whether any bucket is dirty."""
        return fetch_one(self._database, "SELECT 1 FROM rollup_dirty LIMIT 1") is not None

    def count(self) -> int:
        """Return the number of dirty buckets."""
        ((number,),) = fetch(self._database, "SELECT COUNT(*) FROM rollup_dirty")
        return int(number)

    def changed_after(self, meter: int, bucket: int, counters: Iterable[str]) -> set[DirtyBucket]:
        """Return the buckets in which these counters go on after the end of `bucket`."""
        return self.changed_from(meter, (bucket + width_s(FIVE_MINUTES)) * 1000, counters)

    def changed_from(self, meter: int, ts_ms: int, counters: Iterable[str]) -> set[DirtyBucket]:
        """Return the buckets of the first readings from `ts_ms` on that have these counters."""
        names = list(counters)
        row = self._first(names, "", meter, ts_ms) if names else None
        if row is None:
            return set()
        found = {bucket_of(row[0])}
        for name, value in zip(names, row[1:], strict=True):
            if value is None:
                later = self._first([], f"AND {name} IS NOT NULL", meter, ts_ms)
                if later:
                    found.add(bucket_of(later[0]))
        if netted := self._next_netted(meter, ts_ms, dict(zip(names, row[1:], strict=True))):
            found.add(bucket_of(netted[0]))
        return {(meter, bucket) for bucket in found}

    def _next_netted(self, meter: int, ts_ms: int, first: Mapping[str, int | None]) -> Row | None:
        """Return the next reading with both netted counters, unless it is the first one."""
        shown = [first.get(name) for name in BOTH]
        is_first = None not in shown
        stored = stored_quantities(self._database)
        if is_first or not first.keys() & {*BOTH} or not {*BOTH} <= {*stored}:
            return None
        return self._first([], "".join(f"AND {name} IS NOT NULL " for name in BOTH), meter, ts_ms)

    def _first(self, names: list[str], condition: str, meter: int, ts_ms: int) -> Row | None:
        return fetch_one(
            self._database,
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            f"WHERE meter = ? AND ts >= ? {condition} {valid(self._database, meter)} "
            "ORDER BY ts LIMIT 1",
            (meter, ts_ms),
        )
