"""Arguments that the commands share, and the gateways and meters that they select."""

import argparse
from dataclasses import replace

from gateway_bridge.address import parse_address
from gateway_bridge.models import MODELS
from gateway_bridge.settings import HIGHEST_UNIT, BridgeSettings
from gateway_bridge.site.site import Gateway, site_at, site_from
from service.cli import command_parser
from service.errors import SettingsError


def line_parser(command: str, purpose: str) -> argparse.ArgumentParser:
    """Return the parser of a command that works on RS485 lines."""
    parser = command_parser(command, purpose)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--at",
        metavar="ADDRESS",
        help="host, host:port or serial:///dev/ttyUSB0?baud=9600 (default: from the settings)",
    )
    parser.add_argument(
        "--framing",
        choices=("auto", "tcp", "rtu"),
        help="Modbus TCP, RTU over TCP, or detect it (default: from the settings)",
    )
    return parser


def add_units(parser: argparse.ArgumentParser) -> None:
    """Add --units to a parser, for meters that are in no settings."""
    parser.add_argument(
        "--units",
        metavar="IDS",
        type=unit_ids,
        help="unit ids of the meters at --at, for example 1,2,5-9 (default: METER_IDS)",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model to a parser, for meters that are in no settings."""
    parser.add_argument(
        "--model",
        choices=tuple(MODELS),
        default="sdm630",
        metavar="MODEL",
        help="model of the meters at --at: {} (default: %(default)s)".format(", ".join(MODELS)),
    )


def gateways(options: argparse.Namespace, settings: BridgeSettings) -> tuple[Gateway, ...]:
    """Return the gateways that the options or the settings name. Raises SettingsError for none."""
    if options.at is None:
        found = site_from(settings)
        if not found:
            raise SettingsError(
                "no gateway is configured; use --at 192.168.1.100:502"
                " (or --at serial:///dev/ttyUSB0), set MODBUS_HOST, or write a meters.toml"
            )
    else:
        found = (_gateway_at(options, settings),)
    framing = options.framing
    if framing is None:
        return found
    return tuple(each if each.is_serial else replace(each, framing=framing) for each in found)


def unit_ids(text: str) -> tuple[int, ...]:
    """Return the unit ids of a list such as `1,2,5-9`."""
    found: list[int] = []
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(
                f"unit ids are numbers, for example 1,2,5-9 (got {text!r})"
            )
        span = range(int(first), int(last if dash else first) + 1)
        if not span or span[0] < 1 or span[-1] > HIGHEST_UNIT:
            raise argparse.ArgumentTypeError(
                f"unit ids are from 1 to {HIGHEST_UNIT} (got {word.strip()!r})"
            )
        found += [unit for unit in span if unit not in found]
    return tuple(found)


def seconds(text: str) -> float:
    """Return a duration that a command can wait."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0.01 <= number <= 3600:
        raise argparse.ArgumentTypeError(f"should be 0.01 to 3600 seconds (got {text!r})")
    return number


def _gateway_at(options: argparse.Namespace, settings: BridgeSettings) -> Gateway:
    try:
        where = parse_address(options.at, settings.modbus_port)
    except ValueError as error:
        raise SettingsError(f"--at: {error} (got {options.at!r})") from error
    wanted = getattr(options, "units", None) or settings.meter_ids
    return site_at(where, wanted, settings, getattr(options, "model", "sdm630"))
