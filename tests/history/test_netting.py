"""Netting: what a meter would count that adds up its phases first."""

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import cos, pi, sin
from random import Random

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.quantities import BY_NAME, DERIVED
from contract.readings import Reading
from history.dialect import Row, fetch
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, ROLLUPS
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from history.tables import quantity_id
from tests.support.postgresql import BOTH, on_postgresql, on_sqlite

DATABASES = BOTH
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ALL = float("inf")
IMPORT, EXPORT = "energy_import", "energy_export"
COUNTERS = (IMPORT, EXPORT)


def reading(second: float, imported: float | None, exported: float | None) -> Reading:
    shown = {IMPORT: imported, EXPORT: exported}
    values = {name: value for name, value in shown.items() if value is not None}
    return Reading("1", NOON + timedelta(seconds=second), {"power": 1.0} | values)


def store(database: peewee.Database, readings: Sequence[Reading]) -> None:
    Writer(database).write(readings)
    assert Rollups(database).run(ALL)


def deltas(database: peewee.Database, name: str, level: int = FIVE_MINUTES) -> list[float]:
    """Return by how much a counter advanced in each bucket."""
    rows = fetch(
        database,
        "SELECT delta FROM rollup WHERE level = ? AND quantity = ? ORDER BY bucket",
        (level, quantity_id(database, name)),
    )
    return [row[0] / 1000 for row in rows]


def netted(database: peewee.Database, level: int = DAY) -> tuple[float, float]:
    """Return netted import and export."""
    found = (sum(deltas(database, f"{name}_netted", level)) for name in COUNTERS)
    imported, exported = (round(value, 3) for value in found)
    return imported, exported


def test_the_netted_counters_are_not_among_those_that_a_meter_sends() -> None:
    assert [each.name for each in DERIVED] == ["energy_import_netted", "energy_export_netted"]
    assert not {each.name for each in DERIVED} & BY_NAME.keys()


def test_what_one_phase_exports_is_taken_off_what_another_imports(
    database: peewee.Database,
) -> None:
    store(database, [reading(0, 10, 5), reading(60, 12, 5.5), reading(360, 12.5, 7.5)])

    assert deltas(database, "energy_import_netted") == [1.5, 0]
    assert deltas(database, "energy_export_netted") == [0, 1.5]
    assert {level: netted(database, level) for level in ROLLUPS} == dict.fromkeys(
        ROLLUPS, (1.5, 1.5)
    )


def test_a_meter_without_one_of_the_counters_has_no_netted_ones(database: peewee.Database) -> None:
    store(database, [reading(0, 1, None), reading(60, 2, None)])

    assert deltas(database, "energy_import_netted") == []


# -- closed forms ------------------------------------------------------------------------------

Curve = Callable[[float], float]
"""Power in W at a second of the day."""


def solar_day(second: float) -> float:
    return 4000 * max(sin(pi * (second / 3600 - 6) / 12), 0)


HOUSE: tuple[Curve, ...] = (
    lambda s: 350 - solar_day(s),
    lambda s: 600 + 250 * sin(2 * pi * s / 7200),
    lambda s: 900 + 400 * cos(2 * pi * s / 5000),
)
"""Solar power on one phase, loads that come and go on the others."""
OPPOSED: tuple[Curve, ...] = (
    lambda _: 2000.0,
    lambda _: -1900.0,
    lambda s: 400 * sin(2 * pi * s / 43_200),
)
"""Two phases that nearly cancel each other out, so that both counters advance all the time."""


def counters(phases: Sequence[Curve], every_s: int, start: float, digits: int) -> list[Reading]:
    """Return a day of readings of a meter that counts each phase on its own."""
    fine = 0.5
    imported, exported, readings = start, start / 3, []
    for step in range(int(86_400 / fine)):
        if step * fine % every_s == 0:
            shown = (round(value, digits) for value in (imported, exported))
            readings.append(reading(step * fine, *shown))
        powers = [phase((step + 0.5) * fine) * fine / 3_600_000 for phase in phases]
        imported += sum(power for power in powers if power > 0)
        exported -= sum(power for power in powers if power < 0)
    return readings


