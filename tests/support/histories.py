"""Histories of a load whose counter runs along with its power."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import peewee

from contract.readings import Reading
from history.readings_table import Writer
from history.rollups.rollups import Rollups

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")  # half an hour off
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
ALL = float("inf")


def fill(
    database: peewee.Database,
    since: datetime,
    hours: float,
    every_s: float = 600,
    power: Callable[[datetime], float] = lambda _: 600.0,
) -> list[Reading]:
    """Store readings of a load whose counter runs along with its power."""
    since, counter, readings = since.astimezone(UTC), 1000.0, []
    for i in range(round(hours * 3600 / every_s)):
        ts = since + timedelta(seconds=i * every_s)
        counter += power(ts) * every_s / 3_600_000
        values = {"power": round(power(ts), 3), "energy": round(counter, 3)}
        readings.append(Reading("1", ts, values))
    Writer(database).write(readings)
    assert Rollups(database).run(ALL)
    return readings


def wave(ts: datetime) -> float:
    return 500 + 400 * Random(ts.timestamp()).random()
