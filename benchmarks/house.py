"""How fast the web service computes a house of 20 meters.

    python -m benchmarks.house

A history of 30 days of a grid meter and 19 below it: a reading every 10 s in the last hour,
roll-ups before. The hours of 30 days, without and with costs, and a chart of a day; each beside
the rows of the roll-ups that have to be read for it.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import peewee
from flask.testing import FlaskClient

from benchmarks.figures import Verdict, interleaved, ms, readings, title
from contract.meter_settings import MeterSettings
from contract.times import epoch_ms
from history.database import migrate, open_database
from history.dialect import Row, fetch, transaction
from history.meter_settings import change
from history.readings_table import Writer
from history.rollups.combining import put
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, width_s
from history.rollups.rollups import Rollups
from history.tables import quantity_ids, read_meters
from web import create_app
from web.settings import WebSettings

METERS = 20
NAMES = ("power", "energy", "energy_export")
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
START = END - timedelta(days=30)
TARIFF = """
[[tariff]]
valid_from = 2020-01-01
price = 0.3
[[tariff.standing]]
per = "month"
price = 10
[[tariff.tax]]
percent = 19
"""


def filled(url: str) -> None:
    """Create the history."""
    database = open_database(url)
    migrate(database)
    writer = Writer(database)
    writer.write(readings(METERS, 1, 1, START, NAMES))
    writer.write(readings(METERS, 360, 10, END, NAMES))
    change(database, "1", MeterSettings.model_validate({"role": "grid"}))
    for meter in range(2, METERS + 1):
        change(database, str(meter), MeterSettings(parent="1"))
    Rollups(database).run(float("inf"))
    with transaction(database):
        for meter in read_meters(database):
            for name, number in quantity_ids(database, NAMES).items():
                for level in (FIVE_MINUTES, QUARTER_HOUR, HOUR, DAY):
                    is_counter = name != "power"
                    put(database, list(_rolled_up(meter.id, number, level, is_counter=is_counter)))
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


def _rolled_up(meter: int, number: int, level: int, *, is_counter: bool) -> Iterator[Row]:
    """Yield the rows of a level: the first meter has what all others have."""
    width, factor = width_s(level), METERS if meter == 1 else 1
    for bucket in range(epoch_ms(START) // 1000, epoch_ms(END) // 1000, width):
        power = factor * (100 + abs(bucket % 86_400 - 43_200) // 100)
        figures = (level // 5, 1000 * power, 0, 2000 * power)
        advance = power * width // 3600 if is_counter else None
        yield level, meter, number, bucket, *figures, 1000 * power, advance


def client_of(url: str, path: Path, **settings: Any) -> FlaskClient:
    """Return a client of a web service in this process; `path` is the tariffs file."""
    given: dict[str, Any] = {"database_url": url, "timezone": "Europe/Berlin", **settings}
    if path.exists():
        given["tariffs_file"] = path
    return create_app(WebSettings(_env_file=None, **given)).test_client()


def got(client: FlaskClient, address: str) -> bytes:
    """Return the body of a response."""
    response = client.get(address)
    assert response.status_code == 200, response.text
    return response.data


def rows(database: peewee.Database, level: int, names: int, since: datetime) -> object:
    """Read rows of the roll-ups of all meters one by one."""
    return [
        fetch(
            database,
            "SELECT bucket, n, delta FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
            "AND bucket >= ?",
            (level, meter.id, number, epoch_ms(since) // 1000),
        )
        for meter in read_meters(database)
        for number in list(quantity_ids(database, NAMES).values())[:names]
    ]


def measure(url: str, directory: Path, verdict: Verdict) -> None:
    """Ask for each address beside the rows that it has to read."""
    path = directory / "tariffs.toml"
    plain = client_of(url, path)
    path.write_text(TARIFF)
    priced = client_of(url, path)
    database = open_database(url, read_only=True)
    hours = f"/site/energy?period=hour&from={epoch_ms(START)}&to={epoch_ms(END)}"
    day = f"/site/series?points=500&from={epoch_ms(END - timedelta(days=1))}&to={epoch_ms(END)}"
    of_hours, of_day = (
        partial(rows, database, HOUR, 2, START),
        partial(rows, database, FIVE_MINUTES, 1, END - timedelta(days=1)),
    )
    for what, client, address, most_ms, most, floor in (
        ("hours of 30 days", plain, hours, 100, 12, of_hours),
        ("the same with costs", priced, hours, 180, 22, of_hours),
        ("a day at 500 points", plain, day, 100, 20, of_day),
        ("the house now", priced, "/site/", 60, 12, of_day),
    ):  # fmt: skip
        works: list[Callable[[], object]] = [partial(got, client, address), floor]
        taken, least = interleaved(works)
        beside = f"{taken / least:.1f} of reading its rows one by one ({ms(least)})"
        ok = taken * 1000 <= most_ms or taken / least <= most  # the machine may be slow or busy
        verdict.figure(what, ms(taken), beside, f"<= {most_ms} ms, or {most}", ok=ok)
    database.close()
    for client in (plain, priced):
        client.application.extensions["meterflow"].history.close()


def main() -> None:
    """Fill a history and measure."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    verdict = Verdict()
    title(f"A house of {METERS} meters")
    with tempfile.TemporaryDirectory(dir=".") as name:
        url = f"sqlite:///{name}/house.db"
        filled(url)
        measure(url, Path(name), verdict)
    verdict.end()


if __name__ == "__main__":
    main()
