"""Writing readings: batches into `readings_raw`, with everything that they change around it.

The hot path is one `executemany` in a transaction; peewee's `insert_many` reaches a tenth of it.
"""

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import peewee

from contract.readings import Reading
from contract.times import epoch_ms, format_time, from_epoch_ms
from history.dialect import Row, dialect_of, fetch, run, run_many, transaction
from history.rollups.dirty_buckets import COUNTERS, DirtyBucket, DirtyBuckets
from history.rollups.levels import DAY, FIVE_MINUTES, bucket_of, width_s
from history.sequences import Numbers, Sequences, Stamped, without_known_numbers
from history.tables import Meter, add_columns, read_meters

logger = logging.getLogger(__name__)

MOST_REJECTED = 5000
LONGEST_BURST_MS = 60_000
"""Milliseconds that readings stamped on arrival may run ahead of their arrival."""
_COUNTERS = frozenset(COUNTERS)
_MOST_STATEMENTS = 200
ROWS = 20
"""Rows of a statement: SQLite stores them quicker than by a statement each."""

T = TypeVar("T", Stamped, Row)
Shape = tuple[str, ...]
"""The quantities of a reading, in its order."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be used, and why."""

    topic: str
    payload: bytes
    reason: str
    detail: str


class _Part(NamedTuple):
    """The times of a meter's readings in a batch, and the quantities of each."""

    times: Sequence[int]
    names: Sequence[Collection[str]]


