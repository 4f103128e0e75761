"""Which scalars are sent where `SCALARS=changed`."""

import itertools

from gateway_bridge.publishing.changes import RENEW_S, Changes


def test_a_value_is_sent_when_it_differs_by_more_than_its_resolution_from_the_last_sent() -> None:
    changes = Changes(["1"])
    powers = (100.0, 100.9, 101.0, 101.1, 100.2, 100.0)
    first, *sent = [changes.among("1", {"power": power, "voltage": 230.0}, 0.0) for power in powers]

    assert first == {"power": 100.0, "voltage": 230.0}
    assert sent == [{}, {}, {"power": 101.1}, {}, {"power": 100.0}]


def test_an_unchanged_value_is_sent_at_least_once_a_minute() -> None:
    changes, sent_s = Changes(["1", "2"]), []
    for second in range(300):
        if changes.among("1", {"power": 7.0}, float(second)):
            sent_s.append(second)

    gaps_s = [after - before for before, after in itertools.pairwise(sent_s)]
    assert gaps_s == [55] * 5
    assert RENEW_S < 60


def test_meters_are_renewed_at_different_times() -> None:
    meters = [str(number) for number in range(110)]
    changes = Changes(meters)
    sent_by_second = []
    for second in range(600):
        sent = [changes.among(meter, {"power": 7.0}, float(second)) for meter in meters]
        sent_by_second.append(sum(map(len, sent)))

    assert sent_by_second[0] == len(meters)
    assert max(sent_by_second[1:]) == 2


def test_a_quantity_that_is_rare_is_sent_each_time_if_that_is_a_minute() -> None:
    changes = Changes(["1"])

    assert all(changes.among("1", {"energy": 5.0}, 60.0 * n) for n in range(5))


def test_everything_is_sent_again_to_a_broker_that_may_have_lost_it() -> None:
    changes = Changes(["1"])
    changes.among("1", {"power": 7.0}, 0.0)
    assert changes.among("1", {"power": 7.0}, 1.0) == {}

    changes.forget()

    assert changes.among("1", {"power": 7.0}, 2.0) == {"power": 7.0}
