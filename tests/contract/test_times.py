"""Times: their forms on the wire and in the database."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.errors import PayloadError
from contract.times import epoch_ms, format_time, from_epoch_ms, parse_time

MOMENT = datetime(2026, 11, 22, 19, 20, 31, 123_000, tzinfo=UTC)


@given(st.integers(0, 4_102_444_800_000))
def test_the_forms_stand_for_the_same_millisecond(ms: int) -> None:
    moment = from_epoch_ms(ms)

    assert epoch_ms(moment) == ms
    assert epoch_ms(parse_time(format_time(moment))) == ms


def test_text_without_a_zone_is_in_the_zone_of_the_site_or_invalid() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    assert parse_time("2026-11-22T20:20:31.123", berlin) == MOMENT
    assert parse_time("2026-11-22", berlin) == datetime(2026, 11, 21, 23, tzinfo=UTC)
    assert parse_time("2026-11-22T19:20:31.123Z", berlin) == MOMENT
    with pytest.raises(PayloadError, match="should be a time with a zone"):
        parse_time("2026-11-22T20:20:31")


@pytest.mark.parametrize("value", ["", "soon", "2026-11-22T19:20:31Z\0", 1e308, -1e308])
def test_other_values_are_rejected(value: str | float) -> None:
    with pytest.raises(PayloadError, match=r"^ts: should be a time"):
        parse_time(value)
