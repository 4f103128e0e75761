"""Replays: whom the recorder asks, and whose answers it believes."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.readings import HIGHEST_SEQ, Reading
from contract.replay import ReplayAnswer, Replayed, ReplayRequest
from recorder import replays as replays_module
from recorder.replays import MOST_BRIDGES, MOST_OPEN, Replays
from recorder.storage import Storage

START = datetime(2026, 11, 22, 19, 0, tzinfo=UTC)
NEVER = threading.Event()


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A history with the readings 5 and 6 of meter 1; requests are due at once."""
    for name in ("ONLINE_S", "ONLINE_AGAIN_S", "NEW_METER_S", "CONNECTED_S"):
        monkeypatch.setattr(replays_module, name, 0.0)
    storage = Storage(f"sqlite:///{tmp_path}/history.db")
    assert storage.open(NEVER)
    store(storage, 5, 6)
    yield storage
    storage.close()


@pytest.fixture
def replays(storage: Storage) -> Replays:
    return Replays("main", storage, direct=False)


def store(storage: Storage, *numbers: int, meter: str = "1") -> None:
    readings = [Reading(meter, START + timedelta(seconds=n), {"power": 1.0}, n) for n in numbers]
    storage.write(readings, [], NEVER)


def requested(replays: Replays, bridge: str = "house") -> ReplayRequest:
    """Let a bridge come online, and return the request to it."""
    replays.handle_status(bridge, online=True)
    return dict(replays.due_requests())[bridge]


def answer(replays: Replays, request: str, upto: int = 6, bridge: str = "house") -> None:
    meters = {"1": Replayed(after=0, upto=upto, sent=[(5, 6)], oldest=5)}
    given = ReplayAnswer(recorder="main", request=request, meters=meters)
    replays.handle_answer(bridge, given, NEVER)


def upto(storage: Storage, bridge: str = "house") -> int | None:
    """Return up to which number of meter 1 all readings of a bridge are there."""
    numbers = storage.numbers(bridge).get("1")
    return numbers.upto if numbers else None


def test_an_answer_to_an_open_request_is_believed_once(replays: Replays, storage: Storage) -> None:
    request = requested(replays)
    answer(replays, request.request)
    assert upto(storage) == 6

    answer(replays, request.request, upto=HIGHEST_SEQ)

    assert upto(storage) == 6


@pytest.mark.parametrize("asked", [True, False])
def test_an_answer_that_nobody_asked_for_changes_nothing(
    replays: Replays, storage: Storage, asked: bool
) -> None:
    if asked:
        requested(replays)

    answer(replays, "made up", upto=HIGHEST_SEQ)

    assert (upto(storage), storage.bridges()) == (None, [])


def test_an_answer_by_another_bridge_than_was_asked_changes_nothing(
    replays: Replays, storage: Storage
) -> None:
    request, other = requested(replays), requested(replays, "other")

    answer(replays, request.request, bridge="other")
    answer(replays, other.request, bridge="house")

    assert storage.bridges() == []


def test_a_late_answer_is_still_believed(replays: Replays, storage: Storage) -> None:
    first = requested(replays)
    for _ in range(MOST_OPEN - 1):
        requested(replays)

    answer(replays, first.request)

    assert upto(storage) == 6


def test_a_thousand_invented_bridges_do_not_crowd_out_a_real_one(replays: Replays) -> None:
    for number in range(MOST_BRIDGES + 100):
        replays.handle_status(f"invented{number}", online=True)

    replays.handle_status("house", online=True)

    asked: list[str] = []
    while requests := replays.due_requests():
        asked += [bridge for bridge, _ in requests]
    assert "house" in asked
    assert len(asked) == MOST_BRIDGES


def test_a_bridge_with_meters_here_is_never_forgotten_and_asked_first(replays: Replays) -> None:
    answer(replays, requested(replays).request)
    for number in range(2 * MOST_BRIDGES):
        replays.handle_status(f"invented{number}", online=True)

    replays.handle_status("house", online=True)

    assert replays.due_requests()[0][0] == "house"


def test_a_bridge_that_was_forgotten_is_asked_after_its_next_info(replays: Replays) -> None:
    requested(replays)
    for number in range(MOST_BRIDGES):
        replays.handle_status(f"invented{number}", online=True)
    while replays.due_requests():
        pass

    replays.handle_info("house")
    assert [bridge for bridge, _ in replays.due_requests()] == ["house"]

    replays.handle_info("house")
    assert replays.due_requests() == []


def test_a_bridge_that_is_said_to_be_offline_takes_no_place(replays: Replays) -> None:
    for number in range(MOST_BRIDGES):
        replays.handle_status(f"invented{number}", online=False)

    replays.handle_status("house", online=True)

    assert [bridge for bridge, _ in replays.due_requests()] == ["house"]


def test_a_request_says_what_has_arrived_already(replays: Replays, storage: Storage) -> None:
    first = requested(replays)
    assert (first.after, first.have) == ({}, {"1": [(5, 6)]})
    answer(replays, first.request)
    store(storage, 9, 10)

    second = requested(replays)

    assert (second.after, second.have) == ({"1": 6}, {"1": [(9, 10)]})


def test_a_history_that_was_deleted_is_requested_from_the_beginning(
    replays: Replays, storage: Storage, tmp_path: Path
) -> None:
    answer(replays, requested(replays).request)
    before = requested(replays)
    for file in tmp_path.glob("history.db*"):
        file.unlink()

    storage.follow_file(NEVER)
    store(storage, 7)
    [(bridge, request)] = replays.due_requests()

    assert (bridge, request.after, request.have) == ("house", {}, {"1": [(7, 7)]})
    answer(replays, before.request)
    assert storage.bridges() == [], "an answer about the history before says nothing about this one"
    answer(replays, request.request)
    assert storage.bridges() == ["house"]


def test_trouble_with_the_same_history_requests_nothing(replays: Replays, storage: Storage) -> None:
    answer(replays, requested(replays).request)
    storage.close()

    store(storage, 7)

    assert storage.opened == 2
    assert replays.due_requests() == []
