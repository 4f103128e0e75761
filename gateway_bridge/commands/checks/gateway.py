"""Checks of the gateway: the number of clients, a cache, the speed of its line."""

from gateway_bridge.address import BAUDS
from gateway_bridge.commands.checks.findings import Finding
from gateway_bridge.commands.checks.line import Line
from gateway_bridge.commands.probe import Outcome, Probe, Response
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import SMALLEST_READ
from gateway_bridge.site.site import Gateway

FASTEST_BAUD = 38_400
LONG = 60
"""Number of registers of a long request; fewer where the model returns fewer at once."""
REPEATS = 4


async def check_clients(gateway: Gateway, line: Line) -> Finding:
    """Open a second connection: some gateways serve one client only."""
    second = Probe(gateway.where, line.probe.framing, timeout_s=line.probe.timeout_s)
    try:
        await second.open()
        response = await second.request(line.unit, 0, SMALLEST_READ)
    except GatewayError:
        response = Response(Outcome.CLOSED, 0.0)
    finally:
        second.close()
    first = await line.probe.request(line.unit, 0, SMALLEST_READ)
    if first.outcome is Outcome.CLOSED:
        await line.probe.open()
    if response.from_meter and first.from_meter:
        return Finding("clients", "ok", "the gateway serves several clients")
    return Finding(
        "clients",
        "warning",
        "the gateway serves one client at a time",
        "let no other client poll it while the bridge runs, not even this command",
    )


async def check_speed(gateway: Gateway, line: Line) -> list[Finding]:
    """Compare the response times with the speed of an RS485 line."""
    long = min(LONG, *(meter.model.limit for meter in gateway.meters if meter.unit == line.unit))
    short_s = await _fastest(line, SMALLEST_READ)
    long_s = await _fastest(line, long)
    if short_s is None:
        return []
    if long_s is None:
        return [] if await _rejects(line, long) else [_only_short(line, long)]
    wire_s = (8 + 5 + 2 * long) * 10 / FASTEST_BAUD
    if long_s < wire_s and not gateway.is_serial:
        return [
            Finding(
                "cache",
                "fault",
                f"{long} registers arrive in {1000 * long_s:.0f} ms, faster than any RS485 line"
                f" transmits them ({1000 * wire_s:.0f} ms): the gateway responds from its memory",
                "turn off its storage function (ZLAN, Waveshare: More Advanced Settings; 'Simple"
                " Modbus TCP' instead of 'storage'); otherwise values and times are those of its"
                " memory",
            )
        ]
    speed = Finding("speed", "ok", f"{long} registers take {1000 * long_s:.0f} ms")
    baud = _compare_baud(gateway, (long_s - short_s) / (2 * (long - SMALLEST_READ)))
    return [speed, baud] if baud else [speed]


async def _fastest(line: Line, count: int) -> float | None:
    """Return the shortest of several response times; None if there is no response."""
    times = []
    for _ in range(REPEATS):
        response = await line.probe.request(line.unit, 0, count)
        if response.outcome is Outcome.ANSWER:
            times.append(response.took_s)
        elif response.outcome is Outcome.CLOSED:
            await line.probe.open()
        elif not times:
            return None
    return min(times, default=None)


async def _rejects(line: Line, count: int) -> bool:
    """Return whether the meter rejects a long request with an exception, which is not a fault."""
    response = await line.probe.request(line.unit, 0, count)
    return response.outcome is Outcome.EXCEPTION


def _only_short(line: Line, count: int) -> Finding:
    return Finding(
        "speed",
        "fault",
        f"unit {line.unit} returns {SMALLEST_READ} registers, but not {count}",
        "raise the gateway's timeout for the RS485 side (often called command time-out or max wait)"
        " to 500 ms or more",
    )


def _compare_baud(gateway: Gateway, byte_s: float) -> Finding | None:
    if byte_s <= 0 or gateway.is_serial:
        return None
    measured = 10 / byte_s
    baud = min(BAUDS, key=lambda each: max(each / measured, measured / each))
    if not 0.7 < measured / baud < 1.3 or baud == gateway.cost.baud:
        return None
    return Finding(
        "speed",
        "warning",
        f"the line runs at about {baud} baud, but the settings say {gateway.cost.baud}",
        f"set MODBUS_BAUD={baud} (baud = {baud} in meters.toml), so that the plan is right",
    )
