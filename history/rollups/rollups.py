"""The roll-up job: 5 minutes from readings, quarters and hours from those, days from hours.

Every dirty bucket is computed again from what is stored, so that readings that arrive late, twice
or out of order lead to the same rows as those that arrive in time. Each step is a short
transaction.
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import product, takewhile
from operator import sub
from typing import Any

import peewee

from contract.times import format_time, from_epoch_ms
from history.dialect import Row, dialect_of, fetch, fetch_one, transaction
from history.rollups.backfill import Backfill
from history.rollups.buckets import Point, spans, steps, summaries
from history.rollups.combining import FINER, combine, put, runs
from history.rollups.dirty_buckets import COUNTERS, DirtyBucket, DirtyBuckets
from history.rollups.levels import (
    DAY,
    FIVE_MINUTES,
    HOUR,
    QUARTER_HOUR,
    QUARTER_HOURLY,
    bucket_of,
    start_of,
    width_s,
)
from history.rollups.netting import (
    EXPORT,
    IMPORT,
    NETTED_EXPORT,
    NETTED_IMPORT,
    Before,
    Counted,
    Flow,
    moves,
    split,
)
from history.rollups.replacements import ALL_COUNTERS, replacements
from history.tables import quantity_ids, stored_quantities

logger = logging.getLogger(__name__)

MOST_BUCKETS = 48
"""Buckets after which a step is committed."""
STEP_S = 0.03
"""Seconds after which a step is committed, with what it has computed by then."""
_COUNTERS = frozenset(COUNTERS)
_MOST_REPORTED = 1000
_MOST_READ = 900
"""Readings to read together."""
_FIRST: DirtyBucket = (-1, -1)


class Rollups:
    """Computes the dirty roll-ups; only the thread that writes uses it."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._dialect = dialect_of(database)
        self._dirty = DirtyBuckets(database)
        self._backfill = Backfill(database)
        self._numbers = quantity_ids(database)
        self._netted = {self._numbers[name] for name in (NETTED_IMPORT, NETTED_EXPORT)}
        self._quarter_hourly = {self._numbers[name] for name in QUARTER_HOURLY}
        self._reported: set[tuple[int, str, int]] = set()
        self._readings_per_bucket: dict[int, int] = {}

    def work_due(self) -> bool:
        """Return whether any bucket is dirty, or readings wait to be rolled up."""
        return self._dirty.any() or self._backfill.any()

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
        """Go once through all dirty buckets, a short transaction for each item."""
        position = _FIRST
        while True:
            after = self._step(position)
            if after is None:
                if not self._backfill.step():
                    return
                after = _FIRST
            position = after
            yield

    def computed_from_readings(self, meter: int, begin: int, end: int) -> list[Row]:
        """Return the rows of 5 minutes that the readings lead to, between two bucket edges.

        A bucket without readings has no row: they may have been deleted.
        """
        names = stored_quantities(self._database)
        rows = self._readings(names, meter, begin, end)
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
        counted: dict[str, Counted] = {}
        events = replacements(self._database, meter)
        self._readings_per_bucket[meter] = -(-len(times) // len(all_spans))
        computed: list[Row] = []
        for name, (own_times, values) in sent.items():
            number = self._numbers[name]
            own_spans = all_spans if own_times is times else spans(own_times)
            advances = None
            if name in _COUNTERS:
                replaced = events.get(number, events.get(ALL_COUNTERS, ()))
                advances = steps(own_times, values, before.get(name), replaced)
                counted[name] = Counted(own_times, values, advances)
                self._report_steps_back(meter, name, own_times, advances)
            computed += summaries(meter, number, own_spans, values, advances)
        if IMPORT in counted and EXPORT in counted:
            computed += self._net(meter, counted[IMPORT], counted[EXPORT], before)
        return computed

    # -- netting -------------------------------------------------------------------------------

    def _net(
        self, meter: int, imports: Counted, exports: Counted, before: Mapping[str, Point]
    ) -> Iterator[Row]:
        """Yield the rows of 5 minutes of the netted counters.

        They have no register: mean and extremes are 0, and `last` is the flow at the end.
        """
        found = moves(imports, exports, self._before_both(meter, imports, exports, before))
        if not found.times:
            return
        numbers = [self._numbers[name] for name in (NETTED_IMPORT, NETTED_EXPORT)]
        flow = self._flow_before(meter, found.times[0])
        for bucket, begin, end in spans(found.times):
            *sums, flow = split(found, begin, end, flow)
            for number, advance in zip(numbers, sums, strict=True):
                figures = (end - begin, 0, 0, 0, flow.code, advance)
                yield FIVE_MINUTES, meter, number, bucket, *figures

    def _flow_before(self, meter: int, ts: int) -> Flow:
        """Return the flow at the end of the last bucket before that of a time."""
        row = fetch_one(
            self._database,
            "SELECT last FROM rollup WHERE level = ? AND meter = ? AND quantity = ? AND bucket < ? "
            "ORDER BY bucket DESC LIMIT 1",
            (FIVE_MINUTES, meter, self._numbers[NETTED_IMPORT], bucket_of(ts)),
        )
        return Flow.decoded(row[0]) if row else Flow()

    def _before_both(
        self, meter: int, imports: Counted, exports: Counted, before: Mapping[str, Point]
    ) -> Before | None:
        """Return the last reading with both counters before these, None if there is none."""
        if not {IMPORT, EXPORT} <= before.keys():
            return None
        times, values = zip(before[IMPORT], before[EXPORT], strict=True)
        if times[0] == times[1]:
            return Before(values)
        first = min(imports.times[0], exports.times[0])
        both = f"AND {IMPORT} IS NOT NULL AND {EXPORT} IS NOT NULL"
        row = self._last_before(meter, first, (IMPORT, EXPORT), both)
        if row is None:
            return None
        ts, *shown = row
        advances = (
            self._advance_since(meter, name, (ts, value), first)
            for name, value in zip((IMPORT, EXPORT), shown, strict=True)
        )
        return Before((shown[0], shown[1]), sub(*advances))

    def _advance_since(self, meter: int, name: str, since: Point, until: int) -> int:
        """Return by how much a counter advanced in the readings after a point, before a time."""
        rows = fetch(
            self._database,
            f"SELECT ts, {name} FROM readings_raw WHERE meter = ? AND ts > ? AND ts < ? "
            f"AND {name} IS NOT NULL ORDER BY ts",
            (meter, since[0], until),
        )
        if not rows:
            return 0
        times, values = zip(*rows, strict=True)
        events = replacements(self._database, meter)
        replaced = events.get(self._numbers[name], events.get(ALL_COUNTERS, ()))
        return sum(steps(times, values, since, replaced))

    # -- a step --------------------------------------------------------------------------------

    def _step(self, position: DirtyBucket) -> DirtyBucket | None:
        """Compute the next dirty buckets and return the last of them."""
        began_s = time.monotonic()
        with transaction(self._database):
            due = _whole_meters(self._dirty.after(position, MOST_BUCKETS))
            # Keep writers away from these meters, so that a bucket that they mark is not removed.
            self._dialect.lock_meters({meter for meter, _ in due})
            done: list[DirtyBucket] = []
            touched: set[DirtyBucket] = set()
            changed: dict[int, set[int]] = {}
            while len(done) < len(due):
                neighbours = self._neighbours(due, len(done))
                rows, later = self._five_minutes(neighbours)
                changed.setdefault(neighbours[0][0], set()).update(row[2] for row in rows)
                touched.update((row[1], row[3]) for row in rows)
                done += neighbours
                if later := {each for each in later if each < due[-1]}:
                    due = [*done, *sorted({*due[len(done) :], *later})]
                if time.monotonic() - began_s > STEP_S:
                    break
            self._combine(touched, changed)
            self._dirty.remove(done)
        return done[-1] if done else None

    def _neighbours(self, due: Sequence[DirtyBucket], place: int) -> list[DirtyBucket]:
        """Return buckets to read together: of an hour at most, fewer of a fast meter."""
        meter, first = due[place]
        together = max(_MOST_READ // self._readings_per_bucket.get(meter, _MOST_READ // 3), 1)
        end = min(first + together * width_s(FIVE_MINUTES), start_of(first, HOUR) + width_s(HOUR))
        part = due[place : place + MOST_BUCKETS]
        return list(takewhile(lambda bucket: bucket[0] == meter and bucket[1] < end, part))

    def _five_minutes(
        self, neighbours: Sequence[DirtyBucket]
    ) -> tuple[list[Row], set[DirtyBucket]]:
        """Compute neighbouring 5-minute buckets of one meter.

        Return the rows that were stored, and the later buckets that are dirty because of them.
        """
        meter, first = neighbours[0]
        end = neighbours[-1][1] + width_s(FIVE_MINUTES)
        wanted = {bucket for _, bucket in neighbours}
        computed = self.computed_from_readings(meter, first, end)
        # What is netted depends on what was netted before it.
        rows = [row for row in computed if row[3] in wanted or row[2] in self._netted]
        later = self._mark_next_netted(meter, end, rows)
        put(self._database, rows)
        return rows, later

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

    def _combine(self, touched: Collection[DirtyBucket], changed: Mapping[int, set[int]]) -> None:
        """Compute what the touched 5 minutes lie in; `changed` are the quantities of each meter."""
        for level, meter in product(FINER, changed):
            quantities = changed[meter]
            if level == QUARTER_HOUR:
                quantities = quantities & self._quarter_hourly
            for begin, end in runs(level, (start for each, start in touched if each == meter)):
                if quantities:
                    combine(self._database, level, meter, begin, end, quantities)

    # -- readings ------------------------------------------------------------------------------

    def _readings(self, names: Iterable[str], meter: int, begin: int, end: int) -> list[Row]:
        """Return time and these values of the readings from `begin` to before `end` (epoch s)."""
        return fetch(
            self._database,
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts < ? ORDER BY ts",
            (meter, begin * 1000, end * 1000),
        )

    def _before(self, meter: int, ts: int, counters: Sequence[str]) -> dict[str, Point]:
        """Return each counter's last reading before `ts`, however long ago."""
        row = self._last_before(meter, ts, counters) if counters else None
        if row is None:
            return {}
        found: dict[str, Point] = {}
        for name, value in zip(counters, row[1:], strict=True):
            if value is not None:
                found[name] = (row[0], value)
            elif earlier := self._last_before(meter, ts, [name], f"AND {name} IS NOT NULL"):
                found[name] = (earlier[0], earlier[1])
        return found

    def _last_before(
        self, meter: int, ts: int, names: Iterable[str], condition: str = ""
    ) -> Row | None:
        """Return time and these values of the newest reading before `ts`."""
        return fetch_one(
            self._database,
            f"SELECT {', '.join(['ts', *names])} FROM readings_raw "
            f"WHERE meter = ? AND ts < ? {condition} ORDER BY ts DESC LIMIT 1",
            (meter, ts),
        )

    def _report_steps_back(
        self, meter: int, name: str, times: Sequence[int], advances: Sequence[int]
    ) -> None:
        """Log a meter's counter once a day: one that steps back may do so at every reading."""
        if min(advances) >= 0:
            return
        place = next(i for i, advance in enumerate(advances) if advance < 0)
        step = (meter, name, bucket_of(times[place], DAY))
        if step in self._reported:
            return
        if len(self._reported) >= _MOST_REPORTED:
            self._reported.clear()
        self._reported.add(step)
        meter_id = fetch(self._database, "SELECT name FROM meters WHERE id = ?", (meter,))[0][0]
        logger.warning(
            "meter %s: %s went back by %.3f at %s; such steps count negative",
            meter_id,
            name,
            -advances[place] / 1000,
            format_time(from_epoch_ms(times[place])),
        )


def _whole_meters(due: list[DirtyBucket]) -> list[DirtyBucket]:
    """Leave a meter that may go on for the next step, so that no hour is computed twice."""
    if len(due) < MOST_BUCKETS or due[0][0] == due[-1][0]:
        return due
    return [bucket for bucket in due if bucket[0] != due[-1][0]]


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
