"""`meterflow check`: whether the history is sound."""

import logging
from collections.abc import Sequence

import peewee

from contract.times import from_epoch_ms
from history.checks import DAY_S, days_of, differs, gaps
from history.database import name_of, reading
from history.dialect import dialect_of
from history.tables import Meter
from recorder.commands.arguments import add_meters, meters, parser_for, progress, say, show
from recorder.settings import RecorderSettings
from service.terminal import amount, span, table

_MORE = """Gaps are listed, but are not an error of the history. Exit code 1 if the file is damaged
or roll-ups differ from their readings."""


def main(arguments: Sequence[str]) -> int:
    """Check the file, the roll-ups and the gaps; return 1 where something is wrong."""
    parser = parser_for("check", "Check the file, its roll-ups, and for gaps.", _MORE)
    add_meters(parser)
    options = parser.parse_args(arguments)
    logging.getLogger("history.rollups.rollups").setLevel(logging.ERROR)
    settings = RecorderSettings.load()
    with reading(settings.database_url) as database:
        chosen = meters(database, options.meter)
        sound = _check_file(database)
        sound &= _check_rollups(database, chosen)
        _show_gaps(database, chosen)
    return 0 if sound else 1


def _check_file(database: peewee.Database) -> bool:
    dialect = dialect_of(database)
    if dialect.file is None:
        return True  # a server checks its own files
    with progress("the file"):
        problems = dialect.damage()
    for problem in problems:
        say(f"{name_of(database)}: {problem}")
    if problems:
        say("the file is damaged: export what can be read, and restore a backup")
    else:
        say(f"{name_of(database)}: sound")
    return not problems


def _check_rollups(database: peewee.Database, chosen: Sequence[Meter]) -> bool:
    wrong = checked = 0
    with progress("roll-ups") as report:
        for place, meter in enumerate(chosen):
            days = days_of(database, meter)
            for number, day in enumerate(days):
                report((place + number / len(days)) / len(chosen))
                checked += 1
                if differs(database, meter, day):
                    wrong += 1
                    day_name = f"{from_epoch_ms(day * 1000):%Y-%m-%d}"
                    say(f"meter {meter.name}, {day_name}: roll-ups differ from the readings")
    say(f"roll-ups: {amount(checked, 'day')} of readings compared, {wrong} differ")
    return not wrong


def _show_gaps(database: peewee.Database, chosen: Sequence[Meter]) -> None:
    with progress("gaps"):
        days = [day for meter in chosen for day in gaps(database, meter)]
    if not days:
        say("gaps: none")
        return
    shown = table("meter", "day (UTC)", ">readings", ">every", ">gaps", ">longest", ">missing")
    for day in days:
        shown.add_row(
            day.meter_id,
            f"{day.day:%Y-%m-%d}",
            f"{day.readings:,}",
            span(day.usual_s),
            str(day.gaps),
            span(day.longest_s),
            f"{span(day.missing_s)} ({day.missing_s / DAY_S:.1%})",
        )
    say()
    show(shown)
