"""Scalar hold-back: scalars of a new meter wait until it is known whether it sends readings.

A broker delivers no more readings while too many are unacknowledged, but goes on delivering
scalars. So the scalars of a new meter may arrive before the reading that they mirror; stored as a
reading of their own they would lie beside it, with another time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from contract.readings import Reading

WAIT_S = 5.0
"""Seconds that scalars of a new meter wait for a reading of it."""
LONGEST_WAIT_S = 60.0
"""Seconds that they wait where no reading could arrive."""
MOST_WAITING = 10_000
MOST_KNOWN = 50_000
"""Scalar meters to remember; beyond this number one of them may have to wait once more."""


@dataclass(slots=True)
class _Waiting:
    since_s: float
    until_s: float
    readings: list[Reading] = field(default_factory=list)


class ScalarHoldBack:
    """Holds back readings assembled from scalars; those of `scalar_meters` need not wait."""

    def __init__(self, scalar_meters: Iterable[str]) -> None:
        self._scalar_meters = set(scalar_meters)
        self._waiting: dict[str, _Waiting] = {}
        self._count = 0

    def sends_readings(self, meter_id: str) -> None:
        """Drop what waits of a meter: its scalars are mirrors."""
        self._scalar_meters.discard(meter_id)
        self._drop(meter_id)

    def hold(self, readings: Iterable[Reading], now_s: float) -> list[Reading]:
        """Return the readings that need not wait, by the monotonic clock; keep the others."""
        free = []
        for reading in readings:
            meter_id = reading.meter_id
            if not reading.from_scalars or meter_id in self._scalar_meters:
                free.append(reading)
                continue
            waiting = self._waiting.setdefault(meter_id, _Waiting(now_s, now_s + WAIT_S))
            waiting.readings.append(reading)
            self._count += 1
        while self._count > MOST_WAITING:
            free += self._release(next(iter(self._waiting)))
        return free

    def due(self, now_s: float) -> list[Reading]:
        """Return the readings of meters that have sent nothing but scalars for long enough."""
        due = [m for m, waiting in self._waiting.items() if waiting.until_s <= now_s]
        return [reading for meter_id in due for reading in self._release(meter_id)]

    def rest(self) -> list[Reading]:
        """Return what to store at the end: of meters whose readings could have arrived."""
        on_time = [m for m, each in self._waiting.items() if each.until_s <= each.since_s + WAIT_S]
        return [reading for meter_id in on_time for reading in self._release(meter_id)]

    def wait_again(self, now_s: float) -> None:
        """Restart every wait: no reading could arrive until now."""
        for waiting in self._waiting.values():
            waiting.until_s = min(now_s + WAIT_S, waiting.since_s + LONGEST_WAIT_S)

    def _release(self, meter_id: str) -> list[Reading]:
        if len(self._scalar_meters) >= MOST_KNOWN:
            self._scalar_meters.pop()
        self._scalar_meters.add(meter_id)
        return self._drop(meter_id)

    def _drop(self, meter_id: str) -> list[Reading]:
        waiting = self._waiting.pop(meter_id, None)
        readings = waiting.readings if waiting else []
        self._count -= len(readings)
        return readings
