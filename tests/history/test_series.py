"""Charts: each answer is checked against the readings themselves."""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import peewee
import pytest

from contract.readings import Reading
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, RAW
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


def test_a_chart_has_means_of_equal_slices_and_leaves_gaps_open(database: peewee.Database) -> None:
    Writer(database).write([reading(second=s, power=s) for s in (0, 1, 2, 3, 10, 11)])

    chart = columns(database, "1", ["power"], NOON, NOON + timedelta(seconds=12), points=6)

    assert chart["power"] == [0.5, 2.5, 10.5]
    assert [ts - NOON.timestamp() for ts in chart["ts"] if ts] == [0, 2, 10]