def closed_form(phases: Sequence[Curve], until_s: int) -> tuple[float, float]:
    """Return import and export of the sum of the phases in kWh, integrated in small steps."""
    sums = [sum(phase(second + 0.5) for phase in phases) / 3_600_000 for second in range(until_s)]
    return sum(each for each in sums if each > 0), -sum(each for each in sums if each < 0)


@on_sqlite
@pytest.mark.parametrize(("every_s", "within"), [(1, 0.001), (10, 0.01)])
@pytest.mark.parametrize("phases", [HOUSE, OPPOSED], ids=["house", "opposed"])
def test_known_curves_are_netted_as_the_integral_says(
    database: peewee.Database, phases: Sequence[Curve], every_s: int, within: float
) -> None:
    store(database, counters(phases, every_s, 0, 3))

    assert netted(database) == pytest.approx(closed_form(phases, 86_400 - every_s), rel=within)


@on_sqlite
@pytest.mark.parametrize("phases", [HOUSE, OPPOSED], ids=["house", "opposed"])
def test_large_counters_which_advance_in_steps_of_2_wh_are_netted_as_well(
    database: peewee.Database, phases: Sequence[Curve]
) -> None:
    def as_a_meter_sends_it(value: float) -> float:
        return round(struct.unpack("f", struct.pack("f", value))[0], 3)

    readings = [
        reading(
            (each.ts - NOON).total_seconds(),
            *(as_a_meter_sends_it(each.values[name]) for name in COUNTERS),
        )
        for each in counters(phases, 1, 31_234.567, 9)
    ]
    store(database, readings)

    assert netted(database) == pytest.approx(closed_form(phases, 86_399), rel=0.001, abs=0.01)


@on_sqlite
def test_counters_of_a_hundredth_of_a_kwh_are_netted_as_well(database: peewee.Database) -> None:
    store(database, counters(HOUSE, 10, 100.0, 2))

    assert netted(database) == pytest.approx(closed_form(HOUSE, 86_390), rel=0.01)


@on_sqlite
def test_a_meter_that_nets_by_itself_has_the_same_in_both(database: peewee.Database) -> None:
    alone = (lambda s: sum(phase(s) for phase in HOUSE),)
    store(database, counters(alone, 1, 0, 3))

    assert [netted(database, level) for level in ROLLUPS] == [
        tuple(round(sum(deltas(database, name, level)), 3) for name in COUNTERS)
        for level in ROLLUPS
    ]


# -- whatever comes ----------------------------------------------------------------------------

advances = st.one_of(st.integers(0, 3), st.integers(0, 500), st.sampled_from([-3, -1_000_000]))


@st.composite
def histories(draw: st.DrawFn) -> list[Reading]:
    """Readings with gaps, resets, steps back, and some that have one of the counters alone."""
    values = [draw(st.integers(0, 100_000)), draw(st.integers(0, 100_000))]
    readings = []
    seconds = draw(st.lists(st.integers(0, 20_000), min_size=1, max_size=40, unique=True))
    for second in sorted(seconds):
        for place in range(2):
            advance = draw(advances)
            values[place] = max(values[place] + advance, 0) if advance > -1000 else 0
        lacks = draw(st.sampled_from([None, None, None, 0, 1]))
        shown = [None if place == lacks else values[place] / 1000 for place in range(2)]
        readings.append(reading(second, *shown))
    return readings


def table(database: peewee.Database) -> list[Row]:
    rows = fetch(database, "SELECT * FROM rollup ORDER BY level, meter, quantity, bucket")
    return [(row[0], *row[2:]) for row in rows]


def clear(database: peewee.Database) -> None:
    for name in ("readings_raw", "rollup", "rollup_dirty", "meters", "meter_events"):
        database.execute_sql(f"DELETE FROM {name}")


