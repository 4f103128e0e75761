"""Keeping the roll-ups true: 5 minutes from readings, hours from those, days from hours.

Whatever is marked is made again from what is stored, so that readings that come late, twice or
out of order end in the same rows as those that come in time. Each step is a short transaction.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import Any

import peewee

from contract.readings import format_time
from history.columns import stored_quantities
from history.database import transaction
from history.rollups.buckets import Point, Replacement, spans, steps, summaries
from history.rollups.dirty_buckets import COUNTERS, Mark, Marks
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, bucket_of, start_of, width_s
from history.rollups.sql import RollupSql
from history.statements import Row
from history.tables import Meter, QuantityNumber, RollupDirty
from history.times import from_ms

logger = logging.getLogger(__name__)

MOST_BUCKETS = 48
STEP_S = 0.03
"""A step is committed after so many buckets or so long, whichever comes first."""
_COUNTERS = frozenset(COUNTERS)
_TOLD_MOST = 1000
_MOST_READ = 900


class Rollups:
    """Makes the marked roll-ups again; its one user is the thread that writes."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._marks = Marks(database)
        self._sql = RollupSql(database)
        self._numbers = {row.name: row.id for row in QuantityNumber.select()}
        self._told: set[tuple[int, str, int]] = set()
        self._readings_per_bucket: dict[int, int] = {}

    def work_due(self) -> bool:
        """Tell whether anything is marked, or waits to be."""
        return bool(
            RollupDirty.select().exists()
            or Meter.select().where(Meter.backfill_from.is_null(False)).exists()
        )

    def run(self, until_s: float) -> bool:
        """Work until a time of the monotonic clock; return whether all is done."""
        for _ in self.steps():
            if time.monotonic() >= until_s:
                return not self.work_due()
        return True

    def steps(self) -> Iterator[None]:
        """Go once through all that is marked, a short transaction for each item."""
        position: Mark = (-1, -1)
        while True:
            after = self._step(position)
            if after is None:
                if not self._mark_a_day_more():
                    return
                after = (-1, -1)
            position = after
            yield

    def _step(self, position: Mark) -> Mark | None:
        """Make the next marked buckets again and return the last of them."""
        began_s = time.monotonic()
        with transaction(self._database):
            due = self._lock(_whole_meters(self._sql.due(*position, MOST_BUCKETS)))
            done: list[Mark] = []
            changed: dict[int, set[int]] = {}
            while len(done) < len(due):
                run = self._next_run(due, len(done))
                changed.setdefault(run[0][0], set()).update(self._five_minutes(run))
                done += run
                if time.monotonic() - began_s > STEP_S:
                    break
            for level in (HOUR, DAY):
                for meter, bucket in sorted({(m, start_of(b, level)) for m, b in done}):
                    if changed[meter]:
                        self._sql.combine(level, meter, bucket, changed[meter])
            self._sql.clear(done)
        return done[-1] if done else None

    def _lock(self, due: list[Mark]) -> list[Mark]:
        """Keep writers away from these meters, lest a mark of theirs be lost with ours."""
        if due and not isinstance(self._database, peewee.SqliteDatabase):
            meters = Meter.select(Meter.id).where(Meter.id.in_({meter for meter, _ in due}))
            list(meters.order_by(Meter.id).for_update())
        return due

    def _next_run(self, due: Sequence[Mark], place: int) -> list[Mark]:
        """Return neighbours to read together: of an hour at most, fewer of a fast meter."""
        meter, first = due[place]
        together = max(_MOST_READ // self._readings_per_bucket.get(meter, _MOST_READ // 3), 1)
        end = min(first + together * width_s(FIVE_MINUTES), start_of(first, HOUR) + width_s(HOUR))
        part = due[place : place + MOST_BUCKETS]
        return list(takewhile(lambda mark: mark[0] == meter and mark[1] < end, part))

    def _five_minutes(self, run: Sequence[Mark]) -> set[int]:
        """Make neighbouring 5-minute buckets of one meter again; return their quantities."""
        meter, first = run[0]
        rows = self.made_from_readings(meter, first, run[-1][1] + width_s(FIVE_MINUTES))
        wanted = {bucket for _, bucket in run}
        rows = [row for row in rows if row[3] in wanted]
        self._sql.put(rows)
        return {row[2] for row in rows}

    def made_from_readings(self, meter: int, begin: int, end: int) -> list[Row]:
        """Return the rows of 5 minutes as the readings make them, between two of their edges.

        There is none for a bucket without readings: they may have been thinned out.
        """
        names = stored_quantities(self._database)
        rows = self._sql.readings(names, meter, begin, end)
        if not rows:
            return []
        times, *columns = zip(*rows, strict=True)
        all_spans = spans(times)
        sent = {
            name: present
            for name, column in zip(names, columns, strict=True)
            if (present := _present(times, column))
        }
        before = self._before(meter, times[0], [name for name in sent if name in _COUNTERS])
        events = self._replacements(meter)
        self._readings_per_bucket[meter] = -(-len(times) // len(all_spans))
        made: list[Row] = []
        for name, (own_times, values) in sent.items():
            number = self._numbers[name]
            own_spans = all_spans if own_times is times else spans(own_times)
            advances = None
            if name in _COUNTERS:
                replaced = events.get(number, events.get(0, ()))
                advances = steps(own_times, values, before.get(name), replaced)
                self._tell_steps_back(meter, name, own_times, advances)
            made += summaries(meter, number, own_spans, values, advances)
        return made

    def _before(self, meter: int, ts: int, counters: Sequence[str]) -> dict[str, Point]:
        """Return each counter's last reading before `ts`, however long ago."""
        if not counters:
            return {}
        row = self._sql.counters_before(counters, meter, ts)
        if row is None:
            return {}
        found: dict[str, Point] = {}
        for name, value in zip(counters, row[1:], strict=True):
            if value is not None:
                found[name] = (row[0], value)
            elif earlier := self._sql.counter_before(name, meter, ts):
                found[name] = earlier
        return found

    def _replacements(self, meter: int) -> dict[int, list[Replacement]]:
        """Return by a quantity's number (0: all others) when the meter was replaced."""
        found: dict[int, list[Replacement]] = {}
        for quantity, *event in self._sql.replacements(meter):
            found.setdefault(quantity, []).append(Replacement(*event))
        return found

    def _tell_steps_back(
        self, meter: int, name: str, times: Sequence[int], advances: Sequence[int]
    ) -> None:
        """Tell of a meter's counter once a day: what steps back may do so at every reading."""
        if min(advances) >= 0:
            return
        place = next(i for i, advance in enumerate(advances) if advance < 0)
        told = (meter, name, bucket_of(times[place], DAY))
        if told in self._told:
            return
        if len(self._told) >= _TOLD_MOST:
            self._told.clear()
        self._told.add(told)
        logger.warning(
            "meter %s: %s went back by %.3f at %s; such steps count negative",
            Meter.get_by_id(meter).name,
            name,
            -advances[place] / 1000,
            format_time(from_ms(times[place])),
        )

    def _mark_a_day_more(self) -> bool:
        """Mark the next day of readings that came before there were roll-ups, if any."""
        with transaction(self._database):
            meter = (
                Meter.select().where(Meter.backfill_from.is_null(False)).order_by(Meter.id).first()
            )
            if meter is None:
                return False
            first = self._sql.first_reading(meter.id, meter.backfill_from)
            if first is None:
                logger.info("meter %s: all its readings are rolled up", meter.name)
                end = None
            else:
                end = (bucket_of(first, DAY) + width_s(DAY)) * 1000
                buckets = self._sql.buckets_between(meter.id, first, end)
                self._marks.add((meter.id, bucket) for bucket in buckets)
            Meter.update(backfill_from=end).where(Meter.id == meter.id).execute()
        return True


def _whole_meters(due: list[Mark]) -> list[Mark]:
    """Leave a meter that may go on for the next step, lest its hours and days be made twice."""
    if len(due) < MOST_BUCKETS or due[0][0] == due[-1][0]:
        return due
    return [mark for mark in due if mark[0] != due[-1][0]]


def _present(
    times: Sequence[int], column: Sequence[int | None]
) -> tuple[Sequence[int], Sequence[Any]] | None:
    """Return times and values of the readings that have a quantity, None where none has."""
    absent = column.count(None)
    if not absent:
        return times, column
    if absent == len(column):
        return None
    kept = [(ts, value) for ts, value in zip(times, column, strict=True) if value is not None]
    return [ts for ts, _ in kept], [value for _, value in kept]
