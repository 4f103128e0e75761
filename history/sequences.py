"""Up to which number the readings of each meter are there, kept in the transactions of its rows.

A reading counts as there when it has been stored, was known already, or was refused because its
time has been thinned out: in no case is it needed again.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import peewee

from contract.replay import Replayed, runs
from history.database import transaction
from history.numbers import Numbers, between
from history.readings_table import Stamped
from history.statements import fetch, run_many

Columns = tuple[str | None, int, str]
"""`bridge`, `seq_upto` and `seq_above` of a meter."""


class Gap(NamedTuple):
    """What comes after `upto` is missing, though later readings are there; who has it."""

    bridge: str
    upto: int


class Settled(NamedTuple):
    """What an answer has led to, by meter.

    `missing` lack readings that were sent; `lost` had a gap that nobody can fill any more.
    """

    missing: frozenset[str]
    lost: frozenset[str]


class Sequences:
    """Reads and writes the columns `bridge`, `seq_upto` and `seq_above` of `meters`.

    `gaps` are those of the meters in the latest writes; another recorder may have filled them.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._locking = "" if isinstance(database, peewee.SqliteDatabase) else "FOR UPDATE"
        self.gaps: dict[str, Gap] = {}

    def note(self, given: Mapping[str, Iterable[Stamped]], known: Mapping[str, Columns]) -> None:
        """Add the numbers of readings, part of the transaction that stores them.

        `known` has the columns of the meters that were there before.
        """
        changes = []
        for name, stamped in given.items():
            numbers = sorted({reading.seq for _, reading in stamped if reading.seq is not None})
            if not numbers:
                continue
            bridge, upto, above = known.get(name, (None, 0, ""))
            before = Numbers.read(upto, above)
            after = before.joined(runs(numbers))
            if after != before:
                changes.append((after.upto, after.text, name))
            self._note_gap(name, bridge, after)
        self._update(changes)

    def settle(
        self, bridge: str, told: Mapping[str, Replayed], let_go: Collection[str] = ()
    ) -> Settled:
        """Take note of what a bridge has sent and of what it has no more.

        Meters to `let_go` are closed up to there whatever is missing. Those that have never stored
        a reading are left out.
        """
        missing, lost, changes = set(), set(), []
        with transaction(self._database):
            for name, before in self._numbers("name", told, self._locking).items():
                answer = told[name]
                gone = between(answer.sent, answer.after, answer.upto)
                after = before.joined(gone)
                if name in let_go:
                    after = after.joined([(answer.after + 1, answer.upto)])
                    lost.add(name)
                if _loses(before, gone, answer.oldest):
                    lost.add(name)
                if after.upto < answer.upto:
                    missing.add(name)
                changes.append((after.upto, after.text, name))
                self._note_gap(name, bridge, after)
            self._update(changes)
            run_many(
                self._database,
                "UPDATE meters SET bridge = ? WHERE name = ?",
                [(bridge, name) for _, _, name in changes],
            )
        return Settled(frozenset(missing), frozenset(lost))

    def numbers(self, bridge: str) -> dict[str, Numbers]:
        """Return what is there of a bridge's meters."""
        return self._numbers("bridge", [bridge])

    def bridges(self) -> list[str]:
        """Return the bridges that have ever answered."""
        rows = fetch(self._database, "SELECT DISTINCT bridge FROM meters WHERE bridge IS NOT NULL")
        return [bridge for (bridge,) in rows]

    def _numbers(
        self, column: str, values: Collection[str], locking: str = ""
    ) -> dict[str, Numbers]:
        rows = fetch(
            self._database,
            f"SELECT name, seq_upto, seq_above FROM meters WHERE {column} "
            f"IN ({', '.join('?' * len(values)) or 'NULL'}) ORDER BY id {locking}",
            list(values),
        )
        return {name: Numbers.read(upto, above) for name, upto, above in rows}

    def _update(self, changes: list[tuple[int, str, str]]) -> None:
        run_many(
            self._database, "UPDATE meters SET seq_upto = ?, seq_above = ? WHERE name = ?", changes
        )

    def _note_gap(self, name: str, bridge: str | None, numbers: Numbers) -> None:
        if bridge and numbers.above:
            self.gaps[name] = Gap(bridge, numbers.upto)
        else:
            self.gaps.pop(name, None)


def unfiled(stamped: list[Stamped], columns: Columns) -> list[Stamped]:
    """Leave out readings that are there by their number, though they were stamped on arrival.

    Each time such a reading comes it bears another time, by which no row would know it.
    """
    bridge, upto, above = columns
    if bridge is None or not any(reading.stamped_on_arrival for _, reading in stamped):
        return stamped
    there = Numbers.read(upto, above)
    return [
        each
        for each in stamped
        if each[1].seq is None
        or not each[1].stamped_on_arrival
        or not there.has((each[1].seq, each[1].seq))
    ]


def _loses(before: Numbers, gone: list[tuple[int, int]], oldest: int | None) -> bool:
    """Tell whether readings that were given are gone: not just numbers that never were.

    Numbers jump when a bridge has crashed; below the oldest that a journal has, there were
    readings. Nothing is lost of a meter that this history begins with.
    """
    return before.upto > 0 and any(
        not before.has(part) for part in gone if oldest is None or part[0] < oldest
    )
