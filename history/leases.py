"""Leader election among recorders that share a database.

The holder of a lease renews it now and then, which counts `renewals` up. No clocks of two machines
are compared: when the count stands still while another recorder waits, the holder is gone.
"""

from typing import NamedTuple

import peewee

from history.dialect import fetch_one, run, transaction


class Lease(NamedTuple):
    """Who holds a lease and how often it has been renewed; nobody where `holder` is empty."""

    holder: str
    renewals: int


class Leases:
    """Reads and writes the table `leases`."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database

    def read(self, name: str) -> Lease:
        """Return who holds a lease."""
        row = fetch_one(
            self._database, "SELECT holder, renewals FROM leases WHERE name = ?", [name]
        )
        return Lease(*row) if row else Lease("", 0)

    def acquire(self, name: str, holder: str, seen: Lease) -> Lease | None:
        """Acquire or renew a lease; None where it is no longer as it was seen."""
        after = Lease(holder, seen.renewals + 1)
        with transaction(self._database):
            run(
                self._database,
                "INSERT INTO leases (name, holder, renewals) VALUES (?, '', 0) "
                "ON CONFLICT (name) DO NOTHING",
                [name],
            )
            changed = run(
                self._database,
                "UPDATE leases SET holder = ?, renewals = ? "
                "WHERE name = ? AND holder = ? AND renewals = ?",
                [*after, name, *seen],
            )
        return after if changed else None
