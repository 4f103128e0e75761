"""Introduction: who a meter is of which only the unit id is known."""

from dataclasses import dataclass

from gateway_bridge.commands.probe import Probe
from gateway_bridge.meter.identity import identify
from gateway_bridge.meter.plan import Block, Layout
from gateway_bridge.modbus.errors import MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import HOLDING, SMALLEST_READ, Framing
from gateway_bridge.models import CODE_REGISTERS, METER_CODES, MODELS, MeterModel

_NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A meter that answered, and what it reported about itself."""

    unit: int
    framing: Framing
    took_s: float
    serial: str | None = None
    model: str | None = None
    """The model the meter reports; None where it does not, or is not known."""
    code: int | None = None
    wiring: str | None = None
    volts: float | None = None
    low_word_first: bool = False


async def introduced(probe: Probe, unit: int, took_s: float, first: bytes) -> Found:
    """Ask a meter that answers who it is; `first` are its first registers.

    What it does not report stays open. A meter without a known code is asked as an SDM630 is.
    """

    async def ask(address: int, count: int, function: int) -> bytes:
        try:
            return await probe.read(unit, address, count, function)
        except (MeterFault, MeterTimeout) as error:
            raise MeterFault(str(error), _NO_ANSWER) from error

    register, code = await _code(probe, unit)
    name = METER_CODES.get((register, code)) if code is not None else None
    model = MODELS.get(name or "", MODELS["sdm630"])
    identity = await identify(model, ask)
    return Found(
        unit=unit,
        framing=probe.framing,
        took_s=took_s,
        serial=identity.serial,
        model=name,
        code=code,
        wiring=identity.wiring,
        volts=_volts(model, first, low_word_first=identity.low_word_first),
        low_word_first=identity.low_word_first,
    )


async def _code(probe: Probe, unit: int) -> tuple[int, int | None]:
    """Return a code register that the meter has, and what it answers there."""
    found: tuple[int, int | None] = (0, None)
    for register in CODE_REGISTERS:
        try:
            answer = await probe.read(unit, register, 1, HOLDING)
        except MeterTimeout:
            break
        except MeterFault:
            continue
        found = register, int.from_bytes(answer, "big")
        if found in METER_CODES:
            break
    return found


def _volts(model: MeterModel, first: bytes, *, low_word_first: bool) -> float | None:
    layout = Layout(Block(0, SMALLEST_READ), {"volts": model.probe})
    return layout.decode(first, low_word_first=low_word_first).get("volts") if first else None
