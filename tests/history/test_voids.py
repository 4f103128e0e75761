"""Void readings: out of every sum and chart, in any order of arrival, and back again."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.readings import Reading
from history import energy, queries
from history import load_curve as load
from history.checks import days_of, differs
from history.corrections import undo, void
from history.dialect import Row, fetch
from history.errors import StorageError
from history.periods import Unit
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.levels import ROLLUPS
from history.rollups.replacements import counters_around
from history.rollups.rollups import Rollups
from history.series import series
from history.tables import read_meters
from history.voids import read_voids
from tests.support.postgresql import BOTH, on_postgresql, on_sqlite

DATABASES = BOTH
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ALL = float("inf")
UTC_ZONE = ZoneInfo("UTC")


def at(second: float) -> datetime:
    return NOON + timedelta(seconds=second)


def reading(second: float, counter: float, power: float = 500.0, **more: float) -> Reading:
    return Reading("1", at(second), {"power": power, "energy": counter} | more)


def write(database: peewee.Database, readings: Sequence[Reading]) -> None:
    Writer(database).write(readings)
    assert Rollups(database).run(ALL)


def set_void(database: peewee.Database, begin: float, end: float) -> None:
    void(database, "1", at(begin), at(end), "test")
    assert Rollups(database).run(ALL)


def table(database: peewee.Database) -> list[Row]:
    rows = fetch(database, "SELECT * FROM rollup ORDER BY level, meter, quantity, bucket")
    return [(row[0], *row[2:]) for row in rows]


def clear(database: peewee.Database) -> None:
    for name in ("readings_raw", "rollup", "rollup_dirty", "meters", "voids"):
        database.execute_sql(f"DELETE FROM {name}")


def counted(database: peewee.Database, hours: float = 2) -> float | None:
    (period,) = energy.between(database, "1", [NOON, NOON + timedelta(hours=hours)], UTC_ZONE)
    return period.imported


def test_void_readings_are_not_taken_for_what_a_replaced_meter_showed(
    database: peewee.Database,
) -> None:
    write(database, [reading(n * 600, value) for n, value in enumerate((5.0, 99.0, 98.0, 1.0))])
    set_void(database, 500, 1500)

    assert counters_around(database, "1", at(1000)) == {"energy": (5.0, 1.0)}


def test_void_readings_are_out_of_every_sum_and_come_back(database: peewee.Database) -> None:
    """A counter that jumps up and back: the jump counts, until it is void."""
    wrong = [reading(600, 990.0, 9000.0), reading(700, 991.0, 9000.0)]
    write(
        database, [reading(0, 10), reading(300, 11), *wrong, reading(1200, 12), reading(4000, 14)]
    )
    before = table(database)
    assert counted(database) == 11 - 10 + 991 - 11 + 12 + 2

    set_void(database, 590, 710)

    assert counted(database) == 4
    day = NOON.replace(hour=0)
    (whole_day,) = energy.periods(database, "1", Unit.DAY, day, NOON, UTC_ZONE)
    assert whole_day.imported == 4
    for points in (1, 12, 1000):
        chart = series(database, "1", ["power"], NOON, at(7200), points)
        assert max(v for v in chart.columns["power"].max if v is not None) == 500.0
    assert load.peak(database, "1", "power", NOON, at(7200)) == load.Peak(500.0, NOON, 0)
    assert len(queries.readings(database, "1")) == 6

    assert undo(database, "1", at(500), at(800)) == 1
    assert Rollups(database).run(ALL)

    assert table(database) == before


def test_a_bucket_whose_readings_are_all_void_is_gone_from_every_level(
    database: peewee.Database,
) -> None:
    write(database, [reading(0, 1), reading(86_400, 2, voltage=230.0), reading(172_800, 4)])

    set_void(database, 86_400, 86_401)

    found = fetch(database, "SELECT level, COUNT(*), SUM(delta) FROM rollup GROUP BY level")
    assert sorted(found) == [(level, 4, 3000) for level in ROLLUPS]


def test_a_late_reading_of_a_void_time_is_void_too(database: peewee.Database) -> None:
    write(database, [reading(0, 1), reading(1000, 2)])
    set_void(database, 100, 900)
    before = table(database)

    write(database, [reading(500, 77)])

    assert table(database) == before
    assert counted(database) == 1


def test_a_reading_that_waits_for_its_roll_up_is_void_too(database: peewee.Database) -> None:
    Writer(database).write([reading(0, 1), reading(10, 50, 9000.0), reading(20, 2)])

    void(database, "1", at(5), at(15), "test")

    assert counted(database) == 1
    assert series(database, "1", ["power"], NOON, at(60), 100).columns["power"].max == [500.0] * 2
    assert load.peak(database, "1", "power", NOON, at(60)) == load.Peak(500.0, NOON, 0)


def test_the_same_void_again_changes_nothing(database: peewee.Database) -> None:
    write(database, [reading(0, 1), reading(10, 5), reading(20, 2)])

    counts = [void(database, "1", at(5), at(15), "test") for _ in range(2)]

    assert counts == [1, 1]
    assert [(each.begin, each.end, each.why, each.undone_at) for each in read_voids(database)] == [
        (at(5), at(15), "test", None)
    ]


def test_an_undone_void_keeps_its_record(database: peewee.Database) -> None:
    write(database, [reading(0, 1)])
    void(database, "1", at(5), at(15), "test")

    assert undo(database, "1", at(0), at(20)) == 1
    assert undo(database, "1", at(0), at(20)) == 0

    (record,) = read_voids(database, "1")
    assert record.undone_at is not None
    assert record.undone_at >= record.made_at


def test_a_part_of_a_void_cannot_be_undone(database: peewee.Database) -> None:
    write(database, [reading(0, 1)])
    void(database, "1", at(0), at(600), "test")

    with pytest.raises(StorageError, match=r"is void from 2026-11-22T12:00:00.000Z to .*undo all"):
        undo(database, "1", at(0), at(300))


def test_what_retention_has_deleted_can_be_neither_void_nor_brought_back(
    database: peewee.Database,
) -> None:
    day = 86_400
    write(
        database,
        [reading(-40 * day, 1), reading(-39 * day, 7), reading(-38 * day, 2), reading(0, 3)],
    )
    set_void(database, -39.5 * day, -38.5 * day)
    list(Retention(database, Keep(raw=10)).steps(NOON.timestamp()))

    for change in (lambda: undo(database, "1", at(-41 * day), NOON),
                   lambda: void(database, "1", at(-41 * day), NOON, "test")):  # fmt: skip
        with pytest.raises(StorageError, match="have been deleted by retention"):
            change()
    with pytest.raises(StorageError, match="meter 9: has no history"):
        void(database, "9", NOON, at(1), "test")


def test_the_last_valid_reading_before_the_horizon_stays_to_be_compared_with(
    database: peewee.Database,
) -> None:
    day = 86_400
    write(database, [reading(-40 * day, 5), reading(-39 * day, 900), reading(0, 8)])
    set_void(database, -39.5 * day, -38.5 * day)
    list(Retention(database, Keep(raw=10)).steps(NOON.timestamp()))

    write(database, [reading(-5 * day, 6)])

    assert counted(database) == 2
    assert len(queries.readings(database, "1")) == 3


def test_the_check_agrees_where_readings_are_void(database: peewee.Database) -> None:
    write(
        database,
        [reading(s, s / 100, energy_import=s, energy_export=s / 2) for s in range(0, 4000, 50)],
    )

    set_void(database, 777, 1999)

    (meter,) = read_meters(database)
    assert days_of(database, meter) == [int(NOON.timestamp()) // 86_400 * 86_400]
    assert not differs(database, meter, days_of(database, meter)[0])


def test_people_see_in_the_view_why_a_reading_is_void(database: peewee.Database) -> None:
    write(database, [reading(0, 1), reading(10, 2), reading(20, 3)])
    void(database, "1", at(5), at(15), "a test")
    void(database, "1", at(15), at(25), "undone")
    undo(database, "1", at(15), at(25))

    found = fetch(database, "SELECT energy, void FROM readings ORDER BY ts")

    assert [row[1] for row in found] == [None, "a test", None]


def test_what_is_netted_after_a_void_goes_on_from_what_was_before_it(
    database: peewee.Database,
) -> None:
    """The flow of void readings is that of no later ones, also within the same roll-up."""

    def both(second: float, exported: float) -> Reading:
        return reading(second, 5.0, energy_import=40.0, energy_export=exported)

    left = [both(248, 30.0), both(1866, 0.0)]
    write(database, left)
    expected = table(database)
    clear(database)

    write(database, [*left, both(1590, 30.002)])
    set_void(database, 887, 1591)

    assert table(database) == expected


# -- any order ---------------------------------------------------------------------------------

SPANS = st.lists(st.tuples(st.integers(0, 9000), st.integers(1, 4000)), min_size=1, max_size=3)


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    values = {"energy": 50_000, "energy_import": 40_000, "energy_export": 30_000}
    readings = []
    for second in sorted(
        draw(st.lists(st.integers(0, 12_000), min_size=1, max_size=25, unique=True))
    ):
        shown = {}
        for name in values:
            values[name] += draw(st.sampled_from([0, 1, 2, 300, -2, -60_000]))
            values[name] = max(values[name], 0)
            if draw(st.sampled_from([True, True, True, False])):
                shown[name] = values[name] / 1000
        readings.append(Reading("1", at(second), {"power": second / 10} | shown))
    return readings


def check_any_order(
    database: peewee.Database,
    readings: list[Reading],
    spans: list[tuple[int, int]],
    random: Random,
) -> None:
    """Check that voids lead to the tables of the readings that are left, whenever they are made."""
    left = [
        each
        for each in readings
        if not any(at(a) <= each.ts < at(a + length) for a, length in spans)
    ]
    clear(database)
    write(database, left)
    expected = table(database)
    clear(database)
    write(database, readings)
    everything = table(database)

    clear(database)
    arrived = random.sample(readings, len(readings))
    half = len(arrived) // 2 + 1
    Writer(database).write(arrived[:half])
    waiting = list(spans)
    while waiting or arrived[half:]:
        if waiting and (random.random() < 0.5 or not arrived[half:]):
            begin, length = waiting.pop()
            void(database, "1", at(begin), at(begin + length), "test")
        else:
            Writer(database).write([arrived.pop()])
        if random.random() < 0.5:
            Rollups(database).run(0 if random.random() < 0.5 else ALL)
    assert Rollups(database).run(ALL)
    assert table(database) == expected

    undo(database, "1", at(0), at(20_000))
    assert Rollups(database).run(ALL)
    assert table(database) == everything


def examples(most: int) -> settings:
    return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_sqlite
@examples(60)
@given(readings=histories(), spans=SPANS, random=st.randoms(use_true_random=False))
def test_voids_lead_to_the_same_tables_in_any_order(
    database: peewee.Database,
    readings: list[Reading],
    spans: list[tuple[int, int]],
    random: Random,
) -> None:
    check_any_order(database, readings, spans, random)


@on_postgresql
@examples(6)
@given(readings=histories(), spans=SPANS, random=st.randoms(use_true_random=False))
def test_the_same_on_postgresql(
    database: peewee.Database,
    readings: list[Reading],
    spans: list[tuple[int, int]],
    random: Random,
) -> None:
    check_any_order(database, readings, spans, random)
