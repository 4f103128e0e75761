"""The roll-up job: 5 minutes from readings, quarters and hours from those, days from hours.

Every dirty bucket is computed again from what is stored, so that readings that arrive late, twice
or out of order lead to the same rows as those that arrive in time. Coarser buckets that are running
are computed again when they are over. Each step is a short transaction.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product, takewhile

import peewee

from history.dialect import Row, dialect_of, fetch, fetch_one, transaction
from history.rollups.backfill import Backfill
from history.rollups.combining import FINER, combine, put, remove, runs
from history.rollups.dirty_buckets import DirtyBucket, DirtyBuckets
from history.rollups.five_minutes import FiveMinutes
from history.rollups.levels import (
    FIVE_MINUTES,
    HOUR,
    QUARTER_HOUR,
    QUARTER_HOURLY,
    start_of,
    width_s,
)
from history.rollups.netting import EXPORT, IMPORT, NETTED_EXPORT, NETTED_IMPORT
from history.rollups.running_buckets import RunningBuckets
from history.tables import quantity_ids
from history.voids import void_spans

MOST_BUCKETS = 48
"""Buckets after which a step is committed."""
STEP_S = 0.03
"""Seconds after which a step is committed, with what it has computed by then."""
_MOST_READ = 900
"""Readings to read together."""
_FIRST: DirtyBucket = (-1, -1)


@dataclass(slots=True)
class _Changed:
    """What a step has computed of a meter: buckets, quantities, and whether rows may be gone."""

    buckets: set[int] = field(default_factory=set)
    quantities: set[int] = field(default_factory=set)
    is_void: bool = False


class Rollups:
    """Computes the dirty roll-ups; only the thread that writes uses it.

    `clock` returns the time in epoch seconds.
    """

    def __init__(self, database: peewee.Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._dialect = dialect_of(database)
        self._dirty = DirtyBuckets(database)
        self._running = RunningBuckets(database)
        self._backfill = Backfill(database)
        self._numbers = quantity_ids(database)
        self._from_readings = FiveMinutes(database, logs_steps_back=True)
        self._all = sorted(self._numbers.values())
        self._netted = {self._numbers[name] for name in (NETTED_IMPORT, NETTED_EXPORT)}
        self._quarter_hourly = {self._numbers[name] for name in QUARTER_HOURLY}
        self._most_readings: dict[int, int] = {}

    def work_due(self) -> bool:
        """Return whether any bucket is dirty or over, or readings wait to be rolled up."""
        return (
            self._dirty.any() or self._backfill.any() or bool(self._running.over(self._clock(), 1))
        )

    def dirty_count(self) -> int:
        """Return the number of dirty buckets."""
        return self._dirty.count()

    def run(self, until_s: float) -> bool:
        """Work until a time of the monotonic clock; return whether all is done."""
        for _ in self.steps():
            if time.monotonic() >= until_s:
                return not self.work_due()
        return True

    def steps(self) -> Iterator[None]:
        """Go once through all that is due, a short transaction for each item."""
        position = _FIRST
        while True:
            after = self._step(position)
            if after is None:
                if not (self._backfill.step() or self._finish()):
                    return
                after = _FIRST
            position = after
            yield

    # -- a step --------------------------------------------------------------------------------

    def _step(self, position: DirtyBucket) -> DirtyBucket | None:
        """Compute the next dirty buckets and return the last of them."""
        began_s = time.monotonic()
        with transaction(self._database):
            due = _whole_meters(self._dirty.after(position, MOST_BUCKETS))
            # Keep writers away from these meters, so that a bucket that they mark is not removed.
            self._dialect.lock_meters({meter for meter, _ in due})
            done: list[DirtyBucket] = []
            changed: dict[int, _Changed] = defaultdict(_Changed)
            while len(done) < len(due):
                neighbours = self._neighbours(due, len(done))
                later = self._five_minutes(neighbours, changed[neighbours[0][0]])
                done += neighbours
                if later := {each for each in later if each < due[-1]}:
                    due = [*done, *sorted({*due[len(done) :], *later})]
                if time.monotonic() - began_s > STEP_S:
                    break
            self._combine(changed)
            self._dirty.remove(done)
        return done[-1] if done else None

    def _neighbours(self, due: Sequence[DirtyBucket], place: int) -> list[DirtyBucket]:
        """Return buckets to read together: of an hour at most, fewer of a fast meter."""
        meter, first = due[place]
        together = max(_MOST_READ // self._most_readings.get(meter, _MOST_READ // 3), 1)
        end = min(first + together * width_s(FIVE_MINUTES), start_of(first, HOUR) + width_s(HOUR))
        part = due[place : place + MOST_BUCKETS]
        return list(takewhile(lambda bucket: bucket[0] == meter and bucket[1] < end, part))

    def _five_minutes(
        self, neighbours: Sequence[DirtyBucket], changed: _Changed
    ) -> set[DirtyBucket]:
        """Compute neighbouring 5-minute buckets of one meter, and note what has changed.

        Return the later buckets that are dirty because of them.
        """
        meter, first = neighbours[0]
        end = neighbours[-1][1] + width_s(FIVE_MINUTES)
        wanted = {bucket for _, bucket in neighbours}
        computed = self._from_readings.computed(meter, first, end)
        # What is netted depends on what was netted before it.
        rows = [row for row in computed if row[3] in wanted or row[2] in self._netted]
        later = self._mark_next_netted(meter, end, rows)
        void = self._remove_void(meter, wanted)
        put(self._database, rows)
        self._most_readings[meter] = max((row[4] for row in computed), default=_MOST_READ // 3)
        changed.is_void |= bool(void)
        changed.buckets.update(void, (row[3] for row in rows))
        changed.quantities.update(self._all if void else (), (row[2] for row in rows))
        return later

    def _remove_void(self, meter: int, buckets: Iterable[int]) -> set[int]:
        """Remove the rows of buckets in which readings are void, and return these buckets."""
        void = {
            bucket
            for begin, end in void_spans(self._database, meter)
            for bucket in buckets
            if begin < (bucket + width_s(FIVE_MINUTES)) * 1000 and bucket * 1000 < end
        }
        for begin, end in runs(FIVE_MINUTES, void):
            remove(self._database, FIVE_MINUTES, meter, begin, end, self._all)
        return void

    def _mark_next_netted(self, meter: int, end: int, rows: Iterable[Row]) -> set[DirtyBucket]:
        """Mark what is netted after these buckets as dirty, if they end with another flow."""
        number = self._numbers[NETTED_IMPORT]
        newest = max((row for row in rows if row[2] == number), default=None)
        if newest is None:
            return set()
        stored = fetch_one(
            self._database,
            "SELECT last FROM rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket = ?",
            newest[:4],
        )
        if stored is not None and stored[0] == newest[8]:
            return set()
        ((watermark,),) = fetch(
            self._database, "SELECT retention_watermark FROM meters WHERE id = ?", (meter,)
        )
        found = self._dirty.changed_from(meter, end * 1000, (IMPORT, EXPORT))
        later = {each for each in found if each[1] * 1000 >= watermark}
        self._dirty.add(later)
        return later

    def _combine(self, changed: Mapping[int, _Changed]) -> None:
        """Compute the coarser buckets in which something has changed, unless they were running."""
        running, now_s = self._running.of(changed), self._clock()
        for level, (meter, each) in product(FINER, changed.items()):
            buckets = {start_of(bucket, level) for bucket in each.buckets}
            buckets -= {bucket for at, of, bucket in running if (at, of) == (level, meter)}
            for begin, end in runs(level, buckets):
                self._combine_range(level, meter, (begin, end), each.quantities, each.is_void)
            now = start_of(int(now_s), level)
            if now in buckets:
                self._running.add([(level, meter, now)])

    def _finish(self) -> bool:
        """Compute buckets that were running and are over; return whether there were any."""
        began_s = time.monotonic()
        with transaction(self._database):
            over = self._running.over(self._clock(), MOST_BUCKETS)
            self._dialect.lock_meters({meter for _, meter, _ in over})
            for place, (level, meter, bucket) in enumerate(over, start=1):
                span = bucket, bucket + width_s(level)
                is_void = bool(void_spans(self._database, meter))
                self._combine_range(level, meter, span, set(self._all), is_void)
                if time.monotonic() - began_s > STEP_S:
                    over = over[:place]
                    break
            self._running.remove(over)
        return bool(over)

    def _combine_range(
        self, level: int, meter: int, span: tuple[int, int], quantities: set[int], is_void: bool
    ) -> None:
        if level == QUARTER_HOUR:
            quantities = quantities & self._quarter_hourly
        if is_void:
            remove(self._database, level, meter, *span, quantities)
        if quantities:
            combine(self._database, level, meter, *span, quantities)


def _whole_meters(due: list[DirtyBucket]) -> list[DirtyBucket]:
    """Leave a meter that may go on for the next step, so that no hour is computed twice."""
    if len(due) < MOST_BUCKETS or due[0][0] == due[-1][0]:
        return due
    return [bucket for bucket in due if bucket[0] != due[-1][0]]
