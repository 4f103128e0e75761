"""Which quantities have a column in `readings_raw`.

In an SQLite row every column takes a byte, even where it is null: with 32 quantities in use of
the catalogue's hundred, a third of the file. So a quantity gets its column when it is first sent.
PostgreSQL keeps nulls in a bitmap and has all columns from the start.
"""

from collections.abc import Iterable
from weakref import WeakKeyDictionary

import peewee

from contract.quantities import QUANTITIES
from history.statements import fetch, run
from history.views import create_views

_seen: WeakKeyDictionary[peewee.Database, tuple[int, tuple[str, ...]]] = WeakKeyDictionary()


def stored_quantities(database: peewee.Database) -> tuple[str, ...]:
    """Return the quantities that have a column, in the catalogue's order."""
    version = _schema_version(database)
    known = _seen.get(database)
    if known is None or known[0] != version:
        known = _seen[database] = (version, present(database))
    return known[1]


def present(database: peewee.Database) -> tuple[str, ...]:
    """Return the same, read from the schema itself (as is needed within a transaction)."""
    columns = {column.name for column in database.get_columns("readings_raw")}
    return tuple(quantity.name for quantity in QUANTITIES if quantity.name in columns)


def add_columns(database: peewee.Database, names: Iterable[str]) -> list[str]:
    """Give these quantities a column where they have none, and show it in the views."""
    there = present(database)
    missing = [name for name in names if name not in there]
    for name in missing:
        run(database, f"ALTER TABLE readings_raw ADD COLUMN {name} BIGINT")
    if missing:
        create_views(database, present(database))
    return missing


def _schema_version(database: peewee.Database) -> int:
    if isinstance(database, peewee.SqliteDatabase):
        return int(fetch(database, "PRAGMA schema_version")[0][0])
    return 0
