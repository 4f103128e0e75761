"""Which numbers of a meter's readings are there: all up to one, and runs above it."""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Run = tuple[int, int]
"""A first and a last number, and all between."""

MOST_RUNS = 32
"""Of more runs above a gap the lowest are forgotten: their readings are asked for once more."""


class Numbers(NamedTuple):
    """Every number up to `upto` is there or exists no more; of those above it, these runs."""

    upto: int = 0
    above: tuple[Run, ...] = ()

    @classmethod
    def read(cls, upto: int, text: str) -> "Numbers":
        """Return what the two columns of a meter say."""
        return cls(upto, tuple((first, last) for first, last in json.loads(text or "[]")))

    @property
    def text(self) -> str:
        """The runs as their column has them: JSON, or nothing where there are none."""
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
        """Tell whether all numbers of a run are there."""
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
