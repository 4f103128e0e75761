"""Retained messages of the embedded broker, kept over a restart in a small SQLite file.

Written once a second and at a clean stop: publishing never waits for the disk, and a power cut
costs the last second, which the meters' next messages replace.
"""

import asyncio
import contextlib
import logging
import sqlite3
from pathlib import Path
from typing import NamedTuple

from broker.recovery import set_aside
from service.errors import BrokerError

logger = logging.getLogger(__name__)

WRITE_EVERY_S = 1.0
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
        self._fault: str | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._read_or_start_empty()
        except (OSError, sqlite3.Error) as error:
            raise BrokerError(
                f"retained messages at {path}: {error}; to start without them, move the file away"
            ) from error

    def _read_or_start_empty(self) -> None:
        try:
            self._read()
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a subclass: not damage
                raise
            set_aside(self._path, str(error))
            self._messages.clear()
            self._bytes = 0
            self._read()

    def _read(self) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as database:
            database.execute(_CREATE)
            for topic, payload, qos in database.execute("SELECT * FROM retained"):
                self._keep(topic, Retained(payload, qos))

    def __len__(self) -> int:
        return len(self._messages)

    def items(self) -> list[tuple[str, Retained]]:
        """Return all topics and their messages."""
        return list(self._messages.items())

    def keep(self, topic: str, payload: bytes, qos: int) -> bool:
        """Retain a message as the last of its topic; an empty payload removes the topic.

        Return False if there is no room; topics that are retained already have priority.
        """
        if payload:
            grown = self._bytes + len(payload)
            known = topic in self._messages
            if grown > MOST_BYTES or (not known and len(self._messages) >= MOST_TOPICS):
                return False
        if payload or topic in self._messages:
            self._keep(topic, Retained(payload, qos))
            self._changed.add(topic)
        return True

    def _keep(self, topic: str, message: Retained) -> None:
        earlier = self._messages.pop(topic, None)
        self._bytes += len(message.payload) - (len(earlier.payload) if earlier else 0)
        if message.payload:
            self._messages[topic] = message

    async def write_behind(self, stop: asyncio.Event) -> None:
        """Write changes to disk once a second until `stop` is set."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), WRITE_EVERY_S)
            await self.write()

    async def write(self) -> None:
        """Write the changes since the last write."""
        changed, self._changed = self._changed, set()
        if not changed:
            return
        messages = {topic: self._messages.get(topic) for topic in changed}
        try:
            await asyncio.to_thread(self._replace, messages)
        except sqlite3.Error as error:
            self._changed |= changed
            self._report(f"{error}; not written, a restart now would lose retained messages")
        else:
            self._report(None)

    def _replace(self, messages: dict[str, Retained | None]) -> None:
        with contextlib.closing(sqlite3.connect(self._path)) as database, database:
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
