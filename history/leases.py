"""Which of several programs sees to what only one should, kept in the database that they share.

Whoever has a duty counts its `beat` up now and then. No clocks of two machines are compared: a
beat that stands still while another program waits is how that one knows that the first is gone.
"""

from typing import NamedTuple

import peewee

from history.database import transaction
from history.statements import fetch_one, run


class Beat(NamedTuple):
    """Who has a duty, and how often that has been said; nobody where `holder` is empty."""

    holder: str
    beat: int


class Duties:
    """Reads and writes the table `duties`."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database

    def seen(self, duty: str) -> Beat:
        """Return who has a duty."""
        row = fetch_one(self._database, "SELECT holder, beat FROM duties WHERE name = ?", [duty])
        return Beat(*row) if row else Beat("", 0)

    def take(self, duty: str, holder: str, seen: Beat) -> Beat | None:
        """Take a duty over, or go on with it; None where it is no longer as it was seen."""
        after = Beat(holder, seen.beat + 1)
        with transaction(self._database):
            run(
                self._database,
                "INSERT INTO duties (name, holder, beat) VALUES (?, '', 0) "
                "ON CONFLICT (name) DO NOTHING",
                [duty],
            )
            changed = run(
                self._database,
                "UPDATE duties SET holder = ?, beat = ? WHERE name = ? AND holder = ? AND beat = ?",
                [*after, duty, *seen],
            )
        return after if changed else None
