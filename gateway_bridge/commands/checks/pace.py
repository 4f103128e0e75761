"""Other clients, and the pace of the line: a gateway that answers faster than any wire lies."""

from gateway_bridge.address import BAUDS, SerialLine
from gateway_bridge.commands.checks.line import Line
from gateway_bridge.commands.findings import Finding, Tell
from gateway_bridge.commands.probe import Heard, Outcome, Probe
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import SMALLEST_READ
from gateway_bridge.site.site import Gateway

FASTEST_BAUD = 38_400
LONG = 60
"""Registers of a long request: what every model of ours answers at once."""
REPEATS = 4


async def check_clients(gateway: Gateway, line: Line, tell: Tell) -> None:
    """Connect once more beside the first: some gateways serve one client only."""
    second = Probe(gateway.where, line.probe.framing, timeout_s=line.probe.timeout_s)
    try:
        await second.open()
        heard = await second.ask(line.unit, 0, SMALLEST_READ)
    except GatewayError:
        heard = Heard(Outcome.CLOSED, 0.0)
    finally:
        second.close()
    still = await line.probe.ask(line.unit, 0, SMALLEST_READ)
    if still.outcome is Outcome.CLOSED:
        await line.probe.open()
    if heard.of_a_meter and still.of_a_meter:
        tell(Finding("clients", "ok", "the gateway serves several clients"))
    else:
        tell(
            Finding(
                "clients",
                "look",
                "the gateway serves one client at a time",
                "let nothing else poll it while the bridge runs; not even this command",
            )
        )


async def check_pace(gateway: Gateway, line: Line, tell: Tell) -> None:
    """Compare what answers take with what the wire needs."""
    short = await _fastest(line, SMALLEST_READ)
    long = await _fastest(line, LONG)
    if short is None or long is None:
        if short is not None and not await _refuses(line):
            tell(_only_short(line))
        return
    wire_s = (8 + 5 + 2 * LONG) * 10 / FASTEST_BAUD
    if long < wire_s and not gateway.serial:
        tell(
            Finding(
                "cache",
                "fault",
                f"{LONG} registers come in {1000 * long:.0f} ms, faster than any wire carries them"
                f" ({1000 * wire_s:.0f} ms): the gateway answers from its memory",
                "switch its storage function off (ZLAN, Waveshare: More Advanced Settings; 'Simple"
                " Modbus TCP' instead of 'storage'), or values and times are those of its memory",
            )
        )
        return
    tell(Finding("speed", "ok", f"{LONG} registers take {1000 * long:.0f} ms"))
    _compare_baud(gateway, (long - short) / (2 * (LONG - SMALLEST_READ)), tell)


async def _fastest(line: Line, count: int) -> float | None:
    """Return the shortest of several answers; None where there is none."""
    times = []
    for _ in range(REPEATS):
        heard = await line.probe.ask(line.unit, 0, count)
        if heard.outcome is Outcome.ANSWER:
            times.append(heard.took_s)
        elif heard.outcome is Outcome.CLOSED:
            await line.probe.open()
        elif not times:
            return None
    return min(times, default=None)


async def _refuses(line: Line) -> bool:
    """Tell whether the meter says that so many registers are too many: then it is no fault."""
    heard = await line.probe.ask(line.unit, 0, LONG)
    return heard.outcome is Outcome.EXCEPTION


def _only_short(line: Line) -> Finding:
    return Finding(
        "speed",
        "fault",
        f"unit {line.unit} answers {SMALLEST_READ} registers, but not {LONG}",
        "raise the gateway's waiting time for the RS485 side (often called command time-out or max"
        " wait) to 500 ms or more",
    )


def _compare_baud(gateway: Gateway, byte_s: float, tell: Tell) -> None:
    if byte_s <= 0 or isinstance(gateway.where, SerialLine):
        return
    measured = 10 / byte_s
    baud = min(BAUDS, key=lambda each: max(each / measured, measured / each))
    if not 0.7 < measured / baud < 1.3 or baud == gateway.cost.baud:
        return
    tell(
        Finding(
            "speed",
            "look",
            f"the line runs at about {baud} baud, the settings say {gateway.cost.baud}",
            f"set MODBUS_BAUD={baud} (baud = {baud} in meters.toml), so that the plan is right",
        )
    )
