"""The file of the journal: SQLite, appended to in batches, its oldest readings removed."""

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from service.files import file_identity

_SCHEMA = (
    # Rows are in the order of time, and the index is small: with the readings in the order of
    # meter and number, an SD card would have to write two to four times as much (measured).
    "CREATE TABLE IF NOT EXISTS readings (id INTEGER PRIMARY KEY, meter TEXT NOT NULL, "
    "seq INTEGER NOT NULL, ts INTEGER NOT NULL, reading TEXT NOT NULL)",
    "CREATE UNIQUE INDEX IF NOT EXISTS readings_meter_seq ON readings (meter, seq)",
)
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA journal_size_limit = 4194304",
)
_IN_USE, _CLEAN = 1, 2
_SLICE = 1000
_BUSY_S = 2.0


class Kept(NamedTuple):
    """A reading in the journal: its meter, number, time in epoch ms, and JSON."""

    meter: str
    seq: int
    ts: int
    reading: str


class JournalFile:
    """One SQLite file; for one thread at a time. Methods raise sqlite3.Error and OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    @property
    def opened(self) -> bool:
        """Whether the file is open and still at its path."""
        return self._database is not None and self._identity == file_identity(self.path)

    def open(self) -> bool:
        """Open or create the file; return whether it was closed cleanly last time."""
        self.abandon()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        for statement in (*_PRAGMAS, *_SCHEMA):
            self._run(statement)
        # user_version marks a clean end: SQLite does not use it, and it is in the file's header.
        [(mark,)] = self._run("PRAGMA user_version")
        self._run(f"PRAGMA user_version = {_IN_USE}")
        self._identity = file_identity(self.path)
        return bool(mark == _CLEAN)

    def close(self) -> None:
        """Mark the file as cleanly closed, and close it."""
        self._run(f"PRAGMA user_version = {_CLEAN}")
        self.abandon()

    def abandon(self) -> None:
        """Close the file as a crash would."""
        database, self._database = self._database, None
        if database:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def set_aside(self) -> Path:
        """Rename a damaged file, so that a new one can be created; return its new name."""
        self.abandon()
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        return self.path.rename(self.path.with_name(f"{self.path.name}.damaged"))

    def append(self, readings: Sequence[Kept]) -> None:
        """Write all readings or none."""
        self._run("BEGIN IMMEDIATE")
        try:
            self._connection.executemany(
                "INSERT OR REPLACE INTO readings (meter, seq, ts, reading) VALUES (?, ?, ?, ?)",
                readings,
            )
            self._run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._run("ROLLBACK")
            raise

    def shorten(self, before_ms: int, most_bytes: int) -> int:
        """Remove some of the oldest readings, if they are too old or the file is too large."""
        oldest = f"SELECT id, ts FROM readings ORDER BY id LIMIT {_SLICE}"
        condition = "" if self._bytes_used() > most_bytes else "WHERE ts < :before"
        return self._connection.execute(
            f"DELETE FROM readings WHERE id IN (SELECT id FROM ({oldest}) {condition})",
            {"before": before_ms},
        ).rowcount

    def newest(self, meter: str) -> int | None:
        """Return the highest number of a meter."""
        seq: int | None
        [(seq,)] = self._run("SELECT MAX(seq) FROM readings WHERE meter = ?", meter)
        return seq

    def oldest(self, meter: str) -> int | None:
        """Return the lowest number of a meter."""
        seq: int | None
        [(seq,)] = self._run("SELECT MIN(seq) FROM readings WHERE meter = ?", meter)
        return seq

    def after(self, meter: str, seq: int, most: int) -> list[Kept]:
        """Return the readings after a number, the oldest first."""
        rows = self._run(
            "SELECT meter, seq, ts, reading FROM readings WHERE meter = ? AND seq > ? "
            "ORDER BY seq LIMIT ?",
            meter,
            seq,
            most,
        )
        return [Kept(*row) for row in rows]

    def _bytes_used(self) -> int:
        [(pages,)], [(free,)], [(size,)] = (
            self._run(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            raise sqlite3.OperationalError("not open")
        return self._database

    def _run(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, parameters).fetchall()
