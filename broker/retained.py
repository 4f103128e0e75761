"""Retained messages of the embedded broker, kept over a restart in a small SQLite file.

To spare an SD card, changed values are written once a minute and at a clean stop; a topic that is
new or deleted, within 5 s. A kill or a power cut costs the values of the last minute; the meters'
next messages replace them. Each row has a checksum: a message that the disk has changed is dropped.
"""

import asyncio
import contextlib
import logging
import sqlite3
import zlib
from pathlib import Path
from typing import NamedTuple

from broker.recovery import set_aside
from service.amounts import amount
from service.errors import BrokerError
from service.files import create_file, make_directory, reserve_log

logger = logging.getLogger(__name__)

TOPICS_EVERY_S = 5.0
"""Seconds between writes while topics are new or deleted."""
VALUES_EVERY_S = 60.0
"""Seconds between writes while only the values of known topics change."""
MOST_TOPICS = 100_000
MOST_BYTES = 64_000_000
_PAGE, _LOG_PAGES = 4096, 1000
_PRAGMAS = (
    f"page_size = {_PAGE}",
    "locking_mode = EXCLUSIVE",
    "journal_mode = WAL",
    "synchronous = FULL",
    f"wal_autocheckpoint = {_LOG_PAGES}",
)
_CREATE = """CREATE TABLE IF NOT EXISTS retained (topic TEXT PRIMARY KEY, payload BLOB NOT NULL,
    qos INTEGER NOT NULL, checksum INTEGER) WITHOUT ROWID"""


class Retained(NamedTuple):
    """The last message of a topic."""

    payload: bytes
    qos: int


class RetainedMessages:
    """The last message of each topic, in memory and on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._messages: dict[str, Retained] = {}
        self._bytes = 0
        self._changed: set[str] = set()
        self._topics_changed = False
        self._fault: str | None = None
        try:
            make_directory(path.parent)
            self._database = self._open_or_start_empty()
        except (OSError, sqlite3.Error) as error:
            raise BrokerError(
                f"retained messages at {path}: {error}; to start without them, move the file away"
            ) from error

    def _open_or_start_empty(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a subclass: not damage
                raise
            set_aside(self._path, str(error))
            self._changed.update(self._messages)  # those that could be read
            self._topics_changed = bool(self._changed)
            return self._open()

    def _open(self) -> sqlite3.Connection:
        """Open the file and read it.

        It stays open: a write-ahead log costs a third of the writes of a journal that is created
        and deleted each time. Nobody else may open it, so that there is no -shm to write.
        """
        create_file(self._path)
        database = sqlite3.connect(self._path, check_same_thread=False)
        try:
            database.text_factory = _text
            for pragma in _PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
            database.execute(_CREATE)
            reserve_log(self._path, _LOG_PAGES, _PAGE)
            columns = {row[1] for row in database.execute("PRAGMA table_info(retained)")}
            if "checksum" not in columns:
                _add_checksums(database)
            self._read(database)
        except sqlite3.Error:
            database.close()
            raise
        except UnicodeDecodeError as error:  # of the text of an error
            database.close()
            raise sqlite3.DatabaseError("its tables have damaged names") from error
        return database

    def _read(self, database: sqlite3.Connection) -> None:
        """Read all messages, those that are sound first; raises DatabaseError for damaged ones."""
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master")]
        if tables != ["retained"]:
            raise sqlite3.DatabaseError(f"has the tables {', '.join(tables)}")
        damaged = 0
        rows = database.execute("SELECT topic, payload, qos, checksum FROM retained")
        for topic, payload, qos, checksum in rows:
            if checksum == _checksum(topic, payload, qos):
                self._keep(topic, Retained(payload, qos))
            else:
                damaged += 1
        if damaged:
            raise sqlite3.DatabaseError(
                f"damaged and dropped: {amount(damaged, 'message')}; kept: {len(self._messages)}"
            )

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __len__(self) -> int:
        return len(self._messages)

    def items(self) -> list[tuple[str, Retained]]:
        """Return all topics and their messages."""
        return list(self._messages.items())

    def keep(self, topic: str, payload: bytes, qos: int) -> bool:
        """Retain a message as the last of its topic; an empty payload removes the topic.

        Return False if there is no room; topics that are retained already have priority.
        """
        earlier = self._messages.get(topic)
        if payload:
            grown = self._bytes + len(payload)
            if grown > MOST_BYTES or (earlier is None and len(self._messages) >= MOST_TOPICS):
                return False
        message = Retained(payload, qos)
        if message != earlier and (payload or earlier):
            self._keep(topic, message)
            self._changed.add(topic)
            self._topics_changed |= not (payload and earlier)
        return True

    def _keep(self, topic: str, message: Retained) -> None:
        earlier = self._messages.pop(topic, None)
        self._bytes += len(message.payload) - (len(earlier.payload) if earlier else 0)
        if message.payload:
            self._messages[topic] = message

    async def write_behind(self, stop: asyncio.Event) -> None:
        """Write changes to disk until `stop` is set: new and deleted topics soon, values seldom."""
        unwritten_s = 0.0
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), TOPICS_EVERY_S)
            unwritten_s += TOPICS_EVERY_S
            if self._topics_changed or unwritten_s >= VALUES_EVERY_S:
                await self.write()
                unwritten_s = 0.0

    async def write(self) -> None:
        """Write the changes since the last write."""
        changed, self._changed = self._changed, set()
        self._topics_changed = False
        if not changed:
            return
        messages = {topic: self._messages.get(topic) for topic in changed}
        try:
            await asyncio.to_thread(self._replace, messages)
        except sqlite3.Error as error:
            self._changed |= changed
            self._topics_changed = True
            self._report(f"{error}; not written, a restart now would lose retained messages")
        else:
            self._report(None)

    def _replace(self, messages: dict[str, Retained | None]) -> None:
        with self._database as database:
            database.executemany(
                "DELETE FROM retained WHERE topic = ?",
                [(topic,) for topic, message in messages.items() if message is None],
            )
            database.executemany(
                "INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)",
                [
                    (topic, *message, _checksum(topic, *message))
                    for topic, message in messages.items()
                    if message
                ],
            )

    def _report(self, fault: str | None) -> None:
        if fault and fault != self._fault:
            logger.error("retained messages at %s: %s", self._path, fault)
        elif self._fault and not fault:
            logger.info("retained messages at %s: written again", self._path)
        self._fault = fault


def _add_checksums(database: sqlite3.Connection) -> None:
    """Give checksums to the rows of version 0.2."""
    with database:
        database.execute("BEGIN")
        database.execute("ALTER TABLE retained ADD COLUMN checksum INTEGER")
        rows = database.execute("SELECT topic, payload, qos FROM retained").fetchall()
        database.executemany(
            "UPDATE retained SET checksum = ? WHERE topic = ?",
            [(_checksum(*row), row[0]) for row in rows],
        )


def _checksum(topic: str, payload: object, qos: object) -> int:
    """Return the checksum of a row; a damaged one may hold other types."""
    return zlib.crc32(f"{topic} {payload!r} {qos!r}".encode())


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
