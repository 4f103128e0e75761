"""The sequence numbers of each meter's readings: which have arrived, kept with the rows themselves.

A reading counts as arrived when it has been stored, was known already, or was refused because its
time has been deleted by retention: in no case is it needed again.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import peewee

from contract.readings import HIGHEST_SEQ, Reading
from contract.replay import Replayed, runs
from history.dialect import dialect_of, fetch, placeholders, run_many, transaction
from history.tables import Meter

Stamped = tuple[int, Reading]
"""A reading with its time in epoch ms."""

Run = tuple[int, int]
"""A first and a last number, and all between."""

MOST_RUNS = 32
"""Of more runs above a gap the lowest are forgotten: their readings are requested once more."""


class Numbers(NamedTuple):
    """Every number up to `upto` has arrived or exists no more; of those above it, these runs."""

    upto: int = 0
    above: tuple[Run, ...] = ()

    @classmethod
    def read(cls, upto: int, text: str) -> "Numbers":
        """Return what the columns `seq_upto` and `seq_above` of a meter hold.

        Numbers that no message may have, which earlier versions stored, are as if there were none.
        """
        runs = json.loads(text) if text else ()
        above = tuple((first, last) for first, last in runs if last <= HIGHEST_SEQ)
        return cls(upto if upto <= HIGHEST_SEQ else 0, above)

    @property
    def text(self) -> str:
        """The runs as `seq_above` holds them: JSON, or nothing where there are none."""
        return json.dumps(self.above, separators=(",", ":")) if self.above else ""

    def joined(self, runs: Iterable[Run]) -> "Numbers":
        """Return these numbers with more runs."""
        upto, above = self.upto, list[Run]()
        for first, last in sorted([*self.above, *runs]):
            if first <= upto + 1:
                upto = max(upto, last)
            elif above and first <= above[-1][1] + 1:
                above[-1] = (above[-1][0], max(above[-1][1], last))
            else:
                above.append((first, last))
        return Numbers(upto, tuple(above[-MOST_RUNS:]))

    def has(self, run: Run) -> bool:
        """Return whether all numbers of a run have arrived."""
        return any(
            first <= run[0] and run[1] <= last for first, last in [(0, self.upto), *self.above]
        )


def between(runs: Sequence[Run], after: int, upto: int) -> list[Run]:
    """Return what ascending runs leave out of the numbers above `after`, up to `upto`."""
    left, begin = list[Run](), after + 1
    for first, last in runs:
        if first > begin:
            left.append((begin, first - 1))
        begin = max(begin, last + 1)
    if begin <= upto:
        left.append((begin, upto))
    return left


class Gap(NamedTuple):
    """Readings after number `upto` are missing, though later ones are there; `bridge` has them."""

    bridge: str
    upto: int


class Settled(NamedTuple):
    """The outcome of a bridge's answer, by meter.

    `missing` meters lack readings that were sent; `lost` ones had a gap that nobody can fill any
    more.
    """

    missing: frozenset[str]
    lost: frozenset[str]


class Sequences:
    """Reads and writes the columns `bridge`, `seq_upto` and `seq_above` of `meters`.

    `gaps` are those of the meters in the latest writes; another recorder may have filled them.
    `journaled` are the meters of bridges that answer replay requests.
    """

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        self._for_update = dialect_of(database).for_update
        self.gaps: dict[str, Gap] = {}
        self.journaled: set[str] = set()

    def joined(
        self, given: Mapping[str, Iterable[Stamped]], known: Mapping[str, Meter]
    ) -> dict[str, Numbers]:
        """Return the numbers of meters after these readings, for the transaction that stores them.

        `known` has the meters that were there before.
        """
        after: dict[str, Numbers] = {}
        for name, stamped in given.items():
            numbers = {reading.seq for _, reading in stamped if reading.seq is not None}
            if not numbers:
                continue
            meter = known.get(name)
            if meter and meter.bridge:
                self.journaled.add(name)
            before = Numbers.read(meter.seq_upto, meter.seq_above) if meter else Numbers()
            after[name] = before.joined(runs(sorted(numbers)))
            self._note_gap(name, meter.bridge if meter else None, after[name])
        return after

    def settle(
        self, bridge: str, answers: Mapping[str, Replayed], abandoned: Collection[str] = ()
    ) -> Settled:
        """Record what a bridge has sent and what it no longer has.

        Of `abandoned` meters all numbers up to there count as arrived. Meters that have never
        stored a reading are left out.
        """
        missing, lost, changes = set(), set(), []
        with transaction(self._database):
            for name, before in self._numbers("name", answers, self._for_update).items():
                answer = answers[name]
                gone = between(answer.sent, answer.after, answer.upto)
                after = before.joined(gone)
                if name in abandoned:
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
        """Return which numbers of a bridge's meters have arrived."""
        return self._numbers("bridge", [bridge])

    def unclaimed(self, most: int) -> dict[str, Numbers]:
        """Return the numbers of at most `most` meters with gaps that no bridge has claimed yet."""
        rows = fetch(
            self._database,
            "SELECT name, seq_upto, seq_above FROM meters WHERE bridge IS NULL AND seq_above <> '' "
            "ORDER BY id DESC LIMIT ?",
            [most],
        )
        return {name: Numbers.read(upto, above) for name, upto, above in rows}

    def bridges(self) -> list[str]:
        """Return the bridges that have ever answered."""
        rows = fetch(self._database, "SELECT DISTINCT bridge FROM meters WHERE bridge IS NOT NULL")
        return [bridge for (bridge,) in rows]

    def _numbers(
        self, column: str, values: Collection[str], for_update: str = ""
    ) -> dict[str, Numbers]:
        rows = fetch(
            self._database,
            f"SELECT name, seq_upto, seq_above FROM meters WHERE {column} "
            f"IN ({placeholders(values)}) ORDER BY id {for_update}",
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


def without_known_numbers(stamped: list[Stamped], meter: Meter) -> list[Stamped]:
    """Leave out readings that were stamped on arrival and whose number has arrived before.

    Each time such a reading arrives it has another time, so that no row would match it.
    """
    if meter.bridge is None or not any(reading.stamped_on_arrival for _, reading in stamped):
        return stamped
    there = Numbers.read(meter.seq_upto, meter.seq_above)
    return [
        each
        for each in stamped
        if each[1].seq is None
        or not each[1].stamped_on_arrival
        or not there.has((each[1].seq, each[1].seq))
    ]


def _loses(before: Numbers, gone: list[Run], oldest: int | None) -> bool:
    """Return whether any of the numbers that are gone were readings.

    Numbers jump when a bridge has crashed; below the oldest that a journal has, there were
    readings. Nothing is lost of a meter that this history begins with.
    """
    return before.upto > 0 and any(
        not before.has(part) for part in gone if oldest is None or part[0] < oldest
    )
