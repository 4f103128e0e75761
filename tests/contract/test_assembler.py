"""From messages to readings: whole readings, mirrors and bursts of scalars."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract import topics
from contract.assembler import BURST_S, MAX_OPEN_BURSTS, SNAPSHOT_MEMORY_S, Assembler
from contract.errors import PayloadError
from contract.quantities import BY_NAME
from contract.readings import Reading
from contract.topics import MeterTopic

START = datetime(2026, 11, 22, 19, 20, 31, tzinfo=UTC)
MS = timedelta(milliseconds=1)
READING = '{{"ts":"2026-11-22T19:20:{second:02}Z","power":{power}}}'


class Broker:
    """What delivers messages to an assembler, with a clock that the test moves."""

    def __init__(self, *snapshot_meters: str) -> None:
        self.assembler = Assembler(snapshot_meters)
        self.now_s = 0.0

    @property
    def wall_clock(self) -> datetime:
        return START + timedelta(seconds=self.now_s)

    def publish(self, topic: str, payload: str, *, retained: bool = False) -> list[Reading]:
        parsed = topics.parse(topic)
        assert isinstance(parsed, MeterTopic)
        return self.assembler.take(
            parsed, payload.encode(), retained=retained, arrived=self.wall_clock, now_s=self.now_s
        )

    def wait(self, seconds: float) -> list[Reading]:
        self.now_s += seconds
        return self.assembler.close_due(self.now_s)


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_a_reading_is_taken_unchanged(broker: Broker) -> None:
    [reading] = broker.publish("meters/1/reading", READING.format(second=30, power=5))

    assert reading == Reading("1", START - timedelta(seconds=1), {"power": 5})


def test_scalars_of_a_meter_that_sends_readings_are_mirrors(broker: Broker) -> None:
    broker.publish("meters/1/reading", READING.format(second=30, power=5))

    assert broker.publish("meters/1/power", "5") == []
    assert broker.wait(BURST_S) == []


def test_scalars_alone_become_one_reading_per_burst(broker: Broker) -> None:
    assert broker.publish("meters/esp1/power", "123") == []
    broker.now_s += 0.1
    assert broker.publish("meters/esp1/voltage", "230.5") == []

    values = {"power": 123.0, "voltage": 230.5}
    assert broker.wait(BURST_S) == [
        Reading("esp1", START, values, stamped_on_arrival=True, from_scalars=True)
    ]


def test_a_quantity_that_repeats_closes_the_burst(broker: Broker) -> None:
    broker.publish("meters/esp1/power", "1")
    broker.now_s += 0.5

    [reading] = broker.publish("meters/esp1/power", "2")

    assert (reading.ts, reading.values) == (START, {"power": 1.0})
    assert [r.values for r in broker.wait(BURST_S)] == [{"power": 2.0}]


def test_bursts_of_two_meters_do_not_mix(broker: Broker) -> None:
    broker.publish("meters/esp1/power", "1")
    broker.publish("meters/esp2/power", "2")

    assert {r.meter_id: r.values["power"] for r in broker.wait(BURST_S)} == {
        "esp1": 1.0,
        "esp2": 2.0,
    }


def test_a_burst_is_due_when_it_has_lasted_long_enough_and_not_before(broker: Broker) -> None:
    broker.publish("meters/esp1/power", "1")

    assert broker.wait(BURST_S - 0.01) == []
    assert len(broker.wait(0.01)) == 1


def test_retained_scalars_are_of_unknown_age_and_ignored(broker: Broker) -> None:
    assert broker.publish("meters/esp1/power", "123", retained=True) == []
    assert broker.wait(BURST_S) == []


def test_a_retained_reading_counts_by_its_own_time(broker: Broker) -> None:
    body = READING.format(second=30, power=5)

    assert len(broker.publish("meters/1/reading", body, retained=True)) == 1
    assert broker.publish("meters/2/reading", '{"power":5}', retained=True) == []


def test_a_meter_without_readings_for_a_quarter_hour_is_a_scalar_meter_again(
    broker: Broker,
) -> None:
    broker.publish("meters/1/reading", READING.format(second=30, power=5))
    broker.now_s += SNAPSHOT_MEMORY_S + 1
    broker.publish("meters/1/power", "7")

    assert [r.values for r in broker.wait(BURST_S)] == [{"power": 7.0}]


def test_a_snapshot_meter_of_the_history_is_one_from_the_first_message() -> None:
    broker = Broker("1")

    broker.publish("meters/1/power", "7")

    assert broker.wait(BURST_S) == []


def test_a_reading_ends_the_burst_that_its_mirrors_began(broker: Broker) -> None:
    broker.publish("meters/1/power", "5")

    assert len(broker.publish("meters/1/reading", READING.format(second=31, power=5))) == 1
    assert broker.wait(BURST_S) == []


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("meters/1/reading", ""),
        ("meters/1/status", "online"),
        ("meters/1/info", "{}"),
        ("meters/1/firmware", "1.2"),
        ("meters/esp1/power", "unavailable"),
    ],
)
def test_a_payload_without_a_value_yields_nothing(broker: Broker, topic: str, payload: str) -> None:
    assert broker.publish(topic, payload) == []
    assert broker.wait(BURST_S) == []


def test_an_invalid_payload_does_not_affect_others(broker: Broker) -> None:
    broker.publish("meters/esp1/power", "1")

    with pytest.raises(PayloadError, match="power: should be a number"):
        broker.publish("meters/esp1/power", "much")
    with pytest.raises(PayloadError, match="JSON"):
        broker.publish("meters/esp1/reading", "{")

    assert [r.values for r in broker.wait(BURST_S)] == [{"power": 1.0}]


def test_a_flood_of_meters_does_not_fill_the_memory(broker: Broker) -> None:
    given = [
        reading
        for n in range(MAX_OPEN_BURSTS + 5)
        for reading in broker.publish(f"meters/m{n}/power", "1")
    ]

    assert [reading.meter_id for reading in given] == [f"m{n}" for n in range(5)]


def test_a_flood_of_meters_that_send_readings_is_forgotten_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contract.assembler.MAX_SNAPSHOT_METERS", 100)
    for n in range(1000):
        broker.publish(f"meters/m{n}/reading", '{"power": 1}', retained=n % 2 == 0)
        broker.publish("meters/real/reading", '{"power": 1}')

    assert len(broker.assembler._last_reading_s) == 100
    assert broker.publish("meters/real/power", "1") == []
    assert broker.wait(BURST_S) == []


messages = st.tuples(
    st.sampled_from(["1", "2"]),
    st.sampled_from(["reading", "power", "voltage", "status"]),
    st.sampled_from([b"1", b"", b"nan", b"x", b'{"power":1}', b'{"voltage":2,"ts":1795375231}'])
    | st.binary(max_size=20),
    st.booleans(),
    st.floats(0, 1000),
)


@given(st.lists(messages, max_size=30))
def test_any_sequence_gives_readings_with_values_or_payload_errors(
    sequence: list[tuple[str, str, bytes, bool, float]],
) -> None:
    assembler, now_s, given_out = Assembler(), 0.0, []
    for meter_id, leaf, payload, retained, pause_s in sequence:
        now_s += pause_s
        with contextlib.suppress(PayloadError):
            given_out += assembler.take(
                MeterTopic(meter_id, leaf),
                payload,
                retained=retained,
                arrived=START,
                now_s=now_s,
            )
    given_out += assembler.close_due(now_s + BURST_S)

    assert all(r.values and r.values.keys() <= BY_NAME.keys() for r in given_out)
    assert assembler.close_due(now_s + 1e9) == []


def ids_and_times(readings: list[Reading]) -> list[tuple[str, datetime]]:
    return [(reading.meter_id, reading.ts) for reading in readings]


def test_readings_without_a_time_in_one_millisecond_each_get_their_own(broker: Broker) -> None:
    burst = [broker.publish("meters/1/reading", '{"power":1}') for _ in range(1000)]
    others = broker.publish("meters/2/reading", '{"power":1}')

    times = [reading.ts for [reading] in burst]
    assert times == [START + n * MS for n in range(1000)]
    assert ids_and_times(others) == [("2", START)]


def test_a_reading_with_a_time_of_its_own_keeps_it_in_a_burst_of_others(broker: Broker) -> None:
    own = READING.format(second=31, power=5)
    burst = [
        broker.publish("meters/1/reading", payload) for payload in ('{"power":1}', own, own, own)
    ]

    assert {reading.ts for [reading] in burst} == {START}


def test_bursts_of_scalars_that_begin_in_one_millisecond_are_two_readings(broker: Broker) -> None:
    readings = [
        reading for power in "123" for reading in broker.publish("meters/esp1/power", power)
    ]
    readings += broker.wait(BURST_S)

    assert [(r.ts, r.values["power"]) for r in readings] == [
        (START, 1),
        (START + MS, 2),
        (START + 2 * MS, 3),
    ]


def test_a_reading_more_than_a_minute_ahead_is_stamped_on_arrival(broker: Broker) -> None:
    broker.now_s = -61.0
    [ahead] = broker.publish("meters/1/reading", READING.format(second=31, power=5))
    broker.now_s = -60.0
    [in_time] = broker.publish("meters/1/reading", READING.format(second=31, power=5))

    assert (ahead.ts, ahead.stamped_on_arrival, ahead.ahead_s) == (START - 61_000 * MS, True, 61.0)
    assert (in_time.ts, in_time.stamped_on_arrival, in_time.ahead_s) == (START, False, 0.0)
