"""Roll-ups: any order of arrival leads to the same tables, and the sums are right."""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playhouse.migrations import Runner

from contract.quantities import QUANTITIES, Quantity
from contract.readings import Reading
from history.database import MIGRATIONS, migrate, open_database
from history.dialect import Row, fetch, run_many
from history.energy import between
from history.load_curve import Peak, peak
from history.readings_table import Writer
from history.rollups.dirty_buckets import DirtyBuckets
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR
from history.rollups.rollups import Rollups
from history.series import series as chart
from history.tables import quantity_id, quantity_ids, read_meter
from tests.support.postgresql import BOTH, on_postgresql, on_sqlite

DATABASES = BOTH

NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
ALL = float("inf")


def reading(second: float, meter_id: str = "1", **values: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=second), values)


def roll_up(database: peewee.Database) -> None:
    assert Rollups(database).run(ALL)


def stored(database: peewee.Database) -> list[Row]:
    return fetch(database, "SELECT * FROM rollup ORDER BY level, meter, quantity, bucket")


def of(database: peewee.Database, level: int, quantity: str) -> list[Any]:
    """Return (n, mean, min, max, last, delta) of each bucket."""
    rows = fetch(
        database,
        "SELECT n, mean, min, max, last, delta FROM rollup WHERE level = ? AND quantity = ? "
        "ORDER BY meter, bucket",
        (level, quantity_id(database, quantity)),
    )
    return [(n, *[None if v is None else v / 1000 for v in values]) for n, *values in rows]


def energy(database: peewee.Database, level: int, quantity: str = "energy") -> float:
    return round(sum(row[5] for row in of(database, level, quantity)), 3)


def clear(database: peewee.Database) -> None:
    for table in ("readings_raw", "rollup", "rollup_dirty", "meters", "meter_events"):
        database.execute_sql(f"DELETE FROM {table}")


# -- what a bucket holds -----------------------------------------------------------------------


def test_a_bucket_holds_mean_extremes_and_newest_of_its_readings(database: peewee.Database) -> None:
    Writer(database).write([reading(s, power=p) for s, p in [(0, 10.0), (60, 40.0), (299, 22.0)]])

    roll_up(database)

    assert of(database, FIVE_MINUTES, "power") == [(3, 24.0, 10.0, 40.0, 22.0, None)]
    assert (
        of(database, HOUR, "power")
        == of(database, DAY, "power")
        == of(database, FIVE_MINUTES, "power")
    )


def test_an_hour_weighs_its_five_minutes_by_their_readings(database: peewee.Database) -> None:
    Writer(database).write([reading(s, power=p) for s, p in [(0, 10.0), (1, 10.0), (300, 40.0)]])

    roll_up(database)

    assert of(database, HOUR, "power") == [(3, 20.0, 10.0, 40.0, 40.0, None)]


def test_a_quarter_hour_holds_counters_and_power_alone(database: peewee.Database) -> None:
    values = [(s, s / 10, 1 + s / 1000) for s in (0, 290, 310, 899, 900)]
    Writer(database).write([reading(s, power=p, energy=e, voltage=230.0) for s, p, e in values])

    roll_up(database)

    assert of(database, QUARTER_HOUR, "power") == [
        (4, 37.475, 0.0, 89.9, 89.9, None),
        (1, 90.0, 90.0, 90.0, 90.0, None),
    ]
    assert [row[5] for row in of(database, QUARTER_HOUR, "energy")] == [0.899, 0.001]
    assert of(database, QUARTER_HOUR, "voltage") == []


def test_negative_means_are_rounded_like_positive_ones(database: peewee.Database) -> None:
    values = [(0, -10.0), (1, -10.0), (2, -10.001), (300, -10.001)]
    Writer(database).write([reading(s, power=p, current=-p) for s, p in values])

    roll_up(database)

    assert [row[1] for row in of(database, HOUR, "power")] == [
        -row[1] for row in of(database, HOUR, "current")
    ]


def test_quantities_that_a_meter_does_not_send_take_no_room(database: peewee.Database) -> None:
    Writer(database).write([reading(0, power=1.0), reading(1, voltage=230.0)])

    roll_up(database)

    assert len(stored(database)) == 2 * 3 + 1  # of the two, only power has a quarter-hour


