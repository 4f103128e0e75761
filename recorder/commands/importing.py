"""`python -m recorder import`: readings from files of ours and of others."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from contract.topics import METER_ID
from history.database import in_words, migrate, open_database
from history.exchange.batch import Source
from history.exchange.importing import BringIn, Outcome
from history.exchange.sources import source_of
from recorder.commands.arguments import parser_for, progress, say
from recorder.settings import RecorderSettings
from service.errors import SettingsError
from service.terminal import amount
from service.zones import zone_of

_MORE = """What a file is, is told by its content: CSV or Parquet with the columns ts (time,
timestamp) and meter_id, and others named like quantities (docs/quantities.md); an SQLite
file with such a table readings or meter_readings; Home Assistant's home-assistant_v2.db
with its long-term statistics.

Readings that are there already change nothing, so a file may be imported again. Times before
what is kept are filled in where a meter has nothing yet, and refused where it has been
thinned out."""


def main(arguments: Sequence[str]) -> int:
    """Import files one after the other."""
    options = _parse(arguments)
    zone = zone_of(options.zone) if options.zone else None
    names = dict(_pair(text) for text in options.map)
    if options.meter and not METER_ID.fullmatch(options.meter):
        raise SettingsError(f"--meter: {options.meter!r} cannot be the id of a meter")
    sources = {
        path: source_of(path, meter=options.meter, zone=zone, names=names) for path in options.file
    }
    database = open_database(RecorderSettings.load().database_url)
    with closing(database), in_words(database):
        migrate(database)
        for path, source in sources.items():
            with progress(path.name) as tell:
                outcome = BringIn(database).run(source, tell)
            _tell(path, source, outcome)
        with progress("roll-ups"):
            BringIn(database).roll_up()
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("import", "Bring in readings from files.", _MORE)
    parser.add_argument("file", nargs="+", type=Path, help="what to read")
    parser.add_argument("--meter", metavar="ID", help="all readings are of this meter")
    parser.add_argument(
        "--zone", metavar="ZONE", help="zone of times that name none, as in Europe/Berlin (UTC)"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="ENTITY=ID/QUANTITY",
        help="what an entity of Home Assistant is, as in sensor.kitchen=7/power",
    )
    return parser.parse_args(arguments)


def _pair(text: str) -> tuple[str, str]:
    entity, _, place = text.partition("=")
    return entity, place


def _tell(path: Path, source: Source, outcome: Outcome) -> None:
    say(
        f"{path}: {amount(outcome.given, 'reading')}, {outcome.stored:,} of them new, "
        f"{outcome.known:,} known already"
    )
    for note in source.notes:
        say(f"  {note}")
    if outcome.too_old:
        say(f"  {outcome.too_old:,} refused: the history has been thinned out there")
