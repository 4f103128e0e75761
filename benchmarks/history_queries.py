"""How fast the history responds, at any length.

    python -m benchmarks.history_queries [--millions 10] [postgresql://... of an empty database]

Two files of a year of 4 meters with 32 quantities: one of `--millions` values, one of a tenth (on
PostgreSQL only the larger). The meter that is queried also has a reading every 10 s of the last 30
days. The files are filled by SQL, which is quicker than recording a year;
5-minute roll-ups as by default for the last 90 days, those of the power for the whole year.
"""

import argparse
import tempfile
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from zoneinfo import ZoneInfo

import peewee

from benchmarks.figures import NAMES, START, Verdict, interleaved, line, ms, title
from contract.times import epoch_ms
from history import energy, queries, series
from history import load_curve as load
from history.database import migrate, open_database
from history.dialect import dialect_of, fetch, run
from history.periods import Unit
from history.rollups.dirty_buckets import COUNTERS
from history.rollups.levels import FIVE_MINUTES, ROLLUPS
from history.tables import add_columns, quantity_id, read_meter

Query = Callable[[peewee.Database], object]
METERS, DAYS = 4, 365
DENSE_DAYS, EVERY_MS = 30, 10_000
"""Days for which readings are kept, and how often a meter sends one, as by default."""
END = START + timedelta(days=DAYS)
BERLIN = ZoneInfo("Europe/Berlin")
_NUMBERS = (
    "WITH RECURSIVE n (i) AS "
    "(VALUES (CAST(0 AS BIGINT)) UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
)


def filled(url: str, values: float) -> peewee.Database:
    """Return a new history of a year with about this number of values."""
    database = open_database(url)
    migrate(database)
    each_ms = int(DAYS * 86_400_000 * METERS * len(NAMES) / values)
    with database.atomic():
        add_columns(database, NAMES)
        for meter in range(1, METERS + 1):
            _fill(database, meter, each_ms)
    on_file = dialect_of(database).file
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)" if on_file else "ANALYZE")
    return database


def _fill(database: peewee.Database, meter: int, each_ms: int) -> None:
    begin, end = epoch_ms(START), epoch_ms(END)
    run(
        database,
        "INSERT INTO meters (name, first_ts, last_ts, snapshots) VALUES (?, ?, ?, ?)",
        (str(meter), begin, end - each_ms, True),
    )
    columns = [
        "t / 3600"
        if name in COUNTERS
        else f"t / 1000 * {7919 + place} - t / 1000 * {7919 + place} / 1000003 * 1000003"
        for place, name in enumerate(NAMES)
    ]
    dense = end - DENSE_DAYS * 86_400_000
    for first, last, step in ((begin, dense, each_ms), (dense, end, EVERY_MS)):
        step = each_ms if meter > 1 else step
        database.execute_sql(
            _NUMBERS.format((last - first) // step - 1)
            + f"INSERT INTO readings_raw (meter, ts, {', '.join(NAMES)}) "
            f"SELECT {meter}, {begin} + t, {', '.join(columns)} "
            f"FROM (SELECT {first - begin} + i * {step} AS t FROM n) AS times"
        )
    for name in NAMES:
        for level in ROLLUPS:
            since = end - 90 * 86_400_000 if level == FIVE_MINUTES and name != "power" else begin
            _roll_up(database, meter, name, level, since)


def _roll_up(database: peewee.Database, meter: int, name: str, level: int, since: int) -> None:
    number = quantity_id(database, name)
    delta = f"MAX({name}) - MIN({name})" if name in COUNTERS else "NULL"
    database.execute_sql(
        "INSERT INTO rollup (level, meter, quantity, bucket, n, mean, min, max, last, delta) "
        f"SELECT {level}, {meter}, {number}, ts / {level * 60_000} * {level * 60}, COUNT(*), "
        f"CAST(AVG({name}) AS BIGINT), MIN({name}), MAX({name}), MAX({name}), {delta} "
        f"FROM readings_raw WHERE meter = {meter} AND ts >= {since} GROUP BY 4"
    )


def from_raw(database: peewee.Database) -> object:
    """Draw a year from the readings themselves, as without roll-ups."""
    meter, span = read_meter(database, "1"), (epoch_ms(START), epoch_ms(END))
    return series._from_readings(database, meter, ["power"], span, 1000, extremes=False)


def grouped(database: peewee.Database) -> object:
    """Look for the newest readings as a person would first write it."""
    return fetch(database, "SELECT meter, MAX(ts) FROM readings_raw GROUP BY meter")


def chart(days: float, points: int) -> Query:
    """Return the query of a chart of the last days."""
    return lambda db: series.series(db, "1", ["power"], END - timedelta(days=days), END, points)


QUERIES: tuple[tuple[str, Query, float, Query | None], ...] = (
    ("newest reading of a meter", lambda db: queries.latest(db, "1"), 1, grouped),
    ("24 hours at 500 points", chart(1, 500), 10, None),
    ("30 days at 1,000 points", chart(30, 1000), 12, None),
    ("a year at 1,000 points", chart(DAYS, 1000), 50, from_raw),
    ("energy of each day of a year",
     lambda db: energy.periods(db, "1", Unit.DAY, START, END, BERLIN), 50, None),
    ("base load of a year", lambda db: load.base_load(db, "1", START, END), 50, None),
    ("peak of a year with its time", lambda db: load.peak(db, "1", "power", START, END), 50, None),
    ("a page of 100 readings, in the middle",
     lambda db: queries.page(db, until=START + timedelta(days=180)), 50, None),
)  # fmt: skip


def main() -> None:
    """Fill two files and run each query on both in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--millions", type=float, default=10, help="millions of values in the larger file"
    )
    parser.add_argument("url", nargs="?", help="an empty PostgreSQL database to measure instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        urls = [f"sqlite:///{name}/{size}.db" for size in ("large", "small")]
        sizes = zip([given.url] if given.url else urls, (1e6, 1e5), strict=False)
        databases = [filled(url, given.millions * size) for url, size in sizes]
        verdict = Verdict()
        where = "PostgreSQL" if given.url else "SQLite, beside a tenth of them"
        title(f"A year of {METERS} meters: {given.millions:g} M values on {where}")
        for what, query, most_ms, other in QUERIES:
            taken, *smaller = interleaved([partial(query, database) for database in databases])
            beside = f"{taken / smaller[0]:.2f} of a tenth's" if smaller else ""
            verdict.figure(
                what, ms(taken), beside, f"<= {most_ms:g} ms", ok=taken * 1000 <= most_ms
            )
            if other:
                (without,) = interleaved([partial(other, databases[0])], rounds=3)
                line(
                    "    without what makes it quick", ms(without), f"{without / taken:,.0f} times"
                )
    verdict.end()


if __name__ == "__main__":
    main()
