"""Checksums of the days that are over: SQLite does not notice a value that its disk has changed.

A UTC day of a meter gets a checksum of its readings, and of each level of its roll-ups, when it is
over and all is rolled up. Whatever changes a day later marks 5 minutes of it as dirty, and so
removes its checksums; retention removes those of what it deletes. A server checks its own files.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from zlib import crc32

import peewee

from history.dialect import dialect_of, fetch, fetch_one, run, run_many, transaction
from history.rollups.levels import DAY, HOUR, RAW, ROLLUPS, start_of, width_s
from history.tables import Meter, read_meters, stored_quantities

MOST_DAYS = 20
"""Days of meters that get checksums in one round; an older history gets them over some hours."""
_GRACE_S = 3600
"""Seconds after the end of a day in which readings of it may still arrive."""
_DAY_S, _HOUR_S = width_s(DAY), width_s(HOUR)
_ROW = "quantity || ',' || bucket || ',' || n || ',' || mean || ',' || min || ',' || max || ',' || "


class DayChecksums:
    """Reads and writes `day_checksums`; does nothing on a server."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._dialect = dialect_of(database)
        self._used = self._dialect.file is not None

    def steps(self, now_s: float | None = None) -> Iterator[None]:
        """Give checksums to some of the days that are over and have none, in short steps."""
        if not self._used:
            return
        over_s = int((time.time() if now_s is None else now_s) - _GRACE_S)
        left = MOST_DAYS
        for meter in read_meters(self._database):
            days = [day for day in self._open_days(meter.id) if day + _DAY_S <= over_s]
            for day in days[: max(left, 0)]:
                yield from self._put(meter.id, day)
            left -= len(days)

    def forget(self, days: Iterable[tuple[int, int]]) -> None:
        """Remove the checksums of days that change: meters and times (epoch s)."""
        if self._used:
            run_many(
                self._database,
                "DELETE FROM day_checksums WHERE meter = ? AND day = ?",
                sorted({(meter, start_of(time_s, DAY)) for meter, time_s in days}),
            )

    def forget_before(self, meter: int, level: int, time_s: int) -> None:
        """Remove the checksums of a level that is about to be deleted up to a time (epoch s)."""
        run(
            self._database,
            "DELETE FROM day_checksums WHERE meter = ? AND level = ? AND day < ?",
            (meter, level, time_s),
        )

    def days(self, meter: Meter) -> list[int]:
        """Return the days of a meter that have checksums."""
        statement = "SELECT DISTINCT day FROM day_checksums WHERE meter = ? ORDER BY day"
        return [day for (day,) in fetch(self._database, statement, (meter.id,))]

    def differs(self, meter: Meter, day: int) -> bool:
        """Return whether a level of a day is not as it was; a recorder may write meanwhile."""
        return all(self._differs_now(meter.id, day) for _ in range(2))

    def _differs_now(self, meter: int, day: int) -> bool:
        with self._dialect.snapshot():
            known = fetch(
                self._database,
                "SELECT level, checksum FROM day_checksums WHERE meter = ? AND day = ?",
                (meter, day),
            )
            return any(self._now(meter, day, level) != checksum for level, checksum in known)

    def _open_days(self, meter: int) -> list[int]:
        """Return the days that are rolled up and have no checksums."""
        rows = fetch(
            self._database,
            "SELECT DISTINCT bucket FROM rollup WHERE level = ? AND meter = ? AND bucket NOT IN "
            "(SELECT day FROM day_checksums WHERE meter = ? AND level = ?) ORDER BY bucket",
            (DAY, meter, meter, DAY),
        )
        return [day for (day,) in rows]

    def _put(self, meter: int, day: int) -> Iterator[None]:
        """Compute and store the checksums of a day, unless it changes meanwhile."""
        version = self._dialect.data_version
        checksums: dict[int, int] = {}
        for level in (RAW, *ROLLUPS):
            for part in self._parts(meter, day, level):
                checksums[level] = crc32(part, checksums.get(level, 0))
                yield
        with transaction(self._database):
            if version == self._dialect.data_version and not self._changes(meter, day):
                run_many(
                    self._database,
                    "INSERT INTO day_checksums (meter, day, level, checksum) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (meter, day, level) DO UPDATE SET checksum = excluded.checksum",
                    [(meter, day, *each) for each in checksums.items()],
                )

    def _changes(self, meter: int, day: int) -> bool:
        """Return whether some of a day has yet to be computed."""
        found = fetch_one(
            self._database,
            "SELECT 1 FROM rollup_dirty WHERE meter = ? AND bucket >= ? AND bucket < ? "
            "UNION ALL SELECT 1 FROM rollup_running WHERE meter = ? AND bucket >= ? AND bucket < ? "
            "UNION ALL SELECT 1 FROM meters WHERE id = ? "
            "AND (backfill_from < ? OR quarters_from IS NOT NULL) LIMIT 1",
            (*(meter, day, day + _DAY_S) * 2, meter, (day + _DAY_S) * 1000),
        )
        return found is not None

    def _now(self, meter: int, day: int, level: int) -> int | None:
        checksum: int | None = None
        for part in self._parts(meter, day, level):
            checksum = crc32(part, checksum or 0)
        return checksum

    def _parts(self, meter: int, day: int, level: int) -> Iterator[bytes]:
        """Yield what the checksum of a level is of; nothing where it has no rows."""
        if level == RAW:
            names = sorted(stored_quantities(self._database))
            for hour in range(day, day + _DAY_S, _HOUR_S):
                yield from self._readings(meter, hour, names)
            return
        text = fetch_one(
            self._database,
            f"SELECT group_concat({_ROW} last || ',' || ifnull(delta, '')) FROM (SELECT r.* "
            "FROM quantities q CROSS JOIN rollup r WHERE r.level = ? AND r.meter = ? "
            "AND r.quantity = q.id AND r.bucket >= ? AND r.bucket < ? ORDER BY q.id, r.bucket)",
            (level, meter, day, day + _DAY_S),
        )
        if text and text[0]:
            yield text[0].encode()

    def _readings(self, meter: int, hour: int, names: Collection[str]) -> Iterator[bytes]:
        """Yield the columns of an hour that have values, each as one text."""
        columns = ", ".join(f"group_concat(ifnull({name}, ''))" for name in ("ts", *names))
        row = fetch_one(
            self._database,
            f"SELECT {columns} FROM (SELECT * FROM readings_raw "
            "WHERE meter = ? AND ts >= ? AND ts < ? ORDER BY ts)",
            (meter, hour * 1000, (hour + _HOUR_S) * 1000),
        )
        for name, text in zip(("ts", *names), row or (), strict=False):
            if text and text.strip(","):
                yield f"{name}:{text};".encode()
