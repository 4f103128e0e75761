"""When the recorder commits: at once, by count, by time, or where the broker is waiting."""

import pytest

from recorder.commit_window import MOST_HELD, CommitWindow


def test_nothing_is_due_while_nothing_waits() -> None:
    assert not CommitWindow(20).due(1000)


def test_what_may_wait_is_committed_after_the_interval() -> None:
    window = CommitWindow(20)
    for second in range(20):
        window.add(1, urgent=False, now_s=second)
        assert not window.due(second)

    assert window.due(20)
    window.committed(20)
    assert not window.due(100)


def test_what_may_not_wait_is_committed_at_once_with_everything_else() -> None:
    window = CommitWindow(20)
    window.add(1, urgent=False, now_s=0)
    window.add(0, urgent=True, now_s=1)

    assert window.due(1)
    window.committed(1)
    assert not window.due(1)


def test_without_an_interval_everything_is_committed_at_once() -> None:
    window = CommitWindow(0)
    window.add(1, urgent=False, now_s=5)

    assert window.due(5)


def test_many_messages_are_committed_before_the_interval() -> None:
    window = CommitWindow(20)
    window.add(MOST_HELD - 1, urgent=False, now_s=0)
    assert not window.due(0.1)

    window.add(1, urgent=False, now_s=0.2)

    assert window.due(0.2)


@pytest.mark.parametrize("most_in_flight", [10, 20, 32, 100])
@pytest.mark.parametrize("per_second", [2, 10, 100])
def test_a_broker_with_few_messages_in_flight_is_made_to_wait_only_once(
    most_in_flight: int, per_second: int
) -> None:
    window, queued, held, stalled_s = CommitWindow(20), 0, 0, 0.0
    for tick in range(60 * per_second):
        now_s = tick / per_second
        queued += 1
        delivered = min(queued, most_in_flight - held)
        if delivered:
            window.add(delivered, urgent=False, now_s=now_s)
        queued, held = queued - delivered, held + delivered
        stalled_s += queued / per_second if now_s > 20 else 0
        if window.due(now_s):
            window.committed(now_s)
            held = 0
            if delivered := min(queued, most_in_flight):
                window.add(delivered, urgent=False, now_s=now_s + 0.01)
                queued, held = queued - delivered, delivered

    assert stalled_s == 0


def test_a_pause_of_the_meters_is_no_reason_to_commit_more_often() -> None:
    window = CommitWindow(20)
    window.add(30, urgent=False, now_s=0)
    assert window.due(2.5)
    window.committed(2.5)
    window.add(30, urgent=False, now_s=10)

    assert window.limit == MOST_HELD
    assert not window.due(15)


def test_a_new_connection_may_be_to_another_broker() -> None:
    window = CommitWindow(20)
    window.add(20, urgent=False, now_s=0)
    window.committed(3)
    window.add(6, urgent=False, now_s=3.01)
    assert window.limit == 15

    window.connected()

    assert window.limit == MOST_HELD
