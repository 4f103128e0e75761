"""Marking the 5-minute buckets whose roll-ups have to be made again.

A reading changes its own bucket, and that of the next later reading: the energy there is counted
from the reading before. For a counter that not every reading carries, "next" is the next one
that has it.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import peewee

from contract.quantities import QUANTITIES
from history.levels import FIVE_MINUTES, bucket_of, width_s

COUNTERS = tuple(quantity.name for quantity in QUANTITIES if quantity.kind.counter)
Mark = tuple[int, int]


class Marks:
    """Writes marks into `rollup_dirty`; part of the transaction of whoever calls."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        p = database.param
        self._insert = (
            f"INSERT INTO rollup_dirty (meter, bucket) VALUES ({p}, {p}) "
            "ON CONFLICT (meter, bucket) DO NOTHING"
        )
        self._next = (
            f"SELECT ts, {', '.join(COUNTERS)} FROM readings_raw "
            f"WHERE meter = {p} AND ts >= {p} ORDER BY ts LIMIT 1"
        )
        self._next_with = {
            name: f"SELECT ts FROM readings_raw WHERE meter = {p} AND ts >= {p} "
            f"AND {name} IS NOT NULL ORDER BY ts LIMIT 1"
            for name in COUNTERS
        }

    def add(self, marks: Iterable[Mark]) -> None:
        """Mark these (meter, bucket) as due."""
        self._database.cursor().executemany(self._insert, sorted(set(marks)))

    def buckets_after(self, meter: int, bucket: int, counters: Iterable[str]) -> set[Mark]:
        """Return the buckets in which these counters go on after the end of `bucket`."""
        return self.buckets_from(meter, (bucket + width_s(FIVE_MINUTES)) * 1000, counters)

    def buckets_from(self, meter: int, ts_ms: int, counters: Iterable[str]) -> set[Mark]:
        """Return the buckets of the first readings from `ts_ms` on that have these counters."""
        wanted = set(counters)
        row = self._one(self._next, meter, ts_ms) if wanted else None
        if row is None:
            return set()
        found = {bucket_of(row[0])}
        for name, value in zip(COUNTERS, row[1:], strict=True):
            if name in wanted and value is None:
                later = self._one(self._next_with[name], meter, ts_ms)
                if later:
                    found.add(bucket_of(later[0]))
        return {(meter, bucket) for bucket in found}

    def _one(self, statement: str, meter: int, ts_ms: int) -> Sequence[Any] | None:
        row: Sequence[Any] | None = self._database.execute_sql(statement, (meter, ts_ms)).fetchone()
        return row
