"""`meterflow replace-meter`: another meter was installed, whose counters start elsewhere."""

import argparse
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime

import peewee

from contract.quantities import BY_NAME
from contract.times import format_time
from history.database import migrate, open_database, reading, storage_errors
from history.rollups.replacements import counters_around, replace_meter
from history.rollups.rollups import Rollups
from recorder.commands.arguments import moment, parser_for, say, show
from recorder.settings import RecorderSettings
from service.errors import SettingsError
from service.terminal import table

_MORE = """Without this entry a counter that continues at another value counts as use, or as a
reset. With it, totals continue across the change: what the old meter counted up to its end, and
the new one from its start. A value that is not given counts nothing. energy and energy_import are
one counter.

  meterflow replace-meter 1 2026-11-22T14:30 --old energy=48211.5 --new energy=0"""
_SAME = {"energy": "energy_import", "energy_import": "energy"}


def main(arguments: Sequence[str]) -> int:
    """Enter a replacement; the same again changes nothing."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    ts = moment(options.time, settings.zone)
    old, new = _values("--old", options.old), _values("--new", options.new)
    with reading(settings.database_url):  # raises StorageError where there is none
        pass
    database = open_database(settings.database_url)
    with closing(database), storage_errors(database):
        migrate(database)
        replace_meter(database, options.meter, ts, old, new)
        Rollups(database).run(float("inf"))
        say(f"meter {options.meter}: replaced at {format_time(ts)}")
        _show_counters(database, options.meter, ts)
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("replace-meter", "Record that a meter was replaced by another.", _MORE)
    parser.add_argument("meter", help="id of the meter on MQTT, which the new meter keeps")
    parser.add_argument(
        "time", help="time of the replacement, as in 2026-11-22T14:30 (in the zone TIMEZONE)"
    )
    for name, text in (
        ("--old", "final values of the old meter's counters"),
        ("--new", "initial values of the new meter's counters"),
    ):
        parser.add_argument(name, nargs="+", default=[], metavar="COUNTER=VALUE", help=text)
    return parser.parse_args(arguments)


def _values(option: str, pairs: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if name not in BY_NAME or not BY_NAME[name].kind.counter:
            raise SettingsError(
                f"{option} {pair}: {name!r} is not a counter; see docs/quantities.md"
            )
        kind = BY_NAME[name].kind
        try:
            found[name] = float(text)
        except ValueError as error:
            raise SettingsError(f"{option} {pair}: {text!r} is not a number") from error
        if not kind.lowest <= found[name] <= kind.highest:
            span = f"from {kind.lowest:,.0f} to {kind.highest:,.0f} {kind.unit}"
            raise SettingsError(f"{option} {pair}: should be {span}")
    return {_SAME[name]: value for name, value in found.items() if name in _SAME} | found


def _show_counters(database: peewee.Database, meter_id: str, ts: datetime) -> None:
    shown = table("counter", ">last before", ">first after", "unit")
    for name, values in counters_around(database, meter_id, ts).items():
        texts = ["-" if value is None else f"{value:,.3f}" for value in values]
        shown.add_row(name, *texts, BY_NAME[name].kind.unit)
    show(shown)