class Writer:
    """Writes batches of readings, and marks which roll-ups they change.

    Every method raises peewee's errors: the caller decides whether to try again. Several writers
    may work on one database: each locks the rows of the meters that its batch is about.

    With `fill_in` it also accepts whole UTC days before the retention watermark where a meter has
    nothing yet; no such day may be split between two batches.
    """

    def __init__(self, database: peewee.Database, *, fill_in: bool = False) -> None:
        self._database = database
        self._fill_in = fill_in
        self._raw = RawTable(database)
        self._dirty = DirtyBuckets(database)
        self.sequences = Sequences(database)
        self._snapshot_meters = {m.name for m in read_meters(database) if m.snapshots}
        self._reported_watermarks: dict[str, int] = {}
        self.too_old = 0
        """Counts readings refused because what they would change has been deleted."""

    @property
    def snapshot_meters(self) -> list[str]:
        """The meters that are known to send whole readings."""
        return sorted(self._snapshot_meters)

    def write(self, readings: Iterable[Reading], rejected: Iterable[Rejected] = ()) -> int:
        """Store a batch in one transaction; return how many rows were new.

        A reading of a known meter and time is already there and changes nothing. A reading from
        before the retention watermark of its meter is refused, and counted.
        """
        given, arrived = _by_meter(readings)
        try:
            with transaction(self._database):
                rows = read_meters(self._database, given, for_update=True)
                known = {meter.name: meter for meter in rows}
                for name in arrived & known.keys():
                    new = without_known_numbers(given[name], known[name])
                    given[name] = self._at_free_times(new, known[name])
                by_meter = {
                    name: accepted
                    for name, part in given.items()
                    if (accepted := self._accepted(part, known.get(name)))
                }
                numbers = self.sequences.joined(given, known)
                parts = {
                    name: _Part([ts for ts, _ in part], [r.values for _, r in part])
                    for name, part in by_meter.items()
                }
                meters = self._with_new_meters(known, parts)
                stored = self._raw.insert({meters[n].id: part for n, part in by_meter.items()})
                snapshots = {n for n, part in by_meter.items() if _snapshots(part)}
                self._mark(meters, parts)
                self._update_meters(meters, parts, snapshots, numbers)
                self._reject(list(rejected))
        except BaseException:
            self._raw.forget_columns()
            raise
        self._snapshot_meters |= snapshots
        for name, meter in known.items():
            self._count_too_old(meter, len(given[name]) - len(by_meter.get(name, ())))
        return stored

    def write_rows(self, given: Mapping[str, Mapping[Shape, Sequence[Row]]]) -> int:
        """Store rows of whole readings by meter and quantities, as `write` does with readings.

        A row is a time in epoch ms, and a value in thousandths, or None, for each quantity.
        """
        try:
            with transaction(self._database):
                rows = read_meters(self._database, given, for_update=True)
                known = {meter.name: meter for meter in rows}
                by_meter = {
                    name: {
                        shape: accepted
                        for shape, part in by_shape.items()
                        if (accepted := self._accepted(part, known.get(name)))
                    }
                    for name, by_shape in given.items()
                }
                parts = {
                    name: _Part(
                        [row[0] for part in by_shape.values() for row in part],
                        [shape for shape, part in by_shape.items() for _ in part],
                    )
                    for name, by_shape in by_meter.items()
                    if by_shape
                }
                meters = self._with_new_meters(known, parts)
                stored = sum(
                    self._raw.insert_rows(meters[name].id, shape, part)
                    for name, by_shape in by_meter.items()
                    for shape, part in by_shape.items()
                )
                self._mark(meters, parts)
                self._update_meters(meters, parts, parts.keys(), {})
        except BaseException:
            self._raw.forget_columns()
            raise
        for name, meter in known.items():
            count = sum(len(part) for part in given[name].values())
            self._count_too_old(meter, count - len(parts[name].times if name in parts else ()))
        return stored

    def _at_free_times(self, stamped: list[Stamped], meter: Meter) -> list[Stamped]:
        """Move readings that were stamped on arrival to milliseconds without a row.

        The row of such a millisecond is another reading's, stored by another recorder or before a
        restart.
        """
        arrived = [ts for ts, reading in stamped if reading.stamped_on_arrival]
        taken = {ts for ts, reading in stamped if not reading.stamped_on_arrival}
        if not arrived or min(arrived) > max(taken | {meter.last_ts}):
            return stamped
        # Where the clock was set back, everything since then is later: read no more than a burst.
        span = (meter.id, min(arrived), max(arrived) + LONGEST_BURST_MS)
        statement = "SELECT ts FROM readings_raw WHERE meter = ? AND ts BETWEEN ? AND ?"
        taken.update(ts for (ts,) in fetch(self._database, statement, span))
        moved, begin, end = [], 0, 0
        for ts, reading in stamped:
            if reading.stamped_on_arrival:
                if begin <= ts <= end:
                    ts = end + 1
                else:
                    begin = ts
                while ts in taken:
                    ts += 1
                end = ts
            moved.append((ts, reading))
        return moved

    def _accepted(self, given: Sequence[T], meter: Meter | None) -> Sequence[T]:
        """Return the readings or rows whose time has not been deleted."""
        watermark = meter.retention_watermark if meter else 0
        if not given or meter is None or min(each[0] for each in given) >= watermark:
            return given
        old_days = {bucket_of(each[0], DAY) for each in given if each[0] < watermark}
        open_days = self._days_without_history(meter.id, old_days) if self._fill_in else set()
        return [
            each for each in given if each[0] >= watermark or bucket_of(each[0], DAY) in open_days
        ]

    def _days_without_history(self, meter: int, days: Iterable[int]) -> set[int]:
        statement = (
            "SELECT 1 FROM quantities q WHERE EXISTS (SELECT 1 FROM rollup WHERE level = ? "
            "AND meter = ? AND quantity = q.id AND bucket = ?) LIMIT 1"
        )
        return {day for day in days if not fetch(self._database, statement, (DAY, meter, day))}

    def _with_new_meters(
        self, known: Mapping[str, Meter], parts: Mapping[str, _Part]
    ) -> dict[str, Meter]:
        """Insert the meters that are new; return all of a batch as they were before it."""
        meters = dict(known)
        for name in [name for name in parts if name not in known]:
            first_ts = min(parts[name].times)
            ((number,),) = fetch(
                self._database,
                "INSERT INTO meters (name, first_ts, last_ts, snapshots) VALUES (?, ?, ?, ?) "
                "RETURNING id",
                (name, first_ts, first_ts, False),
            )
            meters[name] = Meter(number, name, first_ts, first_ts, snapshots=False)
        return meters

    def _mark(self, meters: Mapping[str, Meter], parts: Mapping[str, _Part]) -> None:
        """Mark the buckets that these readings change.

        A later bucket whose readings have been deleted cannot be computed again, and stays.
        """
        dirty: set[DirtyBucket] = set()
        for name, part in parts.items():
            meter = meters[name]
            dirty.update((meter.id, bucket) for bucket in {bucket_of(ts) for ts in part.times})
            for bucket, counters in _late_runs(part, meter.last_ts):
                later = self._dirty.changed_after(meter.id, bucket, counters)
                dirty.update(each for each in later if each[1] * 1000 >= meter.retention_watermark)
        self._dirty.add(dirty)

    def _update_meters(
        self,
        meters: Mapping[str, Meter],
        parts: Mapping[str, _Part],
        snapshots: Collection[str],
        numbers: Mapping[str, Numbers],
    ) -> None:
        changes = []
        for name, meter in meters.items():
            upto, above = meter.seq_upto, meter.seq_above
            before = (meter.first_ts, meter.last_ts, bool(meter.snapshots), upto, above)
            times = parts[name].times if name in parts else ()
            if name in numbers:
                upto, above = numbers[name].upto, numbers[name].text
            first, last = min([meter.first_ts, *times]), max([meter.last_ts, *times])
            after = (first, last, before[2] or name in snapshots, upto, above)
            if after != before:
                changes.append((*after, meter.id))
        run_many(
            self._database,
            "UPDATE meters SET first_ts = ?, last_ts = ?, snapshots = ?, seq_upto = ?, "
            "seq_above = ? WHERE id = ?",
            changes,
        )

    def _count_too_old(self, meter: Meter, refused: int) -> None:
        """Count refused readings, and log them once for each watermark."""
        self.too_old += refused
        watermark = meter.retention_watermark
        if refused and self._reported_watermarks.get(meter.name) != watermark:
            self._reported_watermarks[meter.name] = watermark
            logger.warning(
                "meter %s: readings from before %s rejected: retention has deleted up to then",
                meter.name,
                format_time(from_epoch_ms(watermark)),
            )

    def _reject(self, rejected: list[Rejected]) -> None:
        """Store rejected messages; of the older ones only the newest few thousand stay."""
        if not rejected:
            return
        now = int(time.time() * 1000)
        run_many(
            self._database,
            "INSERT INTO rejected_messages (ts, topic, reason, detail, payload) "
            "VALUES (?, ?, ?, ?, ?)",
            [
                (
                    now,
                    _text(message.topic.encode(), 200),
                    message.reason,
                    _text(message.detail.encode(), 500),
                    _text(message.payload, 1024),
                )
                for message in rejected
            ],
        )
        ((newest,),) = fetch(self._database, "SELECT MAX(id) FROM rejected_messages")
        run(
            self._database,
            "DELETE FROM rejected_messages WHERE id <= ?",
            (newest - MOST_REJECTED,),
        )


