"""How fast energy and its cost are computed.

    python -m benchmarks.energy [postgresql://... of an empty database]

A year of a meter whose cost is that of dynamic prices for each quarter-hour, and the running day of
a meter that sends a reading every second, of which the last quarter of an hour is not rolled up
yet. Each is compared with the least that has to be read for it.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import peewee

from benchmarks.figures import START, Verdict, interleaved, ms, readings, title
from contract.prices import KwhPrice
from contract.times import epoch_ms
from history import energy, peaks, prices
from history.database import migrate, open_database
from history.dialect import Row, dialect_of, fetch, transaction
from history.periods import Unit
from history.readings_table import Writer
from history.rollups.combining import put
from history.rollups.levels import DAY, HOUR, QUARTER_HOUR, width_s
from history.rollups.rollups import Rollups
from history.tables import quantity_ids
from history.tariffs import Tariffs

DAYS = 365
END = START + timedelta(days=DAYS)
BERLIN = ZoneInfo("Europe/Berlin")
NAMES = ("power", "energy", "energy_export")
WAITING_S = 900
TARIFF = """
[[tariff]]
name = "spot"
valid_from = 2020-01-01
dynamic = true
markup = 0.1
[[tariff.standing]]
per = "month"
price = 10
[[tariff.tax]]
percent = 19
[[tariff]]
name = "windows"
valid_from = 2020-01-01
price = 0.3
[[tariff.window]]
from = "22:00"
to = "06:00"
price = 0.2
"""
Query = Callable[[peewee.Database], object]


def filled(url: str) -> peewee.Database:
    """Return a new history of a meter with roll-ups of a year, and readings of the day after it.

    Its last hour has a reading every second, of which the last are not rolled up.
    """
    database = open_database(url)
    migrate(database)
    writer = Writer(database)
    writer.write(readings(1, 1, 1, START, NAMES))
    Rollups(database).run(float("inf"))
    with transaction(database):
        for name, number in quantity_ids(database, NAMES).items():
            for level in (QUARTER_HOUR, HOUR, DAY):
                put(database, list(rolled_up(number, level, is_counter=name != "power")))
        begin, end = (epoch_ms(moment) // 1000 for moment in (START, END))
        quarters = range(begin, end, 900)
        prices.store(database, "spot", {q: KwhPrice(q % 7919 / 20_000) for q in quarters})
    seconds = list(readings(1, 3600, 1, END + timedelta(hours=12), NAMES))
    writer.write(readings(1, 12 * 60, 60, END, NAMES))
    writer.write(seconds[:-WAITING_S])
    Rollups(database).run(float("inf"))
    writer.write(seconds[-WAITING_S:])
    on_file = dialect_of(database).file
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)" if on_file else "ANALYZE")
    return database


def rolled_up(number: int, level: int, *, is_counter: bool) -> Iterator[Row]:
    """Yield the rows of a level for the year: a load that goes up and down over the day."""
    width = width_s(level)
    total = 0
    for bucket in range(epoch_ms(START) // 1000, epoch_ms(END) // 1000, width):
        quarters = range(bucket, bucket + width, 900)
        advance = sum(50 + abs(quarter % 86_400 - 43_200) // 200 for quarter in quarters)
        total += advance
        figures = (level, 1000, 0, 2000, total) if is_counter else (level, 1000, 0, 2000, 1000)
        yield level, 1, number, bucket, *figures, advance if is_counter else None


def joined(database: peewee.Database) -> object:
    """Read each quarter-hour of the year with its price, and add up what they cost."""
    number = quantity_ids(database, ["energy"])["energy"]
    rows = fetch(
        database,
        "SELECT r.delta, p.price FROM rollup r JOIN tariff_prices p "
        "ON p.tariff = 'spot' AND p.quarter = r.bucket WHERE r.level = ? AND r.meter = ? "
        "AND r.quantity = ? AND r.bucket >= ? AND r.bucket < ?",
        (QUARTER_HOUR, 1, number, epoch_ms(START) // 1000, epoch_ms(END) // 1000),
    )
    return sum(delta * price for delta, price in rows)


def newest(database: peewee.Database) -> object:
    """Read the readings that wait to be rolled up."""
    return fetch(
        database,
        "SELECT ts, energy, energy_export FROM readings_raw WHERE meter = ? AND ts >= ?",
        (1, epoch_ms(END + timedelta(hours=13)) - WAITING_S * 1000),
    )


def measure(database: peewee.Database, tariffs: Tariffs, verdict: Verdict) -> None:
    """Run each query beside the least that has to be read for it."""
    now = END + timedelta(hours=13)

    def year(unit: Unit, tariff: str) -> Query:
        return lambda db: energy.periods(
            db, "1", unit, START, END, BERLIN, tariffs=tariffs, tariff=tariff
        )

    def running(db: peewee.Database) -> object:
        return energy.compare(db, "1", Unit.DAY, now, BERLIN, tariffs=tariffs)

    for what, query, most_ms, least, most in (
        ("a year by dynamic prices", year(Unit.MONTH, "spot"), 60, joined, 1.8),
        ("each of its days", year(Unit.DAY, "spot"), 90, joined, 3),
        ("the same by windows", year(Unit.DAY, "windows"), 90, joined, 2.2),
        ("highest demand of each month",
         lambda db: peaks.months(db, "1", START, END, BERLIN), 60, joined, 1.6),
        ("the running day beside yesterday", running, 5, newest, 9),
    ):  # fmt: skip
        taken, floor = interleaved([partial(each, database) for each in (query, least)])
        beside = f"{taken / floor:.2f} of reading it row by row ({ms(floor)})"
        ok = taken * 1000 <= most_ms or taken / floor <= most  # the machine may be slow or busy
        verdict.figure(what, ms(taken), beside, f"<= {most_ms} ms, or {most}", ok=ok)


def main() -> None:
    """Fill a history and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="an empty PostgreSQL database to measure instead")
    given = parser.parse_args()
    verdict = Verdict()
    title(f"Energy and cost, on {'PostgreSQL' if given.url else 'SQLite'}")
    with tempfile.TemporaryDirectory(dir=".") as name:
        path = Path(name) / "tariffs.toml"
        path.write_text(TARIFF)
        database = filled(given.url or f"sqlite:///{name}/energy.db")
        measure(database, Tariffs.load(path), verdict)
        database.close()
    verdict.end()


if __name__ == "__main__":
    main()
