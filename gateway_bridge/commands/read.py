"""`read`: read one meter once and show its values."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rich.table import Table

from contract.quantities import BY_NAME, quantity_set
from gateway_bridge.commands import arguments
from gateway_bridge.commands.meter_read import MeterRead, differs, read_meter, reported_model
from gateway_bridge.commands.probe import RUN_DOCTOR, framing_name, open_probe
from gateway_bridge.modbus.errors import GatewayError
from gateway_bridge.modbus.frames import Framing
from gateway_bridge.settings import HIGHEST_UNIT, BridgeSettings
from gateway_bridge.site.site import CORE_NAMES, Gateway, Meter
from service.errors import SettingsError
from service.terminal import Screen, table

_PURPOSE = "Read one meter once and show its values with their units."
_PHASES = ("", "_l1", "_l2", "_l3", "_n")
_HEADS = ("all", "L1", "L2", "L3", "N")


def main(words: Sequence[str]) -> int:
    """Read a meter and show its values. Return 1 if that does not make sense."""
    parser = arguments.line_parser("read", _PURPOSE)
    parser.add_argument(
        "meter",
        nargs="?",
        help="id of the meter in the settings, or its unit id with --at"
        " (may be omitted if there is only one)",
    )
    parser.add_argument(
        "--quantities",
        metavar="NAMES",
        help="core, default, all, or names, for example core,frequency (default: QUANTITIES)",
    )
    arguments.add_model(parser)
    options = parser.parse_args(words)
    gateway, meter = _selected(options)
    return asyncio.run(_read(gateway, meter, Screen(as_json=options.json)))


async def _read(gateway: Gateway, meter: Meter, screen: Screen) -> int:
    probe = await open_probe(gateway, meter.unit)
    try:
        done = await read_meter(probe, meter, gateway)
        reported, _ = await reported_model(probe, meter.unit)
    except GatewayError as error:
        raise GatewayError(
            f"meter {meter.meter_id} at {gateway.address}: {error}; {RUN_DOCTOR}"
        ) from error
    finally:
        probe.close()
    _show(screen, gateway, meter, done, framing_name(gateway, probe.framing))
    title = differs(meter, reported)
    if title:
        text = f"is an {title}, but was read as an {meter.model.title}"
        screen.say(f"The meter {text}: set its model in meters.toml, or --model", "bold red")
    screen.outcome(_to_dict(gateway, meter, done, probe.framing) | {"reported_model": reported})
    return 1 if done.missing or title else 0


def _show(screen: Screen, gateway: Gateway, meter: Meter, done: MeterRead, framing: str) -> None:
    identity = done.identity
    wiring = meter.wiring or identity.wiring
    details = [
        meter.model.title,
        f"serial number {identity.serial}" if identity.serial else "",
        f"wiring {wiring}" if wiring else "",
        "low word first" if identity.low_word_first else "",
        "inverted" if meter.inverted else "",
    ]
    screen.say(f"{meter.name}: {', '.join(filter(None, details))}", "bold")
    requests = len(done.blocks)
    screen.say(
        f"unit {meter.unit} at {gateway.address}, {framing}, "
        + ("one request" if requests == 1 else f"{requests} requests")
    )
    screen.say()
    screen.show(_table(done))
    if done.missing:
        screen.say(f"Not a number: {', '.join(done.missing)}", "bold red")


def _table(done: MeterRead) -> Table:
    """Return a table of the values with a column for each phase."""
    rows: dict[str, dict[str, str]] = {}
    units = {}
    for name, value in done.values.items():
        base, phase = _split(name)
        kind = BY_NAME[name].kind
        rows.setdefault(base, {})[phase] = f"{value:.{kind.decimals + 1}f}"
        units[base] = kind.unit
    shown = table("", *(f">{head}" for head in _HEADS), "")
    for base, cells in rows.items():
        shown.add_row(_label(base), *(cells.get(phase, "") for phase in _PHASES), units[base])
    return shown


def _split(name: str) -> tuple[str, str]:
    """Return the name of a quantity without its phase, and the phase ('' if it has none)."""
    for phase in _PHASES[1:]:
        base = name.removesuffix(phase)
        if base != name and not base.endswith(_PHASES[1:]):
            return base, phase
    return name, ""


def _label(base: str) -> str:
    if base in BY_NAME:
        return BY_NAME[base].label
    return BY_NAME[f"{base}_l1"].label.removesuffix(" L1")


def _selected(options: argparse.Namespace) -> tuple[Gateway, Meter]:
    """Return the selected meter and its gateway. Raises SettingsError if there is no such meter."""
    settings = BridgeSettings.load()
    if options.at is not None and options.meter is not None:
        options.units = _unit_id(options.meter)
    gateways = arguments.gateways(options, settings)
    meters = [(gateway, meter) for gateway in gateways for meter in gateway.meters]
    wanted = None if options.at is not None else options.meter
    found = [each for each in meters if wanted in (None, each[1].meter_id)]
    if len(found) != 1:
        ids = ", ".join(meter.meter_id for _, meter in meters)
        problem = "no meter is given" if wanted is None else f"unknown meter {wanted!r}"
        raise SettingsError(f"{problem}; the meters are {ids}")
    gateway, meter = found[0]
    return gateway, replace(meter, quantities=_quantities(options.quantities, meter))


def _unit_id(text: str) -> tuple[int, ...]:
    if not text.isdecimal() or not 1 <= int(text) <= HIGHEST_UNIT:
        raise SettingsError(
            f"with --at, give the unit id of the meter, 1 to {HIGHEST_UNIT} (got {text!r})"
        )
    return (int(text),)


def _quantities(given: str | None, meter: Meter) -> tuple[str, ...]:
    if given is None:
        return meter.quantities
    try:
        return quantity_set((*CORE_NAMES, *(word.strip() for word in given.split(","))))
    except ValueError as error:
        raise SettingsError(f"--quantities: {error}") from error


def _to_dict(gateway: Gateway, meter: Meter, done: MeterRead, framing: Framing) -> dict[str, Any]:
    """Return the meter and its values for a script."""
    return {
        "meter_id": meter.meter_id,
        "name": meter.name,
        "address": gateway.address,
        "framing": framing,
        "unit": meter.unit,
        "model": meter.model.name,
        "serial": done.identity.serial,
        "wiring": meter.wiring or done.identity.wiring,
        "low_word_first": done.identity.low_word_first,
        "inverted": meter.inverted,
        "requests": len(done.blocks),
        "values": {name: round(value, 3) for name, value in done.values.items()},
        "missing": done.missing,
    }