class RawTable:
    """Inserts rows, and adds the column of a quantity that is sent for the first time.

    Readings of one shape (nearly all of a meter have the same) share a statement, which saves
    looking up the place of every value.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._thousandths = dialect_of(database).thousandths
        self._inserts: dict[tuple[Shape, str, int], str] = {}

    def insert(self, stamped: Mapping[int, Sequence[Stamped]]) -> int:
        """Store readings by their meter's number; return how many were new.

        Part of the caller's transaction; after one that failed, call `forget_columns`.
        """
        by_shape: dict[Shape, list[float]] = {}
        cells: list[float] = []
        names: list[str] = []
        for meter, part in stamped.items():
            for ts, reading in part:
                values = reading.values
                if names != (given := [*values]):  # quicker than a tuple
                    names, cells = given, by_shape.setdefault(tuple(given), [])
                cells += (meter, ts)
                cells += values.values()
        return sum(
            self._insert(shape, self._thousandths, cells) for shape, cells in by_shape.items()
        )

    def insert_rows(self, meter: int, shape: Shape, rows: Sequence[Row]) -> int:
        """Store rows of a meter, with values that are thousandths; return how many were new."""
        return self._insert(shape, "?", [cell for row in rows for cell in (meter, *row)])

    def forget_columns(self) -> None:
        """Read again which columns there are: added ones are gone with their transaction."""
        self._inserts.clear()

    def _insert(self, shape: Shape, value: str, cells: Sequence[float | None]) -> int:
        """Store rows that follow each other in `cells`, several in a statement."""
        width = 2 + len(shape)
        most = ROWS * width
        rest = len(cells) % most
        parts = [cells[at : at + most] for at in range(0, len(cells) - rest, most)]
        stored = run_many(self._database, self._statement(shape, value, ROWS), parts)
        if rest:
            statement = self._statement(shape, value, rest // width)
            stored += run_many(self._database, statement, [cells[-rest:]])
        return stored

    def _statement(self, shape: Shape, value: str, rows: int) -> str:
        key = (shape, value, rows)
        if key not in self._inserts:
            add_columns(self._database, shape)
            if len(self._inserts) >= _MOST_STATEMENTS:
                self._inserts.clear()
            row = f"(?, ?{f', {value}' * len(shape)})"  # quicker than in Python
            self._inserts[key] = (
                f"INSERT INTO readings_raw ({', '.join(['meter', 'ts', *shape])}) "
                f"VALUES {', '.join([row] * rows)} ON CONFLICT (meter, ts) DO NOTHING"
            )
        return self._inserts[key]


def _late_runs(part: _Part, last_ts: int) -> list[tuple[int, set[str]]]:
    """Return the last bucket of each run of buckets with readings before `last_ts`, and counters.

    All buckets of a run are dirty, so that only what comes after it has to be looked up.
    """
    late: dict[int, set[str]] = {}
    for ts, names in zip(*part, strict=True):
        if ts < last_ts:
            late.setdefault(bucket_of(ts), set()).update(_COUNTERS.intersection(names))
    runs: list[tuple[int, set[str]]] = []
    for bucket, counters in sorted(late.items()):
        if runs and runs[-1][0] + width_s(FIVE_MINUTES) == bucket:
            counters |= runs.pop()[1]
        runs.append((bucket, counters))
    return runs


def _by_meter(readings: Iterable[Reading]) -> tuple[dict[str, list[Stamped]], set[str]]:
    """Return the readings of each meter, and the meters with readings stamped on arrival."""
    by_meter: dict[str, list[Stamped]] = {}
    arrived: set[str] = set()
    for reading in readings:
        name = reading.meter_id
        by_meter.setdefault(name, []).append((epoch_ms(reading.ts), reading))
        if reading.stamped_on_arrival:
            arrived.add(name)
    return by_meter, arrived


def _snapshots(stamped: Sequence[Stamped]) -> bool:
    return not all(reading.from_scalars for _, reading in stamped)


def _text(raw: bytes, longest: int) -> str:
    return raw[:longest].decode("utf-8", "backslashreplace").replace("\0", "\\0")
