"""Own topics: what others have put there is replaced, and no more often than necessary."""

import pytest

from service.own_topics import AGAIN_S, SETTLED_S, OwnTopics

TOPIC = "meters/1/status"


@pytest.fixture
def own() -> OwnTopics:
    """Our `online` on a topic."""
    topics = OwnTopics()
    topics.keep(TOPIC, "online")
    return topics


def received(own: OwnTopics, payload: str, now_s: float) -> None:
    own.received(TOPIC.encode(), payload.encode(), now_s)


@pytest.mark.parametrize("payload", ["offline", "", "\0"])
def test_what_others_have_published_is_replaced(own: OwnTopics, payload: str) -> None:
    received(own, payload, 10)

    assert own.due(10) == []
    assert own.due(10 + SETTLED_S) == [(TOPIC, "online")]
    assert own.due(100) == []


def test_what_comes_before_our_own_message_needs_no_correction(own: OwnTopics) -> None:
    received(own, "offline", 10)
    received(own, "online", 10.1)

    assert own.due(100) == []


def test_a_message_that_we_have_changed_meanwhile_is_corrected_to_the_last_one(
    own: OwnTopics,
) -> None:
    received(own, "nonsense", 10)
    own.keep(TOPIC, "offline")

    assert own.due(20) == [(TOPIC, "offline")]


def test_a_fight_over_a_topic_is_slow(own: OwnTopics) -> None:
    corrections = 0
    for tenth in range(1000):
        received(own, "offline", tenth / 10)
        corrections += len(own.due(tenth / 10))

    assert 100 / AGAIN_S * 0.8 <= corrections <= 100 / AGAIN_S


def test_a_new_connection_begins_without_corrections(own: OwnTopics) -> None:
    received(own, "offline", 10)
    own.connected()

    assert own.due(100) == []
    assert (own.has(TOPIC.encode()), own.has(b"meters/2/status")) == (True, False)
