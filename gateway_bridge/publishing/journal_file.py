"""The file of the journal: SQLite, appended to in compressed blocks, its oldest blocks removed.

Readings repeat each other: a block of them takes a tenth of their JSON. There is no index that
each write would have to change; which numbers a block has is in the block, and in memory.
"""

import bz2
import contextlib
import sqlite3
import zlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from gateway_bridge.publishing.journal_recovery import PAGE, blocks_of
from service.files import create_file, file_identity, make_directory, reserve_log

_TABLE = (
    "blocks (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, "
    "numbers TEXT NOT NULL, readings BLOB NOT NULL)"
)
_SCHEMA = f"CREATE TABLE IF NOT EXISTS {_TABLE}"
_LOG_PAGES = 2048
_PRAGMAS = (
    f"PRAGMA page_size = {PAGE}",  # a block ends in a page of its own
    "PRAGMA locking_mode = EXCLUSIVE",  # without the file -shm, half of all that is written
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}",
    "PRAGMA journal_size_limit = 4194304",
)
_IN_USE, _CLEAN = 1, 2
"""Marks of a file; a higher one less `_IN_USE` is how often the file was opened without a close."""
MOST_CRASHES = 1000
BLOCK = 256
"""Most readings of a block. To replay those of one meter, all of a block are decompressed."""
_LATE_MS = 600_000
"""Milliseconds that blocks may be too old before they are removed, many at once."""
_SHARE = 20
"""One block of so many is removed at once where the file is too large."""
_OLD_SLICE = 10 * BLOCK
_LEVEL = 2
"""Level of bzip2 with room for a block in 200 kB. On the digits of readings it is a third smaller
than zlib, at 50 us a reading."""
_BUSY_S = 2.0
_CHECKSUM = " ="
"""Separates the numbers of a block from the checksum of its row."""


class Kept(NamedTuple):
    """A reading in the journal: its meter, number, time in epoch ms, and JSON."""

    meter: str
    seq: int
    ts: int
    reading: str


def pack(readings: Iterable[Kept]) -> bytes:
    """Return readings as the content of a block."""
    lines = [f"{kept.meter} {kept.seq} {kept.ts} {kept.reading}" for kept in readings]
    return bz2.compress("\n".join(lines).encode(), _LEVEL)


def unpack(content: bytes) -> list[Kept]:
    """Return the readings of a block; raises sqlite3.DatabaseError for a damaged one."""
    try:
        lines = bz2.decompress(content).decode().split("\n")
        rows = [line.split(" ", 3) for line in lines]
        return [Kept(meter, int(seq), int(ts), reading) for meter, seq, ts, reading in rows]
    except (OSError, ValueError, TypeError) as error:  # TypeError: it is text or NULL now
        raise sqlite3.DatabaseError(f"a block is damaged: {error}") from error


class _Places:
    """The blocks that have readings of one meter, with their first and last numbers."""

    def __init__(self) -> None:
        self.blocks, self.firsts, self.lasts = array("q"), array("q"), array("q")

    def add(self, block: int, first: int, last: int) -> None:
        self.blocks.append(block)
        self.firsts.append(first)
        self.lasts.append(max(last, self.lasts[-1]) if self.lasts else last)

    def remove(self, last_block: int) -> None:
        """Remove the blocks up to one."""
        count = bisect_right(self.blocks, last_block)
        for each in (self.blocks, self.firsts, self.lasts):
            del each[:count]

    def after(self, seq: int) -> Sequence[int]:
        """Return the blocks that may have later numbers."""
        return self.blocks[bisect_right(self.lasts, seq) :]


