"""Running SQL that stands in this package as text, on SQLite and PostgreSQL alike.

Where a query runs for every batch or every chart, building it anew with peewee takes longer than
running it. Statements are written with `?`; values always go as parameters.
"""

from collections.abc import Sequence
from typing import Any

import peewee

Row = tuple[Any, ...]


def fetch(database: peewee.Database, statement: str, parameters: Sequence[Any] = ()) -> list[Row]:
    """Run a statement and return its rows."""
    rows: list[Row] = database.execute_sql(_dialect(database, statement), parameters).fetchall()
    return rows


def fetch_one(
    database: peewee.Database, statement: str, parameters: Sequence[Any] = ()
) -> Row | None:
    """Run a statement and return its first row, None where there is none."""
    row: Row | None = database.execute_sql(_dialect(database, statement), parameters).fetchone()
    return row


def run(database: peewee.Database, statement: str, parameters: Sequence[Any] = ()) -> int:
    """Run a statement that changes rows and return how many."""
    return int(database.execute_sql(_dialect(database, statement), parameters).rowcount)


def run_many(database: peewee.Database, statement: str, rows: Sequence[Sequence[Any]]) -> int:
    """Run a statement for each of `rows` and return how many rows changed: the fastest way."""
    if not rows:
        return 0
    cursor = database.cursor()
    # The cursor is the driver's own, and so would its errors be. (Not in peewee's stubs.)
    with peewee.__exception_wrapper__:  # type: ignore[attr-defined]
        cursor.executemany(_dialect(database, statement), rows)
    return max(cursor.rowcount, 0)


def _dialect(database: peewee.Database, statement: str) -> str:
    return statement if database.param == "?" else statement.replace("?", database.param)
