"""Limits: which blocks a meter refuses, learned from its exceptions. Pure.

By the manual an SDM630 answers 80 registers at once. Some refuse more than 50, 20 or 10, and some
models lack a register that others have. So a refused block is asked for in smaller ones, down to
single values; a value that is refused alone does not exist there.
"""

from dataclasses import dataclass, field

from gateway_bridge.meter.plan import Block
from gateway_bridge.models.model import Register

STEPS = (80, 50, 20, 10, 2, 1)
REFUSALS = 2


@dataclass(slots=True)
class Limits:
    """What one meter has refused, and what its blocks must therefore keep to."""

    by_manual: int = STEPS[0]
    absent: set[Block] = field(default_factory=set)
    """Single values that were refused."""
    highest: int = field(init=False)
    """The number of registers at once that is worth asking for."""
    known: set[Block] = field(default_factory=set)
    """Blocks that the meter answered."""
    _answered: int = 0
    _refusals: dict[Block, int] = field(default_factory=dict)
    _regions: list[tuple[Block, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.highest = self.by_manual

    def allows(self, block: Block) -> bool:
        """Return whether a block is worth asking for, by what is known."""
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
