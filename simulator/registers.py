"""The registers of a meter as Modbus shows them: which may be read, and their bytes."""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from gateway_bridge.models import MeterModel
from gateway_bridge.models.model import METER_CODE
from simulator.frames import exception

WordOrder = Literal["high-first", "low-first"]

READ_HOLDING, READ_INPUT = 3, 4
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
LARGEST_HOLE = 32
"""Undefined registers between two defined ones that an SDM630 still answers, with 0."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a meter accepts: a read of even start and length, within a block, up to a limit."""

    model: MeterModel
    limit: int
    strict_holes: bool = False

    def refusal(self, function: int, address: int, count: int, length: int) -> int | None:
        """Return the exception code for a request, None if it is answered."""
        if function not in (READ_HOLDING, READ_INPUT):
            return ILLEGAL_FUNCTION
        if length != 5 or count == 0:
            return ILLEGAL_VALUE
        if (function, address, count) == (READ_HOLDING, METER_CODE, 1):
            return None
        if address % 2 or count % 2 or count > self.limit:
            return ILLEGAL_ADDRESS
        return None

    def readable(self, address: int, count: int) -> bool:
        """Tell whether these input registers lie in one block."""
        hole = 0 if self.strict_holes else LARGEST_HOLE
        return any(
            begin <= address and address + count <= end
            for begin, end in blocks(self.model.registers.values(), hole)
        )


def blocks(addresses: Iterable[int], hole: int) -> list[tuple[int, int]]:
    """Return the (begin, end) of runs of two-register values with holes up to `hole`."""
    found: list[tuple[int, int]] = []
    for address in sorted(set(addresses)):
        if found and address - found[-1][1] <= hole:
            found[-1] = (found[-1][0], address + 2)
        else:
            found.append((address, address + 2))
    return found


def pack(value: float, order: WordOrder) -> bytes:
    """Return a value as a float32 in two registers; what is too large for one is infinite."""
    try:
        packed = struct.pack(">f", value)
    except OverflowError:
        packed = struct.pack(">f", math.copysign(math.inf, value))
    return packed if order == "high-first" else packed[2:] + packed[:2]


def input_answer(image: Mapping[int, float], address: int, count: int, order: WordOrder) -> bytes:
    """Return the PDU that answers a read of input registers; undefined ones are 0."""
    values = (image.get(at, 0.0) for at in range(address, address + count, 2))
    packed = b"".join(pack(value, order) for value in values)
    return bytes([READ_INPUT, len(packed)]) + packed


def holding_answer(holding: Mapping[int, bytes], address: int, count: int) -> bytes:
    """Return the PDU that answers a read of holding registers, or exception 2."""
    asked = range(address, address + count, 2)
    packed = b"".join(holding.get(at, b"") for at in asked)
    if len(packed) != 2 * count:
        return exception(READ_HOLDING, ILLEGAL_ADDRESS)
    return bytes([READ_HOLDING, len(packed)]) + packed
