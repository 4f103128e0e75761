"""`meterflow import`: readings from files of ours and of others."""

import argparse
import gc
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from contract.topics import METER_ID
from history.database import migrate, open_database, storage_errors
from history.exchange.batches import Source
from history.exchange.files import source_of
from history.exchange.importing import Import, Outcome
from recorder.commands.arguments import parser_for, progress, say
from recorder.settings import RecorderSettings
from service.amounts import amount
from service.errors import SettingsError
from service.zones import zone_of

_MORE = """The content of a file decides how it is read: CSV or Parquet with the columns ts (or
time, timestamp) and meter_id, and others named like quantities (docs/quantities.md); an
SQLite file with such a table readings or meter_readings; Home Assistant's
home-assistant_v2.db with its long-term statistics.

Readings that are stored already change nothing, so a file may be imported again. Times before
the retention period are filled in where a meter has nothing yet, and refused where its readings
have been deleted."""


def main(arguments: Sequence[str]) -> int:
    """Import files one after the other."""
    options = _parse(arguments)
    gc.set_threshold(50_000)  # readings form no cycles: frequent collection takes a seventh longer
    zone = zone_of(options.zone) if options.zone else None
    names = dict(_pair(text) for text in options.map)
    if options.meter and not METER_ID.fullmatch(options.meter):
        raise SettingsError(f"--meter: {options.meter!r} is not a meter id")
    sources = {
        path: source_of(path, meter=options.meter, zone=zone, names=names) for path in options.file
    }
    database = open_database(RecorderSettings.load().database_url)
    with closing(database), storage_errors(database):
        migrate(database)
        for path, source in sources.items():
            with progress(path.name) as report:
                outcome = Import(database).run(source, report)
            _show(path, source, outcome)
        with progress("roll-ups") as report:
            Import(database).roll_up(report)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("import", "Import readings from files.", _MORE)
    parser.add_argument("file", nargs="+", type=Path, help="file to read")
    parser.add_argument("--meter", metavar="ID", help="all readings are of this meter")
    parser.add_argument(
        "--zone",
        metavar="ZONE",
        help="zone of times without one, such as Europe/Berlin (default: UTC)",
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="ENTITY=ID/QUANTITY",
        help="meter and quantity of an entity of Home Assistant, as in sensor.kitchen=7/power",
    )
    return parser.parse_args(arguments)


def _pair(text: str) -> tuple[str, str]:
    entity, _, place = text.partition("=")
    return entity, place


def _show(path: Path, source: Source, outcome: Outcome) -> None:
    say(
        f"{path}: {amount(outcome.given, 'reading')}, {outcome.stored:,} of them new, "
        f"{outcome.known:,} known already"
    )
    for note in source.notes:
        say(f"  {note}")
    if outcome.too_old:
        say(f"  {outcome.too_old:,} rejected: retention has deleted readings of that time")
