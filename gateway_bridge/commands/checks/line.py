"""The way to the line: network, port, framing; and what it means where no meter answers."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from gateway_bridge.address import TcpAddress
from gateway_bridge.commands.findings import Finding, Tell
from gateway_bridge.commands.lines import timeout_s
from gateway_bridge.commands.probe import NO_METER, Heard, Outcome, Probe
from gateway_bridge.meter.plan import REGISTERS_PER_VALUE
from gateway_bridge.modbus.connection import FRAMING_NAMES
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.link import NotReached, resolve
from gateway_bridge.modbus.transport import Framing
from gateway_bridge.site.site import Gateway, Meter

USUAL_PORTS = (502, 4196, 8899, 20108, 26)
"""Modbus itself, and what ZLAN, Elfin, USR and others listen on as delivered."""
PORT_S = 0.5
PATIENCE = 3.0
"""So many times the usual waiting time shows whether an answer is only late."""
_CHECK_LINE = (
    "check A and B (exchange them once), that gateway and meters have the same baud rate, parity"
    " and stop bits, the unit ids in each meter's menu, and that the meters are powered"
)
_REACH = {
    "name": ("network", "check the spelling, or give the gateway's number (as in 192.168.1.100)"),
    "silent": (
        "network",
        "check the address (the gateway's page or your router shows it), its power and its cable,"
        " and that this machine is in the same network",
    ),
    "unreachable": ("network", "check this machine's network, and the gateway's address"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A line that answers: an open probe, and a unit that does."""

    probe: Probe
    unit: int


async def check_line(gateway: Gateway, tell: Tell) -> Line | None:
    """Go the way to the line and tell what is found; None where no meter is reached."""
    return await _framing(gateway, tell) if await _reached(gateway, tell) else None


async def _reached(gateway: Gateway, tell: Tell) -> bool:
    probe = Probe(gateway.where, "rtu")
    try:
        await probe.open()
    except NotReached as error:
        if error.why == "closed":
            tell(_holds_the_only_one(gateway))
            return False
        step, remedy = _REACH.get(error.why, ("device" if gateway.serial else "port", ""))
        text = str(error)
        if error.why == "refused" and isinstance(gateway.where, TcpAddress):
            tell(Finding("network", "ok", f"{gateway.where.host} is there"))
            text, remedy = "refuses connections", await _other_ports(gateway.where)
        tell(Finding(step, "fault", f"{gateway.address} {text}", remedy))
        return False
    finally:
        probe.close()
    if gateway.serial:
        tell(Finding("device", "ok", f"{gateway.address} can be opened"))
    else:
        tell(Finding("network", "ok", f"{gateway.address} accepts connections"))
    return True


async def _other_ports(where: TcpAddress) -> str:
    """Say where else something listens, of the ports that gateways have as delivered."""
    host = await resolve(where)
    tried = [port for port in USUAL_PORTS if port != where.port]
    open_ports = await asyncio.gather(*(_listens(host, port) for port in tried))
    found = [str(port) for port, listens in zip(tried, open_ports, strict=True) if listens]
    if found:
        return f"port {' and '.join(found)} is open: try --at {where.host}:{found[0]}"
    return (
        "look up the port on the gateway's page, and that it works as a TCP server (not client);"
        f" of the usual ports {', '.join(map(str, tried))} none is open"
    )


