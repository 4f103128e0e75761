"""Limits: which blocks a meter refuses, learnt from its exceptions. Pure.

By the manual an SDM630 answers 80 registers at once. Some refuse more than 50, 20 or 10, and some
models lack a register that others have. So a refused block is asked for in smaller ones, down to
single values; a value that is refused alone does not exist there.
"""

from dataclasses import dataclass, field

from gateway_bridge.meter.plan import REGISTERS_PER_VALUE, Block

STEPS = (80, 50, 20, 10, 2)
REFUSALS = 2


@dataclass(slots=True)
class Limits:
    """What one meter has refused, and what its blocks must therefore keep to."""

    by_manual: int = STEPS[0]
    absent: set[int] = field(default_factory=set)
    """Addresses that were refused alone."""
    highest: int = field(init=False)
    """How many registers at once it is worth asking for."""
    known: set[Block] = field(default_factory=set)
    """Blocks that were answered."""
    _answered: int = 0
    _refusals: dict[Block, int] = field(default_factory=dict)
    _regions: list[tuple[Block, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.highest = self.by_manual

    def allows(self, block: Block) -> bool:
        """Tell whether a block is worth asking for, by what is known."""
        if block.count > self.highest:
            return False
        if any(_overlap(block, Block(address, REGISTERS_PER_VALUE)) for address in self.absent):
            return False
        return all(
            block.count <= count or not _overlap(block, region) for region, count in self._regions
        )

    def learns_of(self, block: Block) -> bool:
        """Tell whether a refusal says what the meter can; not where it has answered this before."""
        return block not in self.known

    def forget_answers(self) -> None:
        """Learn of every refusal from now on: it may be another meter, or another gateway."""
        self.known.clear()
        self._answered = 0

    def answered(self, block: Block) -> None:
        """Take note of a block that was answered."""
        self.known.add(block)
        self._answered = max(self._answered, block.count)
        self._refusals.pop(block, None)

    def refused(self, block: Block) -> bool:
        """Take note of a block that the meter refused with exception 02 or 03.

        Once may be an accident; True where it is enough to change the plan.
        """
        self._refusals[block] = self._refusals.get(block, 0) + 1
        if self._refusals[block] < REFUSALS:
            return False
        self._refusals.clear()
        self._learn(block)
        return True

    def _learn(self, block: Block) -> None:
        if block.count <= REGISTERS_PER_VALUE:
            # That one value explains what was refused around it: longer blocks get a new chance.
            self.absent.add(block.address)
            self.highest = self.by_manual
            self._regions = [
                (region, count) for region, count in self._regions if not _overlap(region, block)
            ]
            return
        lower = next(step for step in STEPS if step < block.count)
        if block.count > self._answered:
            self.highest = min(self.highest, lower)
        else:  # it answers as many elsewhere: something inside this block is missing
            self._regions.append((block, lower))


def _overlap(one: Block, other: Block) -> bool:
    return one.address < other.end and other.address < one.end
