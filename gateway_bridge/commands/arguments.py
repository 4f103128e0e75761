"""What a command is told: which lines and meters, from its arguments or the settings."""

import argparse
from dataclasses import replace

from gateway_bridge.address import parse_address
from gateway_bridge.models import MODELS
from gateway_bridge.settings import HIGHEST_UNIT, BridgeSettings
from gateway_bridge.site.site import Gateway, site_at, site_from
from service.errors import SettingsError

_AT = "host, host:port or serial:///dev/ttyUSB0?baud=9600; without it, what the settings name"


def parser(command: str, purpose: str, *, at_a_line: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the arguments that commands share."""
    made = argparse.ArgumentParser(
        prog=f"meterflow {command}", description=purpose, allow_abbrev=False
    )
    made.add_argument("--json", action="store_true", help="print the outcome as JSON")
    if at_a_line:
        made.add_argument("--at", metavar="ADDRESS", help=_AT)
        made.add_argument(
            "--framing", choices=("auto", "tcp", "rtu"), help="how the gateway speaks"
        )
    return made


def add_units(to: argparse.ArgumentParser, default: str | None) -> None:
    """Let unit ids be given, as in 1,2,5-9."""
    text = "unit ids, as in 1,2,5-9" + (f" ({default})" if default else "")
    to.add_argument("--units", type=units, default=default, help=text)


def add_model(to: argparse.ArgumentParser) -> None:
    """Let the model be named of a meter that is in no settings."""
    to.add_argument("--model", choices=tuple(MODELS), default="sdm630", help="what the meters are")


def gateways(options: argparse.Namespace, settings: BridgeSettings) -> tuple[Gateway, ...]:
    """Return the lines a command is for. Raises SettingsError where nothing names one."""
    if options.at is None:
        found = site_from(settings)
        if not found:
            raise SettingsError(
                "no gateway is named: give --at 192.168.1.100:502 (or --at serial:///dev/ttyUSB0),"
                " set MODBUS_HOST, or write a meters.toml"
            )
    else:
        found = (_named(options, settings),)
    framing = options.framing
    if framing is None:
        return found
    return tuple(each if each.serial else replace(each, framing=framing) for each in found)


def units(text: str) -> tuple[int, ...]:
    """Return the unit ids that `1,2,5-9` stands for."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(f"unit ids are numbers, as in 1,2,5-9 (got {text!r})")
        span = range(int(first), int(last if dash else first) + 1)
        if not span or span[0] < 1 or span[-1] > HIGHEST_UNIT:
            raise argparse.ArgumentTypeError(
                f"unit ids are from 1 to {HIGHEST_UNIT} (got {word.strip()!r})"
            )
        found += [unit for unit in span if unit not in found]
    return tuple(found)


def seconds(text: str) -> float:
    """Return a time that can be waited."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0.01 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"should be 0.01 to 3600 seconds (got {text!r})")
    return number


def one_unit(text: str) -> tuple[int, ...]:
    """Return the unit id of a meter that no settings name. Raises SettingsError for none."""
    if not text.isdecimal() or not 1 <= int(text) <= HIGHEST_UNIT:
        raise SettingsError(
            f"with --at a meter is named by its unit id, 1 to {HIGHEST_UNIT} (got {text!r})"
        )
    return (int(text),)


def _named(options: argparse.Namespace, settings: BridgeSettings) -> Gateway:
    try:
        where = parse_address(options.at, settings.modbus_port)
    except ValueError as error:
        raise SettingsError(f"--at: {error} (got {options.at!r})") from error
    wanted = getattr(options, "units", None) or settings.meter_ids
    return site_at(where, wanted, settings, getattr(options, "model", "sdm630"))
