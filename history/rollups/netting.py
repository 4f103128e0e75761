"""Netting: import and export as a meter counts them that adds up its phases first.

Many meters count import and export phase by phase: with solar power on one phase and a load on
another, both advance at once. Between two readings the change of import minus export is certain,
and its sign says which of the two a netting meter would have counted. The difference of the netted
counters is therefore exact.

Counters advance in whole steps, so that import minus export goes back and forth by such a step
while energy flows one way. The flow has turned only where it comes back by more than that: until
then a step back counts negative in the counter that was advancing.
"""

from collections.abc import Sequence
from itertools import accumulate
from math import gcd
from operator import sub
from typing import NamedTuple, Self

IMPORT, EXPORT = "energy_import", "energy_export"
NETTED_IMPORT, NETTED_EXPORT = "energy_import_netted", "energy_export_netted"
_COARSEST = 10
"""Thousandths: the coarsest step of a counter that is taken for its resolution."""
_FLOAT_BITS = 22
"""Meters hold counters as floats of 24 bits: with large values, these advance in larger steps."""


class Counted(NamedTuple):
    """The readings of a counter: times, values, and by how much it advanced at each of them."""

    times: Sequence[int]
    values: Sequence[int]
    steps: Sequence[int]


class Flow(NamedTuple):
    """Which way energy flows (1: import, -1: export, 0: unknown), and how far it has come back."""

    direction: int = 0
    back: int = 0

    @classmethod
    def decoded(cls, code: int) -> Self:
        """Return the flow that was stored as one number."""
        return cls((code > 0) - (code < 0), max(abs(code) - 1, 0))

    @property
    def code(self) -> int:
        """The flow as one number."""
        return self.direction * (self.back + 1)


Both = tuple[int, int]
"""What import and export show in the same reading."""


class Before(NamedTuple):
    """The last reading before some others that has both counters, and what came after it.

    `change` is that of import minus export in later readings, which have but one of the two.
    """

    values: Both
    change: int = 0


class Moves(NamedTuple):
    """The readings that have both counters, and by how much import minus export changed at each.

    `values` begins with those of the reading before.
    """

    times: Sequence[int]
    changes: Sequence[int]
    values: Sequence[Both]


def moves(imports: Counted, exports: Counted, before: Before | None) -> Moves:
    """Return the moves between consecutive readings that have both counters.

    Without a reading before, the first one changes nothing.
    """
    if imports.times is exports.times:
        times, values = imports.times, list(zip(imports.values, exports.values, strict=True))
        changes = list(map(sub, imports.steps, exports.steps))
    else:
        times, values, changes = _together(imports, exports)
    if changes:
        changes[0] = changes[0] + before.change if before else 0
        values.insert(0, before.values if before else values[0])
    return Moves(times, changes, values)


def split(moves: Moves, begin: int, end: int, flow: Flow) -> tuple[int, int, Flow]:
    """Return import and export of the moves from `begin` to before `end`, and the flow then."""
    changes = moves.changes[begin:end]
    if flow.direction >= 0 and not flow.back and min(changes) >= 0:
        imported = sum(changes)
        return imported, 0, Flow(1 if imported else flow.direction)
    direction, back = flow
    own, other = 0, 0
    for place, change in enumerate(changes, begin):
        if not change:
            continue
        direction = direction or (1 if change > 0 else -1)
        own += direction * change
        back -= direction * change
        if back < 0:
            back = 0
        elif back > 1 and back > _tolerance(*moves.values[place : place + 2]):
            # The flow has turned: all of the way back is the other's.
            own, other = other + back, own + back
            direction, back = -direction, 0
    imported, exported = (own, other) if direction > 0 else (other, own)
    return imported, exported, Flow(direction, back)


def _together(imports: Counted, exports: Counted) -> tuple[list[int], list[Both], list[int]]:
    """Return times, values and changes of the readings that have both counters."""
    import_at, export_at = (
        dict(zip(each.times, zip(each.values, accumulate(each.steps), strict=True), strict=True))
        for each in (imports, exports)
    )
    times = sorted(import_at.keys() & export_at.keys())
    shown = [(import_at[ts][0], export_at[ts][0]) for ts in times]
    sums = [import_at[ts][1] - export_at[ts][1] for ts in times]
    return times, shown, list(map(sub, sums, [0, *sums]))


def _tolerance(earlier: Both, later: Both) -> int:
    """Return how far import minus export may come back by the resolution of its counters alone."""
    return min(gcd(*earlier, *later), _COARSEST) + (max(later) >> _FLOAT_BITS)
