"""`meterflow statement`: what meters counted in a period and what it costs, to print or to send."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peewee

from contract.times import epoch_ms, format_time
from history.database import reading
from history.errors import StorageError
from history.exchange.files import new_file
from history.exchange.statement_files import FORMATS, fields_of, read, written
from history.statements import House, Statement, house, statement
from history.tariffs import Tariffs
from recorder.commands.arguments import add_meters, meters, moment, parser_for
from recorder.settings import RecorderSettings
from service import __version__
from service.amounts import amount
from service.errors import SettingsError
from service.terminal import Screen
from service.zones import zone_of

_MORE = """The period includes the day or time --from, and ends before --to. Costs are those of the
tariff of each meter in tariffs.toml. A statement has the hash of all figures that it rests on;
--verify shows whether the history still says the same (exit code 1: it does not).

  meterflow statement --from 2026-10-01 --to 2026-11-01 --meter 7 --output october.html
  meterflow statement --from 2026-01-01 --to 2027-01-01 --each-meter --directory 2026
  meterflow statement --from 2026-10-01 --to 2026-11-01 --site --output house.html
  meterflow statement --verify october.html"""
_QUARTER_MS = 900_000
_TABLE = "_all.csv"
"""The table of all meters: no id of a meter begins with an underscore."""


def main(arguments: Sequence[str]) -> int:
    """Make statements, or verify a file of them."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    if options.verify:
        return _verify(options.verify, settings)
    found, of_house = _statements(options, settings)
    made_at = format_time(datetime.now(UTC))
    if options.directory is None:
        _write(options.output, written(options.format, found, made_at, of_house))
        return 0
    options.directory.mkdir(parents=True, exist_ok=True)
    for each in found:
        path = options.directory / f"{each.meter_id}.{options.format}"
        _write(str(path), written(options.format, [each], made_at))
    _write(str(options.directory / _TABLE), written("csv", found, made_at))
    Screen().say(
        f"{options.directory}: {amount(len(found), 'statement')}, and all of them in {_TABLE}"
    )
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for(
        "statement", "Show what meters counted in a period, and what it costs.", _MORE
    )
    parser.add_argument("--from", dest="since", metavar="TIME", help="first day or time")
    parser.add_argument("--to", dest="until", metavar="TIME", help="day or time after the last")
    add_meters(parser)
    parser.add_argument(
        "--site", action="store_true", help="the house: its figures, and the meters of its bill"
    )
    parser.add_argument(
        "--tariff", metavar="NAME", help="tariff of all meters (default: their own)"
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="html",
        help="html (to print; the default), csv or json",
    )
    parser.add_argument(
        "--output", metavar="FILE", default="-", help="file to write (default: stdout)"
    )
    parser.add_argument(
        "--each-meter", action="store_true", help="write a file for each meter into --directory"
    )
    parser.add_argument("--directory", metavar="DIR", type=Path, help="where --each-meter writes")
    parser.add_argument(
        "--verify", metavar="FILE", type=Path, help="compare a file of statements with the history"
    )
    options = parser.parse_args(arguments)
    if options.verify is None and not (options.since and options.until):
        parser.error("--from and --to: are missing; which period?")
    if options.site and (options.meter or options.each_meter):
        parser.error("--site: stands for the meters of the house; leave --meter, --each-meter out")
    if options.each_meter != (options.directory is not None):
        parser.error("--each-meter and --directory: should be given together")
    return options


def _statements(
    options: argparse.Namespace, settings: RecorderSettings
) -> tuple[list[Statement], House | None]:
    since = _edge("--from", options.since, settings)
    until = _edge("--to", options.until, settings)
    if since >= until:
        raise SettingsError(f"--from {options.since}: should be before --to {options.until}")
    if until > datetime.now(UTC):
        today = f"{datetime.now(settings.zone):%Y-%m-%d}"
        raise SettingsError(
            f"--to {options.until}: should not be in the future; until today: --to {today}"
        )
    tariffs = _tariffs(settings)
    _check_tariff(tariffs, options.tariff, settings)
    span, zone = (since, until), settings.zone
    with reading(settings.database_url) as database:
        of_house = house(database, *span, zone) if options.site else None
        wanted = of_house.billed if of_house else options.meter
        found = [
            statement(database, meter.name, *span, zone, tariffs=tariffs, tariff=options.tariff)
            for meter in meters(database, wanted)
        ]
    if not found:
        raise StorageError("there are no meters in the history yet; is the recorder running?")
    return found, of_house


