"""A meter that was replaced: an entry that a person makes, so that totals go on."""

from collections.abc import Mapping
from datetime import datetime

import peewee

from contract.times import epoch_ms, format_time, from_epoch_ms
from history.dialect import fetch, fetch_one, run, transaction
from history.errors import StorageError
from history.rollups.buckets import Replacement
from history.rollups.dirty_buckets import COUNTERS, DirtyBuckets
from history.tables import quantity_ids, read_meter, stored_quantities
from history.voids import valid

ALL_COUNTERS = 0
"""Quantity of an entry that counts for all counters without an entry of their own."""


def replace_meter(
    database: peewee.Database,
    meter_id: str,
    ts: datetime,
    old_end: Mapping[str, float],
    new_start: Mapping[str, float],
) -> None:
    """Enter that another meter was installed at `ts`; the same entry again changes nothing.

    `old_end` and `new_start` are what the old and the new meter showed then, for the counters where
    that is known; what is not known counts nothing. Raises StorageError for a meter without
    history before that time, and for a time whose readings have been deleted.
    """
    meter = read_meter(database, meter_id)
    if meter is None:
        raise StorageError(f"meter {meter_id}: has no history")
    ts_ms = epoch_ms(ts)
    if ts_ms <= meter.first_ts:
        first = format_time(from_epoch_ms(meter.first_ts))
        raise StorageError(f"meter {meter_id}: its history begins later, at {first}")
    if ts_ms <= meter.retention_watermark:
        watermark = format_time(from_epoch_ms(meter.retention_watermark))
        raise StorageError(
            f"meter {meter_id}: readings before {watermark} have been deleted by retention; "
            "its history up to then stays as it is"
        )
    with transaction(database):
        ids = quantity_ids(database)
        _enter(database, meter.id, ts_ms, ALL_COUNTERS, None, None)
        for name in sorted({*old_end, *new_start}):
            _enter(database, meter.id, ts_ms, ids[name], old_end.get(name), new_start.get(name))
        counters = set(COUNTERS) & set(stored_quantities(database))
        dirty = DirtyBuckets(database)
        dirty.add(dirty.changed_from(meter.id, ts_ms, counters))


def replacements(database: peewee.Database, meter: int) -> dict[int, list[Replacement]]:
    """Return by a quantity's number (`ALL_COUNTERS`: the others) when a meter was replaced."""
    rows = fetch(
        database,
        "SELECT quantity, ts, old_end, new_start FROM meter_events "
        "WHERE meter = ? AND kind = 'replaced' ORDER BY ts",
        (meter,),
    )
    found: dict[int, list[Replacement]] = {}
    for quantity, *event in rows:
        found.setdefault(quantity, []).append(Replacement(*event))
    return found


def counters_around(
    database: peewee.Database, meter_id: str, ts: datetime
) -> dict[str, tuple[float | None, float | None]]:
    """Return each counter's last value before a time and its first from then on, without voids."""
    meter = read_meter(database, meter_id)
    found: dict[str, tuple[float | None, float | None]] = {}
    if meter is None:
        return found
    stored = stored_quantities(database)
    for name in COUNTERS:
        if name in stored:
            some = (
                f"SELECT {name} FROM readings_raw WHERE meter = ? AND {name} IS NOT NULL "
                f"{valid(database, meter.id)} AND ts"
            )
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
