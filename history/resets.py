"""Counters that began again at 0, as the roll-ups show them.

What a counter advances by is computed from reading to reading (`rollups/buckets.py`). In a bucket
in which it began again, that is more than the difference of its last values. Days show where to
look, finer levels when it was.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import peewee

from contract.times import from_epoch_ms
from history.dialect import Row, fetch, fetch_one, placeholders
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, start_of, width_s
from history.rollups.netting import EXPORT, IMPORT
from history.rollups.replacements import replacements
from history.tables import Meter, quantity_ids

COUNTERS = (IMPORT, "energy", EXPORT)
"""The counters to look at: those of a meter begin again together, and its first one is reported."""
MOST_NARROWED = 30
"""Newest days whose resets are looked up in finer levels: a device may begin at 0 each day."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A counter that began again at 0 between two times; before, it showed `before` kWh."""

    meter_id: str
    begin: datetime
    end: datetime
    before: float


@dataclass(frozen=True, slots=True)
class _Found:
    """The same in a bucket of a level; `since` is the bucket before it, if any (all in epoch s)."""

    meter: int
    quantity: int
    level: int
    bucket: int
    since: int
    before: int

    @property
    def end(self) -> int:
        return self.bucket + width_s(self.level)


def resets(database: peewee.Database, meters: Sequence[Meter], begin: int, end: int) -> list[Reset]:
    """Return the resets of some meters between two times (epoch ms), in the order of times.

    A replaced meter that a person has entered is none; on its day a reset may be missed. What is
    not rolled up yet is left out.
    """
    numbers = quantity_ids(database, COUNTERS)
    of_meters = {meter.id: meter.name for meter in meters}
    order = [numbers[name] for name in COUNTERS if name in numbers]
    if not order or not of_meters:
        return []
    span = begin // 1000, -(-end // 1000)
    firsts = dict[tuple[int, int], _Found]()
    for found in _found(database, list(of_meters), order, *span):
        key = found.meter, found.bucket
        is_within = found.bucket < span[1] and found.end > span[0]
        if is_within and not _is_replaced(database, found):
            best = firsts.setdefault(key, found)
            if order.index(found.quantity) < order.index(best.quantity):
                firsts[key] = found
    return [
        Reset(
            of_meters[each.meter],
            from_epoch_ms(each.bucket * 1000),
            from_epoch_ms(each.end * 1000),
            each.before / 1000,
        )
        for each in sorted(firsts.values(), key=lambda each: (each.bucket, each.meter))
    ]


def _found(
    database: peewee.Database, meters: Sequence[int], counters: Sequence[int], begin: int, end: int
) -> Iterator[_Found]:
    """Yield resets as exactly as they are known; those of a day that runs, by its 5 minutes."""
    days = _at(database, DAY, meters, counters, start_of(begin, DAY), end)
    yield from days[:-MOST_NARROWED]
    for day in days[-MOST_NARROWED:]:
        yield from _narrowed(database, day)
    row = fetch_one(
        database,
        "SELECT MIN(bucket) FROM rollup_running "
        f"WHERE minutes = ? AND meter IN ({placeholders(meters)})",
        (DAY, *meters),
    )
    if row and row[0] is not None and row[0] < end:
        since = start_of(max(row[0], begin), FIVE_MINUTES)
        yield from _at(database, FIVE_MINUTES, meters, counters, since, end)


def _narrowed(database: peewee.Database, day: _Found) -> Sequence[_Found]:
    """Return the resets of a day in the finest level that still has them."""
    for level in (FIVE_MINUTES, QUARTER_HOUR, HOUR):
        if found := _at(database, level, [day.meter], [day.quantity], day.bucket, day.end):
            return found
    return [day] if day.since < day.bucket else []


def _at(
    database: peewee.Database,
    level: int,
    meters: Collection[int],
    counters: Collection[int],
    begin: int,
    end: int,
) -> list[_Found]:
    """Return the buckets of a level in which a counter began again.

    What was counted is then no less than what the counter shows, which is so of few other buckets:
    the bucket before is read for those alone. The first bucket of all has none; the highest value
    of it stands for that.
    """
    before = (
        "(SELECT {} FROM rollup b WHERE b.level = r.level AND b.meter = r.meter "
        "AND b.quantity = r.quantity AND b.bucket < r.bucket ORDER BY b.bucket DESC LIMIT 1)"
    )
    rows: list[Row] = fetch(
        database,
        "SELECT meter, quantity, bucket, since, before FROM (SELECT meter, quantity, bucket, last, "
        f"delta, COALESCE({before.format('b.bucket')}, bucket) AS since, "
        f"COALESCE({before.format('b.last')}, NULLIF(max, last)) AS before "
        f"FROM rollup r WHERE level = ? AND meter IN ({placeholders(meters)}) "
        f"AND quantity IN ({placeholders(counters)}) AND bucket >= ? AND bucket < ? "
        "AND delta >= last) AS found WHERE delta > last - before ORDER BY bucket",
        (level, *meters, *counters, begin, end),
    )
    return [_Found(meter, quantity, level, *rest) for meter, quantity, *rest in rows]


def _is_replaced(database: peewee.Database, found: _Found) -> bool:
    """Return whether a person has entered another meter, which began with another value."""
    times = [
        entry.ts for entries in replacements(database, found.meter).values() for entry in entries
    ]
    return any(found.since * 1000 <= ts < found.end * 1000 for ts in times)
