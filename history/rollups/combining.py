"""Rows of `rollup`: how they are stored, and how those of a coarser level are made of finer ones.

Every range is one seek per quantity: a range over level and meter alone would read the meter's
whole history (the key is level, meter, quantity, bucket).
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import chain

import peewee

from history.dialect import Row, dialect_of, fetch, run, run_many
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, start_of, width_s

FINER = {QUARTER_HOUR: FIVE_MINUTES, HOUR: FIVE_MINUTES, DAY: HOUR}
"""The level that each coarser one is made of; finer levels come first."""
_INSERT = "INSERT INTO rollup (level, meter, quantity, bucket, n, mean, min, max, last, delta) "
_REPLACE = (
    "ON CONFLICT (level, meter, quantity, bucket) DO UPDATE SET n = excluded.n, "
    "mean = excluded.mean, min = excluded.min, max = excluded.max, last = excluded.last, "
    "delta = excluded.delta"
)
_ROW = f"({', '.join('?' * 10)})"
_ROWS_AT_ONCE = 24
"""Rows of one statement; a statement for each row takes half as long again."""
_FIGURES = (
    "SUM(r.n) AS n, CAST(ROUND(SUM(r.n * r.mean) * 1.0 / SUM(r.n)) AS BIGINT) AS mean, "
    "MIN(r.min) AS lowest, MAX(r.max) AS highest, MAX(r.bucket) AS newest, "
    "SUM(r.delta) AS delta"
)
_PART = "r.level = ? AND r.meter = ? AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ?"


def put(database: peewee.Database, rows: Sequence[Row]) -> None:
    """Store rows in place of those that are there; no key twice."""
    blocks = range(0, len(rows) - _ROWS_AT_ONCE + 1, _ROWS_AT_ONCE)
    together = [tuple(chain(*rows[place : place + _ROWS_AT_ONCE])) for place in blocks]
    _put_blocks(database, _ROWS_AT_ONCE, together)
    _put_blocks(database, 1, rows[len(blocks) * _ROWS_AT_ONCE :])


def _put_blocks(database: peewee.Database, size: int, blocks: Sequence[Row]) -> None:
    values = ", ".join([_ROW] * size)
    run_many(database, f"{_INSERT} VALUES {values} {_REPLACE}", blocks)


def remove(
    database: peewee.Database,
    level: int,
    meter: int,
    begin: int,
    end: int,
    quantities: Collection[int],
) -> None:
    """Remove the rows of a level between two edges of its buckets (epoch s)."""
    run_many(
        database,
        "DELETE FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
        "AND bucket >= ? AND bucket < ?",
        [(level, meter, quantity, begin, end) for quantity in sorted(quantities)],
    )


def combine(
    database: peewee.Database,
    level: int,
    meter: int,
    begin: int,
    end: int,
    quantities: Collection[int],
) -> None:
    """Compute a level between two edges of its buckets (epoch s) from the next finer level."""
    statement, parameters = _combined(database, level, meter, begin, end, quantities)
    run(database, f"{_INSERT} {statement} {_REPLACE}", parameters)


def combined(
    database: peewee.Database,
    level: int,
    meter: int,
    begin: int,
    end: int,
    quantities: Collection[int],
) -> list[Row]:
    """Return the rows that `combine` stores."""
    return fetch(database, *_combined(database, level, meter, begin, end, quantities))


def _combined(
    database: peewee.Database,
    level: int,
    meter: int,
    begin: int,
    end: int,
    quantities: Collection[int],
) -> tuple[str, Row]:
    """Return a SELECT of a level's rows as the next finer level has them, and its parameters."""
    finer, width = FINER[level], width_s(level)
    parts = dialect_of(database).per_quantity(
        f"r.bucket / {width} * {width}", _FIGURES, _PART, quantities
    )
    statement = (
        "SELECT ?, ?, s.quantity, s.start, s.n, s.mean, s.lowest, s.highest, "
        "(SELECT last FROM rollup WHERE level = ? AND meter = ? AND quantity = s.quantity "
        f"AND bucket = s.newest), s.delta FROM ({parts}) s WHERE true"
    )
    return statement, (level, meter, finer, meter, finer, meter, begin, end)


def runs(level: int, buckets: Iterable[int]) -> list[tuple[int, int]]:
    """Return the ranges of a level's adjoining buckets that cover these times (epoch s)."""
    found: list[tuple[int, int]] = []
    for start in sorted({start_of(bucket, level) for bucket in buckets}):
        begin = found.pop()[0] if found and found[-1][1] == start else start
        found.append((begin, start + width_s(level)))
    return found
