"""Retained messages of the embedded broker, kept over a restart in a small SQLite file.

To spare an SD card, changed values are written once a minute and at a clean stop; a topic that is
new or deleted, within 5 s. A kill costs the values of the last minute, a power cut those of the
last minute and a half; the meters' next messages replace them.
"""

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import NamedTuple

from broker.recovery import set_aside
from service.errors import BrokerError
from service.files import create_file, make_directory

logger = logging.getLogger(__name__)

TOPICS_EVERY_S = 5.0
"""Seconds between writes while topics are new or deleted."""
VALUES_EVERY_S = 60.0
"""Seconds between writes while only the values of known topics change."""
MOST_TOPICS = 100_000
MOST_BYTES = 64_000_000
_CREATE = """CREATE TABLE IF NOT EXISTS retained
    (topic TEXT PRIMARY KEY, payload BLOB NOT NULL, qos INTEGER NOT NULL) WITHOUT ROWID"""


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
            self._messages.clear()
            self._bytes = 0
            return self._open()

    def _open(self) -> sqlite3.Connection:
        """Open the file and read it.

        It stays open: a write-ahead log that grows costs a third of the writes of a journal that is
        created and deleted each time. Without a sync at each write the file stays valid too.
        """
        create_file(self._path)
        database = sqlite3.connect(self._path, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(_CREATE)
            for topic, payload, qos in database.execute("SELECT * FROM retained"):
                self._keep(topic, Retained(payload, qos))
        except sqlite3.Error:
            database.close()
            raise
        return database

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
                "INSERT OR REPLACE INTO retained VALUES (?, ?, ?)",
                [(topic, *message) for topic, message in messages.items() if message],
            )

    def _report(self, fault: str | None) -> None:
        if fault and fault != self._fault:
            logger.error("retained messages at %s: %s", self._path, fault)
        elif self._fault and not fault:
            logger.info("retained messages at %s: written again", self._path)
        self._fault = fault
