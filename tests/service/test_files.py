"""Files: their modes, whole or not at all, and whether one was replaced while it was open."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from service.files import (
    HISTORY,
    PRIVATE,
    create_file,
    file_identity,
    make_directory,
    replacing,
    reserve_log,
)


@pytest.fixture(params=[0o000, 0o022, 0o777], autouse=True)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_directory_and_its_parents_are_for_their_owner_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")

    assert [mode(path) for path in (tmp_path, tmp_path / "a", tmp_path / "a" / "b")] == [
        *(0o755, 0o700, 0o700)
    ]
    create_file(tmp_path / "file")
    with pytest.raises(FileExistsError):
        make_directory(tmp_path / "file")


def test_sqlite_keeps_the_mode_of_a_file_for_all_that_it_creates(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    create_file(path, HISTORY)
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (n)")

        assert {(file.suffix, mode(file)) for file in tmp_path.iterdir()} == {
            *((".db", HISTORY), (".db-wal", HISTORY), (".db-shm", HISTORY))
        }
        create_file(path, PRIVATE)
        assert mode(path) == HISTORY


def test_the_log_of_a_file_has_its_blocks_before_they_are_filled(tmp_path: Path) -> None:
    path, log = tmp_path / "history.db", tmp_path / "history.db-wal"
    with closing(sqlite3.connect(path)) as database:
        for pragma in ("page_size = 2048", "journal_mode = WAL", "wal_autocheckpoint = 50"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE t (n)")
        reserve_log(path, 60, 2048)
        size, blocks = log.stat().st_size, log.stat().st_blocks
        for _ in range(45):  # more than 60 pages: SQLite begins again at 50
            with database:
                database.execute("INSERT INTO t VALUES (randomblob(2000))")
        assert (log.stat().st_size, log.stat().st_blocks) == (size, blocks)
        crashed = tmp_path / "crashed.db"
        for suffix in ("", "-wal"):
            crashed.with_name(f"crashed.db{suffix}").write_bytes(
                path.with_name(f"history.db{suffix}").read_bytes()
            )
        rows = database.execute("SELECT n FROM t").fetchall()
    with closing(sqlite3.connect(crashed)) as recovered:
        assert recovered.execute("SELECT n FROM t").fetchall() == rows
        assert recovered.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_the_log_gets_no_blocks_where_room_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "history.db-wal"
    log.touch()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))

    reserve_log(tmp_path / "history.db", 50, 2048)

    assert log.stat().st_size == 0


def test_a_file_appears_whole_and_keeps_the_mode_of_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "users"
    with replacing(path, text=True) as file:
        file.write("one\r\n")
        file.flush()
        assert not path.exists()
        assert [mode(part) for part in tmp_path.iterdir()] == [PRIVATE]
    assert (mode(path), path.read_bytes()) == (PRIVATE, b"one\r\n")
    path.chmod(0o644)

    with replacing(path) as file:
        file.write(b"two")

    assert (mode(path), path.read_text()) == (0o644, "two")


def test_a_file_that_breaks_off_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("one")
    with pytest.raises(ZeroDivisionError), replacing(path, text=True) as file:
        file.write(str(1 / 0))

    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("users", "one")]


def test_a_file_is_another_one_after_it_was_replaced(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    assert file_identity(path) is None
    path.touch()
    other.touch()
    before = file_identity(path)

    assert before == file_identity(path)
    other.replace(path)

    assert file_identity(path) not in {before, None}
