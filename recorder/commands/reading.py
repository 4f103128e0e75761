"""`meterflow reading`: a reading of the utility's own meter, compared with what ours counted."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import peewee

from contract.arrival import MOST_AHEAD
from contract.quantities import ENERGY
from contract.times import format_time
from history.database import migrate, open_database, reading, storage_errors
from history.utility_readings import Comparison, UtilityReading, comparisons, enter, remove
from recorder.commands.arguments import add_json, moment, parser_for
from recorder.settings import RecorderSettings
from service.amounts import clock, span
from service.errors import SettingsError
from service.terminal import Screen, table

_LATE = timedelta(minutes=15)
_MORE = """Enter what the utility's meter shows, now or at a time in the past: the drift is by how
much more our meter has counted since the entry before. An entry of the same time is replaced.
Without --value, all entries are listed. A meter whose bill is netted (meterflow meter) is compared
by its netted counters.

  meterflow reading --meter main --value 12345.6
  meterflow reading --meter main --value 871.2 --export --at 2026-11-01T08:30
  meterflow reading --remove --meter main --at 2026-11-01T08:30 --export"""


def main(arguments: Sequence[str]) -> int:
    """Enter or remove a reading, or list all; show the drift."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    screen = Screen(as_json=options.json)
    entry = _entry(options, settings.zone) if options.value is not None or options.remove else None
    with reading(settings.database_url) as history:  # raises StorageError where there is none
        found = comparisons(history, options.meter)
    if entry:
        database = open_database(settings.database_url)
        with closing(database), storage_errors(database):
            migrate(database)
            _change(screen, database, entry, is_removed=options.remove)
            found = comparisons(database, options.meter)
    if found:
        _show(screen, found, settings.zone)
    elif not entry:
        screen.say("no readings of the utility's meter are entered")
    screen.outcome([each.to_dict() for each in found])
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for(
        "reading", "Enter a reading of the utility's meter, and show the drift of ours.", _MORE
    )
    parser.add_argument("--meter", metavar="ID", help="id of our meter on MQTT")
    parser.add_argument("--value", metavar="KWH", help="what the utility's meter shows, in kWh")
    parser.add_argument(
        "--at", metavar="TIME", help="time of the reading, as in 2026-11-01T08:30 (default: now)"
    )
    parser.add_argument(
        "--export", action="store_true", help="it is the register of what is fed in"
    )
    parser.add_argument("--list", action="store_true", help="list the entries")
    parser.add_argument("--remove", action="store_true", help="remove the entry of --at")
    add_json(parser)
    options = parser.parse_args(arguments)
    if options.value is not None and (options.remove or options.list):
        parser.error("--value: not with --list or --remove")
    needed = {"--meter": options.meter} if options.value is not None or options.remove else {}
    needed |= {"--at": options.at} if options.remove else {}
    if missing := [name for name, value in needed.items() if not value]:
        parser.error(f"{', '.join(missing)}: is missing")
    return options


def _entry(options: argparse.Namespace, zone: ZoneInfo) -> UtilityReading:
    now = datetime.now(UTC)
    ts = moment(options.at, zone) if options.at else now.replace(microsecond=0)
    if ts > now + MOST_AHEAD:
        raise SettingsError(f"--at {options.at}: is in the future")
    value = 0.0 if options.remove else _kwh(options.value)
    return UtilityReading(options.meter, ts, value, options.export)


def _kwh(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise SettingsError(f"--value {text}: should be a number of kWh, as in 12345.6") from error
    if not ENERGY.lowest <= value <= ENERGY.highest:
        raise SettingsError(f"--value {text}: should be from 0 to {ENERGY.highest:,.0f} kWh")
    return value


def _change(
    screen: Screen, database: peewee.Database, entry: UtilityReading, *, is_removed: bool
) -> None:
    where = f"meter {entry.meter_id}: the {entry.register} of {format_time(entry.ts)}"
    if not is_removed:
        enter(database, entry)
        screen.say(f"{where} is entered, {entry.value:,.3f} kWh")
    elif remove(database, entry.meter_id, entry.ts, exported=entry.exported):
        screen.say(f"{where} is removed")
    else:
        screen.say(f"{where} is not there; nothing is removed")


def _show(screen: Screen, found: Sequence[Comparison], zone: ZoneInfo) -> None:
    shown = table(
        "meter", "register", "time", ">utility kWh", ">our counter", ">utility +", ">ours +",
        ">drift",
    )  # fmt: skip
    for each in found:
        entry = each.reading
        numbers = (entry.value, each.counter, each.by_utility, each.by_meter)
        texts = ["-" if number is None else f"{number:,.3f}" for number in numbers]
        when = clock(entry.ts, zone)
        shown.add_row(entry.meter_id, entry.register, when, *texts, _drift(each))
    screen.say()
    screen.show(shown)
    for text in filter(None, map(_note, found)):
        screen.say(text)


def _drift(each: Comparison) -> str:
    if each.drift is None:
        return "-"
    percent = "" if each.drift_percent is None else f" ({each.drift_percent:+.2f} %)"
    return f"{each.drift:+,.3f} kWh{percent}"


def _note(each: Comparison) -> str:
    """Return why a comparison says less than it should, empty where it does not."""
    entry = each.reading
    where = f"meter {entry.meter_id}, {entry.register} of {format_time(entry.ts)}"
    if each.measured_at is None:
        return f"{where}: our meter had counted nothing yet"
    if each.since and each.by_utility is None:
        return f"{where}: lower than the entry before; was the utility's meter replaced?"
    age = entry.ts - each.measured_at
    if age > _LATE:
        older = span(age.total_seconds())
        return f"{where}: our last reading is {older} older; the drift lacks what came after it"
    return ""
