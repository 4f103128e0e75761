"""From messages to readings: whole readings, mirrors and bursts of scalars."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import topics
from contract.assembler import BURST_S, MAX_OPEN_BURSTS, SNAPSHOT_MEMORY_S, Intake
from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.readings import Reading

START = datetime(2026, 11, 22, 19, 20, 31, tzinfo=UTC)
READING = '{{"ts":"2026-11-22T19:20:{second:02}Z","power":{power}}}'


class Bus:
    """An intake with a clock that the test moves."""

    def __init__(self, *snapshot_meters: str) -> None:
        self.intake = Intake(snapshot_meters)
        self.now_s = 0.0

    @property
    def wall_clock(self) -> datetime:
        return START + timedelta(seconds=self.now_s)

    def say(self, topic: str, payload: str, *, retained: bool = False) -> list[Reading]:
        return self.intake.take(
            topic, payload.encode(), retained=retained, arrived=self.wall_clock, now_s=self.now_s
        )

    def wait(self, seconds: float) -> list[Reading]:
        self.now_s += seconds
        return self.intake.close_due(self.now_s)


@pytest.fixture
def bus() -> Bus:
    return Bus()


def test_a_reading_is_taken_as_it_is(bus: Bus) -> None:
    [reading] = bus.say("meters/1/reading", READING.format(second=30, power=5))

    assert reading == Reading("1", START - timedelta(seconds=1), {"power": 5})


def test_scalars_of_a_meter_that_sends_readings_are_mirrors(bus: Bus) -> None:
    bus.say("meters/1/reading", READING.format(second=30, power=5))

    assert bus.say("meters/1/power", "5") == []
    assert bus.wait(BURST_S) == []


def test_scalars_alone_become_one_reading_per_burst(bus: Bus) -> None:
    assert bus.say("meters/esp1/power", "123") == []
    bus.now_s += 0.1
    assert bus.say("meters/esp1/voltage", "230.5") == []

    values = {"power": 123.0, "voltage": 230.5}
    assert bus.wait(BURST_S) == [
        Reading("esp1", START, values, stamped_on_arrival=True, from_scalars=True)
    ]


def test_a_quantity_that_repeats_closes_the_burst(bus: Bus) -> None:
    bus.say("meters/esp1/power", "1")
    bus.now_s += 0.5

    [reading] = bus.say("meters/esp1/power", "2")

    assert (reading.ts, reading.values) == (START, {"power": 1.0})
    assert [r.values for r in bus.wait(BURST_S)] == [{"power": 2.0}]


def test_bursts_of_two_meters_do_not_mix(bus: Bus) -> None:
    bus.say("meters/esp1/power", "1")
    bus.say("meters/esp2/power", "2")

    assert {r.meter_id: r.values["power"] for r in bus.wait(BURST_S)} == {"esp1": 1.0, "esp2": 2.0}


def test_a_burst_is_due_when_it_has_lasted_long_enough_and_not_before(bus: Bus) -> None:
    bus.say("meters/esp1/power", "1")

    assert bus.wait(BURST_S - 0.01) == []
    assert len(bus.wait(0.01)) == 1


def test_retained_scalars_are_of_unknown_age_and_ignored(bus: Bus) -> None:
    assert bus.say("meters/esp1/power", "123", retained=True) == []
    assert bus.wait(BURST_S) == []


def test_a_retained_reading_counts_by_its_own_time(bus: Bus) -> None:
    body = READING.format(second=30, power=5)

    assert len(bus.say("meters/1/reading", body, retained=True)) == 1
    assert bus.say("meters/2/reading", '{"power":5}', retained=True) == []


def test_a_meter_without_readings_for_a_quarter_hour_is_a_scalar_meter_again(bus: Bus) -> None:
    bus.say("meters/1/reading", READING.format(second=30, power=5))
    bus.now_s += SNAPSHOT_MEMORY_S + 1
    bus.say("meters/1/power", "7")

    assert [r.values for r in bus.wait(BURST_S)] == [{"power": 7.0}]


def test_what_the_history_knows_of_a_meter_holds_from_the_first_message() -> None:
    bus = Bus("1")

    bus.say("meters/1/power", "7")

    assert bus.wait(BURST_S) == []


def test_a_reading_ends_the_burst_that_its_mirrors_began(bus: Bus) -> None:
    bus.say("meters/1/power", "5")

    assert len(bus.say("meters/1/reading", READING.format(second=31, power=5))) == 1
    assert bus.wait(BURST_S) == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("meters/1/reading", ""),
        ("meters/1/status", "online"),
        ("meters/1/info", "{}"),
        ("meters/1/firmware", "1.2"),
        ("meters/_bridge/house/status", "online"),
        ("meters/esp1/power", "unavailable"),
        ("elsewhere/1/power", "1"),
    ],
)
def test_what_is_no_value_gives_nothing(bus: Bus, topic: str, payload: str) -> None:
    assert bus.say(topic, payload) == []
    assert bus.wait(BURST_S) == []


def test_a_payload_that_is_wrong_harms_nobody_else(bus: Bus) -> None:
    bus.say("meters/esp1/power", "1")

    with pytest.raises(PayloadError, match="power: should be a number"):
        bus.say("meters/esp1/power", "much")
    with pytest.raises(PayloadError, match="JSON"):
        bus.say("meters/esp1/reading", "{")

    assert [r.values for r in bus.wait(BURST_S)] == [{"power": 1.0}]


def test_a_flood_of_meters_does_not_fill_the_memory(bus: Bus) -> None:
    given = [
        reading
        for n in range(MAX_OPEN_BURSTS + 5)
        for reading in bus.say(f"meters/m{n}/power", "1")
    ]

    assert [reading.meter_id for reading in given] == [f"m{n}" for n in range(5)]


def test_a_flood_of_meters_that_send_readings_is_forgotten_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contract.assembler.MAX_SNAPSHOT_METERS", 100)
    for n in range(1000):
        bus.say(f"meters/m{n}/reading", '{"power": 1}', retained=n % 2 == 0)
        bus.say("meters/real/reading", '{"power": 1}')

    assert len(bus.intake._last_reading_s) == 100
    assert bus.say("meters/real/power", "1") == []
    assert bus.wait(BURST_S) == []


messages = st.tuples(
    st.sampled_from(["1", "2"]),
    st.sampled_from(["reading", "power", "voltage", "status"]),
    st.sampled_from([b"1", b"", b"nan", b"x", b'{"power":1}', b'{"voltage":2,"ts":1795375231}'])
    | st.binary(max_size=20),
    st.booleans(),
    st.floats(0, 1000),
)


@given(st.lists(messages, max_size=30))
def test_any_sequence_gives_readings_with_values_or_complaints(
    sequence: list[tuple[str, str, bytes, bool, float]],
) -> None:
    intake, now_s, given_out = Intake(), 0.0, []
    for meter_id, leaf, payload, retained, pause_s in sequence:
        now_s += pause_s
        with contextlib.suppress(PayloadError):
            given_out += intake.take(
                topics.scalar(meter_id, leaf),
                payload,
                retained=retained,
                arrived=START,
                now_s=now_s,
            )
    given_out += intake.close_due(now_s + BURST_S)

    assert all(r.values and r.values.keys() <= BY_NAME.keys() for r in given_out)
    assert intake.close_due(now_s + 1e9) == []
