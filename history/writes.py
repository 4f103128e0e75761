"""Writing readings: the only statements that change the history while it grows.

The hot path is one `executemany` in a transaction; peewee's `insert_many` reaches a tenth of it.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import peewee

from contract.quantities import QUANTITIES
from contract.readings import Reading, epoch_ms
from history.tables import Meter, RejectedMessage

MOST_REJECTED = 5000
_COLUMNS = tuple(quantity.name for quantity in QUANTITIES)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that could not be used, and why."""

    topic: str
    payload: bytes
    reason: str
    detail: str


class Writer:
    """Writes batches of readings; knows the meters by name.

    Every method raises peewee's errors: whoever calls decides whether to try again.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._meters: dict[str, Meter] = {meter.name: meter for meter in Meter.select()}
        marks = ", ".join([database.param] * (len(_COLUMNS) + 2))
        self._insert = (
            f"INSERT INTO readings_raw (meter, ts, {', '.join(_COLUMNS)}) VALUES ({marks}) "
            "ON CONFLICT (meter, ts) DO NOTHING"
        )

    @property
    def snapshot_meters(self) -> list[str]:
        """The meters that are known to send whole readings."""
        return [name for name, meter in self._meters.items() if meter.snapshots]

    def write(self, readings: Iterable[Reading], rejected: Iterable[Rejected] = ()) -> int:
        """Store a batch in one transaction; return how many rows were new.

        A reading of a known meter and time is already there and changes nothing.
        """
        readings = list(readings)
        with self._database.atomic():
            known = dict(self._meters)
            self._update_meters(known, readings)
            cursor = self._database.cursor()
            cursor.executemany(self._insert, [_row(known[r.meter_id], r) for r in readings])
            stored = max(cursor.rowcount, 0)
            self._reject(list(rejected))
        self._meters = known
        return stored

    def _update_meters(self, known: dict[str, Meter], readings: list[Reading]) -> None:
        for name, (first, last, snapshots) in _spans(readings).items():
            meter = known.get(name)
            if meter is None:
                known[name] = Meter.create(
                    name=name, first_ts=first, last_ts=last, snapshots=snapshots
                )
            elif last > meter.last_ts or first < meter.first_ts or snapshots > meter.snapshots:
                changed = Meter(
                    id=meter.id,
                    name=name,
                    first_ts=min(first, meter.first_ts),
                    last_ts=max(last, meter.last_ts),
                    snapshots=snapshots or meter.snapshots,
                )
                changed.save()
                known[name] = changed

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


def _row(meter: Meter, reading: Reading) -> tuple[int | None, ...]:
    values: Mapping[str, float] = reading.values
    return (
        meter.id,
        epoch_ms(reading.ts),
        *(round(values[name] * 1000) if name in values else None for name in _COLUMNS),
    )


def _spans(readings: list[Reading]) -> dict[str, tuple[int, int, bool]]:
    spans: dict[str, tuple[int, int, bool]] = {}
    for reading in readings:
        ts, whole = epoch_ms(reading.ts), not reading.from_scalars
        first, last, snapshots = spans.get(reading.meter_id, (ts, ts, False))
        spans[reading.meter_id] = (min(first, ts), max(last, ts), snapshots or whole)
    return spans


def _text(raw: bytes, longest: int) -> str:
    return raw[:longest].decode("utf-8", "backslashreplace").replace("\0", "\\0")