def _edge(option: str, text: str, settings: RecorderSettings) -> datetime:
    ts = moment(text, settings.zone)
    if epoch_ms(ts) % _QUARTER_MS:
        raise SettingsError(f"{option} {text}: should be the start of a quarter-hour")
    return ts


def _tariffs(settings: RecorderSettings) -> Tariffs | None:
    path = settings.tariffs_file
    is_required = "tariffs_file" in settings.model_fields_set
    return Tariffs.load(path) if is_required or path.exists() else None


def _check_tariff(tariffs: Tariffs | None, name: str | None, settings: RecorderSettings) -> None:
    known = tariffs.named if tariffs else {}
    if name is not None and name not in known:
        raise SettingsError(
            f"tariff {name!r}: is not in {settings.tariffs_file}; it has: "
            f"{', '.join(known) or 'none'}"
        )


def _write(name: str, text: str) -> None:
    if name == "-":
        sys.stdout.write(text)
        return
    with new_file(Path(name), text=True) as file:
        file.write(text)


# -- verifying ---------------------------------------------------------------------------------


def _verify(path: Path, settings: RecorderSettings) -> int:
    """Compare a file of statements with the history; return 1 where they differ."""
    screen, file = Screen(), read(path)
    tariffs = _tariffs(settings)
    found: list[Statement] = []
    differs, of_house = False, None
    with reading(settings.database_url) as database:
        if file.house:
            of_house = _house_again(database, file.house)
            differs |= _compare(screen, "the house", file.house, of_house)
        for each in file.statements:
            _check_tariff(tariffs, each["tariff"], settings)
            now = _again(database, each, tariffs)
            found.append(now)
            differs |= _compare(screen, f"meter {now.meter_id}", each, now)
    if file.version != __version__:
        screen.say(f"{path}: was made by version {file.version}; its text was not compared")
    elif not differs and written(file.form, found, file.made_at, of_house) != file.text:
        differs = True
        screen.say(f"{path}: its text was changed after it was made")
    return 1 if differs else 0


def _house_again(database: peewee.Database, each: dict[str, Any]) -> House:
    since, until = (datetime.fromisoformat(each[name]) for name in ("since", "until"))
    zone = zone_of(each["timezone"])
    return house(database, since, until, zone, runs_until=_runs_until(each))


def _runs_until(each: dict[str, Any]) -> datetime | None:
    text = each.get("runs_until")
    return datetime.fromisoformat(text) if text else None


def _again(database: peewee.Database, each: dict[str, Any], tariffs: Tariffs | None) -> Statement:
    since, until = (datetime.fromisoformat(each[name]) for name in ("since", "until"))
    chosen = tariffs if each["tariff"] else None
    return statement(
        database,
        each["meter_id"],
        since,
        until,
        zone_of(each["timezone"]),
        tariffs=chosen,
        tariff=each["tariff"],
        runs_until=_runs_until(each),
    )


def _compare(screen: Screen, name: str, each: dict[str, Any], now: Statement | House) -> bool:
    """Compare the figures of a file with those of the history; return whether they differ."""
    parts = _changed(each, now)
    screen.say(f"{name}: {_outcome(each, now, parts)}")
    if parts:
        return True
    fields = fields_of(now)
    wrong = [field for field in each if field in fields and each[field] != fields[field]]
    if wrong:
        screen.say(f"{name}: its text was changed after it was made: {', '.join(wrong)}")
    return bool(wrong)


def _changed(each: dict[str, Any], now: Statement | House) -> list[str]:
    """Return the kinds of figures that differ from those of a file."""
    before = each["rests_on"]
    return [
        part for part in {**before, **now.rests_on} if before.get(part) != now.rests_on.get(part)
    ]


def _outcome(each: dict[str, Any], now: Statement | House, parts: Sequence[str]) -> str:
    if not parts:
        return f"the history still says the same (SHA-256 {now.hash[:12]}…)"
    texts = [f"the history has changed since: {', '.join(parts)}"]
    units = {"imported": "kWh", "exported": "kWh", "total": getattr(now, "currency", None)}
    for field, unit in units.items():
        if field in each and each[field] != getattr(now, field):
            texts.append(f"{field} {each[field]} is now {getattr(now, field)} {unit}")
    return "; ".join(texts)