class JournalFile:
    """One SQLite file; for one thread at a time. Methods raise sqlite3.Error and OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._places: dict[str, _Places] = {}

    @property
    def opened(self) -> bool:
        """Whether the file is open and still at its path."""
        return self._database is not None and self._identity == file_identity(self.path)

    def open(self) -> int:
        """Open or create the file; return how often in a row it was not closed cleanly."""
        self.abandon()
        make_directory(self.path.parent)
        create_file(self.path)
        self._database = sqlite3.connect(
            self.path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._database.text_factory = _text
        for statement in (*_PRAGMAS, _SCHEMA):
            self._run(statement)
        # user_version marks a clean end: SQLite does not use it, and it is in the file's header.
        [(mark,)] = self._run("PRAGMA user_version")
        crashes = min(mark - _IN_USE, MOST_CRASHES) if mark > _CLEAN else int(mark == _IN_USE)
        self._run(f"PRAGMA user_version = {_CLEAN + crashes if crashes else _IN_USE}")
        reserve_log(self.path, _LOG_PAGES, PAGE)
        self._identity = file_identity(self.path)
        self._places = {}
        self._read_numbers()
        self._convert()
        return 0 if mark == _CLEAN else max(1, crashes)

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

    def recover(self) -> tuple[Path, int]:
        """Rename a damaged file, and take over what can be read of it into a new one.

        Return the new name of the damaged file, and the number of readings taken over.
        """
        self.abandon()
        aside = self._set_aside()
        self.open()
        recovered = 0
        for content in blocks_of(aside):
            try:
                readings = unpack(content)
            except sqlite3.DatabaseError:
                continue
            self.append(readings)
            recovered += len(readings)
        return aside, recovered

    def _set_aside(self) -> Path:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        for suffix in ("-wal", "-shm"):
            beside = self.path.with_name(self.path.name + suffix)
            aside.with_name(aside.name + suffix).unlink(missing_ok=True)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        return self.path.rename(aside)

    def append(self, readings: Sequence[Kept]) -> None:
        """Write all readings or none."""
        with self._transaction():
            added = self._insert(readings)
        for block, numbers in added:
            self._note(block, numbers)

    def shorten(self, before_ms: int, most_bytes: int) -> None:
        """Remove blocks that are too old, or the oldest ones if the file is too large."""
        oldest = self._run("SELECT ts FROM blocks ORDER BY id LIMIT 1")
        last: int | None = None
        if self._bytes_used() > most_bytes:
            [(count,)] = self._run("SELECT COUNT(*) FROM blocks")
            [(last,)] = self._run(
                "SELECT MAX(id) FROM (SELECT id FROM blocks ORDER BY id LIMIT ?)",
                count // _SHARE + 1,
            )
        elif oldest and oldest[0][0] < before_ms - _LATE_MS:
            [(first_kept,)] = self._run("SELECT MIN(id) FROM blocks WHERE ts >= ?", before_ms)
            [(newest,)] = self._run("SELECT MAX(id) FROM blocks")
            last = newest if first_kept is None else first_kept - 1
        if last is None:
            return
        self._run("DELETE FROM blocks WHERE id <= ?", last)
        for places in self._places.values():
            places.remove(last)

    def newest(self, meter: str) -> int | None:
        """Return the highest number of a meter."""
        places = self._places.get(meter)
        return places.lasts[-1] if places and places.lasts else None

    def oldest(self, meter: str) -> int | None:
        """Return the lowest number of a meter."""
        places = self._places.get(meter)
        return min(places.firsts) if places and places.firsts else None

    def after(self, meter: str, seq: int, most: int) -> list[Kept]:
        """Return the readings after a number, the oldest first."""
        found: list[Kept] = []
        places, connection = self._places.get(meter), self._connection
        query = "SELECT readings FROM blocks WHERE id = ?"
        for block in places.after(seq) if places else ():
            if len(found) >= most:
                break
            row = connection.execute(query, (block,)).fetchone()
            if row is None:
                raise sqlite3.DatabaseError(f"block {block} is damaged: it is not found")
            readings = unpack(row[0])
            found += [kept for kept in readings if kept.meter == meter and kept.seq > seq]
        return sorted(found, key=attrgetter("seq"))[:most]

    def _insert(self, readings: Sequence[Kept]) -> list[tuple[int, str]]:
        """Insert readings in blocks; return the id of each block and its numbers."""
        in_order = sorted(readings, key=attrgetter("meter"))
        added = []
        for start in range(0, len(in_order), BLOCK):
            block = in_order[start : start + BLOCK]
            numbers, ts = _numbers(block), max(kept.ts for kept in block)
            block_id = self._connection.execute(
                "INSERT INTO blocks (ts, numbers, readings) VALUES (?, ?, ?)",
                (ts, numbers + _checksum(ts, numbers), pack(block)),
            ).lastrowid
            assert block_id is not None
            added.append((block_id, numbers))
        return added

    def _read_numbers(self) -> None:
        """Note which numbers each block has; raises sqlite3.DatabaseError where that is damaged.

        The ids of blocks follow each other: one that is missing was not removed with the oldest.
        """
        for name, definition in self._run("SELECT name, sql FROM sqlite_master"):
            if name == "blocks" and definition != f"CREATE TABLE {_TABLE}":
                raise sqlite3.DatabaseError("the definition of the blocks is damaged")
            if name not in ("blocks", "readings", "readings_meter_seq"):
                raise sqlite3.DatabaseError(f"has a table {name!r}")
        before: int | None = None
        for block, ts, text in self._run("SELECT id, ts, numbers FROM blocks ORDER BY id"):
            numbers, separator, _ = str(text).partition(_CHECKSUM)
            if separator and text != numbers + _checksum(ts, numbers):
                raise sqlite3.DatabaseError(f"block {block} is damaged: its numbers are wrong")
            if before is not None and block != before + 1:
                raise sqlite3.DatabaseError(f"block {before + 1} is damaged: it is missing")
            before = block
            try:
                self._note(block, numbers)
            except (ValueError, OverflowError) as error:  # of version 0.2, without a checksum
                raise sqlite3.DatabaseError(f"block {block} is damaged: {error}") from error

    def _note(self, block: int, numbers: str) -> None:
        """Note which numbers of which meters a block has."""
        for each in numbers.split():
            meter, first, last = each.split(":")
            self._places.setdefault(meter, _Places()).add(block, int(first), int(last))

    def _convert(self) -> None:
        """Pack the readings of a file of version 0.1, which had a row for each."""
        if not self._run("SELECT 1 FROM sqlite_master WHERE name = 'readings'"):
            return
        query = f"SELECT meter, seq, ts, reading, id FROM readings ORDER BY id LIMIT {_OLD_SLICE}"
        while rows := self._run(query):
            with self._transaction():
                added = self._insert([Kept(*row[:4]) for row in rows])
                self._run("DELETE FROM readings WHERE id <= ?", rows[-1][4])
            for block, numbers in added:
                self._note(block, numbers)
        self._run("DROP TABLE readings")

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._run("BEGIN IMMEDIATE")
        try:
            yield
            self._run("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._run("ROLLBACK")
            raise

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
        try:
            return self._connection.execute(statement, parameters).fetchall()
        except UnicodeDecodeError as error:  # of the text of an error
            raise sqlite3.DatabaseError("its tables have damaged names") from error


def _numbers(block: Sequence[Kept]) -> str:
    """Return the lowest and highest number of each meter in a block, as `1:17:46 2:16:45`."""
    spans = []
    for meter, readings in groupby(block, key=attrgetter("meter")):
        seqs = [kept.seq for kept in readings]
        spans.append(f"{meter}:{min(seqs)}:{max(seqs)}")
    return " ".join(spans)


def _checksum(ts: object, numbers: str) -> str:
    """Return what follows the numbers of a block; its content has the checksum of bzip2."""
    return f"{_CHECKSUM}{zlib.crc32(f'{ts} {numbers}'.encode()):08x}"


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
