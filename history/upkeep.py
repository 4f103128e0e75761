"""The work of the writing thread between batches: roll-ups, checksums, retention, free space."""

import logging
import time
from collections.abc import Iterator

import peewee

from history.day_checksums import DayChecksums
from history.dialect import dialect_of
from history.exchange.archive import Archive
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups
from service.amounts import amount

logger = logging.getLogger(__name__)

ROLL_UP_EVERY_S = 900.0
"""Seconds between two rounds; each writes a page per quantity and meter, which wears an SD card."""
RETRY_AFTER_S = 60.0
THIN_OUT_EVERY_S = 3600.0


class Upkeep:
    """Work in short steps: call `due()`, then `run()` while there is time.

    Raises peewee's errors, like the writer; a round that fails starts again a minute later.
    """

    def __init__(
        self, database: peewee.Database, keep: Keep | None = None, archive: Archive | None = None
    ) -> None:
        self._dialect = dialect_of(database)
        self._rollups = Rollups(database)
        self._checksums = DayChecksums(database)
        self._retention = Retention(database, keep, archive)
        self._work: Iterator[object] | None = None
        self._next_rollups_s = 0.0
        self._next_thinning_s = 0.0

    def due(self) -> bool:
        """Return whether there is something to do now."""
        return self._work is not None or time.monotonic() >= self._next_rollups_s

    def run(self, until_s: float) -> None:
        """Work until a time of the monotonic clock, and at most one short transaction longer."""
        while self.due():
            if self._work is None:
                self._next_rollups_s = time.monotonic() + ROLL_UP_EVERY_S
                self._work = self._round()
            try:
                next(self._work)
            except StopIteration:
                self._work = None
            except BaseException:
                self._work = None
                self._next_rollups_s = time.monotonic() + RETRY_AFTER_S
                raise
            if time.monotonic() >= until_s:
                return

    def _round(self) -> Iterator[object]:
        yield from self._rollups.steps()
        yield from self._checksums.steps()
        if time.monotonic() < self._next_thinning_s:
            return
        gone = 0
        for rows in self._retention.steps():
            gone += rows
            yield rows
        if gone:
            logger.info("history: retention deleted %s", amount(gone, "row"))
        yield from self._dialect.give_back()
        self._dialect.optimize()
        self._next_thinning_s = time.monotonic() + THIN_OUT_EVERY_S
