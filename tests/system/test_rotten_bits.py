"""A flipped bit, a lost end or a lost page: nothing changed is served, and it is noticed."""

import asyncio
import contextlib
import json
import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import peewee
import pytest

from broker.retained import RetainedMessages
from contract.errors import MeterflowError
from contract.readings import Reading
from gateway_bridge.publishing.journal import Journal
from gateway_bridge.publishing.journal_file import JournalFile, Kept
from gateway_bridge.publishing.numbering import Numbering
from history.database import migrate, open_database
from history.day_checksums import DayChecksums
from history.exchange.archive import Archive
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups
from recorder.commands import check
from tests.support.damage import PAGE, damaged
from web.users import Accounts, read_accounts, set_token, set_user

SEED = int(os.environ.get("DAMAGE_SEED") or random.SystemRandom().randrange(10_000))
MANY = int(os.environ.get("DAMAGE_FLIPS") or 0)
"""Flipped bits of each file; the tests choose a few, `make power-cuts` many."""
ALL = 10**6
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture
def dice() -> random.Random:
    return random.Random(SEED)


# -- the journal -------------------------------------------------------------------------------

READINGS, BLOCKS = 60, 40
OF_A_LEAF = 9
"""Blocks that begin in one page at most: each has a tenth of the page there, or more."""


def journal_of_blocks(path: Path) -> set[Kept]:
    """Write a journal of two meters, a block for each flush; return its readings."""
    file, now_ms = JournalFile(path), int(datetime.now(UTC).timestamp() * 1000)
    file.open()
    kept = set()
    for block in range(BLOCKS):
        numbers = range(block * READINGS + 1, (block + 1) * READINGS + 1)
        readings = [
            Kept(meter, seq, now_ms, f'{{"power":{random.Random(seq).random():.9f},"seq":{seq}}}')
            for seq in numbers
            for meter in ("1", "2")
        ]
        file.append(readings)
        kept.update(readings)
    file.close()
    return kept


def read_journal(path: Path) -> set[Kept]:
    """Return what a bridge that starts with this journal can replay."""
    journal = Journal(path, 10**6, 10**9, 1e9)
    journal.start(Numbering(), ["1", "2"])
    found = {kept for meter in ("1", "2") for kept in journal.after(meter, 0, ALL).readings}
    journal.stop()
    return found


