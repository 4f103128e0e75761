"""One complete read of a meter: its identity and its values."""

from dataclasses import dataclass

from gateway_bridge.commands.probe import Probe
from gateway_bridge.meter.identity import identify
from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import Identity, Layout, PolledMeter
from gateway_bridge.modbus.errors import MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import HOLDING, REFUSED
from gateway_bridge.models import CODE_REGISTERS, METER_CODES, MODELS
from gateway_bridge.models.inversion import turned
from gateway_bridge.site.site import Gateway, Meter


@dataclass(frozen=True, slots=True)
class MeterRead:
    """The identity of a meter, its finite values, the quantities and blocks that were read."""

    identity: Identity
    values: dict[str, float]
    requested: tuple[str, ...]
    blocks: tuple[Block, ...]

    @property
    def missing(self) -> list[str]:
        """The quantities whose values are not numbers."""
        return [name for name in self.requested if name not in self.values]


async def read_meter(probe: Probe, meter: Meter, gateway: Gateway) -> MeterRead:
    """Read the configured quantities of a meter, in blocks that it accepts.

    Raises the errors of the bridge's transport: MeterTimeout, MeterFault, GatewayError.
    """

    async def read(address: int, count: int, function: int) -> bytes:
        return await probe.read(meter.unit, address, count, function)

    polled = PolledMeter(meter, gateway.cost)
    polled.introduce(await identify(meter.model, read))
    values: dict[str, float] = {}
    done: dict[Block, None] = {}
    while block := _next_block(polled, done):
        try:
            answer = await read(block.address, block.count, meter.model.functions[0])
        except MeterFault as error:
            if error.code not in REFUSED:
                raise
            polled.refused(block, str(error))
            if not polled.registers:
                raise
            continue
        polled.limits.answered(block)
        done[block] = None
        layout = Layout(block, polled.registers)
        values |= layout.decode(answer, low_word_first=polled.low_word_first)
    if meter.inverted:
        values = turned(values, signed_currents=meter.model.signed_currents)
    assert polled.state.identity
    return MeterRead(
        identity=polled.state.identity,
        values=values,
        requested=tuple(polled.registers),
        blocks=tuple(done),
    )


async def reported_model(probe: Probe, unit: int) -> tuple[str | None, int | None]:
    """Return the name of the model that a meter reports, and its code; None for what is unknown."""
    code = None
    for register in CODE_REGISTERS:
        try:
            answer = await probe.read(unit, register, 1, HOLDING)
        except MeterTimeout:
            break
        except MeterFault:
            continue
        code = int.from_bytes(answer, "big")
        if name := METER_CODES.get((register, code)):
            return name, code
    return None, code


def differs(meter: Meter, reported: str | None) -> str | None:
    """Return the title of the model that a meter reports, if it is not that of the settings.

    Some models report none, or the code of another one of their maker.
    """
    if reported in (None, meter.model.name):
        return None
    assert reported
    known = MODELS.get(reported)
    same_maker = known is None or known.maker == meter.model.maker
    if meter.model.code_register is None and same_maker:
        return None
    return known.title if known else reported


def _next_block(polled: PolledMeter, done: dict[Block, None]) -> Block | None:
    return next((block for block in (*polled.live, *polled.slow) if block not in done), None)
