"""Charts, energy and load: each answer is checked against the readings themselves."""

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from random import Random
from zoneinfo import ZoneInfo

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.readings import Reading
from history import energy, queries
from history import load_curve as load
from history.periods import Unit, edges
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, RAW
from history.rollups.rollups import Rollups
from history.series import Series, series
from tests.support.postgresql import BOTH, on_sqlite

DATABASES = BOTH

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")  # half an hour off
SANTIAGO = ZoneInfo("America/Santiago")  # clocks change at midnight
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


# -- charts ------------------------------------------------------------------------------------


def test_a_chart_takes_the_level_that_fits_its_points(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 365 * 24, every_s=12 * 3600)
    until = readings[-1].ts + timedelta(seconds=1)

    def chart(hours: int, points: int) -> tuple[int, bool]:
        found = series(database, "1", ["power"], until - timedelta(hours=hours), until, points)
        return found.level, 0 < len(found.ts) <= points

    assert chart(1, 500) == (RAW, True)
    assert chart(24, 500) == (FIVE_MINUTES, True)
    assert chart(30 * 24, 1000) == (HOUR, True)
    assert chart(365 * 24, 1000) == (HOUR, True)
    assert chart(365 * 24, 300) == (DAY, True)


def test_a_chart_holds_mean_and_extremes_of_its_slices(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 36, every_s=90, power=wave)

    for points in (20, 50, 150, 1000):
        chart = series(database, "1", ["power"], NEW_YEAR, NEW_YEAR + timedelta(hours=36), points)

        assert points / 3 <= len(chart.ts) <= points
        check_slices(chart, readings)


def check_slices(chart: Series, readings: Sequence[Reading]) -> None:
    column = chart.columns["power"]
    times = [r.ts.timestamp() for r in readings]
    places = [bisect_left(times, ts) for ts in chart.ts]
    for i, (begin, end) in enumerate(pairwise([*places, len(readings)])):
        part = [r.values["power"] for r in readings[begin:end]]
        assert column.mean[i] == pytest.approx(sum(part) / len(part), abs=0.002)
        assert (column.min[i], column.max[i]) == (min(part), max(part))


def test_a_gap_is_one_point_without_values(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 6)
    fill(database, NEW_YEAR + timedelta(hours=12), 6)

    chart = series(database, "1", ["power"], NEW_YEAR, NEW_YEAR + timedelta(hours=18), 200)

    empty = [ts for ts, v in zip(chart.ts, chart.columns["power"].mean, strict=True) if v is None]
    assert len(empty) == 1
    assert 6 <= (empty[0] - NEW_YEAR.timestamp()) / 3600 <= 12
    assert chart.ts == sorted(chart.ts)


def test_what_is_not_rolled_up_yet_is_charted_from_readings(database: peewee.Database) -> None:
    readings = [Reading("1", NEW_YEAR + timedelta(minutes=i), {"power": i}) for i in range(600)]
    Writer(database).write(readings)

    chart = series(database, "1", ["power"], NEW_YEAR, NEW_YEAR + timedelta(days=1), 100)

    assert chart.level == RAW
    assert len(chart.ts) > 30


def test_a_day_of_long_ago_is_charted_from_what_is_left(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24 * 20, every_s=3600)
    now = (NEW_YEAR + timedelta(days=20)).timestamp()
    list(Retention(database, Keep(raw=5, five_minutes=10)).steps(now))

    def level(day: int) -> int:
        day_start = NEW_YEAR + timedelta(days=day)
        return series(
            database, "1", ["power"], day_start, day_start + timedelta(days=1), 1000
        ).level

    assert (level(18), level(12), level(3)) == (RAW, FIVE_MINUTES, HOUR)


def test_an_unknown_meter_or_quantity_gives_an_empty_chart(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 1)

    assert series(database, "nobody", ["power"], NEW_YEAR, NEW_YEAR + timedelta(days=1)).ts == []
    assert (
        series(database, "1", ["charge", "nonsense"], NEW_YEAR, NEW_YEAR).columns["charge"].mean
        == []
    )


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