def test_a_journal_loses_what_was_on_a_page_and_nothing_else(
    tmp_path: Path, dice: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    sound = tmp_path / "sound.db"
    kept = journal_of_blocks(sound)
    for what, content in damaged(sound, MANY or 40, dice):
        path = tmp_path / what / "journal.db"
        path.parent.mkdir()
        path.write_bytes(content)
        caplog.clear()

        found = read_journal(path)

        where = f"DAMAGE_SEED={SEED}, {what}"
        assert found <= kept, where
        if found != kept:
            assert "starting a new one with the" in caplog.text or not content, where
        if not what.startswith("end"):
            assert len(kept) - len(found) <= 2 * READINGS * OF_A_LEAF, where


def test_a_journal_is_recovered_with_what_was_written_ahead(
    tmp_path: Path, dice: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    file, path = JournalFile(tmp_path / "running.db"), tmp_path / "crashed.db"
    file.open()
    kept = [Kept("1", seq, 0, f'{{"power":{dice.random()}}}') for seq in range(1, 501)]
    for start in range(0, 500, 50):
        file.append(kept[start : start + 50])
        if start == 200:
            file._run("PRAGMA wal_checkpoint(FULL)")
    content = file.path.read_bytes()
    path.write_bytes(content[:PAGE] + bytes(len(content) - PAGE))
    path.with_name("crashed.db-wal").write_bytes(file.path.with_name("running.db-wal").read_bytes())
    file.close()

    assert set(kept[250:]) <= read_journal(path) <= set(kept)

    assert "readings that it still has" in caplog.text


# -- the embedded broker's files ---------------------------------------------------------------


def test_a_retained_message_that_the_disk_has_changed_is_dropped(
    tmp_path: Path, dice: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    sound = tmp_path / "sound.db"
    messages = RetainedMessages(sound)
    for number in range(60):
        messages.keep(f"meters/{number}/power", str(number * 1.5).encode(), number % 2)
    asyncio.run(messages.write())
    messages.close()
    kept = set(messages.items())
    for what, content in damaged(sound, MANY or 40, dice):
        path = tmp_path / what / "retained.db"
        path.parent.mkdir()
        path.write_bytes(content)
        caplog.clear()
        with contextlib.suppress(MeterflowError):  # the broker does not start, and says why
            messages = RetainedMessages(path)
            messages.close()

            where = f"DAMAGE_SEED={SEED}, {what}"
            found = set(messages.items())
            assert found <= kept, where
            assert found == kept or "starting with" in caplog.text or not content, where


# -- users -------------------------------------------------------------------------------------


def test_a_damaged_users_file_lets_in_nobody_else(tmp_path: Path, dice: random.Random) -> None:
    sound = tmp_path / "users"
    set_user(sound, "anna", "viewer", "correct horse")
    set_token(sound, "grafana", "editor")
    kept = secrets_of(read_accounts(sound))
    for what, content in damaged(sound, MANY or 400, dice):
        path = tmp_path / what
        path.write_bytes(content)
        with contextlib.suppress(MeterflowError):  # the web service does not start, and says why
            found = secrets_of(read_accounts(path))

            where = f"DAMAGE_SEED={SEED}, {what}"
            assert found <= kept, where


def secrets_of(accounts: Accounts) -> set[tuple[str, ...]]:
    return {tuple(account) for account in accounts.by_name.values()}


# -- history and archive -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a year of two meters; the older readings are in the archive."""
    directory = tmp_path_factory.mktemp("history")
    path = directory / "energy_meters.db"
    database = open_database(f"sqlite:///{path}")
    migrate(database)
    some = random.Random(1)
    for meter in ("1", "2"):
        counter, readings = 1000.0, []
        for hours in range(120 * 24, 12, -6):
            counter += some.random()
            values = {"power": round(1000 * some.random(), 3), "energy": round(counter, 3)}
            readings.append(Reading(meter, NOW - timedelta(hours=hours), values))
        Writer(database).write(readings)
    assert Rollups(database).run(float("inf"))
    list(Retention(database, Keep(), Archive(directory / "archive")).steps(NOW.timestamp()))
    while not _has_all_checksums(database):
        list(DayChecksums(database).steps(NOW.timestamp()))
    database.close()
    return path


def _has_all_checksums(database: peewee.Database) -> bool:
    before = database.connection().total_changes
    list(DayChecksums(database).steps(NOW.timestamp()))
    return bool(database.connection().total_changes == before)


@pytest.fixture
def checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], tuple[bool, str]]:
    """Return whether `meterflow check` finds a history sound, and what it says."""

    def run(path: Path) -> tuple[bool, str]:
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
        try:
            sound = check.main(["--json"]) == 0
        except MeterflowError as error:
            return False, str(error)
        return sound, capsys.readouterr().out

    return run


def _differs(path: Path, kept: dict[str, list[tuple[Any, ...]]]) -> bool:
    try:
        return everything(path) != kept
    except sqlite3.DatabaseError:  # noticed where it is read
        return False


def everything(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of what is served."""
    served = ("readings_raw", "rollup", "quantities")
    with closing(sqlite3.connect(path)) as database:
        return {name: database.execute(f"SELECT * FROM {name}").fetchall() for name in served}


def test_check_notices_what_the_disk_has_changed_in_the_history(
    history: Path,
    tmp_path: Path,
    dice: random.Random,
    checked: Callable[[Path], tuple[bool, str]],
) -> None:
    kept = everything(history)
    assert checked(history)[0]
    silent = []
    path = tmp_path / "energy_meters.db"
    for what, content in damaged(history, MANY or 40, dice):
        path.write_bytes(content)

        sound, _ = checked(path)

        if sound and _differs(path, kept):
            silent.append(what)
    assert not silent, f"DAMAGE_SEED={SEED}"


def test_an_archive_that_the_disk_has_changed_is_not_read(
    history: Path, tmp_path: Path, dice: random.Random
) -> None:
    (sound, *_) = Archive(history.parent / "archive").files()
    names = ("energy", "power")
    kept = list(Archive(history.parent / "archive").rows(sound, names))
    path = tmp_path / sound.parent.name / sound.name
    path.parent.mkdir()
    silent = []
    for what, content in damaged(sound, MANY or 300, dice):
        path.write_bytes(content)
        archive = Archive(tmp_path)
        if archive.fault_of(path) is None and list(archive.rows(path, names)) != kept:
            silent.append(what)
    assert not silent, f"DAMAGE_SEED={SEED}"


def test_check_reads_the_archive(
    history: Path,
    monkeypatch: pytest.MonkeyPatch,
    checked: Callable[[Path], tuple[bool, str]],
) -> None:
    archive = history.parent / "archive"
    monkeypatch.setenv("ARCHIVE_DIRECTORY", str(archive))
    assert checked(history)[0]
    file = Archive(archive).files()[0]
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])

    sound, answer = checked(history)

    file.write_bytes(content)
    assert not sound
    assert str(file) in json.loads(answer)["archive_problems"][0]
