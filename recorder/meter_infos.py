"""What the infos of meters say about role, parent, name and bill, on its way into the history.

An info mostly arrives before the first reading of its meter, and waits until the meter has a row.
"""

import threading
from collections.abc import Iterable

from contract.meter_settings import MeterSettings
from recorder.storage import Storage

MOST_METERS = 10_000


class MeterInfos:
    """The newest info of each meter, and those that the history lacks. For one thread only."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._infos: dict[str, MeterSettings] = {}
        self._unstored = set[str]()
        self._opened = storage.opened

    def take(self, meter_id: str, settings: MeterSettings) -> None:
        """Keep the info of a meter; beyond 10,000 meters, the oldest is forgotten."""
        if self._infos.get(meter_id) != settings:
            self._infos[meter_id] = settings
            self._unstored.add(meter_id)
        if len(self._infos) > MOST_METERS:
            oldest = next(iter(self._infos))
            del self._infos[oldest]
            self._unstored.discard(oldest)

    def store(self, meters: Iterable[str], give_up: threading.Event) -> bool:
        """Store the infos of these meters, where they have a row; False where `give_up` came first.

        All are stored again where another history was opened.
        """
        if self._opened != self._storage.opened:
            self._opened, self._unstored = self._storage.opened, set(self._infos)
        if not self._unstored:
            return True
        due = {meter: self._infos[meter] for meter in self._unstored.intersection(meters)}
        stored = self._storage.store_infos(due, give_up) if due else set[str]()
        if stored is None:
            return False
        self._unstored -= stored
        return True
