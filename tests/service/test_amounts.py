"""Amounts as people read them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from service.amounts import amount, clock, size, span


def test_numbers_are_shown_as_people_write_them() -> None:
    assert [size(n) for n in (0, 999, 1000, 12_345, 1.5e6, 2e12)] == [
        *("0 B", "999 B", "1.0 kB", "12 kB", "1.5 MB", "2.0 TB")
    ]
    assert [span(n) for n in (5, 90, 5400, 36_000, 200_000)] == [
        *("5 s", "1.5 min", "1.5 h", "10 h", "2.3 d")
    ]
    assert [amount(n, "reading") for n in (0, 1, 2000)] == [
        *("0 readings", "1 reading", "2,000 readings")
    ]
    berlin = ZoneInfo("Europe/Berlin")
    moment = datetime(2026, 7, 1, 12, tzinfo=UTC)
    assert [clock(each, berlin) for each in (moment, None)] == ["2026-07-01 14:00:00", "-"]
