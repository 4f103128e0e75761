"""Scalars that arrive before the reading that they mirror."""

from datetime import UTC, datetime

import pytest

from contract.readings import Reading
from recorder.inbox import Inbox
from recorder.scalar_hold_back import LONGEST_WAIT_S, MOST_WAITING, WAIT_S

NOW = datetime(2026, 11, 22, 19, 20, 31, tzinfo=UTC)


class Broker:
    """What delivers messages to an inbox; `stored` is what would go to the history."""

    def __init__(self, *meters: str, snapshot_meters: tuple[str, ...] = ()) -> None:
        self.inbox = Inbox(meters, snapshot_meters, new_meters_per_hour=10**6, now_s=0)
        self.now_s = 0.0
        self.stored: list[Reading] = []

    def publish(self, topic: str, payload: str) -> None:
        self.stored += self.inbox.take(
            topic, payload.encode(), retained=False, arrived=NOW, now_s=self.now_s
        ).readings

    def burst(self, meter: str = "1") -> None:
        """Have a meter's power sent twice: the second time ends the first burst."""
        for power in ("5", "6"):
            self.publish(f"meters/{meter}/power", power)

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.stored += self.inbox.close_due(self.now_s).readings

    @property
    def powers(self) -> list[float]:
        return [reading.values["power"] for reading in self.stored]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_scalars_that_overtake_their_reading_are_not_stored_beside_it(broker: Broker) -> None:
    broker.burst()
    broker.wait(WAIT_S - 1)
    broker.publish("meters/1/reading", '{"ts":"2026-11-22T19:20:30Z","power":7}')
    broker.wait(2 * WAIT_S)

    assert broker.powers == [7]


def test_a_new_meter_of_scalars_has_them_all_stored_a_little_later(broker: Broker) -> None:
    broker.burst()
    broker.wait(WAIT_S - 1)
    assert broker.powers == []

    broker.wait(WAIT_S)
    assert broker.powers == [5, 6]
    broker.burst()
    assert broker.powers == [5, 6, 5]


def test_a_meter_known_for_its_scalars_need_not_wait() -> None:
    broker = Broker("1")
    broker.burst()

    assert broker.powers == [5]


def test_a_recorder_that_stood_still_waits_again_for_readings(broker: Broker) -> None:
    broker.burst()
    broker.now_s += LONGEST_WAIT_S / 2
    broker.inbox.readings_were_late(broker.now_s)
    broker.wait(0)
    assert broker.powers == []

    broker.publish("meters/1/reading", '{"ts":"2026-11-22T19:20:30Z","power":7}')
    broker.wait(2 * WAIT_S)
    assert broker.powers == [7]


def test_a_disk_that_is_always_slow_does_not_delay_scalars_forever(broker: Broker) -> None:
    broker.burst()
    for _ in range(round(LONGEST_WAIT_S)):
        broker.wait(1.2)
        broker.inbox.readings_were_late(broker.now_s)

    assert broker.powers == [5, 6]


def test_at_the_end_scalars_are_stored_unless_their_reading_could_not_come(broker: Broker) -> None:
    broker.burst("early")
    broker.now_s += 2
    broker.inbox.readings_were_late(broker.now_s)
    broker.burst("new")

    rest = broker.inbox.close_all(broker.now_s).readings
    assert [reading.meter_id for reading in rest] == ["new", "new"]


def test_deleting_a_retained_reading_does_not_affect_scalars(broker: Broker) -> None:
    broker.burst()
    broker.publish("meters/1/reading", "")
    broker.wait(2 * WAIT_S)
    broker.wait(WAIT_S)

    assert broker.powers == [5, 6]


def test_a_long_outage_does_not_make_mirrors_of_a_known_meter_readings() -> None:
    broker = Broker("1", snapshot_meters=("1",))
    broker.now_s = 3600.0  # no reading could be taken, and the meter counts as one of scalars
    broker.burst()
    broker.publish("meters/1/reading", '{"ts":"2026-11-22T19:20:30Z","power":7}')
    broker.wait(2 * WAIT_S)

    assert broker.powers == [7]


def test_what_waits_is_bounded_and_nothing_of_it_is_lost(broker: Broker) -> None:
    for number in range(2 * MOST_WAITING):
        broker.publish(f"meters/m{number % 7}/power", "5")
    assert len(broker.stored) > MOST_WAITING / 2
    broker.wait(2 * WAIT_S)
    broker.wait(2 * WAIT_S)

    assert len(broker.stored) == 2 * MOST_WAITING
