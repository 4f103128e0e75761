"""The time of readings that arrive without a usable `ts`: that of their arrival."""

from datetime import datetime, timedelta

from contract.times import epoch_ms, from_epoch_ms

MOST_AHEAD = timedelta(seconds=60)
"""How far ahead of the receiver's clock the time of a reading may be."""
MAX_METERS = 50_000
_MOST_AHEAD_MS = MOST_AHEAD // timedelta(milliseconds=1)


class ArrivalTimes:
    """Stamps readings, each of a meter with a millisecond of its own.

    A reading whose millisecond is taken gets the one after the last that was given. Where the
    clock was set back by more than a minute, times go back with it.
    """

    def __init__(self) -> None:
        self._taken: dict[str, tuple[int, int]] = {}

    def stamp(self, meter_id: str, arrived: datetime) -> datetime:
        """Return the time of a reading that arrived at `arrived` (UTC)."""
        ms = epoch_ms(arrived)
        first, last = self._taken.pop(meter_id, (0, 0))
        if first <= ms <= last:
            ms = last + 1
        else:
            first = ms - _MOST_AHEAD_MS
        self._taken[meter_id] = first, ms  # at the end: the oldest comes first
        if len(self._taken) > MAX_METERS:
            del self._taken[next(iter(self._taken))]
        return from_epoch_ms(ms)

    def forget(self, meter_id: str) -> None:
        """Drop what is known of a meter."""
        self._taken.pop(meter_id, None)
