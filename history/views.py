"""Views for people who open the database with a command line: values in units, times to read."""

import peewee

from contract.quantities import QUANTITIES

_ISO_TIME = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', r.ts / 1000.0, 'unixepoch')",
    "postgresql": "to_char(to_timestamp(r.ts / 1000.0) AT TIME ZONE 'UTC', "
    '\'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\')',
}


def create_views(database: peewee.Database) -> None:
    """Create the views anew, with a column for each quantity of the catalogue.

    `readings`: time, meter, values in their units; `ts` (epoch ms) is the key to filter by.
    """
    dialect = "sqlite" if isinstance(database, peewee.SqliteDatabase) else "postgresql"
    values = ", ".join(f"r.{q.name} / 1000.0 AS {q.name}" for q in QUANTITIES)
    database.execute_sql("DROP VIEW IF EXISTS readings")
    database.execute_sql(
        f"CREATE VIEW readings AS SELECT {_ISO_TIME[dialect]} AS time, m.name AS meter, "
        f"{values}, r.ts AS ts FROM readings_raw r JOIN meters m ON m.id = r.meter"
    )
