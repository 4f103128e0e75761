"""Retention: each level is kept for a number of days, coarser levels longer.

Only what is rolled up is deleted, a little at a time. A meter's retention watermark moves first:
from then on older readings are refused, since what they would change can no longer be computed.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import peewee

from history.day_checksums import DayChecksums
from history.dialect import dialect_of, fetch, fetch_one, placeholders, run, transaction
from history.exchange.archive import Archive, month_of
from history.rollups.dirty_buckets import COUNTERS
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, RAW, start_of
from history.rollups.netting import EXPORT, IMPORT, NETTED_IMPORT
from history.tables import Meter, quantity_ids, read_meters, stored_quantities
from history.voids import valid

MOST_ROWS = 2000
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Keep:
    """Days for which each level is kept (0 = forever)."""

    raw: int = 30
    five_minutes: int = 90
    quarter_hour: int = 0
    hour: int = 0
    day: int = 0

    def horizons(self, now_s: float) -> dict[int, int]:
        """Return level to the start of what is kept, in epoch seconds; whole UTC days."""
        return {
            level: start_of(int(now_s) - kept * _DAY_S, DAY)
            for level, kept in self.days().items()
            if kept
        }

    def days(self) -> dict[int, int]:
        """Return level to the days for which it is kept, the finest first."""
        return {
            RAW: self.raw,
            FIVE_MINUTES: self.five_minutes,
            QUARTER_HOUR: self.quarter_hour,
            HOUR: self.hour,
            DAY: self.day,
        }


class Retention:
    """Deletes what is older than it is kept; only the thread that writes uses it."""

    def __init__(
        self, database: peewee.Database, keep: Keep | None = None, archive: Archive | None = None
    ) -> None:
        self._database = database
        self._dialect = dialect_of(database)
        self._checksums = DayChecksums(database)
        self._keep = keep or Keep()
        self._archive = archive

    def steps(self, now_s: float | None = None) -> Iterator[int]:
        """Go once through all meters, a short transaction for each item; yield rows deleted."""
        horizons = self._keep.horizons(time.time() if now_s is None else now_s)
        if self._archive and RAW in horizons:  # it holds whole months
            horizons[RAW] = month_of(horizons[RAW] * 1000)[0] // 1000
        for meter in read_meters(self._database):
            for level, horizon in horizons.items():
                watermark_ms = self._advance_watermark(meter.id, horizon * 1000)
                self._checksums.forget_before(meter.id, level, watermark_ms // 1000)
                if level == RAW:
                    if self._archive:
                        watermark_ms = month_of(watermark_ms)[0]
                        yield from self._put_away(self._archive, meter, watermark_ms)
                    yield from self._thin_readings(meter.id, watermark_ms)
                else:
                    yield from self._thin_rollups(level, meter.id, watermark_ms // 1000)

    def _advance_watermark(self, meter: int, horizon_ms: int) -> int:
        """Refuse older readings from now on, and return up to where readings may be deleted.

        That is the horizon, or the day of the oldest reading that has yet to be rolled up.
        """
        with transaction(self._database):
            due = fetch_one(
                self._database,
                "SELECT backfill_from, quarters_from * 1000, "
                "(SELECT MIN(bucket) * 1000 FROM rollup_dirty WHERE meter = m.id), "
                "(SELECT MIN(bucket) * 1000 FROM rollup_running WHERE meter = m.id) "
                "FROM meters m WHERE m.id = ?",
                (meter,),
            )
            limits = [start_of(ts // 1000, DAY) * 1000 for ts in due or () if ts is not None]
            watermark_ms = min([horizon_ms, *limits])
            run(
                self._database,
                "UPDATE meters SET retention_watermark = ? "
                "WHERE id = ? AND retention_watermark < ?",
                (watermark_ms, meter, watermark_ms),
            )
        return watermark_ms

    def _put_away(self, archive: Archive, meter: Meter, end: int) -> Iterator[int]:
        """Write into the archive what is about to be deleted."""
        kept = self._predecessors(meter.id, end)
        begin = 0
        while True:
            row = fetch_one(
                self._database,
                "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
                f"AND ts NOT IN ({placeholders(kept)}) ORDER BY ts LIMIT 1",
                (meter.id, begin, end, *kept),
            )
            if row is None:
                return
            for _ in archive.write(self._database, meter, row[0]):
                yield 0
            begin = month_of(row[0])[1]

    def _thin_readings(self, meter: int, end: int) -> Iterator[int]:
        kept = self._predecessors(meter, end)
        begin = 0
        while True:
            rows = fetch(
                self._database,
                "SELECT ts FROM readings_raw WHERE meter = ? AND ts >= ? AND ts < ? "
                "ORDER BY ts LIMIT ?",
                (meter, begin, end, MOST_ROWS),
            )
            times = [ts for (ts,) in rows if ts not in kept]
            if times:
                yield self._delete_readings(meter, times[0], times[-1], kept)
            if len(rows) < MOST_ROWS:
                return
            begin = rows[-1][0] + 1

    def _delete_readings(self, meter: int, first: int, last: int, kept: set[int]) -> int:
        with transaction(self._database):
            if self._is_being_filled(meter, last):
                return 0
            return run(
                self._database,
                "DELETE FROM readings_raw WHERE meter = ? AND ts >= ? AND ts <= ? "
                f"AND ts NOT IN ({placeholders(kept)})",
                (meter, first, last, *kept),
            )

    def _is_being_filled(self, meter: int, until_ms: int) -> bool:
        """Return whether imported readings of that time wait to be rolled up."""
        self._dialect.lock_meters([meter])
        statement = "SELECT 1 FROM rollup_dirty WHERE meter = ? AND bucket <= ? LIMIT 1"
        return fetch_one(self._database, statement, (meter, until_ms // 1000)) is not None

    def _predecessors(self, meter: int, end: int) -> set[int]:
        """Return the readings that the first ones after `end` are compared with.

        Counters that not every reading has have predecessors of their own; netting has the last
        reading with both counters. A counter that a meter has never sent has no roll-ups, which is
        quicker to see than that no reading has it.
        """
        stored = {*stored_quantities(self._database)}
        wanted = {name: [name] for name in stored.intersection(COUNTERS)}
        if stored.issuperset((IMPORT, EXPORT)):
            wanted[NETTED_IMPORT] = [IMPORT, EXPORT]
        kept, still_valid = {-1}, valid(self._database, meter)
        for quantity, names in wanted.items():
            present = "".join(f"AND {name} IS NOT NULL " for name in names)
            row = fetch_one(
                self._database,
                f"SELECT ts FROM readings_raw WHERE meter = ? AND ts < ? {present}{still_valid} "
                "AND EXISTS (SELECT 1 FROM rollup WHERE level = ? AND meter = ? AND quantity = "
                "(SELECT id FROM quantities WHERE name = ?)) ORDER BY ts DESC LIMIT 1",
                (meter, end, DAY, meter, quantity),
            )
            if row:
                kept.add(row[0])
        return kept

    def _thin_rollups(self, level: int, meter: int, end: int) -> Iterator[int]:
        for quantity in sorted(quantity_ids(self._database).values()):
            key = (level, meter, quantity)
            while True:
                rows = fetch(
                    self._database,
                    "SELECT bucket FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
                    "AND bucket < ? ORDER BY bucket LIMIT ?",
                    (*key, end, MOST_ROWS),
                )
                if not rows:
                    break
                with transaction(self._database):
                    gone = run(
                        self._database,
                        "DELETE FROM rollup WHERE level = ? AND meter = ? AND quantity = ? "
                        "AND bucket <= ?",
                        (*key, rows[-1][0]),
                    )
                yield gone
