"""Bringing readings from elsewhere into the history; doing it again changes nothing."""

from collections.abc import Callable
from dataclasses import dataclass

import peewee

from contract.readings import Reading, epoch_ms
from history.exchange.batch import MOST_ROWS, Source
from history.rollups.levels import DAY, bucket_of
from history.rollups.rollups import Rollups
from history.tables import Meter
from history.writes import Writer

_MOST_WAITING = 200_000


@dataclass(slots=True)
class Outcome:
    """How many readings there were, how many of them were new or came too late."""

    given: int = 0
    stored: int = 0
    too_old: int = 0

    @property
    def known(self) -> int:
        """How many were stored already."""
        return self.given - self.stored - self.too_old


class BringIn:
    """Stores what a source has, in short transactions beside a running recorder.

    Days of long ago, which a recorder would refuse, are filled in where a meter has nothing yet;
    such a day is stored whole, since a second part of it would be refused.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._writer = Writer(database, fill_in=True)
        self._closed = {m.name: m.closed_until for m in Meter.select()}
        self._waiting: list[Reading] = []
        self._old_day: int | None = None
        self._outcome = Outcome()

    def run(self, source: Source, tell: Callable[[float], None] = lambda _: None) -> Outcome:
        """Store all that the source has; `tell` is given how far it has come, from 0 to 1.

        Raises StorageError for a source that is no good, peewee's errors for the database.
        """
        for piece in source.pieces():
            for reading in piece.readings():
                self._take(reading)
            tell(source.done)
        self._write()
        self._outcome.too_old = self._writer.too_old
        return self._outcome

    def roll_up(self) -> None:
        """Make the roll-ups of what came in, so that it is there for charts at once."""
        Rollups(self._database).run(float("inf"))

    def _take(self, reading: Reading) -> None:
        ts_ms = epoch_ms(reading.ts)
        is_old = ts_ms < self._closed.get(reading.meter_id, 0)
        day = bucket_of(ts_ms, DAY) if is_old else None
        if len(self._waiting) >= MOST_ROWS and (
            self._old_day is None or day != self._old_day or len(self._waiting) >= _MOST_WAITING
        ):
            self._write()
        self._old_day = day
        self._waiting.append(reading)

    def _write(self) -> None:
        self._outcome.given += len(self._waiting)
        self._outcome.stored += self._writer.write(self._waiting)
        self._waiting.clear()
