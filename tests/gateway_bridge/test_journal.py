"""The journal of the bridge: what it keeps, for how long, and that its numbers never go back."""

import itertools
import logging
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.readings import Reading
from contract.replay import runs
from gateway_bridge.publishing import journal as journal_module
from gateway_bridge.publishing import journal_file as journal_file_module
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.journal_file import JournalFile, Kept
from gateway_bridge.publishing.numbering import JUMP, Numbering
from tests.support.journals import journaled
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


def begun(path: Path, megabytes: float = 100, interval_s: float = 30) -> tuple[Journal, Numbering]:
    journal, numbering = Journal(path, DAY_S, int(megabytes * 1e6), interval_s), Numbering()
    journal.start(numbering, ["1", "2"])
    return journal, numbering


def keep(
    journal: Journal,
    seq: int,
    meter: str = "1",
    age: timedelta = timedelta(),
    *,
    urgent: bool = False,
) -> None:
    reading = Reading(meter, datetime.now(UTC) - age, {"power": float(seq)}, seq)
    journal.add(reading, reading.encode(), urgent=urgent)


def written(path: Path) -> list[int]:
    """Return the numbers in the file."""
    return [kept.seq for kept in journaled(path)]


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
    shutil.copytree(path.parent, path.parent.with_name("crashed"))
    monkeypatch.setattr(time, "time", lambda: 0.0)

    other, after_crash = begun(path.parent.with_name("crashed") / path.name)

    assert after_crash["1"] == crashed_at + JUMP
    assert numbers(other) == [crashed_at]
    other.stop()
    journal.stop()


def test_numbers_of_a_bridge_that_crashes_before_it_writes_are_not_used_again(path: Path) -> None:
    journal, numbering = begun(path)
    keep(journal, numbering["1"])
    journal.stop()
    first_numbers = [numbering["1"]]

    for run in range(4):
        before, path = path, path.parent.with_name(f"crashed-{run}") / path.name
        journal, numbering = begun(before)
        shutil.copytree(before.parent, path.parent)
        journal.stop()
        first_numbers.append(numbering["1"])

    assert first_numbers[1] == first_numbers[0], "the first end was clean"
    distances = [after - before for before, after in pairwise(first_numbers[1:])]
    assert min(distances) >= JUMP


def test_a_second_bridge_with_the_same_journal_reports_it(
    journal: Journal, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file_module, "_BUSY_S", 0.05)
    keep(journal, 1)
    assert journal.flush()

    other, _ = begun(path)

    assert "database is locked; readings are still published, retrying" in caplog.text
    assert numbers(journal) == [1]
    other.stop()


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
    dice = random.Random(1)
    for seq in range(1, 30_001):
        noise = dice.randbytes(60).hex()  # 60 bytes of what cannot be compressed
        journal.add(Reading("1", datetime.now(UTC), {"power": 1.0}, seq), noise)
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
    assert "5 readings not kept" in caplog.text
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

    assert written(path) == [2]


def test_readings_are_written_after_the_interval(path: Path) -> None:
    journal, _ = begun(path, interval_s=0.05)
    keep(journal, 1)

    wait_until(lambda: written(path) == [1])
    journal.stop()


def test_urgent_readings_are_written_without_waiting_for_the_interval(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(journal, 1, urgent=True)
    wait_until(lambda: written(path) == [1])
    keep(journal, 2)
    keep(journal, 3, urgent=True)  # not at once again: the disk may be slow, or full
    time.sleep(0.1)
    assert written(path) == [1]

    monkeypatch.setattr(journal_module, "URGENT_S", 0.0)
    keep(journal, 4, urgent=True)

    wait_until(lambda: written(path) == [1, 2, 3, 4])


def test_a_lost_connection_has_everything_written_at_once(journal: Journal, path: Path) -> None:
    keep(journal, 1)
    journal.hurry()
    wait_until(lambda: written(path) == [1])
    keep(journal, 2)
    journal.hurry()

    wait_until(lambda: written(path) == [1, 2])


def test_many_waiting_readings_are_written_before_the_interval_ends(
    journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MANY", 10)
    for seq in range(1, 11):
        keep(journal, seq)

    wait_until(lambda: len(written(path)) == 10)


def test_readings_of_many_meters_are_found_across_blocks_and_a_new_start(path: Path) -> None:
    journal, _ = begun(path)
    meters = [f"m{number}" for number in range(50)]
    for start in (1, 41):
        for seq in range(start, start + 40):
            for meter in meters:
                keep(journal, seq, meter)
        assert journal.flush()
    journal.stop()

    journal, _ = begun(path)

    for meter in ("m0", "m31", "m49"):
        assert numbers(journal, meter=meter) == list(range(1, 81))
        assert numbers(journal, 39, meter, most=5) == [40, 41, 42, 43, 44]
        assert numbers(journal, 80, meter) == []
        assert journal.after(meter, 0, 1).oldest == 1
    journal.stop()


def test_blocks_that_are_too_old_are_removed_with_what_is_known_of_them(path: Path) -> None:
    file = JournalFile(path)
    file.open()
    for seq in (1, 2, 3):
        file.append([Kept("1", seq, seq * 3_600_000, "{}"), Kept(f"m{seq}", 9, seq, "{}")])

    file.shorten(2 * 3_600_000, 10**9)

    assert [kept.seq for kept in file.after("1", 0, 9)] == [2, 3]
    assert (file.oldest("1"), file.newest("m1"), file.newest("m2")) == (2, None, 9)
    file.shorten(9 * 3_600_000, 10**9)
    assert (file.after("1", 0, 9), file.oldest("1")) == ([], None)
    file.close()


def test_a_journal_with_a_row_for_each_reading_is_converted(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE readings (id INTEGER PRIMARY KEY, meter, seq, ts, reading)")
        database.execute("CREATE UNIQUE INDEX readings_meter_seq ON readings (meter, seq)")
        now_ms = time.time_ns() // 1_000_000
        rows = [("1", seq, now_ms, f'{{"power": {seq}}}') for seq in range(1, 6001)]
        database.executemany(
            "INSERT INTO readings (meter, seq, ts, reading) VALUES (?, ?, ?, ?)", rows
        )
        database.execute("PRAGMA user_version = 2")
        database.commit()

    journal, numbering = begun(path)

    assert numbers(journal, most=9999) == list(range(1, 6001))
    assert journal.after("1", 5999, 1).readings == [Kept("1", 6000, now_ms, '{"power": 6000}')]
    assert numbering["1"] == 6000
    journal.stop()


@pytest.mark.parametrize("content", ["x'00'", "'text'"])
def test_a_damaged_block_is_set_aside_with_its_file(
    path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    journal, _ = begun(path)
    keep(journal, 1)
    journal.stop()
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE blocks SET readings = {content}")
        database.commit()
    journal, _ = begun(path)

    assert numbers(journal) == []

    assert caplog.text.count("starting a new one") == 1
    journal.stop()


@given(st.sets(st.integers(0, 60)))
def test_runs_are_the_numbers_and_never_touch(numbers: set[int]) -> None:
    found = runs(sorted(numbers))

    assert {n for first, last in found for n in range(first, last + 1)} == numbers
    assert all(b[0] > a[1] + 1 for a, b in itertools.pairwise(found))
