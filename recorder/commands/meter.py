"""`meterflow meter`: the role of a meter, its parent, its name for people, bill and serial."""

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

from pydantic import ValidationError

from contract.errors import MeterflowError, PayloadError
from contract.meter_settings import Billing, MeterSettings, Role
from contract.validation import payload_error
from history.database import open_database, reading, storage_errors
from history.errors import StorageError
from history.meter_settings import COLUMNS, Sources, change, changed, read_sources
from history.queries import natural_order
from recorder.commands.arguments import add_json, parser_for
from recorder.settings import RecorderSettings
from service.errors import SettingsError
from service.terminal import Screen, table

_MORE = """Without options, show the settings of the meter; without ID, those of all meters.

What is set here takes precedence over what the meter's info says (that of meters.toml, or of the
device itself); --clear lets the info decide again. The figures of the house follow from the roles
and parents of its meters: see docs/house.md.

  meterflow meter main --role grid --billing netted
  meterflow meter flat2 --parent main --name "Second floor"
  meterflow meter flat2 --clear name"""


def main(arguments: Sequence[str]) -> int:
    """Change the settings of a meter, or show those of one or all."""
    options = _parse(arguments)
    screen = Screen(as_json=options.json)
    url = RecorderSettings.load().database_url
    with reading(url) as database:  # raises StorageError where there is none
        known = read_sources(database)
    if options.meter is None:
        _show_all(screen, known)
        return 0
    try:
        changes = _changes(options)
        changed(known, options.meter, changes)  # raises PayloadError before anything is opened
        if changes.model_fields_set:
            known = _store(url, options.meter, changes)
    except PayloadError as error:
        raise _as_options(error) from error
    _show_one(screen, options.meter, known[options.meter])
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("meter", "Set what a meter measures, or show it.", _MORE)
    parser.add_argument("meter", nargs="?", metavar="ID", help="id of the meter on MQTT")
    parser.add_argument("--role", help=f"what is behind the meter: {', '.join(Role)}")
    parser.add_argument(
        "--parent", metavar="ID", help="the meter that also measures what this one measures"
    )
    parser.add_argument("--name", help="name for people")
    parser.add_argument(
        "--billing", help=f"which counters are the bill: {', '.join(Billing)} (see docs/house.md)"
    )
    parser.add_argument("--serial", help="serial number, which statements show")
    parser.add_argument(
        "--clear",
        nargs="*",
        choices=COLUMNS,
        metavar="WHAT",
        help=f"let the meter's info decide again: {', '.join(COLUMNS)} (default: all of them)",
    )
    parser.add_argument("--show", action="store_true", help="show the settings (the default)")
    add_json(parser)
    options = parser.parse_args(arguments)
    given = [field for field in COLUMNS if getattr(options, field) is not None]
    if options.meter is None and (given or options.clear is not None):
        parser.error("ID: is missing; which meter?")
    twice = sorted(set(given).intersection(options.clear or ()))
    if twice:
        parser.error(f"--{twice[0]}: is set and cleared at once")
    return options


def _changes(options: argparse.Namespace) -> MeterSettings:
    given = {field: getattr(options, field) for field in COLUMNS}
    changes: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if options.clear is not None:
        changes |= dict.fromkeys(options.clear or COLUMNS.keys() - changes.keys())
    try:
        return MeterSettings.model_validate(changes)
    except ValidationError as error:
        raise payload_error(error) from error


def _store(url: str, meter_id: str, changes: MeterSettings) -> dict[str, Sources]:
    """Store changes, and return the settings of all meters."""
    database = open_database(url)
    with closing(database), storage_errors(database):
        change(database, meter_id, changes)
        return read_sources(database)


def _as_options(error: PayloadError) -> MeterflowError:
    """Return an error of the contract in the words of the command line."""
    if error.reason == "unknown_meter":
        return StorageError(f"meter {error.problems[0][1]}")
    return SettingsError("; ".join(f"--{field}: {text}" for field, text in error.problems))


def _show_all(screen: Screen, known: Mapping[str, Sources]) -> None:
    ids = sorted(known, key=natural_order)
    shown = table("meter", *COLUMNS)
    for meter_id in ids:
        facts = _facts(meter_id, known[meter_id])
        shown.add_row(meter_id, *(facts[field] or "-" for field in COLUMNS))
    if ids:
        screen.show(shown)
    else:
        screen.say("no meter has sent anything yet")
    screen.outcome([_facts(meter_id, known[meter_id]) for meter_id in ids])


def _show_one(screen: Screen, meter_id: str, sources: Sources) -> None:
    shown = table(f"meter {meter_id}", "", "set by")
    for field in COLUMNS:
        by_person, by_info = (getattr(source, field) for source in sources)
        source = "this command" if by_person else ("its info" if by_info else "")
        shown.add_row(field, by_person or by_info or "-", source)
    screen.show(shown)
    screen.outcome(_facts(meter_id, sources))


def _facts(meter_id: str, sources: Sources) -> dict[str, Any]:
    """Return the settings of a meter for --json, and those of each source; None where unset."""
    person, info = (source.model_dump(mode="json") for source in sources)
    result = {field: person[field] or info[field] for field in COLUMNS}
    return {"meter_id": meter_id, **result, "set": person, "info": info}
