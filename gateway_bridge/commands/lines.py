"""Lines: getting through to a meter, in the framing its gateway speaks, and reading it once."""

from dataclasses import dataclass

from gateway_bridge.commands.probe import Outcome, Probe
from gateway_bridge.meter.identity import Identity, identify
from gateway_bridge.meter.plan import Block, Layout
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.modbus.connection import CLOSED_AT_ONCE, FRAMING_NAMES, SLACK_S
from gateway_bridge.modbus.errors import GatewayError, MeterFault, MeterTimeout
from gateway_bridge.modbus.frames import REFUSED, SMALLEST_READ, Framing
from gateway_bridge.models.inversion import turned
from gateway_bridge.site.site import Gateway, Meter

DOCTOR = "`python -m gateway_bridge doctor` finds out why"


@dataclass(frozen=True, slots=True)
class MeterRead:
    """What a meter has said: who it is, its finite values, what it was asked for."""

    identity: Identity
    values: dict[str, float]
    asked: tuple[str, ...]
    blocks: tuple[Block, ...]


def framings(gateway: Gateway) -> tuple[Framing, ...]:
    """Return how the gateway may speak, by the settings."""
    if gateway.serial:
        return ("rtu",)
    return ("tcp", "rtu") if gateway.framing == "auto" else (gateway.framing,)


def timeout_s(gateway: Gateway) -> float:
    """Return how long an answer may take: as set, and the line's own time for a long one."""
    longest = max((meter.model.limit for meter in gateway.meters), default=80)
    return max(gateway.timeout_s, gateway.cost.request_ms(longest) / 1000 + SLACK_S)


async def open_line(gateway: Gateway, unit: int) -> Probe:
    """Return a probe in the framing in which a unit answers.

    Raises GatewayError where there is no way to the gateway, MeterTimeout where nothing answers.
    """
    tried, closed = [], True
    for framing in framings(gateway):
        probe = Probe(gateway.where, framing, timeout_s=timeout_s(gateway))
        try:
            await probe.open()
        except GatewayError as error:
            raise GatewayError(f"{gateway.address}: {error}") from error
        heard = await probe.ask(unit, 0, SMALLEST_READ)
        if heard.of_a_meter or heard.outcome is Outcome.EXCEPTION:
            return probe
        probe.close()
        closed = closed and heard.outcome is Outcome.CLOSED
        tried.append("RTU" if gateway.serial else FRAMING_NAMES[framing])
    if closed:
        raise GatewayError(f"{gateway.address}: {CLOSED_AT_ONCE}")
    raise MeterTimeout(
        f"unit {unit} at {gateway.address}: no answer in {' or '.join(tried)}; {DOCTOR}"
    )


async def read_meter(probe: Probe, meter: Meter, gateway: Gateway) -> MeterRead:
    """Return all that is wanted of a meter, in the blocks it allows.

    Raises as the bridge's transport does: MeterTimeout, MeterFault, GatewayError.
    """

    async def ask(address: int, count: int, function: int) -> bytes:
        return await probe.read(meter.unit, address, count, function)

    polled = PolledMeter(meter, gateway.cost)
    polled.introduce(await identify(meter.model, ask))
    values: dict[str, float] = {}
    done: dict[Block, None] = {}
    while block := _next_block(polled, done):
        try:
            answer = await ask(block.address, block.count, meter.model.functions[0])
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
    assert polled.state.identity
    return MeterRead(
        identity=polled.state.identity,
        values=(
            turned(values, signed_currents=meter.model.signed_currents)
            if meter.inverted
            else values
        ),
        asked=tuple(polled.registers),
        blocks=tuple(done),
    )


def _next_block(polled: PolledMeter, done: dict[Block, None]) -> Block | None:
    return next((block for block in (*polled.live, *polled.slow) if block not in done), None)
