"""Reading the history back: meters, their newest readings, pages of readings.

Each query is a few seeks of the key (meter, ts), however long the history is. Charts are in
`history.series`, energy and cost in `history.energy`.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from itertools import groupby, islice

import peewee

from contract.quantities import BY_NAME
from contract.readings import Reading
from contract.times import epoch_ms, from_epoch_ms
from history.dialect import fetch, fetch_named, fetch_one
from history.tables import in_units, read_meters, stored_quantities

_FAR = 2**62
_CHUNK = 50
Key = tuple[int, int]
"""Time in epoch ms and a meter's number, the order of pages (newest first)."""


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """A meter of the history, with the times of its first and newest reading."""

    meter_id: str
    first_seen: datetime
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Readings, newest first; `next` is what to pass as `after`, None where these are the last."""

    readings: list[Reading]
    next: str | None


def meters(database: peewee.Database) -> list[MeterEntry]:
    """Return all meters, in the order of their names (1, 2, 10 as a person would)."""
    entries = [
        MeterEntry(meter.name, from_epoch_ms(meter.first_ts), from_epoch_ms(meter.last_ts))
        for meter in read_meters(database)
    ]
    return sorted(entries, key=lambda entry: natural_order(entry.meter_id))


def natural_order(meter_id: str) -> tuple[int, int, str]:
    """Return a sort key that puts numbers first and by their value."""
    return (0, int(meter_id), "") if meter_id.isdecimal() else (1, 0, meter_id)


def is_known(database: peewee.Database, meter_id: str) -> bool:
    """Return whether a meter has a history."""
    return fetch_one(database, "SELECT 1 FROM meters WHERE name = ?", (meter_id,)) is not None


def latest(database: peewee.Database, meter_id: str) -> Reading | None:
    """Return a meter's newest reading: one seek, never a GROUP BY over readings."""
    return next(iter(readings(database, meter_id, limit=1)), None)


def exists(database: peewee.Database, meter_id: str, ts: datetime) -> bool:
    """Return whether the reading of that meter and time is stored."""
    statement = (
        "SELECT 1 FROM readings_raw r JOIN meters m ON m.id = r.meter WHERE m.name = ? AND r.ts = ?"
    )
    return fetch_one(database, statement, (meter_id, epoch_ms(ts))) is not None


def readings(
    database: peewee.Database,
    meter_id: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> list[Reading]:
    """Return readings, newest first, of one meter or all, from `since` to before `until`."""
    if meter_id is None:
        return page(database, since=since, until=until, limit=limit).readings
    columns, rows = fetch_named(
        database,
        "SELECT * FROM readings_raw WHERE meter = (SELECT id FROM meters WHERE name = ?) "
        "AND ts >= ? AND ts < ? ORDER BY ts DESC LIMIT ?",
        (meter_id, epoch_ms(since) if since else 0, epoch_ms(until) if until else _FAR, limit),
    )
    ts, places = _places(columns)
    return [
        Reading(
            meter_id,
            from_epoch_ms(row[ts]),
            {name: row[n] / 1000 for name, n in places if row[n] is not None},
        )
        for row in rows
    ]


@cache
def _places(columns: tuple[str, ...]) -> tuple[int, list[tuple[str, int]]]:
    """Return the place of `ts` in a row, and those of the quantities, in the catalogue's order."""
    place = {name: n for n, name in enumerate(columns)}
    return place["ts"], [(name, place[name]) for name in BY_NAME if name in place]


def page(
    database: peewee.Database,
    meter_id: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: str | None = None,
    limit: int = 100,
) -> Page:
    """Return a page of readings; `after` is the `next` of the page before.

    It names where that page ended, so that readings that arrive meanwhile shift nothing. Raises
    ValueError for an `after` that no page has returned.
    """
    names = _names(database, meter_id)
    begin = epoch_ms(since) if since else 0
    end = epoch_ms(until) if until else _FAR
    before = _key(after) if after else (end, -1)
    ends = {meter: min(end, before[0] + (meter < before[1])) for meter in names}
    keys = heapq.merge(*(_keys(database, m, begin, ends[m]) for m in names), reverse=True)
    wanted = list(islice(keys, limit))
    rows = _rows(database, wanted)
    found = [Reading(names[meter], from_epoch_ms(ts), rows[ts, meter]) for ts, meter in wanted]
    last = wanted[-1] if len(wanted) == limit else None
    return Page(found, f"{last[0]}.{last[1]}" if last else None)


def _names(database: peewee.Database, meter_id: str | None) -> dict[int, str]:
    names = None if meter_id is None else [meter_id]
    return {meter.id: meter.name for meter in read_meters(database, names)}


def _key(after: str) -> Key:
    ts, _, meter = after.partition(".")
    return int(ts), int(meter)


def _keys(database: peewee.Database, meter: int, begin: int, end: int) -> Iterator[Key]:
    """Yield a meter's keys, newest first, a few at a time: most meters contribute only a few."""
    size = 1
    while True:
        rows = fetch(
            database,
            "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
            "ORDER BY ts DESC LIMIT ?",
            (meter, begin, end, size),
        )
        for (ts,) in rows:
            yield ts, meter
        if len(rows) < size:
            return
        end, size = rows[-1][0], _CHUNK


def _rows(database: peewee.Database, keys: list[Key]) -> dict[Key, dict[str, float]]:
    """Return the values behind keys: those of one meter lie next to one another."""
    names = stored_quantities(database)
    found: dict[Key, dict[str, float]] = {}
    for meter, part in groupby(sorted(keys, key=_meter_of), key=_meter_of):
        times = [ts for ts, _ in part]
        rows = fetch(
            database,
            f"SELECT ts, {', '.join(names)} FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts <= ?",
            (meter, min(times), max(times)),
        )
        found |= {(row[0], meter): in_units(names, row[1:]) for row in rows}
    return found


def _meter_of(key: Key) -> int:
    return key[1]
