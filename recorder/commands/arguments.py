"""What the commands share: the terminal, the parser, meters and times that a person names."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import peewee

from contract.errors import PayloadError
from contract.times import parse_time
from history.errors import StorageError
from history.queries import natural_order
from history.tables import Meter, read_meters
from service.cli import command_parser
from service.errors import SettingsError
from service.terminal import Screen

_SCREEN = Screen()
say, show, progress = _SCREEN.say, _SCREEN.show, _SCREEN.progress

_HISTORY = "The setting DATABASE_URL selects the history. It may be in use at the same time."


def parser_for(command: str, purpose: str, more: str = "") -> argparse.ArgumentParser:
    """Return the parser of a command for the history."""
    return command_parser(command, purpose, f"{more}\n\n{_HISTORY}".lstrip())


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option --json."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_meters(parser: argparse.ArgumentParser) -> None:
    """Add the option --meter."""
    parser.add_argument(
        "--meter",
        action="append",
        default=[],
        metavar="ID",
        help="only this meter; may be repeated (default: all)",
    )


def meters(database: peewee.Database, wanted: Sequence[str]) -> list[Meter]:
    """Return the meters of these ids, or all; raises StorageError for one without history."""
    known = {meter.name: meter for meter in read_meters(database)}
    for meter_id in wanted:
        if meter_id not in known:
            there = ", ".join(sorted(known, key=natural_order)[:10]) or "none"
            raise StorageError(f"meter {meter_id}: has no history; meters with history: {there}")
    return [known[name] for name in sorted(set(wanted) or known, key=natural_order)]


def moment(text: str, zone: ZoneInfo) -> datetime:
    """Return the time that a person wrote; a day is its beginning. Raises SettingsError."""
    try:
        return parse_time(text, zone)
    except PayloadError as error:
        raise SettingsError(
            f"{text!r}: should be a day or a time, as in 2026-03-01 or 2026-03-01T12:30:00+01:00"
        ) from error
