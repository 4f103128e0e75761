"""`meterflow void`: takes readings out of every sum without deleting them, or brings them back."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.text import Text

from contract.times import format_time
from history.corrections import undo, void
from history.database import migrate, open_database, reading, storage_errors
from history.rollups.rollups import Rollups
from history.voids import Void, read_voids
from recorder.commands.arguments import add_json, moment, parser_for
from recorder.settings import RecorderSettings
from service.amounts import amount, clock
from service.errors import SettingsError
from service.terminal import Screen, table

_MORE = """Void readings stay in the table, but count in no roll-up, sum or chart: the view
readings says why, and so do status and check. Readings of that time that arrive later are void too.
--undo brings them back; its record stays. Without options, all voids are listed.

  meterflow void --meter 1 --from 2026-11-22T14:00 --to 2026-11-22T15:30 --why "CT reversed"
  meterflow void --meter 1 --from 2026-11-22 --to 2026-11-23 --undo"""


def main(arguments: Sequence[str]) -> int:
    """Make readings void or bring them back; the same again changes nothing."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    zone = settings.zone
    screen = Screen(as_json=options.json)
    with reading(settings.database_url) as history:  # raises StorageError where there is none
        voids = read_voids(history)
    if options.meter:
        voids = _change(screen, settings.database_url, options, zone)
    if voids:
        show_voids(screen, voids, zone)
    elif not options.meter:
        screen.say("no readings are void")
    screen.outcome([each.to_dict() for each in voids])
    return 0


def show_voids(screen: Screen, voids: Sequence[Void], zone: ZoneInfo) -> None:
    """Show voids as a table."""
    shown = table("meter", "void from", "to", "why", "undone")
    for each in voids:
        times = (clock(ts, zone) for ts in (each.begin, each.end))
        undone = clock(each.undone_at, zone) if each.undone_at else ""
        shown.add_row(each.meter_id, *times, Text(each.why), undone)
    screen.show(shown)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("void", "Take readings out of every sum, or bring them back.", _MORE)
    parser.add_argument("--meter", metavar="ID", help="id of the meter on MQTT")
    parser.add_argument(
        "--from",
        dest="begin",
        metavar="TIME",
        help="first time that is void, as in 2026-11-22T14:30",
    )
    parser.add_argument(
        "--to", dest="end", metavar="TIME", help="time from which readings count again"
    )
    parser.add_argument("--why", metavar="TEXT", help="the reason, for those who read it later")
    parser.add_argument(
        "--undo", action="store_true", help="bring back what is void between these times"
    )
    add_json(parser)
    options = parser.parse_args(arguments)
    named = {"--meter": options.meter, "--from": options.begin, "--to": options.end}
    if not options.undo:
        named["--why"] = options.why and options.why.strip()
    missing = [name for name, value in named.items() if not value]
    if missing and (options.undo or len(missing) < len(named)):
        raise SettingsError(f"{', '.join(missing)}: is missing")
    return options


def _change(screen: Screen, url: str, options: argparse.Namespace, zone: ZoneInfo) -> list[Void]:
    """Do what the options say, and return the voids of the meter."""
    begin, end = moment(options.begin, zone), moment(options.end, zone)
    if begin >= end:
        raise SettingsError(f"--from {options.begin}: should be before --to {options.end}")
    database = open_database(url)
    with closing(database), storage_errors(database):
        migrate(database)
        if options.undo:
            undone = undo(database, options.meter, begin, end)
            screen.say(_undone(options.meter, undone))
        else:
            count = void(database, options.meter, begin, end, options.why.strip())
            screen.say(_made_void(options.meter, count, begin, end))
        Rollups(database).run(float("inf"))
        return read_voids(database, options.meter)


def _undone(meter_id: str, undone: int) -> str:
    if undone:
        return f"meter {meter_id}: {amount(undone, 'void')} undone, the readings count again"
    return f"meter {meter_id}: nothing is void between these times"


def _made_void(meter_id: str, count: int, begin: datetime, end: datetime) -> str:
    span = f"from {format_time(begin)} to {format_time(end)}"
    return f"meter {meter_id}: {amount(count, 'reading')} {span} void"
