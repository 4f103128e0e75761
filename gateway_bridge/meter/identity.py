"""Identity: what a meter says of itself: serial number, wiring, word order."""

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway_bridge.meter.plan import REGISTERS_PER_VALUE, swap_words
from gateway_bridge.modbus.errors import MeterFault
from gateway_bridge.modbus.frames import HOLDING, INPUT
from gateway_bridge.models import MeterModel

SYSTEM_TYPES = {1.0: "1p2w", 2.0: "3p3w", 3.0: "3p4w"}
LOWEST_HERTZ, HIGHEST_HERTZ = 45.0, 65.0

Ask = Callable[[int, int, int], Awaitable[bytes]]
"""Asks a meter for (address, count, function); raises as Transport.read does."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a meter is; None where it does not say."""

    serial: str | None = None
    wiring: str | None = None
    low_word_first: bool = False


async def identify(model: MeterModel, ask: Ask, *, briefly: bool = False) -> Identity:
    """Ask a meter who it is; what it refuses to say is left open.

    `briefly` asks only for what any meter can answer: some are silent to function 3.

    With its words exchanged a system type of 3, or 50 Hz, reads as next to nothing: so the
    order shows. The three requests alternate between the two functions, so that an answer given
    to the wrong one of them shows too. Raises MeterTimeout, GatewayError and (for nonsense only)
    MeterFault.
    """
    number = await _said(ask, None if briefly else model.serial_number, HOLDING)
    hertz = await _said(ask, model.registers.get("frequency"), INPUT)
    system_type = await _said(ask, None if briefly else model.system_type, HOLDING)
    low_word_first = _low_word_first(system_type, SYSTEM_TYPES.__contains__)
    if low_word_first is None:
        low_word_first = _low_word_first(hertz, lambda value: LOWEST_HERTZ < value < HIGHEST_HERTZ)
    if low_word_first and system_type:
        system_type = swap_words(system_type)
    # The manuals let the order be chosen for float values only: the serial number is none.
    return Identity(
        serial=str(int.from_bytes(number, "big")) if number else None,
        wiring=SYSTEM_TYPES.get(_float(system_type)) if system_type else None,
        low_word_first=bool(low_word_first),
    )


async def _said(ask: Ask, address: int | None, function: int) -> bytes | None:
    """Return what a register says; None where the meter has none, or refuses."""
    if address is None:
        return None
    try:
        return await ask(address, REGISTERS_PER_VALUE, function)
    except MeterFault as error:
        if error.code is None:
            raise
        return None


def _low_word_first(answer: bytes | None, makes_sense: Callable[[float], bool]) -> bool | None:
    """Tell in which order an answer makes sense; None where it does in neither."""
    if answer is None:
        return None
    if makes_sense(_float(answer)):
        return False
    return True if makes_sense(_float(swap_words(answer))) else None


def _float(answer: bytes) -> float:
    return float(struct.unpack(">f", answer)[0])
