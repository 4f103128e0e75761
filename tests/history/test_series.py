"""Charts: each answer is checked against the readings themselves."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import peewee
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.quantities import QUANTITIES
from contract.readings import Reading
from contract.times import epoch_ms
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, RAW, width_s
from history.rollups.rollups import Rollups
from history.series import Series, columns, series
from tests.support.histories import NEW_YEAR, fill, wave
from tests.support.postgresql import BOTH

DATABASES = BOTH
NOON = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)


def reading(meter_id: str = "1", second: float = 0, **values: float) -> Reading:
    return Reading(meter_id, NOON + timedelta(seconds=second), values or {"power": 1.0})


def test_a_chart_takes_the_level_that_fits_its_points(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 365 * 24, every_s=12 * 3600)
    until = readings[-1].ts + timedelta(seconds=1)

    def chart(hours: int, points: int) -> tuple[int, bool]:
        found = series(database, "1", ["power"], until - timedelta(hours=hours), until, points)
        return found.level, 0 < len(found.ts) <= points

    assert chart(1, 500) == (RAW, True)
    assert chart(24, 288) == (FIVE_MINUTES, True)
    assert chart(30 * 24, 1000) == (FIVE_MINUTES, True)
    assert chart(30 * 24, 700) == (HOUR, True)
    assert chart(365 * 24, 1000) == (HOUR, True)
    assert chart(365 * 24, 300) == (DAY, True)


def test_a_chart_holds_mean_and_extremes_of_its_slices(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 36, every_s=90, power=wave)

    for points in (20, 50, 150, 1000):
        chart = series(database, "1", ["power"], NEW_YEAR, NEW_YEAR + timedelta(hours=36), points)

        assert len(chart.ts) == points
        check_slices(chart, readings)


def check_slices(chart: Series, readings: Sequence[Reading]) -> None:
    column = chart.columns["power"]
    times = [r.ts.timestamp() for r in readings]
    places = [bisect_left(times, ts) for ts in chart.ts]
    for i, (begin, end) in enumerate(pairwise([*places, len(readings)])):
        part = [r.values["power"] for r in readings[begin:end]]
        assert column.mean[i] == pytest.approx(sum(part) / len(part), abs=0.002)
        assert (column.min[i], column.max[i]) == (min(part), max(part))


@pytest.mark.parametrize(
    ("hours", "points", "level"),
    [(1, 500, RAW), (6, 500, RAW), (24, 288, FIVE_MINUTES), (47, 100, FIVE_MINUTES)],
)
def test_a_chart_has_as_many_points_as_were_asked_for(
    database: peewee.Database, hours: int, points: int, level: int
) -> None:
    fill(database, NEW_YEAR, 48, every_s=7)
    until = NEW_YEAR + timedelta(hours=48)

    found = series(database, "1", ["power"], until - timedelta(hours=hours), until, points)
    means = columns(database, "1", ["power"], until - timedelta(hours=hours), until, points)

    assert (len(found.ts), found.level) == (points, level)
    assert means == {"ts": found.ts, "power": found.columns["power"].mean}


def test_a_chart_into_the_future_has_all_its_points_where_there_are_readings(
    database: peewee.Database,
) -> None:
    fill(database, NEW_YEAR, 12, every_s=60)

    day = columns(database, "1", ["power"], NEW_YEAR, NEW_YEAR + timedelta(days=1), 500)

    assert len(day["ts"]) == 500


Slice = tuple[float, float, float, float]
"""The time of a point, its mean, lowest and highest value."""


def oracle(
    readings: Sequence[Reading], begin: int, end: int, points: int, level: int
) -> list[Slice]:
    """Return the points by looking at each reading."""
    width = max(width_s(level) * 1000, 1)
    begin = max(begin, epoch_ms(readings[0].ts)) // width * width
    end = -(-min(end, epoch_ms(readings[-1].ts) + 1) // width) * width
    keys = (end - begin) // width
    slices: dict[int, list[Reading]] = {}
    for reading in readings:
        if begin <= epoch_ms(reading.ts) < end:
            key = (epoch_ms(reading.ts) - begin) // width
            slices.setdefault(key * min(points, keys) // keys, []).append(reading)
    found = []
    for part in slices.values():
        values = [reading.values["power"] for reading in part]
        ts = epoch_ms(part[0].ts) // width * width / 1000
        found.append((ts, sum(values) / len(values), min(values), max(values)))
    return found


def test_every_point_is_right(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 20, every_s=47, power=wave)
    readings += fill(database, NEW_YEAR + timedelta(hours=26), 50, every_s=113, power=wave)

    @settings(max_examples=100)
    @given(begin_s=st.floats(-3600, 80 * 3600), lasts_s=st.floats(1, 90 * 3600),
           points=st.integers(1, 1000))  # fmt: skip
    def check(begin_s: float, lasts_s: float, points: int) -> None:
        since = NEW_YEAR + timedelta(seconds=begin_s)
        until = since + timedelta(seconds=lasts_s)
        chart = series(database, "1", ["power"], since, until, points)
        column = chart.columns["power"]
        rows = zip(chart.ts, column.mean, column.min, column.max, strict=True)
        found = [row for row in rows if row[1] is not None]
        expected = oracle(readings, epoch_ms(since), epoch_ms(until), points, chart.level)
        assert [row[0] for row in found] == [row[0] for row in expected]
        assert [row[2:] for row in found] == [row[2:] for row in expected]
        means = [row[1] for row in expected]
        assert [row[1] for row in found] == pytest.approx(means, abs=0.002)
        assert columns(database, "1", ["power"], since, until, points)["ts"] == [
            row[0] for row in found
        ]

    check()


def test_quantities_that_not_all_readings_have_share_their_times(
    database: peewee.Database,
) -> None:
    minutes = range(6 * 60)
    Writer(database).write(
        Reading(
            "1",
            NEW_YEAR + timedelta(minutes=m),
            {"power": m} | ({"voltage": m} if m >= 180 else {}),
        )
        for m in minutes
    )
    assert Rollups(database).run(float("inf"))
    until = NEW_YEAR + timedelta(hours=6)

    for points, level in ((6, HOUR), (72, FIVE_MINUTES), (360, RAW)):
        chart = series(database, "1", ["power", "voltage", "charge"], NEW_YEAR, until, points)

        power, voltage = (chart.columns[name].mean for name in ("power", "voltage"))
        assert (chart.level, len(chart.ts)) == (level, points)
        assert voltage == [None] * (points // 2) + power[points // 2 :]
        assert chart.columns["charge"].max == [None] * points


def test_all_quantities_of_the_catalogue_fit_into_one_chart(database: peewee.Database) -> None:
    values = {quantity.name: 0.5 for quantity in QUANTITIES}
    Writer(database).write([Reading("1", NEW_YEAR + timedelta(seconds=s), values) for s in (0, 5)])

    chart = series(database, "1", values, NEW_YEAR, NEW_YEAR + timedelta(minutes=1), 2)

    assert all(column.max == [0.5, 0.5] for column in chart.columns.values())


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


def shown(chart: Series) -> list[float | None]:
    return chart.columns["power"].mean


@pytest.mark.parametrize(("points", "level"), [(24, HOUR), (288, FIVE_MINUTES), (3, DAY)])
def test_a_chart_holds_readings_that_are_not_rolled_up_yet(
    database: peewee.Database, points: int, level: int
) -> None:
    first = fill(database, NEW_YEAR, 60, every_s=60, power=wave)
    begin = NEW_YEAR + timedelta(hours=60)
    more = [
        Reading("1", begin + timedelta(seconds=s), {"power": float(s)}) for s in range(0, 900, 7)
    ]
    late = [
        Reading("1", NEW_YEAR + timedelta(hours=50, seconds=s + 0.5), {"power": 5000.0})
        for s in range(60)
    ]
    Writer(database).write(more + late)
    since = NEW_YEAR if level == DAY else NEW_YEAR + timedelta(hours=36)
    until = since + timedelta(hours=72 if level == DAY else 24.25)

    chart = series(database, "1", ["power"], since, until, points)
    assert Rollups(database).run(float("inf"))
    rolled_up = series(database, "1", ["power"], since, until, points)

    assert chart.level == rolled_up.level == level
    assert chart.ts == rolled_up.ts
    assert chart.ts[-1] >= begin.timestamp() - width_s(level)
    assert shown(chart) == pytest.approx(shown(rolled_up), abs=0.002)
    assert chart.columns["power"].max == rolled_up.columns["power"].max
    check_slices(chart, sorted(first + more + late, key=lambda r: r.ts))


def test_many_late_readings_here_and_there_are_charted_too(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 48, every_s=60)
    late = [Reading("1", NEW_YEAR + timedelta(hours=h, seconds=5), {"power": h}) for h in range(47)]
    Writer(database).write(late)
    until = NEW_YEAR + timedelta(hours=48)

    chart = series(database, "1", ["power"], NEW_YEAR, until, 576)
    assert Rollups(database).run(float("inf"))

    assert chart == series(database, "1", ["power"], NEW_YEAR, until, 576)
    assert chart.columns["power"].min[::12] == [float(h) for h in range(47)] + [600.0]


def test_minutes_are_charted_from_readings_whatever_came_just_before(
    database: peewee.Database,
) -> None:
    """The last imported reading lies in the 5 minutes in which the chart begins."""
    second = timedelta(seconds=1)
    Writer(database).write([Reading("1", NEW_YEAR + 10 * second, {"power": 1.0})])
    live = [NEW_YEAR + timedelta(minutes=6) + s * second for s in range(120)]
    Writer(database).write([Reading("1", ts, {"power": 2.0}) for ts in live])
    assert Rollups(database).run(float("inf"))

    begin = NEW_YEAR + 30 * second
    trace = columns(database, "1", ["power"], begin, begin + timedelta(minutes=10), 300)

    assert len(trace["ts"]) > 50
    assert set(trace["power"]) == {2.0}


def test_quarter_hours_stand_in_for_5_minutes_that_are_gone(database: peewee.Database) -> None:
    readings = fill(database, NEW_YEAR, 24 * 8, every_s=300, power=wave)
    Writer(database).write(
        [Reading("1", readings[0].ts + timedelta(seconds=9), {"voltage": 230.0})]
    )
    assert Rollups(database).run(float("inf"))
    now = (NEW_YEAR + timedelta(days=100)).timestamp()
    list(Retention(database).steps(now))
    until = NEW_YEAR + timedelta(days=7)

    week = series(database, "1", ["power", "power_l1"], NEW_YEAR, until, 600)
    coarse = series(database, "1", ["power", "voltage"], NEW_YEAR, until, 600)

    assert (week.level, len(week.ts)) == (QUARTER_HOUR, 600)
    check_slices(week, readings[: 7 * 288])
    assert (coarse.level, len(coarse.ts)) == (HOUR, 168)


def test_a_day_of_long_ago_is_charted_from_what_is_left(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 24 * 20, every_s=3600)
    now = (NEW_YEAR + timedelta(days=20)).timestamp()
    list(Retention(database, Keep(raw=5, five_minutes=10)).steps(now))

    def level(day: int) -> int:
        day_start = NEW_YEAR + timedelta(days=day)
        return series(
            database, "1", ["power"], day_start, day_start + timedelta(days=1), 1000
        ).level

    assert (level(18), level(12), level(3)) == (RAW, FIVE_MINUTES, QUARTER_HOUR)


def test_an_unknown_meter_or_quantity_gives_an_empty_chart(database: peewee.Database) -> None:
    fill(database, NEW_YEAR, 1)

    assert series(database, "nobody", ["power"], NEW_YEAR, NEW_YEAR + timedelta(days=1)).ts == []
    assert (
        series(database, "1", ["charge", "nonsense"], NEW_YEAR, NEW_YEAR).columns["charge"].mean
        == []
    )


def test_a_chart_has_means_of_equal_slices_and_leaves_gaps_open(database: peewee.Database) -> None:
    Writer(database).write([reading(second=s, power=s) for s in (0, 1, 2, 3, 10, 11)])

    chart = columns(database, "1", ["power"], NOON, NOON + timedelta(seconds=12), points=6)

    assert chart["power"] == [0.5, 2.5, 10.5]
    assert [ts - NOON.timestamp() for ts in chart["ts"] if ts] == [0, 2, 10]
