"""By how much counters advance: each answer is checked against the readings themselves."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.meter_settings import Billing, MeterSettings
from contract.readings import Reading
from contract.times import epoch_ms
from history.corrections import void
from history.counters import MOST_WAITING, Advances, Counters, counters_of
from history.dialect import run
from history.meter_settings import change
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.replacements import replace_meter
from history.rollups.rollups import Rollups
from history.tables import read_meter
from tests.support.histories import fill
from tests.support.postgresql import BOTH

DATABASES = BOTH

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
ALL = float("inf")
LONGEST_MS = 4 * 3_600_000


def clear(database: peewee.Database) -> None:
    for table in ("readings_raw", "rollup", "rollup_dirty", "meters", "meter_events", "voids"):
        run(database, f"DELETE FROM {table}")


def advances(
    database: peewee.Database, moments: list[datetime], name: str = "energy"
) -> list[float | None]:
    meter = read_meter(database, "1")
    assert meter
    found = Advances(database, meter.id, [name]).between([epoch_ms(each) for each in moments])
    return [None if each is None else each / 1000 for each in found[name]]


def counted(readings: dict[int, int], begin: int, end: int) -> int | None:
    """Return what a counter advanced by, from its readings alone (ms to thousandths)."""
    total, is_there, before = 0, False, None
    for ts, value in sorted(readings.items()):
        if begin <= ts < end:
            is_there = True
            if before is not None:
                total += value if 2 * value < before else value - before
        before = value
    return total if is_there else None


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[dict[int, int], bool]], list[int]]:
    """Batches of readings in any order, each rolled up or not, and moments between them."""
    moments = st.one_of(
        st.integers(0, LONGEST_MS), st.integers(0, LONGEST_MS // 300_000).map(lambda n: n * 300_000)
    )
    values = st.integers(0, 20_000) | st.integers(9_000_000, 9_100_000)
    batch = st.dictionaries(moments, values, min_size=1, max_size=12)
    batches = draw(st.lists(st.tuples(batch, st.booleans()), min_size=1, max_size=4))
    return batches, sorted(draw(st.lists(moments, min_size=2, max_size=6)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(history=histories())
def test_advances_are_those_of_the_readings_whatever_is_rolled_up(
    database: peewee.Database, history: Any
) -> None:
    clear(database)
    batches, moments = history
    stored: dict[int, int] = {}
    for batch, then_roll_up in batches:
        Writer(database).write(
            Reading("1", NOON + timedelta(milliseconds=ms), {"energy": value / 1000})
            for ms, value in batch.items()
        )
        stored = batch | stored
        if then_roll_up:
            assert Rollups(database).run(ALL)

    found = advances(database, [NOON + timedelta(milliseconds=ms) for ms in moments])

    expected = [counted(stored, a, b) for a, b in pairwise(moments)]
    assert found == [None if each is None else each / 1000 for each in expected]


def test_what_was_read_since_the_last_roll_up_counts(database: peewee.Database) -> None:
    fill(database, NOON, 1, every_s=10)
    Writer(database).write(
        Reading("1", NOON + timedelta(hours=1, seconds=s), {"energy": 1000.6 + s / 1000})
        for s in range(0, 700, 10)
    )

    minute = NOON + timedelta(hours=1, minutes=11)
    found = advances(database, [NOON, minute, minute + timedelta(seconds=30)])

    assert found == pytest.approx([0.598 + 0.65, 0.03], abs=0.002)


def test_a_meter_that_is_replaced_before_its_roll_up_counts_on(database: peewee.Database) -> None:
    fill(database, NOON, 1, every_s=60)
    Writer(database).write([Reading("1", NOON + timedelta(minutes=62), {"energy": 50.0})])
    replace_meter(
        database, "1", NOON + timedelta(minutes=61), {"energy": 1000.7}, {"energy": 49.75}
    )

    assert advances(database, [NOON, NOON + timedelta(hours=2)]) == [pytest.approx(0.69 + 0.25)]


def test_moments_are_cut_to_five_minutes_where_readings_are_deleted(
    database: peewee.Database,
) -> None:
    fill(database, NOON, 1, every_s=60)
    run(database, "DELETE FROM readings_raw")

    moments = [NOON, NOON + timedelta(minutes=32), NOON + timedelta(hours=1)]

    assert advances(database, moments) == pytest.approx([0.29, 0.3])


@pytest.mark.parametrize("keep", [None, Keep(raw=0, five_minutes=0, day=3)])
def test_days_are_read_instead_of_hours_where_they_are_kept_as_long(
    database: peewee.Database, keep: Keep | None
) -> None:
    begin = NOON - timedelta(days=12)
    fill(database, begin, 24 * 12)
    list(Retention(database, keep).steps(NOON.timestamp()) if keep else ())
    moments = [begin + timedelta(hours=hours) for hours in (7, 30, 30 + 24 * 8, 24 * 11 + 5)]

    found = advances(database, moments)

    assert found == [pytest.approx(0.6 * hours) for hours in (23, 24 * 8, 24 * 3 - 25)]


def test_a_running_day_counts_what_has_come_since_it_was_stored(
    database: peewee.Database,
) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    begin = now - timedelta(days=5)
    fill(database, begin, 24 * 5 - 2)
    later = [(n, 1072.0 + n / 10) for n in range(12)]
    Writer(database).write(
        Reading("1", now - timedelta(minutes=120 - 10 * n), {"energy": kwh}) for n, kwh in later
    )
    assert Rollups(database).run(ALL)

    (found,) = advances(database, [begin, now + timedelta(hours=1)])

    assert found == pytest.approx(1073.1 - 1000.1)


def test_a_span_without_readings_has_no_advance_beside_others_of_its_hour(
    database: peewee.Database,
) -> None:
    fill(database, NOON, 0.25, every_s=60)

    moments = [NOON + timedelta(minutes=minute) for minute in (0, 10, 30, 50)]

    assert advances(database, moments) == [pytest.approx(0.09), pytest.approx(0.05), None]


def test_of_many_buckets_that_wait_the_newest_count(database: peewee.Database) -> None:
    Writer(database).write(
        Reading("1", NOON + timedelta(minutes=5 * n), {"energy": n * 1.0})
        for n in range(MOST_WAITING + 12)
    )

    moments = [NOON, NOON + timedelta(minutes=5 * (MOST_WAITING + 12))]

    assert advances(database, moments) == [MOST_WAITING]


# -- which counter -----------------------------------------------------------------------------


def consumption(database: peewee.Database) -> str:
    meter = read_meter(database, "1")
    assert meter
    return counters_of(database, meter.id).imported


@pytest.mark.parametrize("rolled_up", [True, False])
@pytest.mark.parametrize(
    ("sent", "counter"),
    [
        ({"energy": 1.0, "energy_import": 1.0}, "energy"),
        ({"energy": 1.0}, "energy"),
        ({"energy_import": 1.0}, "energy_import"),
        ({"power": 1.0}, "energy"),
    ],
    ids=["both", "energy", "energy_import", "neither"],
)
def test_consumption_is_counted_by_energy_else_by_energy_import(
    database: peewee.Database, sent: dict[str, float], counter: str, rolled_up: bool
) -> None:
    Writer(database).write([Reading("1", NOON, sent)])
    if rolled_up:
        assert Rollups(database).run(ALL)

    assert consumption(database) == counter


def test_consumption_is_counted_by_the_counter_of_an_import_that_goes_back_further(
    database: peewee.Database,
) -> None:
    Writer(database).write(
        Reading("1", NOON + timedelta(days=n), {"energy_import": n * 1.0}) for n in range(3)
    )
    Writer(database).write(
        [Reading("1", NOON + timedelta(days=3), {"energy_import": 3.0, "energy": 3.0})]
    )
    assert Rollups(database).run(ALL)

    assert consumption(database) == "energy_import"


def test_the_export_has_a_counter_of_its_own() -> None:
    assert Counters() == ("energy", "energy_export")


# -- netted, and void --------------------------------------------------------------------------


def test_a_netted_bill_has_the_netted_counters(database: peewee.Database) -> None:
    rows = [
        Reading("1", NOON + timedelta(minutes=n), {"energy_import": n / 10, "energy_export": n / 5})
        for n in range(60)
    ]
    Writer(database).write(rows[:40])
    change(database, "1", MeterSettings(billing=Billing.NETTED))
    assert consumption(database) == "energy_import"  # nothing is netted yet
    assert Rollups(database).run(ALL)
    Writer(database).write(rows[40:])

    assert consumption(database) == "energy_import_netted"
    moments = [NOON, NOON + timedelta(minutes=33, seconds=30), NOON + timedelta(hours=1)]
    assert advances(database, moments, "energy_import_netted") == [0, 0]
    assert advances(database, moments, "energy_export_netted") == pytest.approx([3.3, 2.6])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_netted_advances_do_not_change_when_they_are_rolled_up(
    database: peewee.Database, seed: int
) -> None:
    clear(database)
    chance, counted = Random(seed), [0, 0]
    readings = []
    for n in range(300):
        for place in range(2):
            counted[place] += chance.choice([0, 0, 10, 200])
        values = {"energy_import": counted[0] / 1000, "energy_export": counted[1] / 1000}
        readings.append(Reading("1", NOON + timedelta(seconds=30 * n), values))
    Writer(database).write(readings[:200])
    assert Rollups(database).run(ALL)
    Writer(database).write(readings[200:])
    moments = [NOON, *(NOON + timedelta(seconds=chance.randrange(9000)) for _ in range(4))]
    moments.sort()
    names = ("energy_import_netted", "energy_export_netted", "energy_import", "energy_export")

    before = {name: advances(database, moments, name) for name in names}
    assert Rollups(database).run(ALL)
    after = {name: advances(database, moments, name) for name in names}

    assert before == after
    for netted_in, netted_out, drawn, fed in zip(*after.values(), strict=True):
        if None not in (netted_in, netted_out, drawn, fed):
            assert netted_in - netted_out == pytest.approx(drawn - fed)  # type: ignore[operator]


def test_void_readings_count_nothing_before_they_are_rolled_up_again(
    database: peewee.Database,
) -> None:
    fill(database, NOON, 2, every_s=60)
    moments = [NOON + timedelta(minutes=minute) for minute in (0, 60, 63, 66, 120)]
    assert None not in advances(database, moments)

    void(database, "1", moments[1], moments[3], "tested")

    before = advances(database, moments)
    assert before[1:3] == [None, None]
    assert before[3] == pytest.approx(0.54 + 0.06)  # it counts on across what is void
    assert Rollups(database).run(ALL)
    assert advances(database, moments) == before