# -- energy ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "total"),
    [
        ([100.0, 100.5, 101.25], 1.25),
        ([100.0, 101.0, 0.5, 2.0], 3.0),  # back to 0, then on
        ([100.0, 101.0, 100.99, 102.0], 2.0),  # a small step back
        ([100.0], 0.0),
    ],
    ids=["grows", "reset", "small step back", "one reading"],
)
@pytest.mark.parametrize("apart_s", [10, 400, 90_000])
def test_energy_is_counted_against_the_reading_before_wherever_it_lies(
    database: peewee.Database, counter: list[float], total: float, apart_s: int
) -> None:
    Writer(database).write([reading(i * apart_s, energy=e) for i, e in enumerate(counter)])

    roll_up(database)

    assert (
        energy(database, FIVE_MINUTES) == energy(database, HOUR) == energy(database, DAY) == total
    )


def test_energy_of_a_gap_lies_in_the_bucket_of_the_first_reading_after_it(
    database: peewee.Database,
) -> None:
    Writer(database).write([reading(0, energy=5.0), reading(3600, energy=7.5)])

    roll_up(database)

    assert [row[5] for row in of(database, HOUR, "energy")] == [0, 2.5]


def test_a_counter_that_not_every_reading_carries_is_compared_with_its_own_last(
    database: peewee.Database,
) -> None:
    writer = Writer(database)
    writer.write([reading(0, energy=5.0), reading(400, power=1.0), reading(800, energy=6.0)])
    roll_up(database)

    writer.write([reading(200, energy=5.75)])
    roll_up(database)

    assert [row[5] for row in of(database, FIVE_MINUTES, "energy")] == [0.75, 0.25]


def test_steps_back_of_a_counter_are_logged_once_a_day(
    database: peewee.Database, caplog: pytest.LogCaptureFixture
) -> None:
    writer, rollups = Writer(database), Rollups(database)
    writer.write([reading(0, energy=5.0), reading(1, energy=4.9)])

    rollups.run(ALL)
    writer.write([reading(2, energy=4.8), reading(400, energy=4.7)])
    rollups.run(ALL)

    assert [r.message for r in caplog.records] == [
        "meter 1: energy went back by 0.100 at 2026-11-22T12:00:01.000Z; such steps count negative"
    ]


def replace_meter(
    database: peewee.Database, second: float, old_end: float | None, new_start: float | None
) -> None:
    """Enter a replacement of meter 1, as the command does."""
    meter, number = read_meter(database, "1"), quantity_id(database, "energy")
    assert meter
    ts = int((NOON + timedelta(seconds=second)).timestamp() * 1000)
    old, new = (None if value is None else round(value * 1000) for value in (old_end, new_start))
    run_many(
        database,
        "INSERT INTO meter_events (meter, ts, quantity, kind, old_end, new_start) "
        "VALUES (?, ?, ?, 'replaced', ?, ?)",
        [(meter.id, ts, 0, None, None), (meter.id, ts, number, old, new)],
    )


@pytest.mark.parametrize(
    ("old_end", "new_start", "total"),
    [(None, None, 2.0), (101.5, None, 2.5), (None, 4000.0, 3.0), (101.5, 4000.0, 3.5)],
)
def test_totals_go_on_when_a_meter_is_replaced(
    database: peewee.Database, old_end: float | None, new_start: float | None, total: float
) -> None:
    writer = Writer(database)
    writer.write([reading(0, energy=100.0, charge=7.0), reading(10, energy=101.0, charge=7.0)])
    replace_meter(database, 15, old_end, new_start)

    writer.write([reading(20, energy=4001.0, charge=9.0), reading(400, energy=4002.0, charge=9.5)])
    roll_up(database)

    assert energy(database, HOUR) == total
    assert energy(database, HOUR, "charge") == 0.5


# -- the order of arrival ----------------------------------------------------------------------

moments = st.lists(st.integers(0, 3 * 86400), min_size=1, max_size=40, unique=True).map(sorted)
advances = st.one_of(st.integers(0, 500), st.sampled_from([-3, -20, -1_000_000]))


@st.composite
def series(draw: st.DrawFn) -> list[Reading]:
    """Readings with gaps, resets, steps back, and counters that come now and then."""
    value, slow, readings = draw(st.integers(0, 100_000)), 0, []
    for second in draw(moments):
        advance = draw(advances)
        value = max(value + advance, 0) if advance > -1000 else 0
        slow += abs(advance)
        values = {"power": (value - 50_000) / 10, "energy": value / 1000}
        for quantity, seldom in (("energy_import", slow / 1000), ("charge", value / 10)):
            if draw(st.booleans()):
                values[quantity] = seldom
        readings.append(reading(second, **values))
    return readings


def unwrapped(counter: Sequence[float]) -> float:
    """Return last minus first, with the counter laid end to end across resets."""
    total = 0
    for old, new in pairwise(round(value * 1000) for value in counter):
        total += new if 2 * new < old else new - old
    return total / 1000


