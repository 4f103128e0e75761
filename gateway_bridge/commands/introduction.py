"""Introduction: who a meter is of which only the unit id is known."""

import struct
from dataclasses import dataclass

from gateway_bridge.commands.probe import Probe
from gateway_bridge.meter.identity import HIGHEST_HERTZ, LOWEST_HERTZ, SYSTEM_TYPES
from gateway_bridge.meter.plan import REGISTERS_PER_VALUE, swap_words
from gateway_bridge.modbus.errors import MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import HOLDING, INPUT, Framing
from gateway_bridge.models import METER_CODES
from gateway_bridge.models.model import METER_CODE

_FREQUENCY, _SYSTEM_TYPE, _SERIAL_NUMBER = 0x46, 0x0A, 0xFC00


@dataclass(frozen=True, slots=True)
class Found:
    """A meter that answered, and what it said of itself."""

    unit: int
    framing: Framing
    took_s: float
    serial: str | None = None
    code: int | None = None
    wiring: str | None = None
    volts: float | None = None
    low_word_first: bool = False

    @property
    def model(self) -> str | None:
        """Which model the meter says it is; None where it does not, or is not known."""
        return None if self.code is None else METER_CODES.get(self.code)


async def introduced(probe: Probe, unit: int, took_s: float, volts: bytes) -> Found:
    """Ask a meter that is there who it is; what it does not say stays open."""

    async def said(address: int, count: int, function: int) -> bytes | None:
        try:
            return await probe.read(unit, address, count, function)
        except (MeterFault, MeterTimeout):
            return None

    serial = await said(_SERIAL_NUMBER, REGISTERS_PER_VALUE, HOLDING)
    code = await said(METER_CODE, 1, HOLDING)
    kind = await said(_SYSTEM_TYPE, REGISTERS_PER_VALUE, HOLDING)
    hertz = await said(_FREQUENCY, REGISTERS_PER_VALUE, INPUT)
    low_word_first = hertz is not None and (
        not _is_frequency(hertz) and _is_frequency(swap_words(hertz))
    )
    if low_word_first:
        volts, kind = swap_words(volts), swap_words(kind) if kind else None
    return Found(
        unit=unit,
        framing=probe.framing,
        took_s=took_s,
        serial=str(int.from_bytes(serial, "big")) if serial else None,
        code=int.from_bytes(code, "big") if code else None,
        wiring=SYSTEM_TYPES.get(_float(kind)) if kind else None,
        volts=_float(volts) if volts else None,
        low_word_first=low_word_first,
    )


def _is_frequency(answer: bytes) -> bool:
    return LOWEST_HERTZ < _float(answer) < HIGHEST_HERTZ


def _float(answer: bytes) -> float:
    return float(struct.unpack(">f", answer)[0])
