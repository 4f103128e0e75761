"""`read`: one meter, once: who it is and what it measures, in a table."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from contract.quantities import BY_NAME, quantity_set
from gateway_bridge.commands import arguments
from gateway_bridge.commands.lines import DOCTOR, MeterRead, open_line, read_meter
from gateway_bridge.modbus.connection import FRAMING_NAMES
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.settings import BridgeSettings
from gateway_bridge.site.site import CORE_NAMES, Gateway, Meter
from service.errors import SettingsError
from service.terminal import Screen, table

_PURPOSE = "Read one meter once and show its values with their units."
_PHASES = ("", "_l1", "_l2", "_l3", "_n")
_HEADS = ("all", "L1", "L2", "L3", "N")


def main(words: Sequence[str]) -> int:
    """Read a meter and show it; 1 where it does not answer, or not with numbers."""
    parser = arguments.parser("read", _PURPOSE)
    parser.add_argument(
        "meter", nargs="?", help="its id in the settings; with --at its unit id; left out: the one"
    )
    parser.add_argument(
        "--quantities", help="core, default, all, or names, as in core,frequency; else as set"
    )
    arguments.add_model(parser)
    options = parser.parse_args(words)
    gateway, meter = _chosen(options)
    screen = Screen(as_json=options.json)
    return asyncio.run(_read(gateway, meter, screen))


async def _read(gateway: Gateway, meter: Meter, screen: Screen) -> int:
    probe = await open_line(gateway, meter.unit)
    try:
        said = await read_meter(probe, meter, gateway)
    except GatewayError as error:
        raise GatewayError(
            f"meter {meter.meter_id} at {gateway.address}: {error}; {DOCTOR}"
        ) from error
    finally:
        probe.close()
    framing = "RTU" if gateway.serial else FRAMING_NAMES[probe.framing]
    _show(screen, gateway, meter, said, framing)
    screen.outcome(_facts(gateway, meter, said, framing))
    return 0 if len(said.values) == len(said.asked) else 1


def _show(screen: Screen, gateway: Gateway, meter: Meter, said: MeterRead, framing: str) -> None:
    identity = said.identity
    known = [
        meter.model.title,
        f"serial number {identity.serial}" if identity.serial else "",
        f"wiring {meter.wiring or identity.wiring}" if meter.wiring or identity.wiring else "",
        "low word first" if identity.low_word_first else "",
        "turned round (invert)" if meter.inverted else "",
    ]
    screen.say(f"{meter.name}: {', '.join(filter(None, known))}", "bold")
    requests = len(said.blocks)
    screen.say(
        f"unit {meter.unit} at {gateway.address}, {framing}, "
        + ("one request" if requests == 1 else f"{requests} requests")
    )
    screen.say()
    screen.show(_table(said))
    missing = [name for name in said.asked if name not in said.values]
    if missing:
        screen.say(f"Not a number: {', '.join(missing)}", "bold red")


def _table(said: MeterRead) -> Table:
    """Return the values, the phases side by side."""
    rows: dict[str, dict[str, str]] = {}
    units = {}
    for name, value in said.values.items():
        base, phase = _split(name)
        kind = BY_NAME[name].kind
        rows.setdefault(base, {})[phase] = f"{value:.{kind.decimals + 1}f}"
        units[base] = kind.unit
    shown = table("", *(f">{head}" for head in _HEADS), "")
    for base, cells in rows.items():
        shown.add_row(_label(base), *(cells.get(phase, "") for phase in _PHASES), units[base])
    return shown


def _split(name: str) -> tuple[str, str]:
    """Return what is measured, and on which phase: '' for all or none."""
    for phase in _PHASES[1:]:
        base = name.removesuffix(phase)
        if base != name and not base.endswith(_PHASES[1:]):
            return base, phase
    return name, ""


def _label(base: str) -> str:
    if base in BY_NAME:
        return BY_NAME[base].label
    return BY_NAME[f"{base}_l1"].label.removesuffix(" L1")


def _chosen(options: Any) -> tuple[Gateway, Meter]:
    """Return the meter that is meant, and its line. Raises SettingsError where none is."""
    settings = BridgeSettings.load()
    if options.at is not None and options.meter is not None:
        options.units = arguments.one_unit(options.meter)
    gateways = arguments.gateways(options, settings)
    meters = [(gateway, meter) for gateway in gateways for meter in gateway.meters]
    wanted = None if options.at is not None else options.meter
    found = [each for each in meters if wanted in (None, each[1].meter_id)]
    if len(found) != 1:
        ids = ", ".join(meter.meter_id for _, meter in meters)
        what = "which meter?" if wanted is None else f"there is no meter {wanted!r};"
        raise SettingsError(f"read: {what} there are {ids}")
    gateway, meter = found[0]
    return gateway, replace(meter, quantities=_quantities(options.quantities, meter))


def _quantities(given: str | None, meter: Meter) -> tuple[str, ...]:
    if given is None:
        return meter.quantities
    try:
        return quantity_set((*CORE_NAMES, *(word.strip() for word in given.split(","))))
    except ValueError as error:
        raise SettingsError(f"--quantities: {error}") from error


def _facts(gateway: Gateway, meter: Meter, said: MeterRead, framing: str) -> dict[str, Any]:
    facts = {
        "meter_id": meter.meter_id,
        "address": gateway.address,
        "framing": framing,
        "unit": meter.unit,
        "model": meter.model.name,
        "serial": said.identity.serial,
        "wiring": meter.wiring or said.identity.wiring,
    }
    values = {name: round(value, 3) for name, value in said.values.items()}
    return {key: value for key, value in facts.items() if value is not None} | {"values": values}
