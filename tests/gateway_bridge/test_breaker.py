"""What follows from each failure of a meter, and when it is tried again."""

import random

import pytest

from gateway_bridge.polling.breaker import DELAYS_S, Breaker, Step

WAIT, RETRY, SOON, OFFLINE, OPEN = (
    Step.WAIT,
    Step.RETRY,
    Step.RETRY_SOON,
    Step.OFFLINE,
    Step.OPEN,
)
CASES = {
    "a first timeout is followed by a retry, a second one opens": (
        "timeout timeout",
        [SOON, OPEN],
    ),
    "an answer between two timeouts keeps the meter online": (
        "timeout answered timeout",
        [SOON, SOON],
    ),
    "a meter that answers its first block, and never the next, opens": (
        "timeout answered timeout answered timeout",
        [SOON, SOON, OPEN],
    ),
    "a probe that times out leads to another probe": (
        "timeout timeout timeout",
        [SOON, OPEN, WAIT],
    ),
    "a third damaged answer opens": (
        "damaged damaged damaged",
        [WAIT, WAIT, OPEN],
    ),
    "a meter that answers with exceptions is offline but is read on": (
        "exception exception exception exception",
        [WAIT, WAIT, OFFLINE, OFFLINE],
    ),
    "a whole reading in between starts the count again": (
        "exception exception read exception exception exception",
        [WAIT, WAIT, WAIT, WAIT, OFFLINE],
    ),
    "a lost connection is followed by a retry at once": (
        "cut-off",
        [RETRY],
    ),
    "a meter that ends the connection each time opens while others are well": (
        "cut-off cut-off cut-off",
        [RETRY, WAIT, OPEN],
    ),
    "where all meters fail, the gateway is to blame": (
        "cut-off-all cut-off-all cut-off-all cut-off-all",
        [RETRY, WAIT, WAIT, WAIT],
    ),
}


def play(breaker: Breaker, what: str) -> Step | None:
    """Report one thing that happened to a meter; return what follows."""
    if what in ("answered", "read"):
        breaker.answered()
        if what == "read":
            breaker.read()
        return None
    breaker.failed()
    if what == "timeout":
        return breaker.timed_out()
    if what.startswith("cut-off"):
        return breaker.cut_off(others_are_well=what == "cut-off")
    return breaker.faulted(exception=what == "exception")


@pytest.mark.parametrize(("story", "wanted"), CASES.values(), ids=CASES)
def test_what_follows_when(story: str, wanted: list[Step]) -> None:
    breaker = Breaker()

    steps = [play(breaker, what) for what in story.split()]

    assert [step for step in steps if step] == wanted
    assert breaker.opened == (OPEN in wanted)
    assert not breaker.is_well


def test_a_whole_reading_leaves_nothing_to_recover_from() -> None:
    breaker = Breaker()
    for what in ("timeout", "timeout", "answered", "damaged", "read"):
        play(breaker, what)

    assert breaker == Breaker()


def test_a_meter_is_marked_offline_after_two_timeouts_in_a_row() -> None:
    breaker = Breaker()

    assert breaker.timed_out() is not OPEN
    breaker.answered()
    assert breaker.timed_out() is not OPEN
    assert breaker.timed_out() is OPEN
    assert breaker.timed_out() is not OPEN
    breaker.answered()
    assert not breaker.opened


def test_probes_come_at_growing_delays_with_jitter() -> None:
    random.seed(1)
    breaker = Breaker(opened=True)

    delays = [breaker.probe_delay_s() for _ in range(7)]

    wanted = [*DELAYS_S, *[DELAYS_S[-1]] * (7 - len(DELAYS_S))]
    assert all(0.9 * w <= d <= 1.1 * w for d, w in zip(delays, wanted, strict=True))
    assert delays != wanted
    breaker.read()
    assert breaker.probe_delay_s() <= 1.1 * DELAYS_S[0]
