"""Arrival times: one millisecond a reading, even if the clock jumps."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from contract.arrival import MAX_METERS, MOST_AHEAD, ArrivalTimes

NOW = datetime(2026, 11, 22, 19, 20, 31, 123_456, tzinfo=UTC)
MS = timedelta(milliseconds=1)
CUT = NOW.replace(microsecond=123_000)


def test_a_time_is_cut_to_the_millisecond_and_the_next_ones_follow() -> None:
    arrivals = ArrivalTimes()

    assert [arrivals.stamp("1", NOW) for _ in range(3)] == [CUT, CUT + MS, CUT + 2 * MS]
    assert arrivals.stamp("2", NOW) == CUT
    assert arrivals.stamp("1", NOW + 10 * MS) == CUT + 10 * MS


@given(st.lists(st.integers(0, 59_999), max_size=50))
def test_no_two_readings_get_the_same_time_while_the_clock_jumps_within_a_minute(
    jumps: list[int],
) -> None:
    arrivals = ArrivalTimes()

    times = [arrivals.stamp("1", NOW + jump * MS) for jump in jumps]

    assert times == sorted(set(times))


def test_a_clock_that_is_set_back_by_more_than_a_minute_is_followed() -> None:
    arrivals = ArrivalTimes()
    arrivals.stamp("1", NOW)

    assert arrivals.stamp("1", NOW - MOST_AHEAD) == CUT + MS
    assert arrivals.stamp("1", NOW - MOST_AHEAD - MS) == CUT - MOST_AHEAD - MS
    assert arrivals.stamp("1", NOW - MOST_AHEAD - MS) == CUT - MOST_AHEAD


def test_a_flood_of_meters_does_not_fill_the_memory() -> None:
    arrivals = ArrivalTimes()
    for number in range(MAX_METERS + 10):
        arrivals.stamp(f"m{number}", NOW)

    assert len(arrivals._taken) == MAX_METERS
