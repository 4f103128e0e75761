"""The registers of a meter as Modbus shows them: which may be read, and their bytes."""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gateway_bridge.models import MeterModel
from gateway_bridge.models.model import HOLDING, STRUCT_CODES, Register, WordOrder
from simulator.frames import Request

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
LARGEST_HOLE = 32
"""Undefined registers between two defined ones that an SDM630 still answers, with 0."""

Image = Mapping[Register, float | str]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a meter accepts: a read of aligned start and length, within a block, up to a limit."""

    model: MeterModel
    limit: int
    strict_holes: bool = False

    def refusal(self, function: int, address: int, count: int, length: int) -> int | None:
        """Return the exception code for a request, None if it may be answered."""
        if function not in (*self.model.functions, HOLDING):
            return ILLEGAL_FUNCTION
        if length != 5 or count == 0:
            return ILLEGAL_VALUE
        if self.asks_for_code(function, address, count):
            return None
        alignment = self.model.alignment
        if address % alignment or count % alignment or count > self.limit:
            return ILLEGAL_ADDRESS
        return None

    def asks_for_code(self, function: int, address: int, count: int) -> bool:
        """Return whether a request asks for the code of the model, which is read alone."""
        return (address, count) == (self.model.code_register, 1) and self.reads_holding(function)

    def reads_holding(self, function: int) -> bool:
        """Return whether a function reads holding registers."""
        return HOLDING in (function, *self.model.functions)

    def reads_values(self, function: int, address: int, count: int) -> bool:
        """Return whether a function reads values, and these lie in one block."""
        hole = 0 if self.strict_holes else LARGEST_HOLE
        values = self.model.registers.values()
        return function in self.model.functions and in_one_block(values, address, count, hole)


def in_one_block(registers: Iterable[Register], address: int, count: int, hole: int = 0) -> bool:
    """Return whether a run of registers with holes up to `hole` includes these."""
    return any(
        begin <= address and address + count <= end for begin, end in _blocks(registers, hole)
    )


def _blocks(registers: Iterable[Register], hole: int) -> list[tuple[int, int]]:
    """Return the (begin, end) of runs of values with holes up to `hole`."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted((register.address, register.end) for register in registers):
        if found and begin - found[-1][1] <= hole:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def encode(value: float | str, register: Register, order: WordOrder) -> bytes:
    """Return a value as the bytes of its registers."""
    if isinstance(value, str):
        return value.encode().ljust(2 * register.count, b"\0")[: 2 * register.count]
    number = value * register.per_unit
    packed = _float(number) if register.type == "float32" else _integer(number, register)
    if order == "high-first":
        return packed
    return b"".join(packed[at : at + 2] for at in range(len(packed) - 2, -1, -2))


def _float(number: float) -> bytes:
    """Return a float32; what is too large for one is infinite."""
    try:
        return struct.pack(">f", number)
    except OverflowError:
        return struct.pack(">f", math.copysign(math.inf, number))


def _integer(number: float, register: Register) -> bytes:
    """Return an integer; what is too large for it, or not a number, is missing."""
    bits = 16 * register.width
    signed = register.type.startswith("int")
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    missing = highest if register.missing is None else register.missing
    inside = math.isfinite(number) and lowest <= round(number) <= highest
    return struct.pack(f">{STRUCT_CODES[register.type]}", round(number) if inside else missing)


def answer(model: MeterModel, image: Image, request: Request, menu: WordOrder) -> bytes:
    """Return the PDU that answers a read; undefined registers are 0.

    The word order is the model's; where it has none, the menu's for its float values.
    """
    address, count = request.registers
    data = bytearray(2 * count)
    for register, value in image.items():
        begin, end = max(register.address, address), min(register.end, address + count)
        if begin < end:
            chosen = menu if register.type == "float32" else "high-first"
            packed = encode(value, register, model.word_order or chosen)
            inside = slice(2 * (begin - register.address), 2 * (end - register.address))
            data[2 * (begin - address) : 2 * (end - address)] = packed[inside]
    return bytes([request.function, len(data)]) + data
