"""What the blows of a run have cost, and a table of it in Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from contract.times import format_time, from_epoch_ms
from tests.support.blows import ORDER, Blow

KINDS = ("lost", "twice", "changed", "from nowhere")
SHOWN = 10
"""Most faulty readings that are described one by one."""
NEAR_S = 12.0
"""Blows within this time of a faulty reading are listed with it."""


class Fault(NamedTuple):
    """A reading that is not once and unchanged in the history; `by`: the comparison that shows it.

    `at_s` is the true time of the reading, also while the clock of the bridge is set back.
    """

    kind: str
    by: str
    meter: str
    ts: int
    at_s: float

    def describe(self, blows: Iterable[Blow]) -> str:
        """Return what is wrong with the reading, and the blows around it."""
        near = [
            f"{blow.at_s - self.at_s:+.1f} s {blow}"
            for blow in blows
            if abs(blow.at_s - self.at_s) < NEAR_S
        ]
        return (
            f"{self.kind}: meter {self.meter} at {format_time(from_epoch_ms(self.ts))} ({self.ts}),"
            f" as {self.by} shows; blows: {', '.join(near) or 'none near'}"
        )


@dataclass
class Outcome:
    """The result of a run, and the blows."""

    title: str
    seed: int
    blows: list[Blow] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    expected: int = 0
    stored: int = 0
    died_with_two: int = 0
    replaced: int = 0
    same_moment: int = 0
    served: int = 0
    settled_s: float = 0.0

    @property
    def good(self) -> bool:
        return not self.faults

    def cell(self, kind: tuple[str, str] | None = None) -> str:
        """Return how many blows of one kind (None: of all) there were, and what they cost."""
        blows = [blow for blow in self.blows if kind in (None, blow.kind)]
        found = Counter(each.kind for each in self.faults if kind in (None, self._cause(each)))
        costs = "/".join(str(found[each]) for each in KINDS)
        return f"{len(blows)}: {costs}" if blows else ""

    def _cause(self, fault: Fault) -> tuple[str, str] | None:
        """Return the kind of the blow that is nearest to a reading."""
        nearest = min(self.blows, key=lambda blow: abs(blow.at_s - fault.at_s), default=None)
        return nearest.kind if nearest else None

    def __str__(self) -> str:
        counts = Counter(" ".join(blow.kind) for blow in self.blows)
        found = Counter(each.kind for each in self.faults)
        lines = [
            f"{self.title}, seed {self.seed}: {len(self.blows)} blows"
            f" ({', '.join(f'{count} x {kind}' for kind, count in sorted(counts.items()))});"
            f" {self.served} different answers of meters, {self.expected} readings,"
            f" {self.stored} stored; {', '.join(f'{kind} {found[kind]}' for kind in KINDS)};"
            f" {self.died_with_two} died with bridge and broker at once,"
            f" {self.replaced} with the bridge and a history that was replaced,"
            f" {self.same_moment} of a moment that was taken; settled after {self.settled_s:.1f} s"
        ]
        lines += [fault.describe(self.blows) for fault in self.faults[:SHOWN]]
        if len(self.faults) > SHOWN:
            lines.append(f"and {len(self.faults) - SHOWN} more")
        return "\n".join(lines)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a table of Markdown: a row for each kind of blow, a column for each run."""
    kinds = {blow.kind for outcome in outcomes for blow in outcome.blows}
    ordered = sorted(kinds, key=lambda it: (ORDER.index(it[0]), _parts_of(it[1]), it[1].lower()))
    rows = [
        ["blow", "parts", *(outcome.title for outcome in outcomes)],
        ["---"] * (2 + len(outcomes)),
        *([*kind, *(outcome.cell(kind) for outcome in outcomes)] for kind in ordered),
        ["all blows", "", *(outcome.cell() for outcome in outcomes)],
        ["readings", "", *(f"{it.expected:,}" for it in outcomes)],
        ["lost with bridge and broker", "", *(f"{it.died_with_two:,}" for it in outcomes)],
        ["lost with bridge and history", "", *(f"{it.replaced:,}" for it in outcomes)],
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _parts_of(text: str) -> int:
    return text.count(",") + text.count("both")
