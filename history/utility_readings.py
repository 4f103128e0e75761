"""Readings of the utility's own meter, entered by a person, beside what our meter counted.

Two counters begin at different values, so what is compared is their advance from one entry to the
next. Replacements, resets and void readings count as in every other sum.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any

import peewee

from contract.times import epoch_ms, format_time, from_epoch_ms
from contract.utility_readings import UtilityEntry
from history.counters import Advances, counters_of
from history.dialect import Row, dialect_of, fetch, fetch_one, run, transaction
from history.errors import StorageError
from history.rollups.buckets import Point
from history.rollups.levels import QUARTER_HOUR, width_s
from history.tables import Meter, read_meter, read_meters, stored_quantities
from history.voids import valid

_Counted = tuple[datetime | None, float | None, float | None]


@dataclass(frozen=True, slots=True)
class UtilityReading:
    """What the utility's meter showed at `ts`, in kWh: its register of import, or of export."""

    meter_id: str
    ts: datetime
    value: float
    exported: bool = False

    @property
    def register(self) -> str:
        """The register by its name for people and programs."""
        return "export" if self.exported else "import"


@dataclass(frozen=True, slots=True)
class Comparison:
    """A reading of the utility's meter beside ours; energies are in kWh, None where unknown.

    `counter` is the last value of our counter before it, measured at `measured_at`. `since` is the
    time of the entry before, None for the first; `by_utility` and `by_meter` are what each of the
    two has counted since then. Neither is known where the utility's register went back.
    """

    reading: UtilityReading
    counter: float | None = None
    measured_at: datetime | None = None
    since: datetime | None = None
    by_utility: float | None = None
    by_meter: float | None = None

    @property
    def drift(self) -> float | None:
        """By how much our meter counted more than the utility's since the entry before."""
        if self.by_utility is None or self.by_meter is None:
            return None
        return round(self.by_meter - self.by_utility, 3)

    @property
    def drift_percent(self) -> float | None:
        """The drift in percent of what the utility's meter counted."""
        if self.drift is None or not self.by_utility:
            return None
        return 100 * self.drift / self.by_utility

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison for JSON, with times in ISO 8601."""
        entry = self.reading
        return {
            "meter_id": entry.meter_id,
            "register": entry.register,
            "ts": format_time(entry.ts),
            "value": entry.value,
            "counter": self.counter,
            "measured_at": format_time(self.measured_at) if self.measured_at else None,
            "since": format_time(self.since) if self.since else None,
            "by_utility": self.by_utility,
            "by_meter": self.by_meter,
            "drift": self.drift,
            "drift_percent": self.drift_percent,
        }


def enter(database: peewee.Database, entry: UtilityReading) -> None:
    """Store a reading of the utility's meter in place of another of that time and register.

    Raises StorageError for a meter without history.
    """
    with transaction(database):
        key = _key(database, entry.meter_id, entry.ts, entry.exported)
        run(
            database,
            "INSERT INTO utility_readings (meter, ts, exported, value, made_at) "
            "VALUES (?, ?, ?, ?, ?) ON CONFLICT (meter, exported, ts) DO UPDATE SET "
            "value = excluded.value, made_at = excluded.made_at",
            (*key, round(entry.value * 1000), int(time.time() * 1000)),
        )


def remove(database: peewee.Database, meter_id: str, ts: datetime, *, exported: bool) -> bool:
    """Remove an entry; return whether there was one. Raises StorageError like `enter`."""
    with transaction(database):
        statement = "DELETE FROM utility_readings WHERE meter = ? AND ts = ? AND exported = ?"
        return run(database, statement, _key(database, meter_id, ts, exported)) > 0


def change(database: peewee.Database, meter_id: str, entry: UtilityEntry) -> None:
    """Enter or remove a reading, as a message of the contract says; raises like `enter`."""
    if entry.value is None:
        remove(database, meter_id, entry.ts, exported=entry.exported)
    else:
        enter(database, UtilityReading(meter_id, entry.ts, entry.value, entry.exported))


def value_at(
    database: peewee.Database, meter_id: str, ts: datetime, *, exported: bool
) -> float | None:
    """Return what an entry has, in kWh; None where there is none. Raises like `enter`."""
    statement = "SELECT value FROM utility_readings WHERE meter = ? AND ts = ? AND exported = ?"
    row = fetch_one(database, statement, _key(database, meter_id, ts, exported))
    return row[0] / 1000 if row else None


def comparisons(database: peewee.Database, meter_id: str | None = None) -> list[Comparison]:
    """Return the entries of a meter or all, each compared with what our meter counted.

    They come in the order of meters, import before export, and times.
    """
    with dialect_of(database).snapshot():
        meters = {m.id: m for m in read_meters(database, [meter_id] if meter_id else None)}
        rows = fetch(
            database,
            "SELECT meter, exported, ts, value FROM utility_readings ORDER BY meter, exported, ts",
        )
        found: list[Comparison] = []
        for (number, exported), part in groupby(rows, key=lambda row: (row[0], bool(row[1]))):
            if meter := meters.get(number):
                points = [(ts, value) for _, _, ts, value in part]
                found += _compared(database, meter, points, exported=exported)
        return found


def _compared(
    database: peewee.Database, meter: Meter, points: Sequence[Point], *, exported: bool
) -> Iterator[Comparison]:
    counters = counters_of(database, meter.id)
    name, register = counters[exported], counters.registers[exported]
    ends = [ts + 1 for ts, _ in points]  # after a reading of that very moment
    advances = Advances(database, meter.id, [name]).between(ends)[name]
    counted: list[_Counted] = [(None, None, None)]
    for (before, after), advance in zip(pairwise(points), advances, strict=True):
        counted.append(_counted(before, after, advance if before[0] >= meter.first_ts else None))
    for (ts, value), (since, by_utility, by_meter) in zip(points, counted, strict=True):
        reading = UtilityReading(meter.name, from_epoch_ms(ts), value / 1000, exported)
        last = _last_before(database, meter, register, ts)
        measured_at, counter = (from_epoch_ms(last[0]), last[1] / 1000) if last else (None, None)
        yield Comparison(reading, counter, measured_at, since, by_utility, by_meter)


def _counted(before: Point, after: Point, advance: int | None) -> _Counted:
    """Return the time of the entry before, and what the two meters have counted since then."""
    since, by_utility = from_epoch_ms(before[0]), after[1] - before[1]
    if by_utility < 0:
        return since, None, None
    return since, by_utility / 1000, None if advance is None else advance / 1000


def _last_before(database: peewee.Database, meter: Meter, name: str, ts: int) -> Point | None:
    """Return time and value of a counter's last reading before a time, else of its quarter-hour."""
    if name in stored_quantities(database):
        row = fetch_one(
            database,
            f"SELECT ts, {name} FROM readings_raw WHERE meter = ? AND ts <= ? "
            f"AND {name} IS NOT NULL {valid(database, meter.id)} ORDER BY ts DESC LIMIT 1",
            (meter.id, ts),
        )
        if row and row[0] >= meter.retention_watermark:
            return row[0], row[1]
    width = width_s(QUARTER_HOUR)
    row = fetch_one(
        database,
        "SELECT bucket, last FROM rollup WHERE level = ? AND meter = ? AND quantity = "
        "(SELECT id FROM quantities WHERE name = ?) AND bucket <= ? ORDER BY bucket DESC LIMIT 1",
        (QUARTER_HOUR, meter.id, name, ts // 1000 - width),
    )
    return ((row[0] + width) * 1000, row[1]) if row else None


def _key(database: peewee.Database, meter_id: str, ts: datetime, exported: bool) -> Row:
    meter = read_meter(database, meter_id)
    if meter is None:
        raise StorageError(f"meter {meter_id}: has no history")
    return meter.id, epoch_ms(ts), exported