def check_order_of_arrival(
    database: peewee.Database, readings: list[Reading], random: Random
) -> None:
    clear(database)
    store(database, readings)
    in_order = table(database)

    clear(database)
    arrived = readings + random.sample(readings, len(readings) // 3)
    random.shuffle(arrived)
    while arrived:
        size = random.randint(1, 8)
        Writer(database).write(arrived[:size])
        del arrived[:size]
        if random.random() < 0.5:
            Rollups(database).run(0 if random.random() < 0.5 else ALL)
    assert Rollups(database).run(ALL)

    assert table(database) == in_order


def check_difference(database: peewee.Database, readings: list[Reading]) -> None:
    """Check that the difference is exact between any two readings that have both counters."""
    both = [place for place, each in enumerate(readings) if each.values.keys() >= {*COUNTERS}]
    if not both:
        return
    clear(database)
    store(database, readings[both[0] : both[-1] + 1])

    for level in (FIVE_MINUTES, QUARTER_HOUR, HOUR, DAY):
        imported, exported = netted(database, level)
        own = [sum(deltas(database, name, level)) for name in COUNTERS]
        assert round(imported - exported, 3) == round(own[0] - own[1], 3)


def examples(most: int) -> settings:
    return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_sqlite
@examples(100)
@given(readings=histories(), random=st.randoms(use_true_random=False))
def test_every_order_of_arrival_leads_to_the_same_netted_counters(
    database: peewee.Database, readings: list[Reading], random: Random
) -> None:
    check_order_of_arrival(database, readings, random)
    check_difference(database, readings)


@on_postgresql
@examples(10)
@given(readings=histories(), random=st.randoms(use_true_random=False))
def test_the_same_on_postgresql(
    database: peewee.Database, readings: list[Reading], random: Random
) -> None:
    check_order_of_arrival(database, readings, random)
    check_difference(database, readings)


@on_sqlite
def test_the_difference_is_exact_in_each_bucket(database: peewee.Database) -> None:
    store(database, counters(OPPOSED, 10, 5.0, 3))

    for level in ROLLUPS:
        own = [deltas(database, name, level) for name in COUNTERS]
        ours = [deltas(database, f"{name}_netted", level) for name in COUNTERS]
        assert [round(a - b, 3) for a, b in zip(*ours, strict=True)] == [
            round(a - b, 3) for a, b in zip(*own, strict=True)
        ]


def test_a_reset_of_one_counter_is_no_export(database: peewee.Database) -> None:
    store(database, [reading(0, 100, 7), reading(60, 101, 7), reading(120, 0.5, 7)])

    assert netted(database) == (1.5, 0)


@pytest.mark.parametrize("after_s", [90, 400], ids=["within a quarter", "between buckets"])
def test_a_replaced_meter_is_netted_across_the_change(
    database: peewee.Database, after_s: int
) -> None:
    store(database, [reading(0, 100, 50), reading(60, 101, 50.5), reading(after_s, 7, 3.75)])

    replace_meter(
        database,
        "1",
        NOON + timedelta(seconds=80),
        {IMPORT: 101.25, EXPORT: 50.5},
        {IMPORT: 7, EXPORT: 3},
    )
    assert Rollups(database).run(ALL)

    assert netted(database) == (0.5, 0.5)


def test_what_lies_behind_the_horizon_is_netted_with_what_came_before_it(
    database: peewee.Database,
) -> None:
    day = timedelta(days=1) / timedelta(seconds=1)
    store(
        database,
        [reading(-40 * day, 1, 1), reading(-40 * day + 1, 2, 1), reading(-39 * day, 5, None)],
    )
    list(Retention(database, Keep(raw=10)).steps(NOON.timestamp()))

    store(database, [reading(0, 9, 1.5)])

    assert netted(database) == (1 + 7 - 0.5, 0)


@on_sqlite
def test_late_readings_change_only_the_flow_up_to_where_it_is_sure(
    database: peewee.Database,
) -> None:
    """A step of the resolution counts for the flow before it, whatever bucket that lies in."""
    steps = [(0, 0), (10, 5), (300, 1), (600, -1), (900, 1), (1200, -1), (1500, -1), (1800, -5)]
    imported, exported = (
        list(accumulate(max(sign * change, 0) / 1000 for _, change in steps)) for sign in (1, -1)
    )
    readings = [
        reading(second, 1 + each_way[0], 7 + each_way[1])
        for (second, _), each_way in zip(steps, zip(imported, exported, strict=True), strict=True)
    ]
    store(database, readings[:1] + readings[2:])
    store(database, readings[1:2])
    late = table(database)

    clear(database)
    store(database, readings)

    assert late == table(database)
    assert [round(1000 * delta) for delta in deltas(database, "energy_import_netted")] == [
        5, 1, -1, 1, -1, 1, 0,
    ]  # fmt: skip
    assert netted(database) == (0.006, 0.007)