# -- periods -----------------------------------------------------------------------------------


def hours_of(moments: list[datetime]) -> list[float]:
    return [(b - a).total_seconds() / 3600 for a, b in pairwise(moments)]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, datetime(2026, 3, 29, tzinfo=BERLIN), 23),
        (BERLIN, datetime(2026, 10, 25, tzinfo=BERLIN), 25),
        (SANTIAGO, datetime(2026, 9, 6, 12, tzinfo=SANTIAGO), 23),
        (ZoneInfo("Australia/Lord_Howe"), datetime(2026, 4, 4, 20, tzinfo=UTC), 24.5),
        (KOLKATA, datetime(2026, 3, 29, tzinfo=KOLKATA), 24),
    ],
    ids=str,
)
def test_a_local_day_is_as_long_as_its_clock_says(
    zone: ZoneInfo, day: datetime, hours: float
) -> None:
    moments = edges(Unit.DAY, day, day + timedelta(hours=1), zone)

    assert hours_of(moments) == [hours]
    assert len(edges(Unit.HOUR, moments[0], moments[1], zone)) == math.ceil(hours) + 1


@settings(max_examples=60)
@given(
    moment=st.datetimes(datetime(2021, 1, 1), datetime(2040, 1, 1)),  # noqa: DTZ001  # drawn in UTC
    days=st.integers(0, 800),
    unit=st.sampled_from(Unit),
    zone=st.sampled_from([BERLIN, KOLKATA, SANTIAGO, ZoneInfo("Africa/Cairo"), ZoneInfo("UTC")]),
)
def test_periods_follow_one_another_and_cover_what_was_asked(
    moment: datetime, days: int, unit: Unit, zone: ZoneInfo
) -> None:
    since = moment.replace(tzinfo=UTC)
    until = since + timedelta(days=days % 30 if unit is Unit.HOUR else days)

    moments = edges(unit, since, until, zone)

    assert moments[0] <= since < moments[1]
    assert moments[-1] >= until
    assert len(moments) == 2 or moments[-2] < until
    assert moments == sorted(set(moments))


# -- energy ------------------------------------------------------------------------------------


def test_energy_of_a_period_is_its_last_counter_less_the_last_before(
    database: peewee.Database,
) -> None:
    readings = fill(database, datetime(2026, 3, 27, 3, tzinfo=UTC), 24 * 4, power=wave)

    for zone, unit in product((BERLIN, KOLKATA), Unit):
        found = energy.periods(database, "1", unit, readings[0].ts, readings[-1].ts, zone)
        check_energy(found, readings)


def check_energy(found: Sequence[energy.Period], readings: Sequence[Reading]) -> None:
    before = readings[0].values["energy"]
    for period in found:
        inside = [r.values["energy"] for r in readings if r.ts.timestamp() < period.end.timestamp()]
        assert period.imported == pytest.approx(inside[-1] - before, abs=1e-6)
        before = inside[-1]
    assert before == readings[-1].values["energy"]


def test_days_of_23_and_25_hours_have_their_energy(database: peewee.Database) -> None:
    fill(database, datetime(2026, 3, 27, tzinfo=BERLIN), 24 * 5, every_s=900)

    days = energy.periods(
        database,
        "1",
        Unit.DAY,
        datetime(2026, 3, 28, tzinfo=BERLIN),
        datetime(2026, 3, 31, tzinfo=BERLIN),
        BERLIN,
    )

    assert [day.imported for day in days] == pytest.approx([14.4, 13.8, 14.4])
    assert [day.start.hour for day in days] == [0, 0, 0]


def test_a_period_without_readings_has_no_energy(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24)

    days = energy.periods(
        database, "1", Unit.DAY, NEW_YEAR, NEW_YEAR + timedelta(days=3), ZoneInfo("UTC")
    )

    assert [day.imported is None for day in days] == [False, True, True]
    assert all(day.exported is None and day.cost is None for day in days)


