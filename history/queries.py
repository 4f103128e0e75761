"""Reading the history: the queries behind REST and the dashboard.

Each is one index seek or one range of the key (meter, ts), whatever the length of the history.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import peewee

from contract.quantities import QUANTITIES
from contract.readings import Reading, epoch_ms
from history.tables import Meter, ReadingRow
from history.times import from_ms

Row = tuple[Any, ...]

_NAMES = tuple(quantity.name for quantity in QUANTITIES)
_FIELDS = tuple(getattr(ReadingRow, name) for name in _NAMES)


@dataclass(frozen=True, slots=True)
class MeterEntry:
    """A meter of the history, with the times of its first and newest reading."""

    meter_id: str
    first_seen: datetime
    last_seen: datetime


def meters() -> list[MeterEntry]:
    """Return all meters, in the order of their names (1, 2, 10 as a person would)."""
    entries = [
        MeterEntry(meter.name, from_ms(meter.first_ts), from_ms(meter.last_ts))
        for meter in Meter.select()
    ]
    return sorted(entries, key=lambda entry: natural_order(entry.meter_id))


def natural_order(meter_id: str) -> tuple[int, int, str]:
    """Sort key that puts numbers first and by their value."""
    return (0, int(meter_id), "") if meter_id.isdecimal() else (1, 0, meter_id)


def latest(meter_id: str) -> Reading | None:
    """Return a meter's newest reading: one seek, never a GROUP BY over readings."""
    found = readings(meter_id, limit=1)
    return found[0] if found else None


def readings(
    meter_id: str | None = None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
) -> list[Reading]:
    """Return readings, newest first, of one meter or all, from `since` to before `until`."""
    names = {m.id: m.name for m in _wanted(meter_id)}
    rows = [row for key in names for row in _rows(key, since, until, limit)]
    rows.sort(key=lambda row: row[1], reverse=True)
    return [_reading(names[row[0]], row) for row in rows[:limit]]


def exists(meter_id: str, ts: datetime) -> bool:
    """Tell whether the reading of that meter and time is stored."""
    query = ReadingRow.select(ReadingRow.ts).join(
        Meter, on=(Meter.id == ReadingRow.meter) & (Meter.name == meter_id)
    )
    return bool(query.where(ReadingRow.ts == epoch_ms(ts)).exists())


def columns(
    meter_id: str, names: Iterable[str], since: datetime, until: datetime, points: int
) -> dict[str, list[float | None]]:
    """Return columns for a chart: `ts` in epoch seconds, and the mean of each quantity.

    At most `points` rows, each the mean of an equal slice of time; slices without a reading are
    left out, so that a gap stays a gap.
    """
    wanted = [name for name in names if name in _NAMES]
    meter = Meter.get_or_none(Meter.name == meter_id)
    start, end = epoch_ms(since), epoch_ms(until)
    slice_ms = max((end - start) // points, 1)
    rows: list[Row] = []
    if meter:
        bucket = (ReadingRow.ts - start) / slice_ms
        means = [peewee.fn.AVG(getattr(ReadingRow, name).cast("real")) / 1000.0 for name in wanted]
        query = (
            ReadingRow.select(peewee.fn.MIN(ReadingRow.ts) / 1000.0, *means)
            .where((ReadingRow.meter == meter.id) & ReadingRow.ts.between(start, end - 1))
            .group_by(bucket)
            .order_by(bucket)
        )
        rows = list(cast(Iterable[Row], query.tuples()))
    table = list(zip(*rows, strict=True)) or [()] * (len(wanted) + 1)
    return dict(zip(["ts", *wanted], map(list, table), strict=True))


def _wanted(meter_id: str | None) -> list[Meter]:
    query = Meter.select()
    return list(query.where(Meter.name == meter_id) if meter_id is not None else query)


def _rows(key: int, since: datetime | None, until: datetime | None, limit: int) -> list[Row]:
    query = ReadingRow.select(ReadingRow.meter, ReadingRow.ts, *_FIELDS).where(
        ReadingRow.meter == key
    )
    if since:
        query = query.where(ReadingRow.ts >= epoch_ms(since))
    if until:
        query = query.where(ReadingRow.ts < epoch_ms(until))
    newest = query.order_by(ReadingRow.ts.desc()).limit(limit).tuples()
    return list(cast(Iterable[Row], newest))


def _reading(name: str, row: Row) -> Reading:
    values = {q: v for q, v in zip(_NAMES, row[2:], strict=True) if v is not None}
    return Reading(name, from_ms(row[1]), values)
