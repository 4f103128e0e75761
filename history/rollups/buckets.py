"""From readings to the figures of 5-minute buckets: pure arithmetic in thousandths.

Energy is a sum of counter differences, each against the reading before, wherever that lies, so
that the sums over any range add up to last minus first.
"""

import operator
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from history.rollups.levels import FIVE_MINUTES, bucket_of

Point = tuple[int, int]
"""A time in epoch ms and a value in thousandths."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A meter replaced at `ts`: what the old and the new one showed then, where that is known."""

    ts: int
    old_end: int | None = None
    new_start: int | None = None


Span = tuple[int, int, int]
"""A bucket, and the places in a list where its readings begin and end."""

Row = tuple[int | None, ...]
"""Level, meter, quantity, bucket, n, mean, min, max, last, delta (None for a gauge)."""


def spans(times: Sequence[int]) -> list[Span]:
    """Return the buckets that times (in order, epoch ms) fall into."""
    width_ms = FIVE_MINUTES * 60_000
    cuts = [i for i in range(1, len(times)) if times[i] // width_ms != times[i - 1] // width_ms]
    return [(bucket_of(times[i]), i, j) for i, j in pairwise([0, *cuts, len(times)])]


def summaries(
    meter: int,
    quantity: int,
    spans: Sequence[Span],
    values: Sequence[int],
    steps: Sequence[int] | None = None,
) -> Iterator[Row]:
    """Yield the row of each bucket; `steps` is what a counter advanced by at each reading."""
    for bucket, begin, end in spans:
        part = values[begin:end]
        n = end - begin
        delta = None if steps is None else sum(steps[begin:end])
        figures = (n, round(sum(part) / n), min(part), max(part), part[-1], delta)
        yield FIVE_MINUTES, meter, quantity, bucket, *figures


def steps(
    times: Sequence[int],
    values: Sequence[int],
    before: Point | None,
    replacements: Sequence[Replacement] = (),
) -> list[int]:
    """Return by how much a counter advanced at each reading since the one before it.

    The very first reading advances by 0. A fall to less than half is a reset: the counter
    began at 0 again. A smaller fall is a step back and counts negative, so that totals stay exact.
    """
    before_ts, before_value = before or (times[0], values[0])
    olds = [before_value, *values[:-1]]
    found = list(map(operator.sub, values, olds))
    if min(found) < 0:
        found = [_advance(old, new) for old, new in zip(olds, values, strict=True)]
    for event in replacements:
        place = bisect_left(times, event.ts)
        if place < len(times) and (times[place - 1] if place else before_ts) < event.ts:
            found[place] = _across(event, olds[place], values[place])
    return found


def _advance(old: int, new: int) -> int:
    return new if 2 * new < old else new - old


def _across(event: Replacement, old: int, new: int) -> int:
    """Return what was counted from the old meter's last reading to the new one's first."""
    by_old = 0 if event.old_end is None else event.old_end - old
    by_new = 0 if event.new_start is None else new - event.new_start
    return by_old + by_new
