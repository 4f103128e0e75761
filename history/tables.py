"""The schema as it is today: tables, the columns of readings, and views for people.

meters             a meter that has sent something: its id on MQTT, the number that stands for it
readings_raw       a reading: meter, time, and a column per quantity
quantities         the number that stands for a quantity in `rollup`; once given, it stays
rollup             the figures of one level, meter, quantity and bucket
rollup_dirty       5-minute buckets whose roll-ups have to be computed again
rollup_running     coarser buckets whose roll-ups are computed again when they are over
meter_events       a meter that was replaced, so that no counter is compared across that moment
voids              spans of a meter whose readings a person has taken out of every sum
day_checksums      of a meter's day that is over: a checksum of its readings, and of each level
rejected_messages  the newest messages that could not be used
leases             which of several recorders does what only one should do
utility_readings   what the utility's own meter showed, as a person has entered it
tariff_prices      dynamic prices: what a kWh costs in a quarter-hour

Times are epoch ms (buckets: epoch seconds), values integers of a thousandth: the contract rounds to
three decimals anyway, and the file is half the size of one with REAL columns (4.7 bytes a value
instead of 10.5, measured). `migrations/` has the types.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple
from weakref import WeakKeyDictionary

import peewee

from contract.meter_settings import Billing, Role
from contract.quantities import QUANTITIES
from history.dialect import Row, dialect_of, fetch, fetch_one, placeholders, run

TABLES = (
    "meters",
    "readings_raw",
    "quantities",
    "rollup",
    "rollup_dirty",
    "rollup_running",
    "day_checksums",
    "meter_events",
    "voids",
    "rejected_messages",
    "leases",
    "tariff_prices",
    "utility_readings",
)
VIEWS = ("readings", "smart_meter", "meter_readings")
_CORE = ("voltage", "current", "power", "energy")


# -- meters and quantities ---------------------------------------------------------------------


class Meter(NamedTuple):
    """A row of `meters`; `name` is the meter's id on MQTT, all times are epoch ms.

    A meter with `snapshots` sends whole readings, so that its scalars are mirrors. Readings before
    `retention_watermark` are refused: what they would change has been deleted. Readings from
    `backfill_from` on have yet to be rolled up (None: none). `history.sequences` keeps `bridge` and
    the numbers. `role`, `parent` (an id on MQTT), `title` (for people), `billing` (None: per phase)
    and `serial` are what a person has set, else what the meter's info says.
    """

    id: int
    name: str
    first_ts: int
    last_ts: int
    snapshots: bool
    retention_watermark: int = 0
    backfill_from: int | None = None
    bridge: str | None = None
    seq_upto: int = 0
    seq_above: str = ""
    role: Role | None = None
    parent: str | None = None
    title: str | None = None
    billing: Billing | None = None
    serial: str | None = None


_SETTINGS = ("role", "parent", "title", "billing", "serial")
_METER_COLUMNS = ", ".join(
    f"COALESCE({name}, info_{name})" if name in _SETTINGS else name for name in Meter._fields
)


def read_meters(
    database: peewee.Database, names: Collection[str] | None = None, *, for_update: bool = False
) -> list[Meter]:
    """Return the meters of these names, or all, in the order of their numbers."""
    where = "" if names is None else f"WHERE name IN ({placeholders(names)})"
    locking = dialect_of(database).for_update if for_update else ""
    rows = fetch(
        database,
        f"SELECT {_METER_COLUMNS} FROM meters {where} ORDER BY id {locking}",
        list(names or ()),
    )
    return [_meter(row) for row in rows]


def _meter(row: Row) -> Meter:
    meter = Meter(*row)
    if meter.role is None and meter.billing is None:
        return meter
    return meter._replace(
        role=meter.role and Role(meter.role), billing=meter.billing and Billing(meter.billing)
    )


def read_meter(database: peewee.Database, name: str) -> Meter | None:
    """Return the meter of that name, None for one without history."""
    return next(iter(read_meters(database, [name])), None)


def quantity_ids(database: peewee.Database, names: Collection[str] | None = None) -> dict[str, int]:
    """Return the number that stands for each quantity in `rollup`, of all or of these names."""
    where = "" if names is None else f"WHERE name IN ({placeholders(names)})"
    return dict(fetch(database, f"SELECT name, id FROM quantities {where}", list(names or ())))


def quantity_id(database: peewee.Database, name: str) -> int | None:
    """Return the number that stands for a quantity in `rollup`."""
    row = fetch_one(database, "SELECT id FROM quantities WHERE name = ?", (name,))
    return row[0] if row else None


def in_units(names: Iterable[str], row: Row) -> dict[str, float]:
    """Return the values of a row in their units, without those that are missing."""
    return {n: v / 1000 for n, v in zip(names, row, strict=True) if v is not None}


# -- the columns of readings -------------------------------------------------------------------

_stored: WeakKeyDictionary[peewee.Database, tuple[int, tuple[str, ...]]] = WeakKeyDictionary()


def stored_quantities(database: peewee.Database) -> tuple[str, ...]:
    """Return the quantities that have a column in `readings_raw`, in the catalogue's order.

    In an SQLite row every column takes a byte, also without a value: with 32 quantities in use of
    the catalogue's hundred, a third of the file. So a quantity gets its column when it is first
    sent. PostgreSQL keeps nulls in a bitmap and has all columns from the start.
    """
    version = dialect_of(database).schema_version
    known = _stored.get(database)
    if known is None or known[0] != version:
        known = _stored[database] = (version, present_quantities(database))
    return known[1]


def present_quantities(database: peewee.Database) -> tuple[str, ...]:
    """Return the same, read from the schema itself, which a transaction may have changed."""
    columns = {column.name for column in database.get_columns("readings_raw")}
    return tuple(quantity.name for quantity in QUANTITIES if quantity.name in columns)


def add_columns(database: peewee.Database, names: Iterable[str]) -> list[str]:
    """Add the columns of these quantities that are missing, also to the views; return them."""
    there = present_quantities(database)
    missing = [name for name in names if name not in there]
    for name in missing:
        run(database, f"ALTER TABLE readings_raw ADD COLUMN {name} BIGINT")
    if missing:
        _stored.pop(database, None)
        create_views(database)
    return missing


# -- views -------------------------------------------------------------------------------------


def create_views(database: peewee.Database) -> None:
    """Create the views again, with a column for each quantity that is stored.

    `readings`: time, meter, values in their units; `ts` (epoch ms) is the key to filter by, and
    `void` says why a reading is void.
    `smart_meter` and `meter_readings`: the tables of simple loggers, for programs made for those.
    """
    iso_time = dialect_of(database).iso_time
    values, core = (
        ", ".join(f"r.{name} / 1000.0 AS {name}" for name in names)
        for names in (present_quantities(database), _CORE)
    )
    bodies = {
        "readings": f"SELECT {iso_time('r.ts')} AS time, m.name AS meter, {values}, r.ts AS ts, "
        "(SELECT why FROM voids v WHERE v.meter = r.meter AND v.undone_at IS NULL "
        "AND r.ts >= v.begin_ts AND r.ts < v.end_ts LIMIT 1) AS void "
        "FROM readings_raw r JOIN meters m ON m.id = r.meter",
        "smart_meter": f"SELECT id, name, {iso_time('first_ts')} AS first_seen, "
        f"{iso_time('last_ts')} AS last_seen FROM meters",
        "meter_readings": "SELECT r.ts * 65536 + r.meter AS id, r.meter AS meter_id, "
        f'{iso_time("r.ts")} AS "timestamp", {core} FROM readings_raw r',
    }
    for name in VIEWS:
        run(database, f"DROP VIEW IF EXISTS {name}")
        run(database, f"CREATE VIEW {name} AS {bodies[name]}")
