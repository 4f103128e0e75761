"""The roll-up job: 5 minutes from readings, hours from those, days from hours.

Every dirty bucket is computed again from what is stored, so that readings that arrive late, twice
or out of order lead to the same rows as those that arrive in time. Each step is a short
transaction.

Every range is one seek per quantity: a range over level and meter alone would read the meter's
whole history (the key is level, meter, quantity, bucket).
"""

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, takewhile
from typing import Any

import peewee

from contract.times import format_time, from_epoch_ms
from history.dialect import Row, dialect_of, fetch, fetch_one, run, run_many, transaction
from history.rollups.buckets import Point, spans, steps, summaries
from history.rollups.dirty_buckets import COUNTERS, DirtyBucket, DirtyBuckets
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, bucket_of, start_of, width_s
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

_FINER = {HOUR: FIVE_MINUTES, DAY: HOUR}
_INSERT = "INSERT INTO rollup (level, meter, quantity, bucket, n, mean, min, max, last, delta) "
_REPLACE = (
    "ON CONFLICT (level, meter, quantity, bucket) DO UPDATE SET n = excluded.n, "
    "mean = excluded.mean, min = excluded.min, max = excluded.max, last = excluded.last, "
    "delta = excluded.delta"
)
_ROW = f"({', '.join('?' * 10)})"
_ROWS_AT_ONCE = 24
"""Rows of one statement; a statement for each row takes half as long again."""
_FIGURES = (
    "SUM(r.n) AS n, CAST(ROUND(SUM(r.n * r.mean) * 1.0 / SUM(r.n)) AS BIGINT) AS mean, "
    "MIN(r.min) AS lowest, MAX(r.max) AS highest, MAX(r.bucket) AS newest, "
    "SUM(r.delta) AS delta"
)
_PART = "r.level = ? AND r.meter = ? AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ?"


class Rollups:
    """Computes the dirty roll-ups; only the thread that writes uses it."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._dialect = dialect_of(database)
        self._dirty = DirtyBuckets(database)
        self._numbers = quantity_ids(database)
        self._reported: set[tuple[int, str, int]] = set()
        self._readings_per_bucket: dict[int, int] = {}

    def work_due(self) -> bool:
        """Return whether any bucket is dirty, or readings wait to be rolled up."""
        return self._dirty.any() or self._next_backfill() is not None

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
                if not self._mark_another_day():
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
                self._report_steps_back(meter, name, own_times, advances)
            computed += summaries(meter, number, own_spans, values, advances)
        return computed

    # -- a step --------------------------------------------------------------------------------

    def _step(self, position: DirtyBucket) -> DirtyBucket | None:
        """Compute the next dirty buckets and return the last of them."""
        began_s = time.monotonic()
        with transaction(self._database):
            due = _whole_meters(self._dirty.after(position, MOST_BUCKETS))
            # Keep writers away from these meters, so that a bucket that they mark is not removed.
            self._dialect.lock_meters({meter for meter, _ in due})
            done: list[DirtyBucket] = []
            changed: dict[int, set[int]] = {}
            while len(done) < len(due):
                neighbours = self._neighbours(due, len(done))
                changed.setdefault(due[len(done)][0], set()).update(self._five_minutes(neighbours))
                done += neighbours
                if time.monotonic() - began_s > STEP_S:
                    break
            for level in (HOUR, DAY):
                for meter, bucket in sorted({(m, start_of(b, level)) for m, b in done}):
                    if changed[meter]:
                        self._combine(level, meter, bucket, changed[meter])
            self._dirty.remove(done)
        return done[-1] if done else None

    def _neighbours(self, due: Sequence[DirtyBucket], place: int) -> list[DirtyBucket]:
        """Return buckets to read together: of an hour at most, fewer of a fast meter."""
        meter, first = due[place]
        together = max(_MOST_READ // self._readings_per_bucket.get(meter, _MOST_READ // 3), 1)
        end = min(first + together * width_s(FIVE_MINUTES), start_of(first, HOUR) + width_s(HOUR))
        part = due[place : place + MOST_BUCKETS]
        return list(takewhile(lambda bucket: bucket[0] == meter and bucket[1] < end, part))

    def _five_minutes(self, neighbours: Sequence[DirtyBucket]) -> set[int]:
        """Compute neighbouring 5-minute buckets of one meter; return their quantities."""
        meter, first = neighbours[0]
        end = neighbours[-1][1] + width_s(FIVE_MINUTES)
        wanted = {bucket for _, bucket in neighbours}
        rows = [row for row in self.computed_from_readings(meter, first, end) if row[3] in wanted]
        self._put(rows)
        return {row[2] for row in rows}

    def _put(self, rows: Sequence[Row]) -> None:
        """Store roll-up rows in place of those that are there; no key twice."""
        blocks = range(0, len(rows) - _ROWS_AT_ONCE + 1, _ROWS_AT_ONCE)
        self._put_blocks(
            _ROWS_AT_ONCE, [tuple(chain(*rows[place : place + _ROWS_AT_ONCE])) for place in blocks]
        )
        self._put_blocks(1, rows[len(blocks) * _ROWS_AT_ONCE :])

    def _put_blocks(self, size: int, blocks: Sequence[Row]) -> None:
        values = ", ".join([_ROW] * size)
        run_many(self._database, f"{_INSERT} VALUES {values} {_REPLACE}", blocks)

    def _combine(self, level: int, meter: int, bucket: int, quantities: Collection[int]) -> None:
        """Compute an hour or a day of these quantities from the next finer level."""
        finer, end = _FINER[level], bucket + width_s(level)
        parts = self._dialect.per_quantity(_FIGURES, _PART, quantities)
        run(
            self._database,
            f"{_INSERT} SELECT ?, ?, s.quantity, ?, s.n, s.mean, s.lowest, s.highest, "
            "(SELECT last FROM rollup WHERE level = ? AND meter = ? AND quantity = s.quantity "
            f"AND bucket = s.newest), s.delta FROM ({parts}) s WHERE true {_REPLACE}",
            (level, meter, bucket, finer, meter, finer, meter, bucket, end),
        )

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

    # -- readings from before there were roll-ups ----------------------------------------------

    def _mark_another_day(self) -> bool:
        """Mark the next day of readings from before there were roll-ups, if any."""
        with transaction(self._database):
            found = self._next_backfill()
            if found is None:
                return False
            meter, name, since = found
            first = fetch_one(
                self._database,
                "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? ORDER BY ts LIMIT 1",
                (meter, since),
            )
            if first is None:
                logger.info("meter %s: all its readings are rolled up", name)
                end = None
            else:
                end = (bucket_of(first[0], DAY) + width_s(DAY)) * 1000
                self._dirty.add(self._buckets_between(meter, first[0], end))
            run(self._database, "UPDATE meters SET backfill_from = ? WHERE id = ?", (end, meter))
        return True

    def _next_backfill(self) -> tuple[int, str, int] | None:
        row = fetch_one(
            self._database,
            "SELECT id, name, backfill_from FROM meters WHERE backfill_from IS NOT NULL "
            "ORDER BY id LIMIT 1",
        )
        return (row[0], row[1], row[2]) if row else None

    def _buckets_between(self, meter: int, begin: int, end: int) -> list[DirtyBucket]:
        """Return the 5-minute buckets that hold readings from `begin` to before `end` (ms)."""
        width_ms = width_s(FIVE_MINUTES) * 1000
        rows = fetch(
            self._database,
            f"SELECT DISTINCT ts / {width_ms} FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts < ?",
            (meter, begin, end),
        )
        return [(meter, bucket_of(row[0] * width_ms)) for row in rows]


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