async def _listens(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(PORT_S):
            _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def _framing(gateway: Gateway, tell: Tell) -> Line | None:
    """Ask the meters in each framing until one answers; tell how the gateway speaks."""
    first: Framing = "rtu" if gateway.serial or gateway.framing == "rtu" else "tcp"
    tried: tuple[Framing, ...] = (first,) if gateway.serial else (first, _other(first))
    outcomes: list[Heard] = []
    for meters in (gateway.meters[:1], gateway.meters[1:]):  # the first in both, soon to know
        for framing in tried:
            probe = Probe(gateway.where, framing, timeout_s=timeout_s(gateway))
            unit = await _first_that_answers(probe, meters, outcomes)
            if unit is not None:
                _tell_framing(gateway, probe, tell)
                return Line(probe, unit)
            probe.close()
            if any(heard.outcome is Outcome.EXCEPTION for heard in outcomes):
                tried = (framing,)  # the gateway itself has spoken
                break
    patient = await _patient(gateway, tried, outcomes)
    tell(patient or _no_answer(gateway, outcomes))
    return None


async def _patient(
    gateway: Gateway, tried: Sequence[Framing], outcomes: list[Heard]
) -> Finding | None:
    """Where there was nothing but silence, wait much longer once: an answer may only be late."""
    if any(heard.outcome is not Outcome.SILENCE for heard in outcomes):
        return None
    unit = gateway.meters[0].unit
    for framing in tried:
        probe = Probe(gateway.where, framing, timeout_s=PATIENCE * timeout_s(gateway))
        heard = await _asked(probe, unit)
        probe.close()
        if heard.of_a_meter:
            text = f"unit {unit} answers only after {heard.took_s:.1f} s, which is too late"
            remedy = (
                f"set MODBUS_TIMEOUT={heard.took_s + 0.5:.1f} (timeout in meters.toml); and find"
                " out what holds it up: other clients, or a slow network"
            )
            return Finding("line", "fault", text, remedy)
    return None


async def _first_that_answers(
    probe: Probe, meters: Sequence[Meter], outcomes: list[Heard]
) -> int | None:
    for meter in meters:
        heard = await _asked(probe, meter.unit)
        outcomes.append(heard)
        if heard.of_a_meter:
            return meter.unit
        if heard.outcome is Outcome.CLOSED:
            break
    return None


async def _asked(probe: Probe, unit: int) -> Heard:
    """Ask for one value; a connection that is closed at once is tried again."""
    heard = Heard(Outcome.CLOSED, 0.0)
    for _ in range(2):
        if heard.outcome is Outcome.CLOSED:
            try:
                await probe.open()
            except GatewayError:
                return heard
            heard = await probe.ask(unit, 0, REGISTERS_PER_VALUE)
    return heard


def _tell_framing(gateway: Gateway, probe: Probe, tell: Tell) -> None:
    framing = probe.framing
    if gateway.serial:
        tell(Finding("line", "ok", "a meter answers on the serial line"))
        return
    name = FRAMING_NAMES[framing]
    if gateway.framing == _other(framing):
        tell(
            Finding(
                "framing",
                "fault",
                f"the gateway speaks {name}, the settings say {FRAMING_NAMES[_other(framing)]}",
                f"set MODBUS_FRAMING={framing} (framing = '{framing}' in meters.toml) or auto, or"
                " switch the gateway over on its page",
            )
        )
    elif framing == "rtu":
        tell(
            Finding(
                "framing",
                "ok",
                f"the gateway is transparent: it speaks {name}, not Modbus TCP",
                "it works; if its page offers 'Modbus TCP to RTU', that is the safer of the two",
            )
        )
    elif probe.zero_ids:
        text = f"the gateway speaks {name}, but answers with transaction id 0"
        remedy = "look for newer firmware: a late answer cannot be told from the one waited for"
        tell(Finding("framing", "look", text, remedy))
    else:
        tell(Finding("framing", "ok", f"the gateway speaks {name}"))


def _no_answer(gateway: Gateway, outcomes: list[Heard]) -> Finding:
    """Say what it means that no meter answered, by what came instead."""
    kinds = {heard.outcome for heard in outcomes}
    units = ", ".join(str(meter.unit) for meter in gateway.meters)
    if any(heard.code in NO_METER for heard in outcomes):
        text = f"the gateway answers for itself that no meter does (unit {units})"
        return Finding("line", "fault", text, f"the way to the gateway is right; {_CHECK_LINE}")
    if Outcome.DAMAGED in kinds:
        return Finding(
            "line",
            "fault",
            "bytes come back, but no right answer among them: baud rate or parity of gateway and"
            " meters differ, two meters have the same unit id, or the gateway mixes answers up",
            "compare baud rate, parity and stop bits in each meter's menu with the gateway's"
            " page, stop other clients, and try one meter alone on the line",
        )
    if Outcome.CLOSED in kinds:
        return _holds_the_only_one(gateway)
    if Outcome.OTHER_UNIT in kinds:
        text = f"another unit answers than the one asked (unit {units})"
        remedy = "look on the gateway's page whether it exchanges unit ids, and stop other clients"
        return Finding("line", "fault", text, remedy)
    if gateway.serial:
        text = f"nothing comes back on the serial line (unit {units})"
        return Finding("line", "fault", text, _CHECK_LINE)
    return Finding(
        "line",
        "fault",
        f"the gateway accepts connections, but nothing comes back, neither in Modbus TCP nor in"
        f" RTU over TCP (unit {units})",
        f"{_CHECK_LINE}; `python -m gateway_bridge scan --at {gateway.address}` tries every unit"
        " id; stop other clients, and restart the gateway if it has worked before",
    )


def _other(framing: Framing) -> Framing:
    return "rtu" if framing == "tcp" else "tcp"


def _holds_the_only_one(gateway: Gateway) -> Finding:
    return Finding(
        "port",
        "fault",
        f"{gateway.address} accepts connections and closes them again: another client holds the"
        " only one it serves",
        "stop what else polls it (this bridge, Home Assistant, evcc …), or restart the gateway:"
        " some keep dead connections",
    )
