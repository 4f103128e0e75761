"""Identity: what a meter reports about itself: serial number, wiring, word order."""

from collections.abc import Awaitable, Callable

from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import Identity, Layout
from gateway_bridge.modbus.errors import MeterFault
from gateway_bridge.modbus.frames import HOLDING
from gateway_bridge.models import MeterModel
from gateway_bridge.models.model import Register

LOWEST_HERTZ, HIGHEST_HERTZ = 45.0, 65.0

Read = Callable[[int, int, int], Awaitable[bytes]]
"""Reads (address, count, function) from a meter; raises as Transport.read does."""


async def identify(model: MeterModel, read: Read, *, briefly: bool = False) -> Identity:
    """Read the identity of a meter; what it refuses to return stays None.

    `briefly` reads only what every meter can return: some are silent to function 3. Nothing that
    the model lacks is read.

    Where a menu of the meter decides on the word order: with its words exchanged a system type of
    3, or 50 Hz, reads as next to nothing, so the order shows. The three requests then alternate
    between the two functions, so that an answer given to the wrong one of them shows too. Raises
    MeterTimeout, GatewayError and (for nonsense only) MeterFault.
    """
    frequency = model.registers.get("frequency") if model.word_order is None else None
    kind = None if briefly else model.system_type
    serial = None if briefly else model.serial_number
    number = await _answer(read, serial, HOLDING)
    hertz = await _answer(read, frequency, model.functions[0])
    system_type = await _answer(read, kind, HOLDING)
    fixed = model.word_order == "low-first"
    low_word_first: bool | None = fixed
    if model.word_order is None:
        low_word_first = _order(kind, system_type, model.system_types.__contains__)
        if low_word_first is None:
            low_word_first = _order(frequency, hertz, _is_frequency)
    wiring = _number(kind, system_type, low_word_first=bool(low_word_first))
    return Identity(
        # The menu decides on the order of float values only: the serial number is not one.
        serial=_serial(serial, number, low_word_first=fixed),
        wiring=None if wiring is None else model.system_types.get(wiring),
        low_word_first=bool(low_word_first),
    )


async def _answer(read: Read, register: Register | None, function: int) -> bytes | None:
    """Return what a register answers; None where the meter has none, or refuses."""
    if register is None:
        return None
    try:
        return await read(register.address, register.count, function)
    except MeterFault as error:
        if error.code is None:
            raise
        return None


def _order(
    register: Register | None, answer: bytes | None, makes_sense: Callable[[float], bool]
) -> bool | None:
    """Return whether an answer makes sense with the low word first; None where it never does."""
    for low_word_first in (False, True):
        number = _number(register, answer, low_word_first=low_word_first)
        if number is not None and makes_sense(number):
            return low_word_first
    return None


def _is_frequency(value: float) -> bool:
    return LOWEST_HERTZ < value < HIGHEST_HERTZ


def _serial(register: Register | None, answer: bytes | None, *, low_word_first: bool) -> str | None:
    """Return a serial number; some meters fill the registers of a text with NUL."""
    if register is None or answer is None:
        return None
    if register.type == "text":
        return answer.replace(b"\0", b"").decode("ascii", "replace").strip() or None
    return f"{_number(register, answer, low_word_first=low_word_first):.0f}"


def _number(
    register: Register | None, answer: bytes | None, *, low_word_first: bool
) -> float | None:
    if register is None or answer is None:
        return None
    layout = Layout(Block(register.address, register.count), {"": register})
    return layout.decode(answer, low_word_first=low_word_first).get("")
