"""The journal of the bridge: what it keeps, for how long, and that its numbers never go back."""

import itertools
import logging
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.readings import Reading
from contract.replay import runs
from gateway_bridge.publishing import journal as journal_module
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.numbering import JUMP, Numbering
from tests.support.parts import wait_until

DAY_S = 86_400.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    started = begun(path)[0]
    yield started
    started.stop()


def begun(path: Path, megabytes: float = 100) -> tuple[Journal, Numbering]:
    journal, numbering = Journal(path, DAY_S, int(megabytes * 1e6)), Numbering()
    journal.start(numbering, ["1", "2"])
    return journal, numbering


def keep(journal: Journal, seq: int, meter: str = "1", age: timedelta = timedelta()) -> None:
    reading = Reading(meter, datetime.now(UTC) - age, {"power": float(seq)}, seq)
    journal.add(reading, reading.encode())


def numbers(journal: Journal, seq: int = 0, meter: str = "1", most: int = 100) -> list[int]:
    return [kept.seq for kept in journal.after(meter, seq, most).readings]


def test_what_came_after_a_number_is_found_written_or_not(journal: Journal) -> None:
    for seq in (1, 2, 3):
        keep(journal, seq)
    keep(journal, 7, meter="2")
    assert journal.flush()
    keep(journal, 4)

    assert numbers(journal, 1) == [2, 3, 4]
    assert numbers(journal, 1, most=2) == [2, 3]
    assert numbers(journal, meter="2") == [7]
    assert journal.after("1", 1, 9).oldest == 1


def test_readings_are_there_after_a_stop_and_numbers_continue(path: Path) -> None:
    journal, numbering = begun(path)
    first = numbering["1"] + 1
    keep(journal, first)
    journal.stop()

    journal, numbering = begun(path)

    assert numbers(journal) == [first]
    assert numbering["1"] == first
    journal.stop()


def test_numbers_jump_after_a_crash_even_where_the_clock_has_been_set_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, numbering = begun(path)
    crashed_at = numbering["1"] + 1 + 50
    keep(journal, crashed_at)
    assert journal.flush()
    monkeypatch.setattr(time, "time", lambda: 0.0)

    other, after_crash = begun(path)

    assert after_crash["1"] == crashed_at + JUMP
    other.stop()
    journal.stop()


def test_a_recorder_that_is_ahead_raises_the_numbers_within_limits() -> None:
    numbering = Numbering()
    now = numbering["1"] + 1

    numbering.not_below("1", now + 500)
    numbering.not_below("1", 10)
    numbering.not_below("1", 2**53)

    assert numbering["1"] + 1 == now + 501


def test_the_oldest_readings_go_when_they_are_too_old(journal: Journal) -> None:
    keep(journal, 1, age=timedelta(days=2))
    keep(journal, 2)

    assert journal.flush()

    assert numbers(journal) == [2]


def test_the_oldest_readings_go_when_the_file_is_too_large(path: Path) -> None:
    journal, _ = begun(path, megabytes=1)
    for seq in range(1, 30_001):
        keep(journal, seq)
        if seq % 1000 == 0:
            assert journal.flush()

    found = numbers(journal, most=100_000)

    assert found[-1] == 30_000
    assert 3_000 < len(found) < 15_000
    assert found == list(range(found[0], 30_001))
    assert path.stat().st_size < 1_300_000
    journal.stop()


def test_a_reading_without_a_usable_clock_is_not_kept(journal: Journal) -> None:
    keep(journal, 1, age=timedelta(days=20_000))

    assert numbers(journal) == []


def test_a_directory_that_is_not_writable_is_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "state").write_text("in the way")
    journal, _ = begun(tmp_path / "state" / "journal.db")
    keep(journal, 5)
    assert not journal.flush()
    keep(journal, 6)
    assert not journal.flush()
    found = journal.after("1", 2, 10)
    assert ([kept.seq for kept in found.readings], found.since) == ([5, 6], 4)

    (tmp_path / "state").unlink()
    assert journal.flush()

    assert numbers(journal) == [5, 6]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    journal.stop()


def test_readings_that_cannot_be_written_are_dropped_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(journal_module, "MOST_UNWRITTEN", 10)
    (tmp_path / "state").write_text("in the way")
    journal, _ = begun(tmp_path / "state" / "journal.db")
    for seq in range(1, 16):
        keep(journal, seq)

    (tmp_path / "state").unlink()
    assert journal.flush()

    assert numbers(journal) == list(range(6, 16))
    assert "5 readings were not kept" in caplog.text
    journal.stop()


def test_a_damaged_journal_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database at all" * 1000)
    journal, _ = begun(path)
    keep(journal, 1)

    assert journal.flush()

    assert numbers(journal) == [1]
    assert path.with_name("journal.db.damaged").exists()
    assert caplog.text.count("starting a new one") == 1
    journal.stop()


def test_a_journal_that_is_deleted_under_the_bridge_is_created_again(
    journal: Journal, path: Path
) -> None:
    keep(journal, 1)
    assert journal.flush()
    for file in path.parent.iterdir():
        file.unlink()
    keep(journal, 2)

    assert journal.flush()

    with sqlite3.connect(path) as database:
        assert database.execute("SELECT seq FROM readings").fetchall() == [(2,)]
    database.close()


def test_readings_are_written_within_seconds_without_being_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "FLUSH_S", 0.05)
    journal, _ = begun(path)
    keep(journal, 1)

    with sqlite3.connect(path) as database:
        wait_until(lambda: database.execute("SELECT seq FROM readings").fetchall() == [(1,)])
    database.close()
    journal.stop()


@given(st.sets(st.integers(0, 60)))
def test_runs_are_the_numbers_and_never_touch(numbers: set[int]) -> None:
    found = runs(sorted(numbers))

    assert {n for first, last in found for n in range(first, last + 1)} == numbers
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(found))
