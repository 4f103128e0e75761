"""Reading the history back: newest readings, pages, meters, and seeks by the whole key."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import peewee
import pytest

from contract.readings import Reading
from history import energy, queries
from history import load_curve as load
from history.periods import Unit
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups
from history.series import series
from history.tables import read_meters
from tests.support.histories import ALL, BERLIN, NEW_YEAR, fill
from tests.support.postgresql import BOTH, on_sqlite

DATABASES = BOTH
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def reading(meter_id: str = "1", second: float = 0, **values: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=second), values or {"power": 1.0})


def test_readings_come_newest_first_within_their_bounds(database: peewee.Database) -> None:
    Writer(database).write([reading("1", s) for s in range(10)] + [reading("2", 4.5)])

    since, until = NOON + timedelta(seconds=3), NOON + timedelta(seconds=6)
    found = queries.readings(database, since=since, until=until)

    assert found == [reading("1", 5), reading("2", 4.5), reading("1", 4), reading("1", 3)]
    assert queries.readings(database, "1", limit=2) == [reading("1", 9), reading("1", 8)]
    assert queries.readings(database, "nobody") == []


def test_meters_are_listed_as_a_person_would_with_first_and_newest_time(
    database: peewee.Database,
) -> None:
    writer = Writer(database)
    writer.write([reading(name, 5) for name in ("esp", "10", "flat10", "flat", "flat9", "2")])
    writer.write([reading("2", 9), reading("2", 1)])

    meters = queries.meters(database)

    assert [meter.meter_id for meter in meters] == ["2", "10", "esp", "flat", "flat9", "flat10"]
    assert (meters[0].first_seen, meters[0].last_seen) == (
        reading(second=1).ts,
        reading(second=9).ts,
    )


def test_pages_go_through_all_readings_once_though_new_ones_come(database: peewee.Database) -> None:
    writer = Writer(database)
    moments = [(m, s) for s in range(120) for m in ("1", "2", "3") if s % 7 or m != "2"]
    writer.write([reading(m, s, power=s) for m, s in moments])
    first = queries.page(database, limit=50)
    writer.write([reading("1", 500, power=1.0)])

    seen, following = list(first.readings), first.next
    while following:
        following_page = queries.page(database, after=following, limit=50)
        seen += following_page.readings
        following = following_page.next

    assert len(seen) == len({(r.meter_id, r.ts) for r in seen}) == 342
    assert [r.ts for r in seen] == sorted((r.ts for r in seen), reverse=True)


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 7, 1000])
def test_pages_hold_each_reading_of_the_period_once_and_in_order(
    database: peewee.Database, oldest_first: bool, limit: int
) -> None:
    moments = [(m, s) for s in range(40) for m in ("1", "2", "3") if s % 7 or m != "2"]
    Writer(database).write([reading(m, s, power=s) for m, s in moments])
    Writer(database).write([reading("busy", s / 10, power=s) for s in range(100, 300)])
    Writer(database).write([reading(f"x{n}", 2 * n, power=n) for n in range(30)])
    since, until = NOON + timedelta(seconds=3), NOON + timedelta(seconds=37)
    span: dict[str, Any] = {"since": since, "until": until, "oldest_first": oldest_first}

    seen, cursor, first = [], None, True
    while first or cursor:
        first = False
        found = queries.page(database, limit=limit, after=cursor, **span)
        seen += found.readings
        cursor = found.next
        assert len(found.readings) == limit or not cursor

    whole = queries.page(database, limit=10_000, **span)
    ids = {meter.name: meter.id for meter in read_meters(database)}
    in_order = sorted(
        whole.readings, key=lambda r: (r.ts, ids[r.meter_id]), reverse=not oldest_first
    )
    assert len(seen) == 34 * 3 - 5 + 200 + 17
    assert seen == whole.readings == in_order
    assert whole.next is None


@pytest.mark.parametrize("oldest_first", [False, True])
def test_pages_of_one_meter_go_through_its_readings(
    database: peewee.Database, oldest_first: bool
) -> None:
    Writer(database).write([reading(m, s, power=s) for s in range(10) for m in ("1", "2")])

    pages, cursor = [], None
    while not pages or cursor:
        found = queries.page(database, "2", after=cursor, limit=5, oldest_first=oldest_first)
        pages.append([r.values["power"] for r in found.readings])
        cursor = found.next

    assert pages == ([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]] if oldest_first else
                     [[9, 8, 7, 6, 5], [4, 3, 2, 1, 0]])  # fmt: skip


def test_a_page_can_have_some_quantities_alone(database: peewee.Database) -> None:
    Writer(database).write([reading(power=1.0, voltage=230.0, current=5.0)])

    for meter_id in (None, "1"):
        [found] = queries.page(database, meter_id, names=["current", "power", "charge"]).readings
        assert found == reading(power=1.0, current=5.0)


def test_meters_without_readings_in_a_period_are_not_queried(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(database).write([reading(f"x{n}", n) for n in range(300)])
    execute, statements = database.execute_sql, []

    def count_and_execute(sql: str, params: Sequence[object] | None = None) -> object:
        statements.append(sql)
        return execute(sql, params)

    monkeypatch.setattr(database, "execute_sql", count_and_execute)
    found = queries.page(database, limit=5)

    assert [r.meter_id for r in found.readings] == [f"x{n}" for n in range(299, 294, -1)]
    assert len(statements) < 15


def test_the_newest_readings_of_many_meters_take_few_statements(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(database).write([reading(f"x{n}", s) for n in range(700) for s in (0, n)])
    database.execute_sql("DELETE FROM readings_raw WHERE meter = 2 AND ts = "
                         "(SELECT last_ts FROM meters WHERE id = 2)")  # fmt: skip
    names = [f"x{n}" for n in range(700)]
    execute, statements = database.execute_sql, []

    def count_and_execute(sql: str, params: Sequence[object] | None = None) -> object:
        statements.append(sql)
        return execute(sql, params)

    monkeypatch.setattr(database, "execute_sql", count_and_execute)
    found = queries.latest_of(database, [*names, "nobody"])

    assert found == {name: reading(name, n if n != 1 else 0) for n, name in enumerate(names)}
    assert len(statements) < 10


def test_readings_are_found_by_their_times(database: peewee.Database) -> None:
    Writer(database).write([reading("1", s) for s in range(5)] + [reading("2", 7)])

    found = queries.at(database, "1", [NOON, NOON + timedelta(seconds=3), NOON - timedelta(1)])

    assert found == {NOON: reading(), NOON + timedelta(seconds=3): reading(second=3)}
    assert queries.at(database, "nobody", [NOON]) == {}
    assert queries.at(database, "1", []) == {}


@on_sqlite
def test_every_statement_seeks_by_the_whole_key(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would read a meter's whole history: slow after a year, and never in a test."""
    fill(database, NEW_YEAR, 3)
    until = NEW_YEAR + timedelta(hours=3)
    execute, plans = database.execute_sql, []

    def explain_and_execute(sql: str, params: Sequence[object] | None = None) -> object:
        if sql.startswith(("SELECT", "WITH", "INSERT", "DELETE", "UPDATE")):
            steps = execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()
            plans.extend((step[3], sql) for step in steps)
        return execute(sql, params)

    monkeypatch.setattr(database, "execute_sql", explain_and_execute)
    for points in (2, 30, 500):
        series(database, "1", ["power"], NEW_YEAR, until, points)
    energy.periods(database, "1", Unit.DAY, NEW_YEAR, until, BERLIN)
    load.peak(database, "1", "power", NEW_YEAR, until)
    load.base_load(database, "1", NEW_YEAR, until)
    queries.readings(database)
    queries.page(database, "1", after="1767222000000.1", oldest_first=True, names=["power"])
    queries.latest_of(database, ["1", "2"])
    queries.at(database, "1", [NEW_YEAR, until])
    Writer(database).write([Reading("1", NEW_YEAR + timedelta(seconds=1), {"energy": 1.0})])
    Rollups(database).run(ALL)
    list(Retention(database, Keep(1, 1, 1, 1)).steps())

    assert len(plans) > 100
    assert [plan for plan in plans if re.match("SCAN (r|rollup|readings_raw)( |$)", plan[0])] == []
    assert [plan for plan in plans if "level=" in plan[0] and "quantity=" not in plan[0]] == []
