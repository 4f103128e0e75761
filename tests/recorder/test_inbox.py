"""The inbox: what each message brings, and what a flood of unusable ones may cost."""

import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.readings import Reading
from recorder.inbox import Inbox, NewMeterLimit, RejectionLimit

START = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)
MS = timedelta(milliseconds=1)


@given(
    topic=st.text(max_size=20) | st.sampled_from(["meters/1/reading", "meters/1/power"]),
    payload=st.binary(max_size=50) | st.from_regex(r'\{"power": .{0,9}\}').map(str.encode),
    retained=st.booleans(),
)
def test_any_message_is_stored_rejected_or_ignored(
    topic: str, payload: bytes, retained: bool
) -> None:
    inbox = Inbox([], [], new_meters_per_hour=2, now_s=0)

    contents = inbox.take(topic, payload, retained=retained, arrived=START, now_s=0)

    assert len(contents.readings) + len(contents.rejected) <= 1


@pytest.fixture
def inbox() -> Inbox:
    return Inbox(["known"], [], new_meters_per_hour=2, now_s=0)


def take(inbox: Inbox, topic: str, payload: str, now_s: float = 0) -> tuple[int, int]:
    """Return how many readings and how many limit a message brings."""
    contents = inbox.take(topic, payload.encode(), retained=False, arrived=START, now_s=now_s)
    return len(contents.readings), len(contents.rejected)


def test_made_up_meters_are_limited_and_known_ones_are_not(inbox: Inbox) -> None:
    for name in ("a", "b"):
        assert take(inbox, f"meters/{name}/reading", '{"power": 1}') == (1, 0)

    assert take(inbox, "meters/c/reading", '{"power": 1}') == (0, 1)
    assert take(inbox, "meters/known/reading", '{"power": 1}') == (1, 0)
    assert take(inbox, "meters/a/reading", '{"power": 1}') == (1, 0)
    assert take(inbox, "meters/c/reading", '{"power": 1}', now_s=3600) == (1, 0)


def flood(inbox: Inbox, count: int = 10) -> int:
    """Send readings of made-up meters, and return how many were kept."""
    taken = [take(inbox, f"meters/made-up{n}/reading", '{"power": 1}') for n in range(count)]
    return sum(readings for readings, _ in taken)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("meters/_bridge/house/info", '{"meters": ["new", "other"]}'),
        ("meters/new/status", "online"),
        ("meters/new/info", '{"name": "New"}'),
    ],
)
def test_a_flood_of_made_up_meters_keeps_out_none_that_is_announced(
    inbox: Inbox, topic: str, payload: str
) -> None:
    assert flood(inbox) == 2
    assert take(inbox, "meters/new/reading", '{"power": 1}') == (0, 1)

    take(inbox, topic, payload)

    assert take(inbox, "meters/new/reading", '{"power": 1}') == (1, 0)
    assert take(inbox, "meters/unknown/reading", '{"power": 1}') == (0, 1)


def test_a_flood_of_made_up_statuses_keeps_out_no_meter_of_a_bridge(inbox: Inbox) -> None:
    for number in range(10):
        take(inbox, f"meters/made-up{number}/status", "online")
    assert flood(inbox) == 4  # two by their status, two without

    take(inbox, "meters/_bridge/house/info", '{"meters": ["1", "2", "3"]}')

    admitted = [take(inbox, f"meters/{each}/reading", '{"power": 1}') for each in (1, 2, 3)]
    assert admitted == [(1, 0), (1, 0), (0, 1)]


def test_announced_meters_are_limited_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recorder.inbox.MOST_ANNOUNCED", 3)
    limit = NewMeterLimit(["known"], 5)
    limit.announced_by_bridge(["known", *map(str, range(100))])

    assert list(limit._announced[1]) == ["97", "98", "99"]


def test_an_unknown_quantity_is_logged_once(inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert take(inbox, "meters/known/pwoer", "5") == (0, 0)
        assert take(inbox, "meters/known/status", "online") == (0, 0)

    assert caplog.text.count("meters/known/pwoer") == 1
    assert "status" not in caplog.text


@pytest.mark.parametrize(
    "topic", ["meters/_bridge/house/info", "elsewhere/1/status", "meters/_x/1"]
)
def test_topics_of_others_bring_nothing(inbox: Inbox, topic: str) -> None:
    assert take(inbox, topic, "1") == (0, 0)


def test_a_number_beyond_the_limit_is_rejected(inbox: Inbox) -> None:
    for seq, expected in ((2**53, (1, 0)), (2**53 + 1, (0, 1)), (2**63 - 1, (0, 1))):
        assert take(inbox, "meters/known/reading", f'{{"seq": {seq}, "power": 1}}') == expected


def arrived(inbox: Inbox, payload: str, topic: str = "meters/known/reading") -> list[Reading]:
    contents = inbox.take(topic, payload.encode(), retained=False, arrived=START, now_s=0)
    return contents.readings


def test_readings_sent_again_without_a_usable_time_get_a_millisecond_each(inbox: Inbox) -> None:
    payload = '{"meter_id": "known", "power": 1}'
    got = [arrived(inbox, payload, "meters/_recorder/main/again") for _ in range(2)]

    assert [reading.ts for [reading] in got] == [START, START + MS]


def test_a_time_ahead_of_the_clock_is_replaced_counted_and_logged_once_a_meter(
    inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    for seconds in (3540, 3541, 60):
        ts = (START + timedelta(seconds=seconds)).timestamp()
        [reading] = arrived(inbox, f'{{"power": 1, "ts": {ts}}}')
        assert (reading.ts < START + timedelta(seconds=1)) == (seconds > 60)
    [other] = arrived(inbox, f'{{"power": 1, "ts": {START.timestamp() + 61}}}', "meters/2/reading")

    assert inbox.ahead_of_clock == 3
    assert other.ts == START
    assert [record.message.partition(";")[0] for record in caplog.records] == [
        "meter known: the time of its readings is 3540 s ahead of this machine's clock",
        "meter 2: the time of its readings is 61 s ahead of this machine's clock",
    ]


def test_a_flood_of_nonsense_is_counted_but_not_kept() -> None:
    limit = RejectionLimit()

    kept = [limit.keep("meters/1/power", "bad_value", "x", now_s=0) for _ in range(1000)]

    assert (kept.count(True), limit.count) == (10, 1000)
    assert limit.keep("meters/1/power", "bad_value", "x", now_s=60)


def test_a_flood_of_topics_costs_bounded_memory(caplog: pytest.LogCaptureFixture) -> None:
    limit = RejectionLimit()

    kept = [limit.keep(f"meters/{n}/power", "bad_value", "x", 0) for n in range(5000)]

    assert kept.count(True) == 1000
    assert len(caplog.records) <= 20


def test_the_first_of_each_kind_is_kept_and_logged_in_a_flood_of_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    limit = RejectionLimit()
    for n in range(5000):
        limit.keep(f"meters/{n}/reading", "too_many_meters", "x", 0)

    kept = [limit.keep(f"meters/late{n}/reading", "bad_json", "x", 0) for n in range(3)]

    assert kept == [True, False, False]
    assert "meters/late0/reading: message rejected (bad_json)" in caplog.text
