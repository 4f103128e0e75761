"""Blocks: which registers to read together, what that costs, and what the answer says. Pure.

The line is the bottleneck. A request costs a fixed time (its own bytes, the meter's turnaround,
the gateway's pause) and a little for each register, so that reading across unwanted registers
is often cheaper than a second request.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter

from gateway_bridge.models.line_cost import LineCost
from gateway_bridge.models.model import STRUCT_CODES, Register


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A run of registers read with one request: where it starts and how many it takes in."""

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


class Layout:
    """Which quantities are in a block, and how to read them from its answer."""

    def __init__(self, block: Block, registers: Mapping[str, Register]) -> None:
        self.registers = {name: each for name, each in registers.items() if block.holds(each)}
        elements = {
            element.address: element
            for each in self.registers.values()
            for element in each.elements()
        }
        in_order = [elements[address] for address in sorted(elements)]
        places = {element.address: place for place, element in enumerate(in_order)}
        self._struct = _struct(block, in_order)
        self._words = struct.Struct(f">{block.count}H")
        self._exchange = _exchange(block, in_order)
        self._floats: list[tuple[str, int]] = []
        self._numbers: list[tuple[str, slice, float, int | None]] = []
        for name, each in self.registers.items():
            place = places[each.address]
            if each.is_plain_float:
                self._floats.append((name, place))
            else:
                where = slice(place, place + each.parts)
                self._numbers.append((name, where, each.per_unit, each.missing))

    def decode(self, answer: bytes, *, low_word_first: bool = False) -> dict[str, float]:
        """Return {quantity: value} without those that are missing or not a finite number."""
        if low_word_first and self._exchange:
            answer = self._words.pack(*self._exchange(self._words.unpack(answer)))
        raw = self._struct.unpack(answer)
        values = {name: raw[at] for name, at in self._floats if math.isfinite(raw[at])}
        for name, where, per_unit, missing in self._numbers:
            parts = raw[where]
            if missing not in parts and math.isfinite(total := sum(parts) / per_unit):
                values[name] = total
        return values


def _struct(block: Block, elements: Iterable[Register]) -> struct.Struct:
    """Return what unpacks the elements of a block, and skips what is between them."""
    layout, reached = ">", block.address
    for element in elements:
        layout += f"{2 * (element.address - reached)}x{STRUCT_CODES[element.type]}"
        reached = element.end
    return struct.Struct(f"{layout}{2 * (block.end - reached)}x")


def _exchange(
    block: Block, elements: Iterable[Register]
) -> Callable[[tuple[int, ...]], tuple[int, ...]] | None:
    """Return what reverses the registers of each element; None where each has one only."""
    order = list(range(block.count))
    for element in elements:
        begin, end = element.address - block.address, element.end - block.address
        order[begin:end] = reversed(order[begin:end])
    return None if order == sorted(order) else itemgetter(*order)


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
    block = Block(value.address, value.count)
    return any(block.holds(other) for other in others)


def _walk_back(best: list[tuple[float, int, int]], values: list[Register]) -> tuple[Block, ...]:
    blocks: list[Block] = []
    place = len(values)
    while place:
        first = best[place][2]
        blocks.append(Block(values[first].address, values[place - 1].end - values[first].address))
        place = first
    return tuple(reversed(blocks))
