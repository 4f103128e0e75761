"""A meter replaced by another: an entry that a person makes, so that totals go on."""

from collections.abc import Mapping
from datetime import datetime

import peewee

from contract.readings import epoch_ms, format_time
from history.columns import stored_quantities
from history.database import transaction
from history.errors import StorageError
from history.rollups.dirty_buckets import COUNTERS, Marks
from history.statements import fetch_one, run
from history.tables import Meter, QuantityNumber
from history.times import from_ms

ALL_COUNTERS = 0


def replace_meter(
    database: peewee.Database,
    meter_id: str,
    ts: datetime,
    old_end: Mapping[str, float],
    new_start: Mapping[str, float],
) -> None:
    """Enter that another meter was put in at `ts`; making the same entry again changes nothing.

    `old_end` and `new_start` are what the old and the new one showed then, for the counters where
    that is known; what is not known counts nothing. Raises StorageError for a meter without
    history before that time, and for a time that has been thinned out.
    """
    meter = Meter.get_or_none(Meter.name == meter_id)
    if meter is None:
        raise StorageError(f"meter {meter_id}: has no history")
    ts_ms = epoch_ms(ts)
    if ts_ms <= meter.first_ts:
        first = format_time(from_ms(meter.first_ts))
        raise StorageError(f"meter {meter_id}: its history begins later, at {first}")
    if ts_ms <= meter.closed_until:
        raise StorageError(
            f"meter {meter_id}: its history before {format_time(from_ms(meter.closed_until))} has "
            "been thinned out and stays as it is"
        )
    with transaction(database):
        _enter(database, meter.id, ts_ms, ALL_COUNTERS, None, None)
        for name in sorted({*old_end, *new_start}):
            number = QuantityNumber.get(QuantityNumber.name == name).id
            _enter(database, meter.id, ts_ms, number, old_end.get(name), new_start.get(name))
        counters = set(COUNTERS) & set(stored_quantities(database))
        marks = Marks(database)
        marks.add(marks.buckets_from(meter.id, ts_ms, counters))


def counters_around(
    database: peewee.Database, meter_id: str, ts: datetime
) -> dict[str, tuple[float | None, float | None]]:
    """Return each counter's last value before a time and its first from then on."""
    meter = Meter.get_or_none(Meter.name == meter_id)
    found: dict[str, tuple[float | None, float | None]] = {}
    if meter is None:
        return found
    for name in COUNTERS:
        if name in stored_quantities(database):
            some = f"SELECT {name} FROM readings_raw WHERE meter = ? AND {name} IS NOT NULL AND ts"
            key = (meter.id, epoch_ms(ts))
            before = fetch_one(database, f"{some} < ? ORDER BY ts DESC LIMIT 1", key)
            after = fetch_one(database, f"{some} >= ? ORDER BY ts LIMIT 1", key)
            if before or after:
                found[name] = (
                    before[0] / 1000 if before else None,
                    after[0] / 1000 if after else None,
                )
    return found


def _enter(
    database: peewee.Database,
    meter: int,
    ts_ms: int,
    quantity: int,
    old_end: float | None,
    new_start: float | None,
) -> None:
    run(
        database,
        "INSERT INTO meter_events (meter, ts, quantity, kind, old_end, new_start) "
        "VALUES (?, ?, ?, 'replaced', ?, ?) ON CONFLICT (meter, ts, quantity) DO UPDATE SET "
        "kind = excluded.kind, old_end = excluded.old_end, new_start = excluded.new_start",
        (meter, ts_ms, quantity, _stored(old_end), _stored(new_start)),
    )


def _stored(value: float | None) -> int | None:
    return None if value is None else round(value * 1000)
