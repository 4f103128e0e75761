"""The table of readings itself: from readings to rows, and the rows into the table."""

import peewee

from contract.readings import Reading
from history.columns import add_columns, present
from history.statements import run_many

Stamped = tuple[int, Reading]
"""A reading with its time in epoch ms."""


class RawTable:
    """Inserts rows, and adds the column of a quantity that nobody has sent so far."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._place: dict[str, int] = {}
        self._insert = ""

    def insert(self, stamped: dict[int, list[Stamped]]) -> int:
        """Store readings by their meter's number; return how many were new.

        Part of the caller's transaction; after one that failed, call `forget_columns`.
        """
        try:
            rows = self._rows(stamped)
        except KeyError:
            sent = {name for part in stamped.values() for _, r in part for name in r.values}
            add_columns(self._database, sent)
            self._learn_columns()
            rows = self._rows(stamped)
        return run_many(self._database, self._insert, rows)

    def forget_columns(self) -> None:
        """Look again which columns there are: added ones are gone with their transaction."""
        self._place = {}

    def _rows(self, stamped: dict[int, list[Stamped]]) -> list[list[int | None]]:
        place = self._place
        empty: list[int | None] = [None] * (len(place) + 2)
        rows = []
        for meter, part in stamped.items():
            for ts, reading in part:
                row = empty.copy()
                row[0], row[1] = meter, ts
                for name, value in reading.values.items():
                    row[place[name]] = round(value * 1000)
                rows.append(row)
        return rows

    def _learn_columns(self) -> None:
        names = present(self._database)
        self._place = {name: place for place, name in enumerate(names, start=2)}
        self._insert = (
            f"INSERT INTO readings_raw ({', '.join(['meter', 'ts', *names])}) "
            f"VALUES ({', '.join('?' * (len(names) + 2))}) ON CONFLICT (meter, ts) DO NOTHING"
        )
