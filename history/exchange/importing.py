"""Importing readings from files; importing the same again changes nothing."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import peewee

from history.dialect import Row
from history.exchange.batches import MOST_ROWS, Batch, Source
from history.readings_table import Shape, Writer
from history.rollups.levels import DAY, bucket_of
from history.rollups.rollups import Rollups
from history.tables import read_meters

_MOST_HELD = 200_000
"""Readings of old days that are held until their day is complete."""
_REPORT_STEP = 0.001
_STEPS_PER_REPORT = 20
WORK_S = 2.0
"""Seconds of transactions that follow each other, until there is a pause for other writers."""
PAUSE_S = 0.12
"""Seconds of the pause: a writer that waits for SQLite's lock looks for it every 0.1 s."""


MeterDay = tuple[str, int]
"""A meter, and the start of a UTC day."""


@dataclass(slots=True)
class Outcome:
    """How many readings there were, how many of them were new or too old."""

    given: int = 0
    stored: int = 0
    too_old: int = 0

    @property
    def known(self) -> int:
        """How many were stored already."""
        return self.given - self.stored - self.too_old


class Import:
    """Stores the readings of a source, in short transactions beside a running recorder.

    Days before the retention watermark, which a recorder would refuse, are filled in where a meter
    has nothing yet; such a day is stored whole, since a second part of it would be refused.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._writer = Writer(database, fill_in=True)
        self._watermarks = {m.name: m.retention_watermark for m in read_meters(database)}
        self._waiting: dict[str, dict[Shape, list[Row]]] = {}
        self._count = 0
        self._old_days: dict[MeterDay, list[tuple[Shape, Row]]] = {}
        self._held = 0
        self._outcome = Outcome()
        self._pause_due_s = time.monotonic() + WORK_S

    def run(self, source: Source, report: Callable[[float], None] = lambda _: None) -> Outcome:
        """Store all readings of the source; `report` receives its progress, from 0 to 1.

        Raises StorageError for a source that is wrong, peewee's errors for the database.
        """
        reported = 0.0
        for batch in source.batches():
            self._take(batch)
            if source.done >= reported + _REPORT_STEP:
                reported = source.done
                report(reported)
        self._release(self._old_days)
        self._write()
        self._outcome.too_old = self._writer.too_old
        return self._outcome

    def roll_up(self, report: Callable[[float], None] = lambda _: None) -> None:
        """Roll up the new readings, so that charts show them at once."""
        rollups = Rollups(self._database)
        due = rollups.dirty_count()
        for number, _ in enumerate(rollups.steps(), start=1):
            self._let_others_write()
            if number % _STEPS_PER_REPORT == 0:
                report(max(1 - rollups.dirty_count() / max(due, 1), 0))

    def _take(self, batch: Batch) -> None:
        """Take the rows of a batch; one without any value is no reading."""
        shape, watermark = tuple(batch.names), self._watermarks.get(batch.meter_id, 0)
        rows = [row for row in batch.rows if row.count(None) < len(shape)]
        for row in rows:
            if row[0] < watermark:
                self._hold((batch.meter_id, bucket_of(row[0], DAY)), shape, row)
        self._add(batch.meter_id, shape, [row for row in rows if row[0] >= watermark])
        if self._count >= MOST_ROWS:
            self._write()

    def _hold(self, day: MeterDay, shape: Shape, row: Row) -> None:
        """Hold a row of an old day until one of the meter's next day arrives."""
        if day not in self._old_days:
            self._release([other for other in self._old_days if other[0] == day[0]])
        self._old_days.setdefault(day, []).append((shape, row))
        self._held += 1
        if self._held >= _MOST_HELD:
            self._release(self._old_days)

    def _release(self, days: Iterable[MeterDay]) -> None:
        for day in list(days):
            part = self._old_days.pop(day)
            self._held -= len(part)
            for shape, row in part:
                self._add(day[0], shape, [row])

    def _add(self, meter_id: str, shape: Shape, rows: Sequence[Row]) -> None:
        if rows:
            self._waiting.setdefault(meter_id, {}).setdefault(shape, []).extend(rows)
            self._count += len(rows)

    def _write(self) -> None:
        self._outcome.given += self._count
        self._outcome.stored += self._writer.write_rows(self._waiting)
        self._waiting, self._count = {}, 0
        self._let_others_write()

    def _let_others_write(self) -> None:
        """Pause now and then, outside a transaction.

        SQLite's lock goes to the first that looks for it: a recorder that waits for it while
        transactions follow each other would not get it for minutes.
        """
        if time.monotonic() >= self._pause_due_s:
            time.sleep(PAUSE_S)
            self._pause_due_s = time.monotonic() + WORK_S
