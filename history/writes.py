"""Writing readings: the only statements that change the history while it grows.

The hot path is one `executemany` in a transaction; peewee's `insert_many` reaches a tenth of it.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass

import peewee

from contract.quantities import QUANTITIES
from contract.readings import Reading, epoch_ms, format_time
from history.database import transaction
from history.levels import bucket_of
from history.marks import COUNTERS, Mark, Marks
from history.tables import Meter, RejectedMessage
from history.times import from_ms

logger = logging.getLogger(__name__)

MOST_REJECTED = 5000
_COLUMNS = tuple(quantity.name for quantity in QUANTITIES)
_PLACE = {name: place for place, name in enumerate(_COLUMNS, start=2)}
Stamped = tuple[int, Reading]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be used, and why."""

    topic: str
    payload: bytes
    reason: str
    detail: str


class Writer:
    """Writes batches of readings, and marks which roll-ups they change.

    Every method raises peewee's errors: whoever calls decides whether to try again. Several
    writers do no harm: each locks the rows of the meters that its batch is about.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._marks = Marks(database)
        self._snapshot_meters = {m.name for m in Meter.select().where(Meter.snapshots)}
        self._told_too_old: dict[str, int] = {}
        self.too_old = 0
        """Counts readings refused because what they would change has been thinned out."""
        p = database.param
        marks = ", ".join([p] * (len(_COLUMNS) + 2))
        self._insert = (
            f"INSERT INTO readings_raw (meter, ts, {', '.join(_COLUMNS)}) VALUES ({marks}) "
            "ON CONFLICT (meter, ts) DO NOTHING"
        )
        self._update = (
            f"UPDATE meters SET first_ts = {p}, last_ts = {p}, snapshots = {p} WHERE id = {p}"
        )

    @property
    def snapshot_meters(self) -> list[str]:
        """The meters that are known to send whole readings."""
        return sorted(self._snapshot_meters)

    def write(self, readings: Iterable[Reading], rejected: Iterable[Rejected] = ()) -> int:
        """Store a batch in one transaction; return how many rows were new.

        A reading of a known meter and time is already there and changes nothing. One from before
        the time up to which its meter's history has been thinned out is refused, and counted.
        """
        by_meter = _by_meter(readings)
        refused: dict[str, int] = {}
        with transaction(self._database):
            known = self._lock(by_meter)
            for name, meter in known.items():
                stamped = [pair for pair in by_meter[name] if pair[0] >= meter.closed_until]
                refused[name] = len(by_meter[name]) - len(stamped)
                by_meter[name] = stamped
            meters = self._update_meters(known, by_meter)
            stored = self._store(meters, by_meter)
            self._mark(known, meters, by_meter)
            self._reject(list(rejected))
        self._snapshot_meters |= {name for name, meter in meters.items() if meter.snapshots}
        self._tell_refused(known, refused)
        return stored

    def _lock(self, names: Iterable[str]) -> dict[str, Meter]:
        query = Meter.select().where(Meter.name.in_(list(names))).order_by(Meter.id)
        if not isinstance(self._database, peewee.SqliteDatabase):
            query = query.for_update()
        return {meter.name: meter for meter in query}

    def _update_meters(
        self, known: dict[str, Meter], by_meter: dict[str, list[Stamped]]
    ) -> dict[str, Meter]:
        meters, changes = {}, []
        for name, stamped in by_meter.items():
            if not stamped:
                continue
            before = known.get(name)
            first, last, snapshots = _span(stamped)
            if before is None:
                meters[name] = Meter.create(
                    name=name, first_ts=first, last_ts=last, snapshots=snapshots
                )
                continue
            meters[name] = before
            changed = (
                min(first, before.first_ts),
                max(last, before.last_ts),
                snapshots or before.snapshots,
            )
            if changed != (before.first_ts, before.last_ts, before.snapshots):
                changes.append((*changed, before.id))
                before.snapshots = changed[2]
        if changes:
            self._database.cursor().executemany(self._update, changes)
        return meters

    def _store(self, meters: dict[str, Meter], by_meter: dict[str, list[Stamped]]) -> int:
        rows = [
            _row(meter.id, ts, reading)
            for name, meter in meters.items()
            for ts, reading in by_meter[name]
        ]
        if not rows:
            return 0
        cursor = self._database.cursor()
        cursor.executemany(self._insert, rows)
        return max(cursor.rowcount, 0)

    def _mark(
        self,
        known: dict[str, Meter],
        meters: dict[str, Meter],
        by_meter: dict[str, list[Stamped]],
    ) -> None:
        marks: set[Mark] = set()
        for name, meter in meters.items():
            late: dict[int, set[str]] = {}
            last_ts = known[name].last_ts if name in known else -1
            for ts, reading in by_meter[name]:
                bucket = bucket_of(ts)
                marks.add((meter.id, bucket))
                if ts < last_ts:
                    late.setdefault(bucket, set()).update(_COUNTER_NAMES & reading.values.keys())
            for bucket, counters in late.items():
                marks |= self._marks.buckets_after(meter.id, bucket, counters)
        if marks:
            self._marks.add(marks)

    def _tell_refused(self, known: dict[str, Meter], refused: dict[str, int]) -> None:
        for name, count in refused.items():
            self.too_old += count
            closed_until = known[name].closed_until
            if count and self._told_too_old.get(name) != closed_until:
                self._told_too_old[name] = closed_until
                logger.warning(
                    "meter %s: readings from before %s refused: its history up to then has been "
                    "thinned out (RETENTION_RAW_DAYS)",
                    name,
                    format_time(from_ms(closed_until)),
                )

    def _reject(self, rejected: list[Rejected]) -> None:
        if not rejected:
            return
        now = int(time.time() * 1000)
        RejectedMessage.insert_many(
            [
                {
                    "ts": now,
                    "topic": _text(message.topic.encode(), 200),
                    "reason": message.reason,
                    "detail": _text(message.detail.encode(), 500),
                    "payload": _text(message.payload, 1024),
                }
                for message in rejected
            ]
        ).execute()
        newest = RejectedMessage.select(peewee.fn.MAX(RejectedMessage.id)).scalar()
        RejectedMessage.delete().where(RejectedMessage.id <= newest - MOST_REJECTED).execute()


_COUNTER_NAMES = frozenset(COUNTERS)


def _by_meter(readings: Iterable[Reading]) -> dict[str, list[Stamped]]:
    by_meter: dict[str, list[Stamped]] = {}
    for reading in readings:
        by_meter.setdefault(reading.meter_id, []).append((epoch_ms(reading.ts), reading))
    return by_meter


def _row(meter: int, ts: int, reading: Reading) -> list[int | None]:
    row: list[int | None] = [None] * (len(_COLUMNS) + 2)
    row[0], row[1] = meter, ts
    for name, value in reading.values.items():
        row[_PLACE[name]] = round(value * 1000)
    return row


def _span(stamped: list[Stamped]) -> tuple[int, int, bool]:
    times = [ts for ts, _ in stamped]
    return min(times), max(times), not all(reading.from_scalars for _, reading in stamped)


def _text(raw: bytes, longest: int) -> str:
    return raw[:longest].decode("utf-8", "backslashreplace").replace("\0", "\\0")
