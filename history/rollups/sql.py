"""The statements of the roll-up job.

Every range is one seek per quantity; a range over level and meter alone
would read the meter's whole history (the key is level, meter, quantity, bucket).
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Any

import peewee

from history.rollups.dirty_buckets import Mark
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, bucket_of, width_s
from history.statements import Row, fetch, fetch_one, run, run_many

_FINER = {HOUR: FIVE_MINUTES, DAY: HOUR}
_REPLACE = (
    "ON CONFLICT (level, meter, quantity, bucket) DO UPDATE SET n = excluded.n, "
    "mean = excluded.mean, min = excluded.min, max = excluded.max, last = excluded.last, "
    "delta = excluded.delta"
)
_INSERT = "INSERT INTO rollup (level, meter, quantity, bucket, n, mean, min, max, last, delta) "
_ROW = f"({', '.join('?' * 10)})"
_ROWS_AT_ONCE = 24
"""Rows of one statement; a statement for each row takes half as long again."""
_FIGURES = (
    "SUM(r.n) AS n, CAST(ROUND(SUM(r.n * r.mean) * 1.0 / SUM(r.n)) AS BIGINT) AS mean, "
    "MIN(r.min) AS lowest, MAX(r.max) AS highest, MAX(r.bucket) AS newest, "
    "SUM(r.delta) AS delta"
)
_PART = "r.level = ? AND r.meter = ? AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ?"
# Both forms make the planner seek once for each quantity, whatever it believes of the table.
_PARTS = {
    "sqlite": f"SELECT q.id AS quantity, {_FIGURES} FROM quantities q CROSS JOIN rollup r "
    f"WHERE q.id IN ({{numbers}}) AND {_PART} GROUP BY q.id",
    "postgresql": "SELECT q.id AS quantity, each.* FROM quantities q CROSS JOIN LATERAL "
    f"(SELECT {_FIGURES} FROM rollup r WHERE {_PART}) each "
    "WHERE q.id IN ({numbers}) AND each.n IS NOT NULL",
}
_COMBINE = (
    _INSERT + "SELECT ?, ?, s.quantity, ?, s.n, s.mean, s.lowest, s.highest, "
    "(SELECT last FROM rollup WHERE level = ? AND meter = ? AND quantity = s.quantity "
    "AND bucket = s.newest), s.delta FROM ({parts}) s WHERE true " + _REPLACE
)


class RollupSql:
    """The statements, ready to run; each is part of the caller's transaction."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        on_sqlite = isinstance(database, peewee.SqliteDatabase)
        self._parts = _PARTS["sqlite" if on_sqlite else "postgresql"]

    def due(self, meter: int, bucket: int, limit: int) -> list[Mark]:
        """Return the marked buckets after this one, in the order of meters and times."""
        return self._rows(
            "SELECT meter, bucket FROM rollup_dirty WHERE (meter, bucket) > (?, ?) "
            "ORDER BY meter, bucket LIMIT ?",
            (meter, bucket, limit),
        )

    def clear(self, marks: Iterable[Mark]) -> None:
        """Forget marks that have been dealt with."""
        run_many(
            self._database, "DELETE FROM rollup_dirty WHERE meter = ? AND bucket = ?", list(marks)
        )

    def readings(self, names: Iterable[str], meter: int, begin: int, end: int) -> list[Row]:
        """Return time and these values of the readings from `begin` to before `end` (epoch s)."""
        return self._rows(
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts < ? ORDER BY ts",
            (meter, begin * 1000, end * 1000),
        )

    def counters_before(self, names: Iterable[str], meter: int, ts: int) -> Row | None:
        """Return time and these counters of the newest reading before `ts`."""
        return fetch_one(
            self._database,
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            "WHERE meter = ? AND ts < ? ORDER BY ts DESC LIMIT 1",
            (meter, ts),
        )

    def counter_before(self, name: str, meter: int, ts: int) -> tuple[int, int] | None:
        """Return time and value of the newest reading before `ts` that has this counter."""
        rows = self._rows(
            f"SELECT ts, {name} FROM readings_raw "
            f"WHERE meter = ? AND ts < ? AND {name} IS NOT NULL ORDER BY ts DESC LIMIT 1",
            (meter, ts),
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def replacements(self, meter: int) -> list[Row]:
        """Return (quantity, time, old end, new start) of each time the meter was replaced."""
        return self._rows(
            "SELECT quantity, ts, old_end, new_start FROM meter_events "
            "WHERE meter = ? AND kind = 'replaced' ORDER BY ts",
            (meter,),
        )

    def put(self, rows: Sequence[Row]) -> None:
        """Store roll-up rows in place of those that are there; no key twice."""
        blocks = range(0, len(rows) - _ROWS_AT_ONCE + 1, _ROWS_AT_ONCE)
        self._put([tuple(chain(*rows[place : place + _ROWS_AT_ONCE])) for place in blocks])
        self._put(rows[len(blocks) * _ROWS_AT_ONCE :])

    def combine(self, level: int, meter: int, bucket: int, quantities: Collection[int]) -> None:
        """Make an hour or a day of these quantities again from the next finer level."""
        finer = _FINER[level]
        end = bucket + width_s(level)
        numbers = ", ".join(str(number) for number in sorted(quantities))
        run(
            self._database,
            _COMBINE.format(parts=self._parts.format(numbers=numbers)),
            (level, meter, bucket, finer, meter, finer, meter, bucket, end),
        )

    def first_reading(self, meter: int, ts: int) -> int | None:
        """Return the time of the first reading from `ts` on."""
        rows = self._rows(
            "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? ORDER BY ts LIMIT 1",
            (meter, ts),
        )
        return rows[0][0] if rows else None

    def buckets_between(self, meter: int, begin: int, end: int) -> list[int]:
        """Return the 5-minute buckets that hold readings from `begin` to before `end` (ms)."""
        width_ms = width_s(FIVE_MINUTES) * 1000
        rows = self._rows(
            f"SELECT DISTINCT ts / {width_ms} FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts < ?",
            (meter, begin, end),
        )
        return [bucket_of(row[0] * width_ms) for row in rows]

    def _rows(self, statement: str, parameters: Sequence[Any]) -> list[Row]:
        return fetch(self._database, statement, parameters)

    def _put(self, some: Sequence[Row]) -> None:
        """Run the statement for each of these, which are all of as many rows."""
        if some:
            values = ", ".join([_ROW] * (len(some[0]) // 10))
            run_many(self._database, f"{_INSERT} VALUES {values} {_REPLACE}", some)
