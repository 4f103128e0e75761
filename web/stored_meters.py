"""The meters of the history with their newest readings, kept in memory.

Only what has changed is read again: a thousand meters take a query of their times, and one of the
readings that are newer than those known.
"""

import time
from collections.abc import Collection, Mapping

import peewee

from contract.readings import Reading
from history import queries
from history.queries import MeterEntry
from web.history_reader import HistoryReader
from web.latest import Source

KEPT_S = 60.0
"""Seconds after which all is read again: a person may have changed the history."""
MOST_KEPT = 5000

Row = tuple[MeterEntry, Reading | None]


class StoredMeters:
    """The meters that the history knows."""

    def __init__(self, history: HistoryReader) -> None:
        self._history = history
        self._known: dict[str, Row] = {}
        self._since_s = 0.0

    def rows(
        self, live: Mapping[str, Source], meter_ids: Collection[str] | None = None
    ) -> dict[str, Row]:
        """Return these meters, or all; each with its newest reading, which may be the live one.

        Raises StorageError.
        """
        if time.monotonic() - self._since_s > KEPT_S or len(self._known) > MOST_KEPT:
            self._known, self._since_s = {}, time.monotonic()
        known = self._known

        def read(database: peewee.Database) -> dict[str, Row]:
            entries = queries.meters(database, meter_ids)
            rows = {entry.meter_id: _without_query(entry, live, known) for entry in entries}
            missing = [meter_id for meter_id, row in rows.items() if row is None]
            newest = queries.latest_of(database, missing)
            return {e.meter_id: rows[e.meter_id] or (e, newest.get(e.meter_id)) for e in entries}

        rows = self._history.query(read, empty=dict[str, Row]())
        known |= rows
        return rows


def _without_query(
    entry: MeterEntry, live: Mapping[str, Source], known: Mapping[str, Row]
) -> Row | None:
    """Return a meter with its newest reading; None where it has to be queried."""
    source, row = live.get(entry.meter_id), known.get(entry.meter_id)
    if source and source.newest and source.newest.ts >= entry.last_seen:
        return entry, source.newest
    return (entry, row[1]) if row and row[0].last_seen == entry.last_seen else None
