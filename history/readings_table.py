"""The table of readings itself: from readings to rows, and the rows into the table."""

import peewee

from contract.readings import Reading
from history.columns import add_columns
from history.statements import run_many

Stamped = tuple[int, Reading]
"""A reading with its time in epoch ms."""

Shape = tuple[str, ...]
"""The quantities of a reading, in its order."""

_MOST_SHAPES = 1000


class RawTable:
    """Inserts rows, and adds the column of a quantity that nobody has sent so far.

    Readings of one shape (nearly all of a meter have the same) share a statement, which spares
    looking up the place of every value.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._inserts: dict[Shape, str] = {}

    def insert(self, stamped: dict[int, list[Stamped]]) -> int:
        """Store readings by their meter's number; return how many were new.

        Part of the caller's transaction; after one that failed, call `forget_columns`.
        """
        by_shape: dict[Shape, list[tuple[float, ...]]] = {}
        for meter, part in stamped.items():
            for ts, reading in part:
                values = reading.values
                by_shape.setdefault(tuple(values), []).append((meter, ts, *values.values()))
        return sum(
            run_many(self._database, self._insert(shape), rows) for shape, rows in by_shape.items()
        )

    def forget_columns(self) -> None:
        """Look again which columns there are: added ones are gone with their transaction."""
        self._inserts.clear()

    def _insert(self, shape: Shape) -> str:
        if shape not in self._inserts:
            add_columns(self._database, shape)
            if len(self._inserts) >= _MOST_SHAPES:
                self._inserts.clear()
            self._inserts[shape] = (
                f"INSERT INTO readings_raw ({', '.join(['meter', 'ts', *shape])}) "
                f"VALUES (?, ?{', ROUND(? * 1000)' * len(shape)}) "  # quicker than in Python
                "ON CONFLICT (meter, ts) DO NOTHING"
            )
        return self._inserts[shape]
