"""The database behind the recorder: keeps trying through every trouble, and tells each once."""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import peewee

from contract.readings import Reading
from contract.replay import Replayed
from history import queries
from history.database import in_words, migrate, name_of, open_database
from history.errors import StorageError
from history.exchange.archive import Archive
from history.leases import Beat
from history.numbers import Numbers
from history.retention import Keep
from history.sequences import Gap, Settled
from history.upkeep import Upkeep
from history.writes import Rejected, Writer

logger = logging.getLogger(__name__)

FIRST_DELAY_S = 0.25
LONGEST_DELAY_S = 10.0
UPKEEP_S = 0.05
"""So long the history may be seen to between two batches."""
T = TypeVar("T")
_PASSING = ("locked", "is full", "disk I/O error", "connection", "starting up")


class Storage:
    """Writes batches, each once; a write that does not succeed is tried again.

    For one thread only.
    """

    def __init__(self, url: str, keep: Keep | None = None, archive: Archive | None = None) -> None:
        self._database = open_database(url)
        self._keep, self._archive = keep, archive
        self._writer: Writer | None = None
        self._upkeep: Upkeep | None = None
        self._upkeep_trouble: str | None = None
        self._too_old = 0
        self._file: tuple[int, int] | None = None
        self._troubled_since_s = 0.0
        self.trouble: str | None = None

    @property
    def name(self) -> str:
        """What to call the database in a message."""
        return name_of(self._database)

    @property
    def too_old(self) -> int:
        """How many readings were refused so far because their time has been thinned out."""
        return self._too_old + (self._writer.too_old if self._writer else 0)

    def open(self, give_up: threading.Event) -> bool:
        """Prepare the database, waiting for one that is locked, full or away; False to end.

        Raises StorageError where waiting does not help: a person must act.
        """
        return self._try(self._open, give_up, _passes_by_itself) is not None

    def meters(self) -> dict[str, datetime]:
        """Return the meters that have readings, each with the time of its newest."""
        with in_words(self._database):
            return {meter.meter_id: meter.last_seen for meter in queries.meters()}

    def snapshot_meters(self) -> list[str]:
        """Return the meters that are known to send whole readings."""
        return self._writer.snapshot_meters if self._writer else []

    def write(
        self,
        readings: Sequence[Reading],
        rejected: Sequence[Rejected],
        give_up: threading.Event,
        on_change: Callable[[], None] = lambda: None,
    ) -> int | None:
        """Store a batch and return how many rows were new; None where `give_up` came first.

        Calls `on_change` when trouble begins and when it ends.
        """
        return self._try(
            lambda: self._ready().write(readings, rejected), give_up, lambda _: True, on_change
        )

    def settle(
        self,
        bridge: str,
        told: Mapping[str, Replayed],
        let_go: Collection[str],
        give_up: threading.Event,
    ) -> Settled | None:
        """Take note of a bridge's answer; None where `give_up` came first."""
        return self._try(
            lambda: self._ready().sequences.settle(bridge, told, let_go), give_up, lambda _: True
        )

    def gaps(self) -> dict[str, Gap]:
        """Return, by meter, where readings are missing, as far as this recorder has seen."""
        return self._writer.sequences.gaps if self._writer else {}

    def numbers(self, bridge: str) -> dict[str, Numbers]:
        """Return which readings of a bridge's meters are there; raises StorageError."""
        with in_words(self._database):
            return self._ready().sequences.numbers(bridge)

    def bridges(self) -> list[str]:
        """Return the bridges that can be asked for readings; raises StorageError."""
        with in_words(self._database):
            return self._ready().sequences.bridges()

    def duty(self, name: str) -> Beat:
        """Return who has a duty; raises StorageError."""
        with in_words(self._database):
            return self._ready().duties.seen(name)

    def take_duty(self, name: str, holder: str, seen: Beat) -> Beat | None:
        """Take a duty that is still as it was seen, else None; raises StorageError."""
        with in_words(self._database):
            return self._ready().duties.take(name, holder, seen)

    def see_to_history(self) -> None:
        """Roll up and thin out for a moment, where something is due.

        Readings go on being stored where this does not succeed; it is tried again a minute later.
        """
        if self._upkeep is None or not self._upkeep.due():
            return
        try:
            with in_words(self._database):
                self._upkeep.run(time.monotonic() + UPKEEP_S)
        except StorageError as error:
            if str(error) != self._upkeep_trouble:
                logger.error("%s; its roll-ups wait", error)
            self._upkeep_trouble = str(error)
        else:
            self._upkeep_trouble = None

    def close(self) -> None:
        """Let go of the database."""
        self._too_old = self.too_old
        self._writer = self._upkeep = None
        with contextlib.suppress(peewee.DatabaseError, peewee.InterfaceError):
            self._database.close()

    def _try(
        self,
        attempt: Callable[[], T],
        give_up: threading.Event,
        worth_waiting: Callable[[StorageError], bool],
        on_change: Callable[[], None] = lambda: None,
    ) -> T | None:
        delay_s = FIRST_DELAY_S
        while True:
            try:
                with in_words(self._database):
                    result = attempt()
            except StorageError as error:
                self.close()
                if not worth_waiting(error):
                    raise
                if self._tell(str(error)):
                    on_change()
            else:
                if self._tell(None):
                    on_change()
                return result
            if give_up.wait(delay_s * random.uniform(0.8, 1.2)):
                return None
            delay_s = min(delay_s * 2, LONGEST_DELAY_S)

    def _open(self) -> int:
        self.close()
        for step in migrate(self._database):
            logger.info("database %s: schema brought up to date: %s", self.name, step)
        with in_words(self._database):
            self._writer = Writer(self._database)
            self._upkeep = Upkeep(self._database, self._keep, self._archive)
        self._file = self._file_now()
        return 0

    def _ready(self) -> Writer:
        """Return the writer, after opening the database where that is to be done."""
        if self._writer is None or self._file != self._file_now():
            if self._writer:
                logger.warning("database %s: another file lies there now; opening it", self.name)
            self._open()
        assert self._writer
        return self._writer

    def _file_now(self) -> tuple[int, int] | None:
        # SQLite goes on writing to a file that was deleted or replaced under it.
        if not isinstance(self._database, peewee.SqliteDatabase):
            return None
        with contextlib.suppress(OSError):
            found = Path(self.name).stat()
            return found.st_dev, found.st_ino
        return None

    def _tell(self, trouble: str | None) -> bool:
        if trouble == self.trouble:
            return False
        if trouble is None:
            away_s = time.monotonic() - self._troubled_since_s
            logger.info("database %s: works again after %.0f s", self.name, away_s)
        else:
            logger.error("%s; nothing is acknowledged until it works, trying again", trouble)
        if self.trouble is None:
            self._troubled_since_s = time.monotonic()
        self.trouble = trouble
        return True


def _passes_by_itself(error: StorageError) -> bool:
    return any(word in str(error) for word in _PASSING)
