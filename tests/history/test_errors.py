"""Errors of the database: which of them waiting mends, by their codes and not by their texts."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import peewee
import pytest

from history.database import migrate, name_of, open_database, reading, storage_errors
from history.dialect import run, transaction
from history.errors import StorageError
from recorder.storage import Storage
from tests.support.parts import free_port, wait_until
from tests.support.postgresql import GUARDED, on_postgresql

MISLEADING = "locked connection is full, starting up: disk I-O error, malformed readonly database"
"""A path like this once decided how its errors were treated."""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / MISLEADING
    path.mkdir()
    return path


@pytest.fixture
def history(directory: Path) -> Iterator[peewee.Database]:
    """A history in a directory with a misleading name."""
    with closing(open_database(f"sqlite:///{directory}/history.db")) as opened:
        migrate(opened)
        yield opened


def error_of(database: peewee.Database, action: Callable[[], object]) -> StorageError:
    with pytest.raises(StorageError) as caught, storage_errors(database):
        action()
    return caught.value


def reject(database: peewee.Database, text: str) -> None:
    with transaction(database):
        run(
            database,
            "INSERT INTO rejected_messages (ts, topic, reason, detail, payload) "
            "VALUES (0, '', '', '', ?)",
            (text,),
        )


# -- SQLite ------------------------------------------------------------------------------------


def test_a_full_database_is_waited_for(history: peewee.Database) -> None:
    pages = history.execute_sql("PRAGMA page_count").fetchone()[0]
    history.execute_sql(f"PRAGMA max_page_count = {pages}")

    error = error_of(history, lambda: reject(history, "x" * 1_000_000))

    assert error.transient
    assert "disk is full; free some space" in str(error)


def test_a_rollback_that_fails_does_not_hide_its_cause(history: peewee.Database) -> None:
    pages = history.execute_sql("PRAGMA page_count").fetchone()[0]
    history.execute_sql(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with transaction(history):
            history.execute_sql("ROLLBACK")  # as SQLite does by itself on a full disk
            history.execute_sql(f"CREATE TABLE ballast AS SELECT '{'x' * 1_000_000}' AS x")

    error = error_of(history, fill)

    assert "cannot rollback" in str(error.__cause__)
    assert "disk is full; free some space" in str(error)
    assert error.transient


def test_a_locked_database_is_waited_for(
    history: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("history.dialect.BUSY_TIMEOUT_S", 0.05)
    path = name_of(history)
    with (
        closing(open_database(f"sqlite:///{path}")) as other,
        closing(sqlite3.connect(path, isolation_level=None)) as holder,
    ):
        holder.execute("BEGIN IMMEDIATE")
        error = error_of(other, lambda: reject(other, ""))

    assert error.transient
    assert error.remedy == "another program holds it"


def test_a_read_only_database_is_not_waited_for(history: peewee.Database) -> None:
    with closing(open_database(f"sqlite:///{name_of(history)}", read_only=True)) as reader:
        error = error_of(reader, lambda: reject(reader, ""))

    assert not error.transient
    assert error.remedy.startswith("check who owns the file")


def damaged(path: Path) -> None:
    with closing(open_database(f"sqlite:///{path}")) as made:
        migrate(made)
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xa5" * 4000 + content[4100:])


def another_programs(path: Path) -> None:
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE locked (is_full TEXT)")


@pytest.mark.parametrize(
    ("prepare", "remedy"),
    [
        (damaged, "the file is damaged: replace it with a backup"),
        (lambda path: path.write_text("Dear reader, " * 100), "names another program's file"),
        (lambda path: path.mkdir(), "check that its directory exists and can be written"),
        (another_programs, "move it away"),
    ],
    ids=["damaged", "no database", "a directory", "another program's"],
)
def test_a_recorder_does_not_wait_for_what_a_person_must_mend(
    directory: Path, prepare: Callable[[Path], object], remedy: str
) -> None:
    prepare(directory / "history.db")
    storage = Storage(f"sqlite:///{directory}/history.db")

    with pytest.raises(StorageError) as caught:
        storage.open(threading.Event())

    storage.close()
    assert not caught.value.transient
    assert remedy in caught.value.remedy
    assert str(directory) in str(caught.value)


def test_a_recorder_waits_for_a_locked_history_on_any_path(
    history: peewee.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("history.dialect.BUSY_TIMEOUT_S", 0.05)
    path = name_of(history)
    storage = Storage(f"sqlite:///{path}")
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as holder,
        ThreadPoolExecutor(1) as thread,
    ):
        holder.execute("BEGIN IMMEDIATE")
        opening = thread.submit(storage.open, threading.Event())
        wait_until(lambda: storage.trouble)
        holder.execute("ROLLBACK")

        assert opening.result(30)
        thread.submit(storage.close).result()


def test_a_missing_file_is_named(directory: Path) -> None:
    with (
        pytest.raises(StorageError, match="the file does not exist") as caught,
        reading(f"sqlite:///{directory}/none.db"),
    ):
        pass

    assert not caught.value.transient


# -- PostgreSQL --------------------------------------------------------------------------------


def test_a_server_that_is_away_is_waited_for() -> None:
    database = open_database(f"postgresql://tests@127.0.0.1:{free_port()}/postgres")

    error = error_of(database, database.connect)

    assert error.transient
    assert "\n" not in str(error)
    assert str(error).endswith("; check the server and the network")


def test_a_wrong_password_is_not_waited_for(postgresql: str) -> None:
    with closing(open_database(postgresql)) as server:
        server.execute_sql(f"DROP ROLE IF EXISTS {GUARDED}")
        server.execute_sql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'right'")
    errors = []
    for user in (f"{GUARDED}:wrong", GUARDED):
        database = open_database(postgresql.replace("tests@", f"{user}@"))
        errors.append(error_of(database, database.connect))

    assert [error.transient for error in errors] == [False, False]
    assert errors[0].remedy == "check user, password and name in DATABASE_URL"
    with closing(open_database(postgresql.replace("tests@", f"{GUARDED}:right@"))) as database:
        assert database.connect()


def test_a_right_that_is_missing_is_not_waited_for(postgresql: str) -> None:
    with closing(open_database(postgresql)) as server:
        server.execute_sql("DROP ROLE IF EXISTS reader")
        server.execute_sql("CREATE ROLE reader LOGIN")
        migrate(server)
    with closing(open_database(postgresql.replace("tests@", "reader@"))) as database:
        error = error_of(database, lambda: reject(database, ""))

    assert not error.transient
    assert error.remedy == "grant the user of DATABASE_URL this right"


@on_postgresql
def test_a_server_that_ends_a_connection_is_waited_for(
    database: peewee.Database, postgresql: str
) -> None:
    ours = database.execute_sql("SELECT pg_backend_pid()").fetchone()[0]
    with closing(open_database(postgresql)) as other:
        other.execute_sql("SELECT pg_terminate_backend(%s)", (ours,))

    errors = [error_of(database, lambda: reject(database, "")) for _ in range(2)]
    database.close()

    assert [error.transient for error in errors] == [True, True]


@on_postgresql
def test_a_lock_of_another_is_waited_for(database: peewee.Database, postgresql: str) -> None:
    with closing(open_database(postgresql)) as other, other.atomic():
        other.execute_sql("LOCK TABLE rejected_messages")
        database.execute_sql("SET lock_timeout = 50")
        error = error_of(database, lambda: reject(database, ""))

    database.close()
    assert error.transient
    assert error.remedy == "another program holds it"
