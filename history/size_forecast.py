"""The size of the history level by level, and its size in a year."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import peewee

from contract.times import from_epoch_ms
from history.dialect import dialect_of, fetch, fetch_one
from history.retention import Keep
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, RAW, ROLLUPS, width_s

VALUE_BYTES = 4.7
ROLLUP_BYTES = 40
"""Measured on SQLite; the real size of the database scales both."""
YEAR_DAYS = 365
_WINDOW_S = 7 * 86_400
_NEW_S = 6 * 3600
_LEAST_CALIBRATION = 5e6


@dataclass(frozen=True, slots=True)
class LevelSize:
    """A level of the history: rows (values for readings), bytes, and bytes a day at this rate."""

    level: int
    kept_days: int
    first: datetime | None
    rows: int
    size: float
    daily: float

    @property
    def is_counted(self) -> bool:
        """Whether the figures are known: values are counted by roll-ups, minutes after them."""
        return self.first is None or self.rows > 0

    @property
    def in_a_year(self) -> float:
        """The bytes of this level a year from now."""
        if self.kept_days:
            return self.daily * min(self.kept_days, YEAR_DAYS)
        return self.size + self.daily * YEAR_DAYS


def level_sizes(database: peewee.Database, keep: Keep) -> list[LevelSize]:
    """Return the size of each level, readings first."""
    ends = fetch_one(database, "SELECT MIN(first_ts), MAX(last_ts) FROM meters")
    if ends is None or ends[0] is None:
        return []
    oldest_ms, end = ends[0], ends[1] // 1000 + 1
    begin = max(end - _WINDOW_S, oldest_ms // 1000)
    days = max(end - begin, width_s(HOUR)) / 86_400
    kept = keep.days()
    first_ms = [_first_reading(database), *(_first_rollup(database, level) for level in ROLLUPS)]
    rows = [_values(database, first_ms[0], end), *(_rows(database, level) for level in ROLLUPS)]
    daily = [
        _values(database, begin * 1000, end) / days,
        *(_rows(database, level, begin - begin % width_s(level)) / days for level in ROLLUPS),
    ]
    daily[-1] = daily[-2] / 24  # a day has its row from its first hour on
    each = [VALUE_BYTES, *[ROLLUP_BYTES] * len(ROLLUPS)]
    scale = _scale(database, sum(n * size for n, size in zip(rows, each, strict=True)))
    return [
        LevelSize(
            level,
            kept[level],
            from_epoch_ms(max(ms, oldest_ms)) if (ms := first_ms[place]) is not None else None,
            rows[place],
            rows[place] * each[place] * scale,
            daily[place] * each[place] * scale,
        )
        for place, level in enumerate((RAW, *ROLLUPS))
    ]


def begins(levels: Sequence[LevelSize]) -> datetime | None:
    """Return the beginning of the history: that of the level that reaches back furthest."""
    return min((level.first for level in levels if level.first), default=None)


def in_a_year(levels: Sequence[LevelSize]) -> tuple[float, float]:
    """Return the bytes of all levels a year from now, and if every reading were kept."""
    total = sum(level.in_a_year for level in levels)
    raw = [level for level in levels if level.level == RAW]
    whole = sum(level.size + level.daily * YEAR_DAYS - level.in_a_year for level in raw)
    return total, total + max(whole, 0)


def _scale(database: peewee.Database, expected: float) -> float:
    size, free = dialect_of(database).size()
    return (size - free) / expected if expected > _LEAST_CALIBRATION else 1.0


def _first_reading(database: peewee.Database) -> int | None:
    """Return from when on all readings are there: single ones may be older."""
    firsts = fetch(
        database,
        "SELECT (SELECT MIN(ts) FROM readings_raw "
        "WHERE meter = m.id AND ts >= m.retention_watermark) FROM meters m",
    )
    return min((ts for (ts,) in firsts if ts is not None), default=None)


def _first_rollup(database: peewee.Database, level: int) -> int | None:
    row = fetch_one(
        database,
        "SELECT MIN((SELECT MIN(bucket) FROM rollup WHERE level = ? AND meter = m.id "
        "AND quantity = q.id)) FROM meters m CROSS JOIN quantities q",
        (level,),
    )
    return row[0] * 1000 if row and row[0] is not None else None


def _values(database: peewee.Database, begin_ms: int | None, end: int) -> int:
    """Return how many values the readings from `begin_ms` to `end` have, by their roll-ups."""
    begin = (begin_ms or end * 1000) // 1000
    span_s = end - begin
    level = FIVE_MINUTES if span_s < _NEW_S else HOUR if span_s < 30 * 86_400 else DAY
    return int(_sum(database, "SUM(n)", level, begin - begin % width_s(level)))


def _rows(database: peewee.Database, level: int, begin: int = 0) -> int:
    return int(_sum(database, "COUNT(*)", level, begin))


def _sum(database: peewee.Database, figure: str, level: int, begin: int) -> int:
    row = fetch_one(
        database,
        f"SELECT SUM((SELECT {figure} FROM rollup WHERE level = ? AND meter = m.id "
        "AND quantity = q.id AND bucket >= ?)) FROM meters m CROSS JOIN quantities q",
        (level, begin),
    )
    return row[0] or 0 if row else 0
