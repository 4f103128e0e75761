"""Retention: the file stops growing, and nothing that stays becomes wrong."""

import logging
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import peewee
import pytest

from contract.readings import Reading
from contract.times import epoch_ms
from history import queries
from history.dialect import VACUUM_PAGES, dialect_of, fetch, run, run_many
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups
from history.tables import read_meters
from history.upkeep import Upkeep
from tests.support.postgresql import BOTH, on_sqlite

DATABASES = BOTH

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HORIZON = datetime(2026, 10, 23, tzinfo=UTC)
ALL = float("inf")


def at(days_ago: float, **values: float) -> Reading:
    return Reading("1", NOW - timedelta(days=days_ago), values or {"power": 1.0})


def thin_out(database: peewee.Database, keep: Keep | None = None) -> int:
    return sum(Retention(database, keep).steps(NOW.timestamp()))


def roll_up(database: peewee.Database) -> None:
    assert Rollups(database).run(ALL)


def levels(database: peewee.Database) -> dict[int, int]:
    return dict(fetch(database, "SELECT level, COUNT(*) FROM rollup GROUP BY level"))


def total(database: peewee.Database) -> float:
    """Return what all counters advanced by."""
    return float(fetch(database, "SELECT SUM(delta) FROM rollup WHERE level = 60")[0][0]) / 1000


def count(database: peewee.Database) -> int:
    return int(fetch(database, "SELECT COUNT(*) FROM readings_raw")[0][0])


def test_readings_are_deleted_after_30_days_and_their_rollups_stay(
    database: peewee.Database,
) -> None:
    Writer(database).write([at(100), at(31), at(29), at(1)])
    roll_up(database)

    thin_out(database)

    assert [r.ts for r in queries.readings(database, "1")] == [at(1).ts, at(29).ts]
    assert levels(database) == {5: 3, 15: 4, 60: 4, 1440: 4}


def test_each_level_is_kept_for_its_own_time(database: peewee.Database) -> None:
    Writer(database).write([at(d) for d in (400, 100, 31, 1)])
    roll_up(database)

    thin_out(database, Keep(raw=0, five_minutes=10, hour=50, day=200))

    assert count(database) == 4
    assert levels(database) == {5: 1, 15: 4, 60: 2, 1440: 3}


def test_nothing_is_deleted_that_is_not_rolled_up(database: peewee.Database) -> None:
    Writer(database).write([at(100), at(60)])

    assert thin_out(database) == 0

    roll_up(database)
    Writer(database).write([at(59)])
    thin_out(database)
    assert [r.ts for r in queries.readings(database, "1")] == [at(59).ts]


def test_the_reading_before_the_horizon_stays_to_be_compared_with(
    database: peewee.Database,
) -> None:
    writer = Writer(database)
    writer.write([at(33, energy=1.0), at(32, energy=2.0, charge=7.0), at(31, energy=5.0)])
    roll_up(database)

    thin_out(database)
    writer.write([at(10, energy=9.0, charge=8.5)])
    roll_up(database)

    assert {r.ts for r in queries.readings(database, "1")} == {at(d).ts for d in (32, 31, 10)}
    assert total(database) == 8.0 + 1.5


def test_a_reading_from_before_the_horizon_is_rejected_counted_and_logged_once(
    database: peewee.Database, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(database)
    writer.write([at(40), at(1)])
    roll_up(database)
    thin_out(database)

    assert writer.write([at(35), at(2)]) == 1
    assert writer.write([at(36), at(37)]) == 0

    assert writer.too_old == 3
    assert [record.message for record in caplog.records] == [
        "meter 1: readings from before 2026-10-23T00:00:00.000Z rejected: "
        "retention has deleted up to then"
    ]


def test_a_longer_retention_does_not_move_the_watermark_back(database: peewee.Database) -> None:
    writer = Writer(database)
    writer.write([at(40, energy=1.0), at(1, energy=2.0)])
    roll_up(database)
    thin_out(database)

    thin_out(database, Keep(raw=0))

    assert writer.write([at(35, energy=1.5)]) == 0
    assert read_meters(database)[0].retention_watermark == epoch_ms(HORIZON)


def test_old_readings_of_a_new_meter_are_rolled_up_before_they_go(
    database: peewee.Database,
) -> None:
    Writer(database).write([at(1000 + i, energy=5000.0 - i) for i in range(20)])
    roll_up(database)
    thin_out(database)

    assert count(database) == 1
    assert total(database) == 19


def test_deleting_takes_short_transactions(database: peewee.Database) -> None:
    Writer(database).write([at(40 + i / 1000) for i in range(5000)])
    roll_up(database)

    steps = list(Retention(database).steps(NOW.timestamp()))

    assert sum(steps) == 5000
    assert max(steps) <= 2000


@on_sqlite
def test_free_space_is_returned_in_steps(database: peewee.Database) -> None:
    file = Path(str(database.database))
    run_many(
        database,
        "INSERT INTO rejected_messages (ts, topic, reason, detail, payload) "
        "VALUES (0, 't', 'r', 'd', ?)",
        [("x" * 4000,)] * 2500,
    )
    run(database, "DELETE FROM rejected_messages")
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    before = file.stat().st_size

    free = list(dialect_of(database).give_back())

    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert all(more - less == VACUUM_PAGES for more, less in pairwise(free))
    assert file.stat().st_size < before - 1000 * 4096


def test_upkeep_rolls_up_and_thins_out_a_little_at_a_time(
    database: peewee.Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    old = midnight - timedelta(days=50)
    Writer(database).write(
        [Reading("1", old + timedelta(minutes=i), {"power": 1.0}) for i in range(500)]
    )
    upkeep = Upkeep(database)

    rounds = 0
    while upkeep.due():
        upkeep.run(time.monotonic())
        rounds += 1

    assert rounds > 3
    assert levels(database) == {5: 100, 15: 34, 60: 9, 1440: 1}
    assert "history: retention deleted 500 rows" in caplog.messages


def test_upkeep_starts_again_after_an_error(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    upkeep = Upkeep(database)
    with monkeypatch.context() as broken:
        broken.setattr(Rollups, "steps", lambda _: iter([1 / 0]))
        with pytest.raises(ZeroDivisionError):
            upkeep.run(ALL)

    assert not upkeep.due()
