"""Marking the 5-minute buckets whose roll-ups have to be made again.

A reading changes its own bucket, and that of the next later reading: the energy there is counted
from the reading before. For a counter that not every reading carries, "next" is the next one
that has it.
"""

from collections.abc import Iterable

import peewee

from contract.quantities import QUANTITIES
from history.rollups.levels import FIVE_MINUTES, bucket_of, width_s
from history.statements import Row, fetch_one, run_many

COUNTERS = tuple(quantity.name for quantity in QUANTITIES if quantity.kind.counter)
Mark = tuple[int, int]


class Marks:
    """Writes marks into `rollup_dirty`; part of the transaction of whoever calls."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database

    def add(self, marks: Iterable[Mark]) -> None:
        """Mark these (meter, bucket) as due."""
        run_many(
            self._database,
            "INSERT INTO rollup_dirty (meter, bucket) VALUES (?, ?) "
            "ON CONFLICT (meter, bucket) DO NOTHING",
            sorted(set(marks)),
        )

    def buckets_after(self, meter: int, bucket: int, counters: Iterable[str]) -> set[Mark]:
        """Return the buckets in which these counters go on after the end of `bucket`."""
        return self.buckets_from(meter, (bucket + width_s(FIVE_MINUTES)) * 1000, counters)

    def buckets_from(self, meter: int, ts_ms: int, counters: Iterable[str]) -> set[Mark]:
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
        return {(meter, bucket) for bucket in found}

    def _first(self, names: list[str], condition: str, meter: int, ts_ms: int) -> Row | None:
        return fetch_one(
            self._database,
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            f"WHERE meter = ? AND ts >= ? {condition} ORDER BY ts LIMIT 1",
            (meter, ts_ms),
        )
