"""Checks of the way to the line: network, port, framing, and the cause if no meter responds."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway_bridge.address import TcpAddress
from gateway_bridge.commands.checks.findings import Finding
from gateway_bridge.commands.probe import Outcome, Probe, Response, timeout_s
from gateway_bridge.modbus.connection import FRAMING_NAMES
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import NO_ANSWER, SMALLEST_READ, Framing, other
from gateway_bridge.modbus.link import NotReached, resolve
from gateway_bridge.site.site import Gateway, Meter

USUAL_PORTS = (502, 4196, 8899, 20108, 26)
"""The Modbus port, and the factory settings of ZLAN, Elfin, USR and others."""
PORT_S = 0.5
PATIENCE = 3.0
"""Multiple of the timeout to wait for a response that may only be late."""
_CHECK_LINE = (
    "check the A and B wires (swap them once), that the gateway and the meters have the same baud"
    " rate, parity and stop bits, the unit ids in each meter's menu, and the meters' power supply"
)
_REACH = {
    "name": ("network", "check the spelling, or use the gateway's IP address"),
    "silent": (
        "network",
        "check the address (on the gateway's web page or in your router), the gateway's power and"
        " cable, and that this machine is in the same network",
    ),
    "unreachable": ("network", "check this machine's network and the gateway's address"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that responds: an open probe, and a unit id that responds to it."""

    probe: Probe
    unit: int


async def check_network(gateway: Gateway) -> list[Finding]:
    """Check that the gateway accepts connections, or that the serial device can be opened."""
    probe = Probe(gateway.where, "rtu")
    try:
        await probe.open()
    except NotReached as error:
        return await _unreachable(gateway, error)
    finally:
        probe.close()
    if gateway.is_serial:
        return [Finding("device", "ok", f"{gateway.address} can be opened")]
    return [Finding("network", "ok", f"{gateway.address} accepts connections")]


async def _unreachable(gateway: Gateway, error: NotReached) -> list[Finding]:
    if error.why == "closed":
        return [_serves_another_client(gateway)]
    if error.why == "refused" and isinstance(gateway.where, TcpAddress):
        text, remedy = f"{gateway.address} refuses connections", await _other_ports(gateway.where)
        return [
            Finding("network", "ok", f"{gateway.where.host} responds"),
            Finding("port", "fault", text, remedy),
        ]
    step, remedy = _REACH.get(error.why, ("device" if gateway.is_serial else "port", ""))
    problem = str(error).partition("; ")[0] if remedy else str(error)
    return [Finding(step, "fault", f"{gateway.address} {problem}", remedy)]


async def _other_ports(where: TcpAddress) -> str:
    """Return a remedy that names the usual Modbus ports that are open."""
    host = await resolve(where)
    tried = [port for port in USUAL_PORTS if port != where.port]
    open_ports = await asyncio.gather(*(_is_open(host, port) for port in tried))
    found = [str(port) for port, is_open in zip(tried, open_ports, strict=True) if is_open]
    if found:
        are = "is" if len(found) == 1 else "are"
        return f"port {' and '.join(found)} {are} open: try --at {where.host}:{found[0]}"
    return (
        "look up the port on the gateway's web page, and check that the gateway is a TCP server"
        f" (not a client); none of the usual ports {', '.join(map(str, tried))} is open"
    )