def write_in_batches(
    database: peewee.Database, readings: Iterable[Reading], random: Random
) -> None:
    writer, rollups = Writer(database), Rollups(database)
    waiting = list(readings)
    while waiting:
        size = random.randint(1, 12)
        writer.write(waiting[:size])
        del waiting[:size]
        if random.random() < 0.5:
            rollups.run(time.monotonic() if random.random() < 0.5 else ALL)


any_order = given(readings=series(), random=st.randoms(use_true_random=False))


def examples(most: int) -> settings:
    return settings(max_examples=most, suppress_health_check=[HealthCheck.function_scoped_fixture])


@on_sqlite
@examples(100)
@any_order
def test_every_order_of_arrival_leads_to_the_same_tables(
    database: peewee.Database, readings: list[Reading], random: Random
) -> None:
    check_order_of_arrival(database, readings, random)


@on_postgresql
@examples(10)
@any_order
def test_the_same_on_postgresql(
    database: peewee.Database, readings: list[Reading], random: Random
) -> None:
    check_order_of_arrival(database, readings, random)


def check_order_of_arrival(
    database: peewee.Database, readings: list[Reading], random: Random
) -> None:
    clear(database)
    Writer(database).write(readings)
    roll_up(database)
    in_order = [row[2:] for row in stored(database)]

    clear(database)
    arrived = readings + random.sample(readings, len(readings) // 3)
    random.shuffle(arrived)
    write_in_batches(database, arrived, random)
    roll_up(database)

    assert [row[2:] for row in stored(database)] == in_order
    for quantity in ("energy", "energy_import", "charge"):
        counter = [r.values[quantity] for r in readings if quantity in r.values]
        assert (
            energy(database, FIVE_MINUTES, quantity)
            == energy(database, QUARTER_HOUR, quantity)
            == energy(database, DAY, quantity)
            == unwrapped(counter)
        )


def test_marking_the_own_bucket_alone_would_not_do(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The property above has teeth: without the second mark a late reading counts twice."""
    monkeypatch.setattr(DirtyBuckets, "changed_after", lambda *_: set())
    writer = Writer(database)
    writer.write([reading(0, energy=1.0), reading(900, energy=3.0)])
    roll_up(database)

    writer.write([reading(450, energy=2.0)])
    roll_up(database)

    assert energy(database, DAY) == 3.0


def test_quantity_numbers_stay_when_the_catalogue_gets_a_row_in_its_middle(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = quantity_ids(database)
    first, *rest = QUANTITIES
    more = (first, Quantity("water", "Water", first.kind), *rest)
    monkeypatch.setattr("history.database.QUANTITIES", more)

    migrate(database)

    after = quantity_ids(database)
    assert {name: after[name] for name in before} == before
    assert after["water"] not in before.values()


# -- the work itself ---------------------------------------------------------------------------


def test_the_work_stops_in_time_and_goes_on_later(database: peewee.Database) -> None:
    Writer(database).write([reading(i * 300, power=1.0) for i in range(200)])
    rollups = Rollups(database)

    assert not rollups.run(time.monotonic())
    assert 0 < fetch(database, "SELECT COUNT(*) FROM rollup_dirty")[0][0] < 200
    assert rollups.run(ALL)
    assert len(of(database, FIVE_MINUTES, "power")) == 200
    assert not rollups.work_due()


def test_a_step_that_fails_leaves_its_buckets_dirty(
    database: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(database).write([reading(0, power=1.0)])
    rollups = Rollups(database)
    monkeypatch.setattr(rollups, "_combine", lambda *_: database.execute_sql("nonsense"))

    with pytest.raises(peewee.DatabaseError):
        rollups.run(ALL)

    assert stored(database) == []
    assert rollups.work_due()


def test_a_file_from_before_the_rollups_is_rolled_up(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/old.db")
    old_schema(database)
    names = "meter, ts, power, energy"
    for day in range(3):
        ts = int(NOON.timestamp() + day * 86400 * 30) * 1000
        database.execute_sql(
            f"INSERT INTO readings_raw ({names}) VALUES (1, ?, 5000, ?)", (ts, day * 1000)
        )

    migrate(database)
    rollups = Rollups(database)
    assert rollups.work_due()
    roll_up(database)

    assert [row[5] for row in of(database, DAY, "energy")] == [0, 1, 1]
    assert not rollups.work_due()
    database.close()


def old_schema(database: peewee.Database) -> None:
    """Make the tables as the first migration left them, with one meter."""
    database.connect()
    Runner(database, str(MIGRATIONS)).up("0001_readings")
    first = int(NOON.timestamp() * 1000)
    database.execute_sql(
        "INSERT INTO meters (name, first_ts, last_ts, snapshots) VALUES ('1', ?, ?, 1)",
        (first, first),
    )


# -- what is running ---------------------------------------------------------------------------


class Clock:
    """A clock that a test sets."""

    def __init__(self, second: float) -> None:
        self.second = second

    def __call__(self) -> float:
        return NOON.timestamp() + self.second


def test_running_buckets_are_stored_at_first_and_when_they_are_over(
    database: peewee.Database,
) -> None:
    writer, clock = Writer(database), Clock(0)
    rollups = Rollups(database, clock)
    totals: dict[int, list[float]] = {QUARTER_HOUR: [], HOUR: [], DAY: []}
    for second in range(60, 3900, 300):
        writer.write([reading(second, energy=second / 1000)])
        clock.second = second + 30
        assert rollups.run(ALL)
        assert not rollups.work_due()
        for level, seen in totals.items():
            seen.append(energy(database, level))

    assert totals[QUARTER_HOUR] == [0, 0, 0, 0.9, 0.9, 0.9, 1.8, 1.8, 1.8, 2.7, 2.7, 2.7, 3.6]
    assert totals[HOUR] == [0] * 12 + [3.6]
    assert totals[DAY] == [0] * 13
    assert energy(database, FIVE_MINUTES) == 3.6


def test_running_buckets_are_due_once_they_are_over(database: peewee.Database) -> None:
    clock = Clock(30)
    rollups = Rollups(database, clock)
    for second in (10, 20):
        Writer(database).write([reading(second, energy=second, power=second)])
        rollups.run(ALL)
    assert of(database, HOUR, "power") == [(1, 10, 10, 10, 10, None)]

    clock.second = 3600 + 1
    assert rollups.work_due()
    assert rollups.run(ALL)

    assert of(database, HOUR, "power") == [(2, 15, 10, 20, 20, None)]
    assert not rollups.work_due()


@pytest.mark.parametrize("jump", [-86_400 * 2, 86_400 * 2], ids=["back", "ahead"])
def test_a_clock_that_is_set_leaves_nothing_behind(database: peewee.Database, jump: int) -> None:
    clock = Clock(30)
    rollups = Rollups(database, clock)
    Writer(database).write([reading(10, power=10.0)])
    rollups.run(ALL)
    Writer(database).write([reading(20, power=20.0)])
    clock.second += jump
    assert rollups.run(ALL)

    for level in (QUARTER_HOUR, HOUR, DAY):
        assert of(database, level, "power") == [(2, 15, 10, 20, 20, None)]
    assert not rollups.work_due()


def test_late_readings_of_an_hour_that_is_over_are_in_it_at_once(
    database: peewee.Database,
) -> None:
    rollups = Rollups(database, Clock(86_400 / 4))
    for second in (10, 20):
        Writer(database).write([reading(second, power=float(second))])
        rollups.run(ALL)

    assert of(database, HOUR, "power") == [(2, 15, 10, 20, 20, None)]
    assert of(database, DAY, "power") == [(1, 10, 10, 10, 10, None)]


def test_queries_include_what_runs(database: peewee.Database) -> None:
    """Charts, sums and the peak of a day that is not over, in the middle of an hour."""
    clock = Clock(0)
    rollups = Rollups(database, clock)
    readings = [reading(s, power=float(s), energy=s / 100) for s in range(0, 9000, 60)]
    for each in readings:
        clock.second = (each.ts - NOON).total_seconds() + 1
        Writer(database).write([each])
        if clock.second % 600 < 60:
            rollups.run(ALL)
    last = readings[-1]
    since, until = NOON.replace(hour=0), NOON.replace(hour=0) + timedelta(days=1)
    running = summary(database, since, until)

    clock.second = 3 * 86_400
    assert rollups.run(ALL)

    assert running == summary(database, since, until)
    assert running[0] == Peak(last.values["power"], last.ts, 0)
    assert running[1] == last.values["energy"]


def summary(
    database: peewee.Database, since: datetime, until: datetime
) -> tuple[Peak | None, float | None, list[Any]]:
    """Return peak, energy and charts of a day."""
    (period,) = between(database, "1", [since, until], ZoneInfo("UTC"))
    half = since + timedelta(hours=14, minutes=7)
    parts = between(database, "1", [since, NOON, half, until], ZoneInfo("UTC"))
    assert period.imported == pytest.approx(sum(part.imported or 0 for part in parts))
    charts = [
        chart(database, "1", ["power", "energy"], since, until, points)
        for points in (1, 2, 24, 100, 288, 1000)
    ]
    found = [(each.ts, each.columns["power"].max, each.columns["power"].mean) for each in charts]
    return peak(database, "1", "power", since, until), period.imported, found
