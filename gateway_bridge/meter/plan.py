"""Blocks: which registers to ask for together, what that costs, and what the answer says. Pure.

The line is the bottleneck. A request costs a fixed time (its own bytes, the meter's turnaround,
the gateway's pause) and a little for each register, so that reading across unwanted registers
is often cheaper than asking twice.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway_bridge.models.line_cost import LineCost

REGISTERS_PER_VALUE = 2


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A run of registers read with one request: where it starts and how many it takes in."""

    address: int
    count: int

    @property
    def end(self) -> int:
        """The first register after the block."""
        return self.address + self.count


def plan_blocks(
    addresses: Iterable[int],
    cost: LineCost,
    limit: int,
    together: Iterable[int] = (),
    allowed: Callable[[Block], bool] = lambda _block: True,
) -> tuple[Block, ...]:
    """Return the cheapest blocks of at most `limit` registers that cover all float32 `addresses`.

    Exact, by dynamic programming over the sorted addresses; of equally cheap plans the one with
    fewer requests. Those `together` share one block where one can hold them, so that they are
    of the same moment. `allowed` may forbid blocks; a single value is never forbidden.
    """
    wanted = sorted(set(addresses))
    uncut = _uncut(wanted, set(together), limit)
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    for last, address in enumerate(wanted):
        end = address + REGISTERS_PER_VALUE
        options = []
        for first in range(last, -1, -1):
            block = Block(wanted[first], end - wanted[first])
            if block.count > limit:
                break
            if first in uncut or not (first == last or allowed(block)):
                continue
            before_ms, requests, _ = best[first]
            options.append((before_ms + cost.request_ms(block.count), requests + 1, first))
        best.append(min(options, default=(math.inf, 0, last)))
    return _walk_back(best, wanted)


def decode(
    answer: bytes, block: Block, registers: Mapping[str, int], *, low_word_first: bool = False
) -> dict[str, float]:
    """Return what a block's answer says: {quantity: value}, without what is not a finite number."""
    if low_word_first:
        answer = swap_words(answer)
    values = struct.unpack(f">{block.count // REGISTERS_PER_VALUE}f", answer)
    begin, end = block.address, block.end
    return {
        name: value
        for name, address in registers.items()
        if begin <= address < end
        and math.isfinite(value := values[(address - begin) // REGISTERS_PER_VALUE])
    }


def swap_words(answer: bytes) -> bytes:
    """Return the answer with the two registers of each value exchanged."""
    words = struct.unpack(f">{len(answer) // 2}H", answer)
    swapped = [word for pair in zip(words[1::2], words[::2], strict=True) for word in pair]
    return struct.pack(f">{len(words)}H", *swapped)


def _uncut(wanted: list[int], together: set[int], limit: int) -> set[int]:
    """Return the positions before which no block may begin, to keep `together` in one."""
    places = [place for place, address in enumerate(wanted) if address in together]
    if not places:
        return set()
    width = wanted[places[-1]] + REGISTERS_PER_VALUE - wanted[places[0]]
    return set(range(places[0] + 1, places[-1] + 1)) if width <= limit else set()


def _walk_back(best: list[tuple[float, int, int]], wanted: list[int]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    place = len(wanted)
    while place:
        first = best[place][2]
        end = wanted[place - 1] + REGISTERS_PER_VALUE
        blocks.append(Block(wanted[first], end - wanted[first]))
        place = first
    return tuple(reversed(blocks))
