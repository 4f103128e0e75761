"""`meterflow prices`: dynamic prices of a tariff into and out of the history."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO

from contract.prices import KwhPrice
from contract.times import epoch_ms, format_time, from_epoch_ms
from contract.topics import METER_ID
from history import prices
from history.database import migrate, open_database, reading, storage_errors
from history.errors import StorageError
from history.exchange.files import new_file
from history.exchange.price_files import WIDTHS, read_prices, write_csv, write_json
from history.tariffs import Tariffs
from recorder.commands.arguments import add_json, moment, parser_for
from recorder.settings import RecorderSettings
from service.amounts import amount, clock
from service.errors import SettingsError
from service.program import add_command
from service.terminal import Screen, table
from service.zones import zone_of

_MORE = """A CSV file has the columns from (or start, time) and price, and may have feed_in; a JSON
file is what docs/contract.md describes for prices over MQTT. Later prices of the same time replace
earlier ones. A tariff of tariffs.toml uses them with dynamic = true or dynamic = "NAME".

  meterflow prices import day-ahead.csv --tariff spot --per MWh
  meterflow prices export prices.csv --tariff spot --from 2026-11-01"""
_FAR = 2**40


def main(arguments: Sequence[str]) -> int:
    """Import, export or list dynamic prices."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    work = {"import": _import, "export": _export, "list": _list}[options.action]
    work(options, settings)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("prices", "Import, export or list dynamic prices.", _MORE)
    actions = parser.add_subparsers(dest="action", required=True, metavar="import|export|list")
    importing = add_command(actions, "import", "store the prices of a file")
    importing.add_argument("file", type=Path, help="CSV or JSON file to read")
    importing.add_argument("--tariff", required=True, metavar="NAME", help="name of the prices")
    importing.add_argument(
        "--minutes",
        type=int,
        choices=WIDTHS,
        help="how long each price of a CSV file applies (default: the distance of its lines)",
    )
    importing.add_argument(
        "--per", choices=("kWh", "MWh"), default="kWh", help="unit of a CSV file (default: kWh)"
    )
    importing.add_argument(
        "--zone", metavar="ZONE", help="zone of times without one (default: TIMEZONE)"
    )
    exporting = add_command(actions, "export", "write prices to a file")
    exporting.add_argument(
        "file", help="file to write: NAME.csv, NAME.json, or - for CSV to stdout"
    )
    exporting.add_argument("--tariff", required=True, metavar="NAME", help="name of the prices")
    for option, dest, text in (("--from", "since", "from"), ("--to", "until", "before")):
        exporting.add_argument(
            option, dest=dest, metavar="TIME", help=f"only prices {text} this day or time"
        )
    add_json(add_command(actions, "list", "show which prices there are"))
    options = parser.parse_args(arguments)
    if options.action == "export" and not options.file.endswith((".csv", ".json", "-")):
        parser.error(f"{options.file}: should end with .csv or .json, or be -")
    return options


def _import(options: argparse.Namespace, settings: RecorderSettings) -> None:
    if not METER_ID.fullmatch(options.tariff):
        raise SettingsError(
            f"--tariff {options.tariff}: should be 1 to 32 letters, digits, '_' or '-'"
        )
    zone = zone_of(options.zone) if options.zone else settings.zone
    found = read_prices(options.file, zone=zone, minutes=options.minutes, per=options.per)
    database = open_database(settings.database_url)
    with closing(database), storage_errors(database):
        migrate(database)
        prices.store(database, options.tariff, found)
    screen = Screen()
    first, last = min(found), max(found)
    screen.say(
        f"{options.file}: {amount(len(found), 'quarter-hour')} of {options.tariff}, "
        f"{clock(from_epoch_ms(first * 1000), zone)} to {clock(from_epoch_ms(last * 1000), zone)}"
    )
    if options.tariff not in _used(settings.tariffs_file):
        screen.say(
            f"{settings.tariffs_file}: no tariff uses these prices; add one with "
            f'dynamic = "{options.tariff}"'
        )


def _used(path: Path) -> set[str | None]:
    """Return the names of the prices that the tariffs of a file use."""
    if not path.exists():
        return set()
    tariffs = Tariffs.load(path).named.values()
    return {rates.price_list for tariff in tariffs for rates in tariff.rates}


def _export(options: argparse.Namespace, settings: RecorderSettings) -> None:
    begin = epoch_ms(moment(options.since, settings.zone)) // 1000 if options.since else 0
    end = epoch_ms(moment(options.until, settings.zone)) // 1000 if options.until else _FAR
    with reading(settings.database_url) as database:
        found = prices.read(database, options.tariff, begin, end)
        known = [each.tariff for each in prices.stored(database)]
    if options.tariff not in known:
        names = ", ".join(known) or "none"
        raise StorageError(f"prices {options.tariff}: there are none; there are prices of: {names}")
    quarters = {q: KwhPrice(price, found.feed_in.get(q)) for q, price in found.price.items()}
    with _target(options.file) as file:
        (write_json if options.file.endswith(".json") else write_csv)(file, quarters)
    if options.file != "-":
        Screen().say(f"{options.file}: {amount(len(quarters), 'quarter-hour')}")


@contextlib.contextmanager
def _target(name: str) -> Iterator[IO[str]]:
    if name == "-":
        with contextlib.suppress(BrokenPipeError):
            yield sys.stdout
        return
    with new_file(Path(name), text=True) as file:
        yield file


def _list(options: argparse.Namespace, settings: RecorderSettings) -> None:
    screen = Screen(as_json=options.json)
    with reading(settings.database_url) as database:
        found = prices.stored(database)
    shown = table("prices", "from", "to", ">quarter-hours", ">missing")
    for each in found:
        zone = settings.zone
        shown.add_row(
            each.tariff,
            clock(each.since, zone),
            clock(each.until, zone),
            f"{each.quarters:,}",
            f"{each.missing:,}",
        )
    if found:
        screen.show(shown)
    else:
        screen.say("there are no dynamic prices yet; see meterflow prices --help")
    screen.outcome(
        [
            {
                "tariff": each.tariff,
                "from": format_time(each.since),
                "to": format_time(each.until),
                "quarter_hours": each.quarters,
                "missing": each.missing,
            }
            for each in found
        ]
    )
