"""From readings to the figures of 5-minute buckets: pure arithmetic in thousandths.

Energy is a sum of counter differences, each against the reading before, wherever that lies, so
that the sums over any range add up to last minus first.
"""

import operator
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from history.levels import FIVE_MINUTES, bucket_of

Point = tuple[int, int]
"""A time in epoch ms and a value in thousandths."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A meter replaced at `ts`: what the old and the new one showed then, where known."""

    ts: int
    old_end: int | None = None
    new_start: int | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What one quantity came to in one bucket; `delta` is None for a gauge."""

    bucket: int
    n: int
    mean: int
    min: int
    max: int
    last: int
    delta: int | None


def summaries(
    times: Sequence[int], values: Sequence[int], steps: Sequence[int] | None = None
) -> Iterator[Summary]:
    """Yield the figures of each bucket; `steps` is what a counter advanced by at each reading."""
    for begin, end in _spans(times):
        part = values[begin:end]
        yield Summary(
            bucket_of(times[begin]),
            end - begin,
            round(sum(part) / (end - begin)),
            min(part),
            max(part),
            part[-1],
            None if steps is None else sum(steps[begin:end]),
        )


def steps(
    times: Sequence[int],
    values: Sequence[int],
    before: Point | None,
    replacements: Sequence[Replacement] = (),
) -> list[int]:
    """Return by how much a counter advanced at each reading, seen from the one before it.

    The first reading of all advances by nothing. A fall to less than half is a reset: the counter
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


def _spans(times: Sequence[int]) -> list[tuple[int, int]]:
    width_ms = FIVE_MINUTES * 60_000
    cuts = [i for i in range(1, len(times)) if times[i] // width_ms != times[i - 1] // width_ms]
    return list(pairwise([0, *cuts, len(times)]))
