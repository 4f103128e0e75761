"""Reading the history back: meters, their newest readings, pages of readings.

Each query is a few seeks of the key (meter, ts), however long the history is. Charts are in
`history.series`, energy and cost in `history.energy`.
"""

import heapq
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from operator import itemgetter

import peewee

from contract.meter_settings import Billing, Role
from contract.quantities import BY_NAME
from contract.readings import Reading
from contract.times import epoch_ms, from_epoch_ms
from history.dialect import Row, fetch, fetch_named, fetch_one, placeholders
from history.tables import Meter, read_meters, stored_quantities

CURSOR = r"[0-9]{1,15}\.[0-9]{1,9}"
"""The form of a cursor."""
_FAR = 2**62
_MOST_NAMES = 500
_FIRST = itemgetter(0)
Key = tuple[int, int]
"""Time in epoch ms and a meter's number: readings of all meters are in this order."""
Span = tuple[int, int]
"""From a time to before another, in epoch ms."""


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """A meter of the history: the times of its first and newest reading, and its settings."""

    meter_id: str
    first_seen: datetime
    last_seen: datetime
    name: str | None = None
    role: Role | None = None
    parent: str | None = None
    billing: Billing | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Readings in their order; `next` is the cursor of the next page, None on the last one."""

    readings: list[Reading]
    next: str | None


# -- meters ------------------------------------------------------------------------------------


def meters(database: peewee.Database, names: Collection[str] | None = None) -> list[MeterEntry]:
    """Return the meters of these ids, or all, in the order of a person: 2, 10, flat9, flat10."""
    entries = [
        MeterEntry(
            meter.name,
            from_epoch_ms(meter.first_ts),
            from_epoch_ms(meter.last_ts),
            meter.title,
            meter.role,
            meter.parent,
            meter.billing,
        )
        for meter in read_meters(database, names)
    ]
    return sorted(entries, key=lambda entry: natural_order(entry.meter_id))


def names(database: peewee.Database) -> tuple[set[str], set[str]]:
    """Return the ids of all meters, and the names of the bridges that have answered for them."""
    rows = fetch(database, "SELECT name, bridge FROM meters")
    return {name for name, _ in rows}, {bridge for _, bridge in rows if bridge}


def natural_order(meter_id: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts numbers first and by their value, also within an id."""
    parts = filter(None, re.split("([0-9]+)", meter_id))
    key = ((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts)
    return (*key, (-1, 0, meter_id))  # flat before flat9, and 7 is not 07


def is_known(database: peewee.Database, meter_id: str) -> bool:
    """Return whether a meter has a history."""
    return fetch_one(database, "SELECT 1 FROM meters WHERE name = ?", (meter_id,)) is not None


def latest(database: peewee.Database, meter_id: str) -> Reading | None:
    """Return a meter's newest reading: one seek, never a GROUP BY over readings."""
    return next(iter(readings(database, meter_id, limit=1)), None)


def latest_of(database: peewee.Database, meter_ids: Sequence[str]) -> dict[str, Reading]:
    """Return the newest reading of each of these meters that has one.

    A statement for each meter takes a second for a few hundred while other threads are busy.
    """
    found: dict[str, Reading] = {}
    for begin in range(0, len(meter_ids), _MOST_NAMES):
        some = meter_ids[begin : begin + _MOST_NAMES]
        columns, rows = fetch_named(
            database,
            "SELECT m.name AS name, r.* FROM meters m "
            "JOIN readings_raw r ON r.meter = m.id AND r.ts = m.last_ts "
            f"WHERE m.name IN ({placeholders(some)})",
            some,
        )
        found |= {row[0]: _reading(row[0], columns, row) for row in rows}
    for meter_id in meter_ids:  # the row of `last_ts` may have been deleted
        if meter_id not in found and (reading := latest(database, meter_id)):
            found[meter_id] = reading
    return found


# -- readings ----------------------------------------------------------------------------------


def exists(database: peewee.Database, meter_id: str, ts: datetime) -> bool:
    """Return whether the reading of that meter and time is stored."""
    return bool(at(database, meter_id, [ts]))


def at(
    database: peewee.Database, meter_id: str, moments: Sequence[datetime]
) -> dict[datetime, Reading]:
    """Return the readings of a meter at these times, each cut to the millisecond."""
    columns, rows = fetch_named(
        database,
        "SELECT * FROM readings_raw WHERE meter = (SELECT id FROM meters WHERE name = ?) "
        f"AND ts IN ({placeholders(moments)})",
        (meter_id, *map(epoch_ms, moments)),
    )
    found = (_reading(meter_id, columns, row) for row in rows)
    return {reading.ts: reading for reading in found}


def readings(
    database: peewee.Database,
    meter_id: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> list[Reading]:
    """Return readings, newest first, of one meter or all, from `since` to before `until`."""
    return page(database, meter_id, since=since, until=until, limit=limit).readings


def page(
    database: peewee.Database,
    meter_id: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str | None = None,
    limit: int = 100,
    oldest_first: bool = False,
    names: Sequence[str] | None = None,
) -> Page:
    """Return a page of readings, newest first or `oldest_first`, with these quantities or all.

    `after` is the `next` of the page before. It names where that page ended, so that readings
    that arrive meanwhile shift nothing.
    """
    span = (epoch_ms(since) if since else 0, epoch_ms(until) if until else _FAR)
    table = _Table(database, names, oldest_first)
    cursor = _key(after) if after else None
    if meter_id is None:
        found = table.of_all(span, cursor, limit + 1)
    else:
        found = table.of_one(meter_id, _after(span, cursor, None, oldest_first), limit + 1)
    readings = [_reading(meter_id, columns, row) for _, meter_id, columns, row in found[:limit]]
    last = found[limit - 1][0] if len(found) > limit else None
    return Page(readings, f"{last[0]}.{last[1]}" if last else None)


_Entry = tuple[Key, str, tuple[str, ...], Row]
"""A row with its key, its meter's id and the names of its columns."""


class _Table:
    """The readings in one order, with some or all of their quantities."""

    def __init__(
        self, database: peewee.Database, names: Sequence[str] | None, oldest_first: bool
    ) -> None:
        self._database = database
        self._oldest_first = oldest_first
        self._columns = "*"
        if names is not None:
            wanted = [name for name in stored_quantities(database) if name in names]
            self._columns = ", ".join(("meter", "ts", *wanted))

    def of_one(self, meter_id: str, span: Span, limit: int) -> list[_Entry]:
        """Return the first rows of a meter."""
        columns, rows = fetch_named(
            self._database,
            f"SELECT {self._columns} FROM readings_raw "
            "WHERE meter = (SELECT id FROM meters WHERE name = ?) AND ts >= ? AND ts < ? "
            f"ORDER BY ts {'ASC' if self._oldest_first else 'DESC'} LIMIT ?",
            (meter_id, *span, limit),
        )
        ts, meter = columns.index("ts"), columns.index("meter")
        return [((row[ts], row[meter]), meter_id, columns, row) for row in rows]

    def of_all(self, span: Span, after: Key | None, limit: int) -> list[_Entry]:
        """Return the first rows of all meters."""
        spans = [
            (meter, _after(_overlap(span, meter), after, meter.id, self._oldest_first))
            for meter in read_meters(self._database)
        ]
        filled = [(meter, part) for meter, part in spans if part[0] < part[1]]
        size = limit // max(len(filled), 1) + 1
        parts = [self._ordered(meter, part, size) for meter, part in filled]
        merged = heapq.merge(*parts, key=_FIRST, reverse=not self._oldest_first)
        return list(islice((entry for entry in merged if entry[3]), limit))

    def _ordered(self, meter: Meter, span: Span, size: int) -> Iterator[_Entry]:
        """Yield the rows of a meter in their order, after an empty one before all of them.

        Until that one is due, the meter is not queried: most of a thousand meters have nothing on
        a page.
        """
        begin, end = span
        yield (begin if self._oldest_first else end - 1, meter.id), meter.name, (), ()
        while True:
            rows = self.of_one(meter.name, (begin, end), size)
            yield from rows
            if len(rows) < size:
                return
            begin, end = _after((begin, end), rows[-1][0], meter.id, self._oldest_first)
            size *= 2


def _overlap(span: Span, meter: Meter) -> Span:
    return max(span[0], meter.first_ts), min(span[1], meter.last_ts + 1)


def _after(span: Span, cursor: Key | None, meter: int | None, oldest_first: bool) -> Span:
    """Return what of a meter's span comes after a cursor, which is the meter's own for None."""
    if cursor is None:
        return span
    ts, number = cursor
    if oldest_first:
        is_before = meter is None or meter <= number
        return max(span[0], ts + is_before), span[1]
    return span[0], min(span[1], ts + (meter is not None and meter < number))


def _key(cursor: str) -> Key:
    ts, _, meter = cursor.partition(".")
    return int(ts), int(meter)


def _reading(meter_id: str, columns: tuple[str, ...], row: Row) -> Reading:
    ts, places = _places(columns)
    values = {name: row[n] / 1000 for name, n in places if row[n] is not None}
    return Reading(meter_id, from_epoch_ms(row[ts]), values)


@lru_cache(100)
def _places(columns: tuple[str, ...]) -> tuple[int, list[tuple[str, int]]]:
    """Return the place of `ts` in a row, and those of the quantities, in the catalogue's order."""
    place = {name: n for n, name in enumerate(columns)}
    return place["ts"], [(name, place[name]) for name in BY_NAME if name in place]
