"""Plan: which registers of a meter to read together, and what it refuses. Pure.

The line is the bottleneck. A request costs a fixed time (its own bytes, the meter's turnaround,
the gateway's pause) and a little for each register, so that reading across unwanted registers
is often cheaper than a second request.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.models.model import Register

STEPS = (80, 50, 20, 10, 2, 1)
"""Numbers of registers to try one after another with a meter that refuses long requests."""
REFUSALS = 2
"""Refusals of the same block that prove a limit; a single one may be an accident."""


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A run of registers read with one request: its first register and their number."""

    address: int
    count: int

    @property
    def end(self) -> int:
        """The first register after the block."""
        return self.address + self.count

    def holds(self, register: Register) -> bool:
        """Return whether all of a value is in the block."""
        return self.address <= register.address and register.end <= self.end


def plan_blocks(
    registers: Iterable[Register],
    cost: LineCost,
    limit: int,
    together: Iterable[Register] = (),
    allowed: Callable[[Block], bool] = lambda _block: True,
) -> tuple[Block, ...]:
    """Return the cheapest blocks of at most `limit` registers that cover all `registers`.

    Exact, by dynamic programming over the sorted values; of equally cheap plans the one with
    fewer requests. Those `together` share one block where one can hold them, so that they are
    of the same moment. `allowed` may forbid blocks; a single value is never forbidden.
    """
    values = _outermost(registers)
    uncut = _uncut(values, list(together), limit)
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    begins = [value.address for value in values]
    for last, value in enumerate(values):
        options = []
        end = value.end
        for first in range(last, -1, -1):
            count = end - begins[first]
            if first < last and count > limit:
                break
            if first in uncut or not (first == last or allowed(Block(begins[first], count))):
                continue
            before_ms, requests, _ = best[first]
            options.append((before_ms + cost.request_ms(count), requests + 1, first))
        best.append(min(options, default=(math.inf, 0, last)))
    return _walk_back(best, values)


def _outermost(registers: Iterable[Register]) -> list[Register]:
    """Return the values in the order of their addresses, without those inside another one."""
    found: list[Register] = []
    for register in sorted(set(registers), key=lambda each: (each.address, -each.end)):
        if not found or register.end > found[-1].end:
            found.append(register)
    return found


def _uncut(values: list[Register], together: list[Register], limit: int) -> set[int]:
    """Return the positions before which no block may begin, to keep `together` in one."""
    places = [place for place, value in enumerate(values) if _holds_any(value, together)]
    if not places:
        return set()
    width = values[places[-1]].end - values[places[0]].address
    return set(range(places[0] + 1, places[-1] + 1)) if width <= limit else set()


def _holds_any(value: Register, others: list[Register]) -> bool:
    begin, end = value.address, value.end
    return any(begin <= other.address and other.end <= end for other in others)


def _walk_back(best: list[tuple[float, int, int]], values: list[Register]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    place = len(values)
    while place:
        first = best[place][2]
        blocks.append(Block(values[first].address, values[place - 1].end - values[first].address))
        place = first
    return tuple(reversed(blocks))


@dataclass(slots=True)
class Limits:
    """What one meter refuses, learned from its exceptions, and what its blocks must keep to.

    By the manual an SDM630 answers 80 registers at once. Some refuse more than 50, 20 or 10, and
    some models lack a register that others have. So a refused block is read in smaller ones, down
    to single values; a value that is refused alone does not exist there.
    """

    by_manual: int = STEPS[0]
    absent: set[Block] = field(default_factory=set)
    """Single values that were refused."""
    highest: int = field(init=False)
    """The most registers that are worth requesting at once."""
    known: set[Block] = field(default_factory=set)
    """Blocks that the meter answered."""
    _answered: int = 0
    _refusals: dict[Block, int] = field(default_factory=dict)
    _regions: list[tuple[Block, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.highest = self.by_manual

    def allows(self, block: Block) -> bool:
        """Return whether a block is worth requesting, by what is known."""
        if block.count > self.highest:
            return False
        if any(_overlap(block, value) for value in self.absent):
            return False
        return all(
            block.count <= count or not _overlap(block, region) for region, count in self._regions
        )

    def lacks(self, register: Register) -> bool:
        """Return whether the meter has refused a value alone."""
        return Block(register.address, register.count) in self.absent

    def learns_of(self, block: Block) -> bool:
        """Return whether a refusal shows a limit; not where the meter has answered this before."""
        return block not in self.known

    def forget_answers(self) -> None:
        """Learn from every refusal again: it may be another meter, or another gateway."""
        self.known.clear()
        self._answered = 0

    def answered(self, block: Block) -> None:
        """Record a block that the meter answered."""
        self.known.add(block)
        self._answered = max(self._answered, block.count)
        self._refusals.pop(block, None)

    def refused(self, block: Block, *, alone: bool) -> bool:
        """Record a block that the meter refused with exception 02 or 03.

        `alone` where it is one value only. One refusal may be an accident; return whether it is
        enough to change the plan.
        """
        self._refusals[block] = self._refusals.get(block, 0) + 1
        if self._refusals[block] < REFUSALS:
            return False
        self._refusals.clear()
        if alone:
            self._learn_absent(block)
        else:
            self._learn_shorter(block)
        return True

    def _learn_absent(self, value: Block) -> None:
        """Leave a value out; it explains what was refused around it, so try longer blocks again."""
        self.absent.add(value)
        self.highest = self.by_manual
        self._regions = [
            (region, count) for region, count in self._regions if not _overlap(region, value)
        ]

    def _learn_shorter(self, block: Block) -> None:
        lower = next(step for step in STEPS if step < block.count)
        if block.count > self._answered:
            self.highest = min(self.highest, lower)
        else:  # it answers as many elsewhere: something inside this block is missing
            self._regions.append((block, lower))


def _overlap(one: Block, other: Block) -> bool:
    return one.address < other.end and other.address < one.end
