"""Reading the history back: newest readings, pages, meters, and seeks by the whole key."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

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
    writer.write([reading(name, 5) for name in ("esp", "10", "2")])
    writer.write([reading("2", 9), reading("2", 1)])

    meters = queries.meters(database)

    assert [meter.meter_id for meter in meters] == ["2", "10", "esp"]
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
    Writer(database).write([Reading("1", NEW_YEAR + timedelta(seconds=1), {"energy": 1.0})])
    Rollups(database).run(ALL)
    list(Retention(database, Keep(1, 1, 1, 1)).steps())

    assert len(plans) > 100
    assert [plan for plan in plans if re.match("SCAN (r|rollup|readings_raw)( |$)", plan[0])] == []
    assert [plan for plan in plans if "level=" in plan[0] and "quantity=" not in plan[0]] == []
