"""Checksums of days: a day that is over has them, and what changes it removes them."""

from datetime import UTC, datetime, timedelta

import peewee
import pytest

from contract.readings import Reading
from history import corrections
from history.day_checksums import DayChecksums
from history.dialect import fetch, run
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups
from history.tables import Meter, read_meters
from tests.support.postgresql import on_postgresql

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def reading(hours_ago: float, power: float = 1.5, meter: str = "1", **more: float) -> Reading:
    return Reading(meter, NOON - timedelta(hours=hours_ago), {"power": power, **more})


def write(database: peewee.Database, readings: list[Reading]) -> None:
    Writer(database).write(readings)
    assert Rollups(database, lambda: NOON.timestamp()).run(float("inf"))


def put(database: peewee.Database) -> None:
    list(DayChecksums(database).steps(NOON.timestamp()))


def meter_1(database: peewee.Database) -> Meter:
    return next(meter for meter in read_meters(database) if meter.name == "1")


def days(database: peewee.Database) -> list[int]:
    """Return how many days ago each day with checksums was."""
    found = DayChecksums(database).days(meter_1(database))
    return [(NOON - datetime.fromtimestamp(day, UTC)).days for day in found]


def differing(database: peewee.Database) -> list[int]:
    checksums, meter = DayChecksums(database), meter_1(database)
    return [day for day in checksums.days(meter) if checksums.differs(meter, day)]


@pytest.fixture
def week(database: peewee.Database) -> peewee.Database:
    write(database, [reading(hours, hours, energy=500 - hours) for hours in range(7 * 24, 0, -1)])
    put(database)
    return database


def test_days_that_are_over_have_checksums_which_agree(week: peewee.Database) -> None:
    assert days(week) == [7, 6, 5, 4, 3, 2, 1]
    assert differing(week) == []
    assert {level for (level,) in fetch(week, "SELECT level FROM day_checksums")} == {
        *(0, 5, 15, 60, 1440)
    }


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE readings_raw SET power = power + 1 WHERE ts = ?",
        "DELETE FROM readings_raw WHERE ts = ?",
        "UPDATE readings_raw SET ts = ts + 1 WHERE ts = ?",
        "UPDATE rollup SET last = last + 1 WHERE level = 60 AND bucket = ? / 1000",
        "UPDATE rollup SET mean = mean + 1 WHERE level = 15 AND bucket = ? / 1000",
    ],
)
def test_a_value_that_no_program_has_changed_is_found(week: peewee.Database, change: str) -> None:
    (changed,) = fetch(week, "SELECT ts FROM readings_raw WHERE power = 100000")[0]

    assert run(week, change, (changed,)) > 0

    assert differing(week) == [changed // 86_400_000 * 86_400]


def test_a_late_reading_removes_the_checksums_of_its_day_until_the_next_round(
    week: peewee.Database,
) -> None:
    Writer(week).write([reading(100.5)])
    assert days(week) == [7, 6, 5, 3, 2, 1]
    put(week)
    assert days(week) == [7, 6, 5, 3, 2, 1], "it is dirty"

    assert Rollups(week, lambda: NOON.timestamp()).run(float("inf"))
    put(week)

    assert days(week) == [7, 6, 5, 4, 3, 2, 1]
    assert differing(week) == []


def test_a_new_quantity_changes_no_checksum_of_other_days(week: peewee.Database) -> None:
    write(week, [reading(0.5, voltage_l1=230.0)])

    assert days(week) == [7, 6, 5, 4, 3, 2, 1]
    assert differing(week) == []


def test_void_readings_get_new_checksums(week: peewee.Database) -> None:
    begin = NOON - timedelta(hours=100)
    corrections.void(week, "1", begin, begin + timedelta(hours=30), "mistaken")
    assert len(days(week)) == 5

    assert Rollups(week, lambda: NOON.timestamp()).run(float("inf"))
    put(week)

    assert days(week) == [7, 6, 5, 4, 3, 2, 1]
    assert differing(week) == []


def test_retention_removes_the_checksums_of_what_it_deletes(week: peewee.Database) -> None:
    list(Retention(week, Keep(raw=3, five_minutes=5)).steps(NOON.timestamp()))
    put(week)

    assert days(week) == [7, 6, 5, 4, 3, 2, 1]
    assert differing(week) == []
    levels = dict(fetch(week, "SELECT level, COUNT(*) FROM day_checksums GROUP BY level"))
    assert levels == {0: 3, 5: 5, 15: 7, 60: 7, 1440: 7}


def test_a_round_gives_checksums_to_a_few_days_at_a_time(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("history.day_checksums.MOST_DAYS", 3)
    write(database, [reading(24 * day) for day in range(5, 0, -1)])

    put(database)
    assert days(database) == [5, 4, 3]

    put(database)
    assert days(database) == [5, 4, 3, 2, 1]


@on_postgresql
def test_a_server_checks_its_own_files(database: peewee.Database) -> None:
    write(database, [reading(48)])

    put(database)

    assert days(database) == []
