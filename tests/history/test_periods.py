"""Periods by the clock of a site."""

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from history.periods import Unit, edges
from tests.support.histories import BERLIN, KOLKATA

SANTIAGO = ZoneInfo("America/Santiago")  # clocks change at midnight


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
def test_a_local_day_is_as_long_as_on_its_clock(
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
