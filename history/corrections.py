"""Corrections that a person makes: readings are taken out of every sum, and brought back."""

import time
from datetime import datetime

import peewee

from contract.times import epoch_ms, format_time, from_epoch_ms
from history.dialect import fetch, placeholders, run, transaction
from history.errors import StorageError
from history.rollups.backfill import buckets_between
from history.rollups.dirty_buckets import COUNTERS, DirtyBuckets
from history.tables import Meter, read_meters, stored_quantities


def void(database: peewee.Database, meter_id: str, begin: datetime, end: datetime, why: str) -> int:
    """Take the readings from `begin` to before `end` out of every sum; again changes nothing.

    Return how many readings there are. Raises StorageError for a meter without history, and for a
    time whose readings have been deleted.
    """
    span = epoch_ms(begin), epoch_ms(end)
    with transaction(database):
        meter = _meter_with_readings(database, meter_id, span[0])
        statement = (
            "SELECT 1 FROM voids WHERE meter = ? AND begin_ts = ? AND end_ts = ? "
            "AND undone_at IS NULL"
        )
        if not fetch(database, statement, (meter.id, *span)):
            run(
                database,
                "INSERT INTO voids (meter, begin_ts, end_ts, why, made_at) VALUES (?, ?, ?, ?, ?)",
                (meter.id, *span, why, _now_ms()),
            )
            _mark(database, meter.id, span)
        statement = "SELECT COUNT(*) FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ?"
        ((count,),) = fetch(database, statement, (meter.id, *span))
    return int(count)


def undo(database: peewee.Database, meter_id: str, begin: datetime, end: datetime) -> int:
    """Bring back what is void between two times; return the number of voids that were undone.

    Raises StorageError like `void`, and for a void that goes beyond these times.
    """
    first, last = epoch_ms(begin), epoch_ms(end)
    with transaction(database):
        meter = _meter_with_readings(database, meter_id, first)
        rows = fetch(
            database,
            "SELECT id, begin_ts, end_ts FROM voids WHERE meter = ? AND undone_at IS NULL "
            "AND begin_ts < ? AND end_ts > ?",
            (meter.id, last, first),
        )
        for _, begin_ts, end_ts in rows:
            if begin_ts < first or end_ts > last:
                times = (format_time(from_epoch_ms(ts)) for ts in (begin_ts, end_ts))
                raise StorageError(
                    f"meter {meter_id}: is void from {' to '.join(times)}",
                    remedy="undo all of it, then make void what should remain so",
                )
        ids = [row[0] for row in rows]
        run(
            database,
            f"UPDATE voids SET undone_at = ? WHERE id IN ({placeholders(ids)})",
            (_now_ms(), *ids),
        )
        for _, *span in rows:
            _mark(database, meter.id, (span[0], span[1]))
    return len(ids)


def _meter_with_readings(database: peewee.Database, meter_id: str, begin: int) -> Meter:
    """Return a meter that has all its readings from a time on, locked until the commit."""
    meter = next(iter(read_meters(database, [meter_id], for_update=True)), None)
    if meter is None:
        raise StorageError(f"meter {meter_id}: has no history")
    if begin < meter.retention_watermark:
        watermark = format_time(from_epoch_ms(meter.retention_watermark))
        raise StorageError(
            f"meter {meter_id}: readings before {watermark} have been deleted by retention; "
            "its history up to then stays as it is"
        )
    return meter


def _mark(database: peewee.Database, meter: int, span: tuple[int, int]) -> None:
    """Mark what changes: the readings of a span, and those that go on after it."""
    dirty = DirtyBuckets(database)
    dirty.add(buckets_between(database, meter, *span))
    counters = set(COUNTERS) & set(stored_quantities(database))
    dirty.add(dirty.changed_from(meter, span[1], counters))


def _now_ms() -> int:
    return int(time.time() * 1000)
