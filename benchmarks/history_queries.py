"""How fast the history answers, and that it does not matter how long it is.

    python -m benchmarks.history_queries [--millions 10] [postgresql://... of an empty database]

Two files of a year of 4 meters with 32 quantities: one of so many million values, one of a tenth
(of PostgreSQL only the larger). They are filled by SQL, which is quicker than recording a year;
5-minute roll-ups as by default for the last 90 days, those of the power for the whole year.
"""

import argparse
import tempfile
from collections.abc import Callable
from datetime import timedelta
from zoneinfo import ZoneInfo

import peewee

from benchmarks.figures import NAMES, START, interleaved, line, ms, title
from contract.readings import epoch_ms
from history import energy, queries, series
from history import load_curve as load
from history.columns import add_columns
from history.database import migrate, open_database
from history.periods import Unit
from history.rollups.dirty_buckets import COUNTERS
from history.rollups.levels import FIVE_MINUTES, ROLLUPS
from history.tables import TABLES, Meter, QuantityNumber

METERS, DAYS = 4, 365
END = START + timedelta(days=DAYS)
BERLIN = ZoneInfo("Europe/Berlin")
_NUMBERS = (
    "WITH RECURSIVE n (i) AS "
    "(VALUES (CAST(0 AS BIGINT)) UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
)


def filled(url: str, values: float) -> peewee.Database:
    """Return a new history of a year with about so many values."""
    database = open_database(url)
    migrate(database)
    each_ms = int(DAYS * 86_400_000 * METERS * len(NAMES) / values)
    with database.atomic():
        add_columns(database, NAMES)
        for meter in range(1, METERS + 1):
            _fill(database, meter, each_ms)
    on_sqlite = isinstance(database, peewee.SqliteDatabase)
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)" if on_sqlite else "ANALYZE")
    return database


def _fill(database: peewee.Database, meter: int, each_ms: int) -> None:
    begin, end = epoch_ms(START), epoch_ms(END)
    Meter.create(name=str(meter), first_ts=begin, last_ts=end - each_ms, snapshots=True)
    columns = [
        f"i * {each_ms} / 3600"
        if name in COUNTERS
        else f"i * {7919 + place} - i * {7919 + place} / 1000003 * 1000003"
        for place, name in enumerate(NAMES)
    ]
    database.execute_sql(
        _NUMBERS.format((end - begin) // each_ms - 1)
        + f"INSERT INTO readings_raw (meter, ts, {', '.join(NAMES)}) "
        f"SELECT {meter}, {begin} + i * {each_ms}, {', '.join(columns)} FROM n"
    )
    for name in NAMES:
        for level in ROLLUPS:
            since = end - 90 * 86_400_000 if level == FIVE_MINUTES and name != "power" else begin
            _roll_up(database, meter, name, level, since)


def _roll_up(database: peewee.Database, meter: int, name: str, level: int, since: int) -> None:
    number = QuantityNumber.get(QuantityNumber.name == name).id
    delta = f"MAX({name}) - MIN({name})" if name in COUNTERS else "NULL"
    database.execute_sql(
        "INSERT INTO rollup (level, meter, quantity, bucket, n, mean, min, max, last, delta) "
        f"SELECT {level}, {meter}, {number}, ts / {level * 60_000} * {level * 60}, COUNT(*), "
        f"CAST(AVG({name}) AS BIGINT), MIN({name}), MAX({name}), MAX({name}), {delta} "
        f"FROM readings_raw WHERE meter = {meter} AND ts >= {since} GROUP BY 4"
    )


def on(database: peewee.Database, query: Callable[[], object]) -> Callable[[], object]:
    """Return the query, asked of one of the databases."""

    def ask() -> object:
        with database.bind_ctx(TABLES):
            return query()

    return ask


def from_raw() -> object:
    """Draw a year from the readings themselves, as without roll-ups."""
    slots = series._Slots()
    database: peewee.Database = Meter._meta.database
    slots.read_readings(database, 1, ["power"], epoch_ms(START), epoch_ms(END), 1000)
    return slots.times()


def grouped() -> object:
    """Look for the newest readings as a person would first write it."""
    database: peewee.Database = Meter._meta.database
    return database.execute_sql("SELECT meter, MAX(ts) FROM readings_raw GROUP BY meter").fetchall()


def chart(days: float, points: int) -> Callable[[], object]:
    """Return the query of a chart of the last days."""
    return lambda: series.series("1", ["power"], END - timedelta(days=days), END, points)


QUERIES: tuple[tuple[str, Callable[[], object], float, Callable[[], object] | None], ...] = (
    ("newest reading of a meter", lambda: queries.latest("1"), 1, grouped),
    ("24 hours at 500 points", chart(1, 500), 10, None),
    ("30 days at 1,000 points", chart(30, 1000), 12, None),
    ("a year at 1,000 points", chart(DAYS, 1000), 50, from_raw),
    ("energy of each day of a year",
     lambda: energy.periods("1", Unit.DAY, START, END, BERLIN), 50, None),
    ("base load of a year", lambda: load.base_load("1", START, END), 50, None),
    ("peak of a year with its time", lambda: load.peak("1", "power", START, END), 50, None),
    ("a page of 100 readings, in the middle",
     lambda: queries.page(until=START + timedelta(days=180)), 50, None),
)  # fmt: skip


def main() -> None:
    """Fill two files and ask both the same, A B A B."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--millions", type=float, default=10, help="of values in the larger file")
    parser.add_argument("url", nargs="?", help="an empty PostgreSQL database to measure instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        urls = [f"sqlite:///{name}/{size}.db" for size in ("large", "small")]
        sizes = zip([given.url] if given.url else urls, (1e6, 1e5), strict=False)
        databases = [filled(url, given.millions * size) for url, size in sizes]
        where = "PostgreSQL" if given.url else "SQLite, beside a tenth of them"
        title(f"A year of {METERS} meters: {given.millions:g} M values on {where}")
        for what, query, most_ms, other in QUERIES:
            taken, *smaller = interleaved([on(database, query) for database in databases])
            beside = f"{taken / smaller[0]:.2f} of a tenth's" if smaller else ""
            line(what, ms(taken), beside, f"<= {most_ms:g} ms", taken * 1000 <= most_ms)
            if other:
                (without,) = interleaved([on(databases[0], other)], rounds=3)
                line(
                    "    without what makes it quick", ms(without), f"{without / taken:,.0f} times"
                )


if __name__ == "__main__":
    main()