async def _is_open(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(PORT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def check_framing(gateway: Gateway) -> tuple[Finding, Line | None]:
    """Request a value of the meters in each framing; return the line once a meter responds."""
    first: Framing = "rtu" if gateway.is_serial or gateway.framing == "rtu" else "tcp"
    tried: tuple[Framing, ...] = (first,) if gateway.is_serial else (first, other(first))
    responses: list[Response] = []
    for meters in (gateway.meters[:1], gateway.meters[1:]):  # the first in both, to know soon
        for framing in tried:
            probe = Probe(gateway.where, framing, timeout_s=timeout_s(gateway))
            unit = await _first_to_respond(probe, meters, responses)
            if unit is not None:
                return _framing_found(gateway, probe), Line(probe, unit)
            probe.close()
            if any(response.outcome is Outcome.EXCEPTION for response in responses):
                tried = (framing,)  # the gateway itself has responded
                break
    late = await _late_response(gateway, tried, responses)
    return late or _no_response(gateway, responses), None


async def _first_to_respond(
    probe: Probe, meters: Sequence[Meter], responses: list[Response]
) -> int | None:
    for meter in meters:
        response = await _request(probe, meter.unit)
        responses.append(response)
        if response.from_meter:
            return meter.unit
        if response.outcome is Outcome.CLOSED:
            break
    return None


async def _request(probe: Probe, unit: int) -> Response:
    """Connect and request one value, twice if the gateway closes the connection at once."""
    response = Response(Outcome.CLOSED, 0.0)
    for _ in range(2):
        if response.outcome is Outcome.CLOSED:
            try:
                await probe.open()
            except GatewayError:
                return response
            response = await probe.request(unit, 0, SMALLEST_READ)
    return response


async def _late_response(
    gateway: Gateway, tried: Sequence[Framing], responses: list[Response]
) -> Finding | None:
    """If there was only silence, wait much longer once: the response may only be late."""
    if any(response.outcome is not Outcome.SILENCE for response in responses):
        return None
    unit = gateway.meters[0].unit
    for framing in tried:
        probe = Probe(gateway.where, framing, timeout_s=PATIENCE * timeout_s(gateway))
        response = await _request(probe, unit)
        probe.close()
        if response.from_meter:
            text = f"unit {unit} responds only after {response.took_s:.1f} s, after the timeout"
            remedy = (
                f"set MODBUS_TIMEOUT={response.took_s + 0.5:.1f} (timeout in meters.toml), and find"
                " the cause of the delay: other clients, or a slow network"
            )
            return Finding("line", "fault", text, remedy)
    return None


def _framing_found(gateway: Gateway, probe: Probe) -> Finding:
    framing = probe.framing
    if gateway.is_serial:
        return Finding("line", "ok", "a meter responds on the serial line")
    name = FRAMING_NAMES[framing]
    if gateway.framing == other(framing):
        return Finding(
            "framing",
            "fault",
            f"the gateway uses {name}, but the settings say {FRAMING_NAMES[gateway.framing]}",
            f"set MODBUS_FRAMING={framing} (framing = '{framing}' in meters.toml) or auto, or"
            " change the mode on the gateway's web page",
        )
    if framing == "rtu":
        return Finding(
            "framing",
            "ok",
            f"the gateway is transparent: it uses {name}, not Modbus TCP",
            "no change is needed; if the gateway's web page offers 'Modbus TCP to RTU', that mode"
            " is safer",
        )
    if probe.zero_ids:
        return Finding(
            "framing",
            "warning",
            f"the gateway uses {name}, but responds with transaction id 0",
            "look for newer firmware: without ids a late response passes for the next one",
        )
    return Finding("framing", "ok", f"the gateway uses {name}")


def _no_response(gateway: Gateway, responses: list[Response]) -> Finding:
    """Return the cause of the missing responses, by what arrived instead."""
    outcomes = {response.outcome for response in responses}
    units = ", ".join(str(meter.unit) for meter in gateway.meters)
    if any(response.code in NO_ANSWER for response in responses):
        text = f"the gateway reports that no meter responds (unit {units})"
        return Finding("line", "fault", text, f"the connection to it works; {_CHECK_LINE}")
    if Outcome.DAMAGED in outcomes:
        return Finding(
            "line",
            "fault",
            "bytes arrive, but no valid response: the baud rate or parity of the gateway and the"
            " meters differ, two meters have the same unit id, or the gateway mixes up responses",
            "compare baud rate, parity and stop bits in each meter's menu with the gateway's web"
            " page, stop other clients, and try one meter alone on the line",
        )
    if Outcome.CLOSED in outcomes:
        return _serves_another_client(gateway)
    if Outcome.OTHER_UNIT in outcomes:
        text = f"the gateway returns responses of another unit than requested (unit {units})"
        remedy = "check on its web page whether it changes unit ids, and stop other clients"
        return Finding("line", "fault", text, remedy)
    if gateway.is_serial:
        return Finding("line", "fault", f"no response on the line (unit {units})", _CHECK_LINE)
    return Finding(
        "line",
        "fault",
        f"the gateway accepts connections, but there is no response in Modbus TCP or RTU over TCP"
        f" (unit {units})",
        f"{_CHECK_LINE}; run `meterflow scan --at {gateway.address}` to try every unit id; stop"
        " other clients, and restart the gateway if it worked before",
    )


def _serves_another_client(gateway: Gateway) -> Finding:
    return Finding(
        "port",
        "fault",
        f"{gateway.address} accepts connections and closes them again: another client uses the only"
        " connection that it allows",
        "stop other clients (this bridge, Home Assistant, evcc …), or restart the gateway: some"
        " keep dead connections",
    )