def test_sums_stay_exact_where_five_minutes_are_thinned_out(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 24 * 20, every_s=1800, power=wave)
    now = (NEW_YEAR + timedelta(days=20)).timestamp()
    list(Retention(database, Keep(raw=5, five_minutes=10)).steps(now))

    days = energy.periods(database, "1", Unit.DAY, readings[0].ts, readings[-1].ts, KOLKATA)

    total = readings[-1].values["energy"] - readings[0].values["energy"]
    assert sum(day.imported or 0 for day in days) == pytest.approx(total, abs=1e-6)


def test_the_running_day_stands_beside_the_day_before_at_the_same_time(
    database: peewee.Database,
) -> None:
    fill(database, NEW_YEAR, 24 * 3, every_s=300)
    now = NEW_YEAR + timedelta(days=2, hours=9)

    compared = energy.compare(database, "1", Unit.DAY, now, ZoneInfo("UTC"))

    assert compared.now.imported == pytest.approx(5.4)
    assert compared.before_so_far.imported == pytest.approx(5.4)
    assert compared.before.imported == pytest.approx(14.4)
    assert compared.before_so_far.end == NEW_YEAR + timedelta(days=1, hours=9)


def test_the_last_of_march_compares_with_the_whole_of_february(database: peewee.Database) -> None:
    fill(database, datetime(2026, 1, 30, tzinfo=UTC), 24 * 65, every_s=4 * 3600)

    compared = energy.compare(
        database, "1", Unit.MONTH, datetime(2026, 3, 31, 12, tzinfo=UTC), ZoneInfo("UTC")
    )

    assert compared.before_so_far == compared.before


# -- load --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kept", "exact_to_s"), [(0, 0), (5, 300), (2, 3600)])
def test_the_peak_is_found_with_its_time(
    database: peewee.Database, kept: int, exact_to_s: int
) -> None:
    top = NEW_YEAR + timedelta(days=2, hours=7, minutes=20)
    fill(database, NEW_YEAR, 24 * 8, 1200, power=lambda ts: 5000.0 if ts == top else wave(ts))
    keep = {0: Keep(raw=0), 5: Keep(raw=2), 2: Keep(raw=1, five_minutes=2)}[kept]
    list(Retention(database, keep).steps((NEW_YEAR + timedelta(days=8)).timestamp()))

    found = load.peak(database, "1", "power", NEW_YEAR, NEW_YEAR + timedelta(days=7))

    assert found is not None
    assert (found.value, found.exact_to_s) == (5000.0, exact_to_s)
    assert found.ts <= top < found.ts + timedelta(seconds=max(exact_to_s, 1))


def test_the_peak_of_what_is_not_rolled_up_yet_is_found(database: peewee.Database) -> None:
    values = [(0, 5.0), (60, 9.0), (120, 9.0)]
    Writer(database).write(
        [Reading("1", NEW_YEAR + timedelta(seconds=s), {"power": p}) for s, p in values]
    )

    found = load.peak(database, "1", "power", NEW_YEAR, NEW_YEAR + timedelta(days=1))

    assert found == load.Peak(9.0, NEW_YEAR + timedelta(seconds=60), 0)


def test_the_base_load_is_what_stays_on(database: peewee.Database) -> None:
    def fridge_and_stove(ts: datetime) -> float:
        return -800.0 if 11 <= ts.hour < 15 else 2500.0 if ts.hour == 18 else 80.0

    fill(database, NEW_YEAR, 24 * 3, power=fridge_and_stove)

    assert load.base_load(database, "1", NEW_YEAR, NEW_YEAR + timedelta(days=3)) == 80.0
    assert load.base_load(database, "nobody", NEW_YEAR, NEW_YEAR + timedelta(days=3)) is None
