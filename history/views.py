"""Views for people who open the database with a command line: values in units, times to read."""

from collections.abc import Iterable

import peewee

_CORE = ("voltage", "current", "power", "energy")
VIEWS = ("readings", "smart_meter", "meter_readings")
_ISO_TIME = {
    "sqlite": "strftime('%Y-%m-%dT%H:%M:%fZ', {} / 1000.0, 'unixepoch')",
    "postgresql": "to_char(to_timestamp({} / 1000.0) AT TIME ZONE 'UTC', "
    '\'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\')',
}


def create_views(database: peewee.Database, names: Iterable[str]) -> None:
    """Create the views anew, with a column for each of these quantities.

    `readings`: time, meter, values in their units; `ts` (epoch ms) is the key to filter by.
    `smart_meter` and `meter_readings`: the tables of simple loggers, for what was made for them.
    """
    iso = _ISO_TIME["sqlite" if isinstance(database, peewee.SqliteDatabase) else "postgresql"]
    values = ", ".join(f"r.{name} / 1000.0 AS {name}" for name in names)
    core = ", ".join(f"r.{name} / 1000.0 AS {name}" for name in _CORE)
    bodies = {
        "readings": f"SELECT {iso.format('r.ts')} AS time, m.name AS meter, {values}, r.ts AS ts "
        "FROM readings_raw r JOIN meters m ON m.id = r.meter",
        "smart_meter": f"SELECT id, name, {iso.format('first_ts')} AS first_seen, "
        f"{iso.format('last_ts')} AS last_seen FROM meters",
        "meter_readings": "SELECT r.ts * 65536 + r.meter AS id, r.meter AS meter_id, "
        f'{iso.format("r.ts")} AS "timestamp", {core} FROM readings_raw r',
    }
    for name in VIEWS:
        database.execute_sql(f"DROP VIEW IF EXISTS {name}")
        database.execute_sql(f"CREATE VIEW {name} AS {bodies[name]}")
