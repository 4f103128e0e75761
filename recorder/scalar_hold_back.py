"""Early scalars: what is made of them waits until it is known whether their meter sends readings.

A broker gives out no more readings while too many of them are unacknowledged, but goes on to give
out scalars. So the scalars of a new meter may come before the reading that they are mirrors of;
taken for a reading of their own they would be stored beside it, with another time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from contract.readings import Reading

WAIT_S = 5.0
LONGEST_WAIT_S = 60.0
"""For so long a new meter's scalars wait for a reading of it; for longer where none could come."""
MOST_WAITING = 10_000
MOST_KNOWN = 50_000
"""Beyond so many meters of scalars, one of them may have to wait once more."""


@dataclass(slots=True)
class _Early:
    since_s: float
    until_s: float
    readings: list[Reading] = field(default_factory=list)


class EarlyScalars:
    """Holds back the readings made of scalars; `scalar_meters` are known to send nothing else."""

    def __init__(self, scalar_meters: Iterable[str]) -> None:
        self._scalar_meters = set(scalar_meters)
        self._waiting: dict[str, _Early] = {}
        self._count = 0

    def sends_readings(self, meter_id: str) -> None:
        """Drop what waits of a meter: its scalars are mirrors."""
        self._scalar_meters.discard(meter_id)
        self._let_go(meter_id)

    def hold(self, readings: Iterable[Reading], now_s: float) -> list[Reading]:
        """Return those that need not wait, by the monotonic clock; keep the others."""
        sure = []
        for reading in readings:
            meter_id = reading.meter_id
            if not reading.from_scalars or meter_id in self._scalar_meters:
                sure.append(reading)
                continue
            early = self._waiting.setdefault(meter_id, _Early(now_s, now_s + WAIT_S))
            early.readings.append(reading)
            self._count += 1
        while self._count > MOST_WAITING:
            sure += self._release(next(iter(self._waiting)))
        return sure

    def due(self, now_s: float) -> list[Reading]:
        """Return the readings of meters that have sent nothing but scalars for long enough."""
        due = [meter_id for meter_id, early in self._waiting.items() if early.until_s <= now_s]
        return [reading for meter_id in due for reading in self._release(meter_id)]

    def rest(self) -> list[Reading]:
        """Return what may be stored at the end: all but that of which no reading could come."""
        on_time = [m for m, each in self._waiting.items() if each.until_s <= each.since_s + WAIT_S]
        return [reading for meter_id in on_time for reading in self._release(meter_id)]

    def wait_anew(self, now_s: float) -> None:
        """Take note that readings could not come until now."""
        for early in self._waiting.values():
            early.until_s = min(now_s + WAIT_S, early.since_s + LONGEST_WAIT_S)

    def _release(self, meter_id: str) -> list[Reading]:
        if len(self._scalar_meters) >= MOST_KNOWN:
            self._scalar_meters.pop()
        self._scalar_meters.add(meter_id)
        return self._let_go(meter_id)

    def _let_go(self, meter_id: str) -> list[Reading]:
        early = self._waiting.pop(meter_id, None)
        readings = early.readings if early else []
        self._count -= len(readings)
        return readings
