"""Roll-ups as they will be: what a query needs beside `rollup` while readings wait to be rolled up.

The job lags behind readings by some minutes, and behind an import by more; coarser buckets are
computed when they are over. A query leaves out the rows that have yet to be computed again, and
takes these in their place.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import peewee

from history.dialect import fetch
from history.rollups.combining import runs
from history.rollups.dirty_buckets import DirtyBuckets
from history.rollups.levels import FIVE_MINUTES, width_s
from history.rollups.running_buckets import RunningBuckets
from history.tables import quantity_id
from history.voids import valid

_MOST_SPANS = 8
_DIRTY = "(SELECT bucket FROM rollup_dirty WHERE meter = ?)"
Span = tuple[int, int]
"""Begin and end of some buckets, in epoch seconds."""
FreshRow = tuple[int, int, int, int, int]
"""A bucket, the number of its readings, the sum of their values, the lowest, the highest."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The buckets of a level that have yet to be computed again, and the dirty ones in them."""

    meter: int
    level: int
    spans: Sequence[Span]
    dirty: Sequence[Span]

    @property
    def condition(self) -> str:
        """The condition that leaves these buckets out of `rollup`."""
        return "".join(f" AND NOT (bucket >= {a} AND bucket < {b})" for a, b in self.spans)

    def rows(self, database: peewee.Database, names: Sequence[str]) -> dict[str, list[FreshRow]]:
        """Return the rows of these buckets; several of one bucket add up."""
        found: dict[str, list[FreshRow]] = {name: [] for name in names}
        for begin, end in self.spans:
            for name in names:
                found[name] += self._from_five_minutes(database, name, begin, end)
        for begin, end in self.dirty:
            for name, rows in self._from_readings(database, names, begin, end).items():
                found[name] += rows
        return found

    def _from_five_minutes(
        self, database: peewee.Database, name: str, begin: int, end: int
    ) -> list[FreshRow]:
        rows = fetch(
            database,
            f"SELECT {self._bucket('bucket')}, SUM(n), SUM(n * mean), MIN(min), MAX(max) "
            "FROM rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket >= ? "
            f"AND bucket < ? AND bucket NOT IN {_DIRTY} GROUP BY 1 ORDER BY 1",
            (FIVE_MINUTES, self.meter, quantity_id(database, name), begin, end, self.meter),
        )
        return [(bucket, int(n), int(total), low, high) for bucket, n, total, low, high in rows]

    def _from_readings(
        self, database: peewee.Database, names: Sequence[str], begin: int, end: int
    ) -> dict[str, list[FreshRow]]:
        figures = ", ".join(f"COUNT({n}), SUM({n}), MIN({n}), MAX({n})" for n in names)
        rows = fetch(
            database,
            f"SELECT {self._bucket('ts / 1000')}, {figures} FROM readings_raw WHERE meter = ? "
            f"AND ts >= ? AND ts < ? AND ts / {width_s(FIVE_MINUTES) * 1000} "
            f"* {width_s(FIVE_MINUTES)} IN {_DIRTY} {valid(database, self.meter)} "
            "GROUP BY 1 ORDER BY 1",
            (self.meter, begin * 1000, end * 1000, self.meter),
        )
        found: dict[str, list[FreshRow]] = {name: [] for name in names}
        for bucket, *values in rows:
            for name, (n, total, low, high) in zip(
                names, zip(*[iter(values)] * 4, strict=True), strict=True
            ):
                if n:
                    found[name].append((bucket, n, int(total), low, high))
        return found

    def _bucket(self, ts_s: str) -> str:
        width = width_s(self.level)
        return f"{ts_s} / {width} * {width}"


def stale(database: peewee.Database, meter: int, level: int, begin: int, end: int) -> Stale | None:
    """Return what is stale of a level between two times (epoch s); None where nothing is."""
    dirty = DirtyBuckets(database).between(meter, begin, end)
    running = RunningBuckets(database).between(level, meter, begin, end)
    if not (dirty or running):
        return None
    spans = _few(runs(level, [*dirty, *running]))
    return Stale(meter, level, spans, _few(runs(FIVE_MINUTES, dirty)))


def _few(spans: list[Span]) -> list[Span]:
    """Return a few spans in place of many."""
    return spans if len(spans) <= _MOST_SPANS else [(spans[0][0], spans[-1][1])]
