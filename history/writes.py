"""Writing readings: what changes the history while it grows.

The hot path is one `executemany` in a transaction; peewee's `insert_many` reaches a tenth of it.
"""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import peewee

from contract.readings import Reading, epoch_ms, format_time
from history.database import transaction
from history.leases import Duties
from history.readings_table import RawTable, Stamped
from history.rollups.dirty_buckets import COUNTERS, Mark, Marks
from history.rollups.levels import DAY, FIVE_MINUTES, bucket_of, width_s
from history.sequences import Sequences, unfiled
from history.statements import fetch, run_many
from history.tables import Meter, RejectedMessage
from history.times import from_ms

logger = logging.getLogger(__name__)

MOST_REJECTED = 5000
_COUNTERS = frozenset(COUNTERS)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be used, and why."""

    topic: str
    payload: bytes
    reason: str
    detail: str


class _Known(NamedTuple):
    """What `meters` says of a meter."""

    id: int
    name: str
    first_ts: int
    last_ts: int
    snapshots: bool
    closed_until: int = 0
    # what history.sequences keeps
    bridge: str | None = None
    seq_upto: int = 0
    seq_above: str = ""


class Writer:
    """Writes batches of readings, and marks which roll-ups they change.

    Every method raises peewee's errors: whoever calls decides whether to try again. Several
    writers do no harm: each locks the rows of the meters that its batch is about.

    One that is to `fill_in` also takes whole UTC days of long ago, where a meter has nothing yet;
    no day may be split between two batches.
    """

    def __init__(self, database: peewee.Database, *, fill_in: bool = False) -> None:
        self._database = database
        self._fill_in = fill_in
        self._raw = RawTable(database)
        self._marks = Marks(database)
        self.sequences = Sequences(database)
        self.duties = Duties(database)
        self._snapshot_meters = {m.name for m in Meter.select().where(Meter.snapshots)}
        self._locking = "" if isinstance(database, peewee.SqliteDatabase) else "FOR UPDATE"
        self._told_closed: dict[str, int] = {}
        self.too_old = 0
        """Counts readings refused because what they would change has been thinned out."""

    @property
    def snapshot_meters(self) -> list[str]:
        """The meters that are known to send whole readings."""
        return sorted(self._snapshot_meters)

    def write(self, readings: Iterable[Reading], rejected: Iterable[Rejected] = ()) -> int:
        """Store a batch in one transaction; return how many rows were new.

        A reading of a known meter and time is already there and changes nothing. One from before
        the time up to which its meter's history has been thinned out is refused, and counted.
        """
        given = _by_meter(readings)
        try:
            with transaction(self._database):
                known = self._lock(given)
                numbered = {name: meter[-3:] for name, meter in known.items()}
                given |= {name: unfiled(given[name], numbers) for name, numbers in numbered.items()}
                by_meter = {
                    name: accepted
                    for name, part in given.items()
                    if (accepted := self._accepted(part, known.get(name)))
                }
                stored = self._store(by_meter, known) if by_meter else 0
                self.sequences.note(given, numbered)
                self._reject(list(rejected))
        except BaseException:
            self._raw.forget_columns()
            raise
        self._snapshot_meters |= {name for name, part in by_meter.items() if _snapshots(part)}
        for name, meter in known.items():
            self._tell_closed(meter, len(given[name]) - len(by_meter.get(name, ())))
        return stored

    def _lock(self, names: Iterable[str]) -> dict[str, _Known]:
        wanted = list(names)
        rows = fetch(
            self._database,
            "SELECT id, name, first_ts, last_ts, snapshots, closed_until, bridge, seq_upto, "
            "seq_above FROM meters "
            f"WHERE name IN ({', '.join('?' * len(wanted)) or 'NULL'}) ORDER BY id {self._locking}",
            wanted,
        )
        return {row[1]: _Known(*row) for row in rows}

    def _accepted(self, stamped: list[Stamped], meter: _Known | None) -> list[Stamped]:
        """Return the readings of what has not been thinned out."""
        closed = meter.closed_until if meter else 0
        if not stamped or meter is None or min(ts for ts, _ in stamped) >= closed:
            return stamped
        old_days = {bucket_of(ts, DAY) for ts, _ in stamped if ts < closed}
        open_days = self._days_without_history(meter.id, old_days) if self._fill_in else set()
        return [
            each for each in stamped if each[0] >= closed or bucket_of(each[0], DAY) in open_days
        ]

    def _days_without_history(self, meter: int, days: Iterable[int]) -> set[int]:
        statement = (
            "SELECT 1 FROM quantities q WHERE EXISTS (SELECT 1 FROM rollup WHERE level = ? "
            "AND meter = ? AND quantity = q.id AND bucket = ?) LIMIT 1"
        )
        return {day for day in days if not fetch(self._database, statement, (DAY, meter, day))}

    def _store(self, by_meter: dict[str, list[Stamped]], known: dict[str, _Known]) -> int:
        numbers = self._update_meters(by_meter, known)
        stored = self._raw.insert({numbers[name]: part for name, part in by_meter.items()})
        marks: set[Mark] = set()
        for name, part in by_meter.items():
            meter = known.get(name) or _Known(numbers[name], name, 0, 0, False)
            marks |= self._changed(meter, part)
        self._marks.add(marks)
        return stored

    def _update_meters(
        self, by_meter: dict[str, list[Stamped]], known: dict[str, _Known]
    ) -> dict[str, int]:
        """Keep what `meters` says true and return each meter's number."""
        numbers, changes = {}, []
        for name, part in by_meter.items():
            first, last = min(ts for ts, _ in part), max(ts for ts, _ in part)
            snapshots, meter = _snapshots(part), known.get(name)
            if meter is None:
                row = Meter.create(name=name, first_ts=first, last_ts=last, snapshots=snapshots)
                meter = _Known(row.id, name, first, last, snapshots)
            before = (meter.first_ts, meter.last_ts, bool(meter.snapshots))
            after = (min(first, before[0]), max(last, before[1]), snapshots or before[2])
            if after != before:
                changes.append((*after, meter.id))
            numbers[name] = meter.id
        run_many(
            self._database,
            "UPDATE meters SET first_ts = ?, last_ts = ?, snapshots = ? WHERE id = ?",
            changes,
        )
        return numbers

    def _changed(self, meter: _Known, stamped: list[Stamped]) -> set[Mark]:
        """Return the buckets that these readings change.

        What has been thinned out since can no longer be made again, though it comes after.
        """
        marks = {(meter.id, bucket_of(first)) for first in _starts(stamped)}
        late: dict[int, set[str]] = {}
        for ts, reading in stamped:
            if ts < meter.last_ts:
                late.setdefault(bucket_of(ts), set()).update(_COUNTERS & reading.values.keys())
        later: set[Mark] = set()
        for bucket, counters in late.items():
            later |= self._marks.buckets_after(meter.id, bucket, counters)
        return marks | {mark for mark in later if mark[1] * 1000 >= meter.closed_until}

    def _tell_closed(self, meter: _Known, refused: int) -> None:
        self.too_old += refused
        if refused and self._told_closed.get(meter.name) != meter.closed_until:
            self._told_closed[meter.name] = meter.closed_until
            logger.warning(
                "meter %s: readings from before %s refused: its history has been thinned out "
                "up to then",
                meter.name,
                format_time(from_ms(meter.closed_until)),
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


def _starts(stamped: list[Stamped]) -> list[int]:
    """Return a time in each of the 5 minutes that have readings."""
    width_ms = width_s(FIVE_MINUTES) * 1000
    return list({ts // width_ms: ts for ts, _ in stamped}.values())


def _by_meter(readings: Iterable[Reading]) -> dict[str, list[Stamped]]:
    by_meter: dict[str, list[Stamped]] = {}
    for reading in readings:
        by_meter.setdefault(reading.meter_id, []).append((epoch_ms(reading.ts), reading))
    return by_meter


def _snapshots(stamped: list[Stamped]) -> bool:
    return not all(reading.from_scalars for _, reading in stamped)


def _text(raw: bytes, longest: int) -> str:
    return raw[:longest].decode("utf-8", "backslashreplace").replace("\0", "\\0")
