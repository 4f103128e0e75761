"""`meterflow check`: whether the history is sound."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from zoneinfo import ZoneInfo

import peewee

from contract.times import from_epoch_ms
from history.checks import (
    DAY_S,
    DayOfGaps,
    days_of,
    differs,
    gaps,
    levels_differ,
    older_days_of,
)
from history.database import name_of, reading
from history.day_checksums import DayChecksums
from history.dialect import dialect_of
from history.exchange.archive import Archive
from history.tables import Meter
from history.voids import Void, read_voids
from recorder.commands.arguments import add_json, add_meters, meters, parser_for
from recorder.commands.void import show_voids
from recorder.settings import RecorderSettings
from service.amounts import amount, span
from service.terminal import Screen, table

_MORE = """Gaps are not an error of the history. The exit code is 1 if the file or the archive
is damaged, or roll-ups differ from their readings."""


def main(arguments: Sequence[str]) -> int:
    """Check the file, the roll-ups and the gaps; return 1 where something is wrong."""
    parser = parser_for("check", "Check the file and its roll-ups, and list gaps.", _MORE)
    add_meters(parser)
    add_json(parser)
    options = parser.parse_args(arguments)
    screen = Screen(as_json=options.json)
    settings = RecorderSettings.load()
    with reading(settings.database_url) as database:
        chosen = meters(database, options.meter)
        problems = _check_file(screen, database)
        damaged = _check_archive(screen, settings.archive())
        changed = _check_days(screen, database, chosen)
        days, wrong = _check_rollups(screen, database, chosen)
        missing = _find_gaps(screen, database, chosen)
        voids = _show_voids(screen, database, chosen, settings.zone)
        name = name_of(database)
    sound = not (problems or damaged or changed or wrong)
    rollups = {"days": days, "differ": wrong}
    screen.outcome(
        {
            "database": name,
            "sound": sound,
            "file_problems": problems,
            "archive_problems": damaged,
            "changed_days": changed,
            "rollups": rollups,
            "gaps": [_facts(day) for day in missing],
            "voids": [each.to_dict() for each in voids],
        }
    )
    return 0 if sound else 1


def _check_file(screen: Screen, database: peewee.Database) -> list[str] | None:
    """Return the problems of the file; None where a server checks its own files."""
    dialect = dialect_of(database)
    if dialect.file is None:
        return None
    with screen.progress("the file"):
        problems = list(dialect.file_errors())
    for problem in problems:
        screen.say(f"{name_of(database)}: {problem}")
    if problems:
        screen.say("the file is damaged: export what can be read, and restore a backup")
    else:
        screen.say(f"{name_of(database)}: sound")
    return problems


def _check_archive(screen: Screen, archive: Archive | None) -> list[str] | None:
    """Read all files of the archive; return what is wrong with them, None without an archive."""
    if archive is None:
        return None
    faults = list[str]()
    files = archive.files()
    with screen.progress("the archive") as report:
        for number, path in enumerate(files):
            report(number / len(files))
            if fault := archive.fault_of(path):
                faults.append(fault)
                screen.say(f"{fault}; replace it with a backup")
    screen.say(f"archive: {amount(len(files), 'file')} read, {len(faults)} damaged")
    return faults


def _check_days(
    screen: Screen, database: peewee.Database, chosen: Sequence[Meter]
) -> list[dict[str, str]]:
    """Return the days of which the disk has changed a value, by their checksums."""
    checksums = DayChecksums(database)
    days = [(meter, day) for meter in chosen for day in checksums.days(meter)]
    changed: list[dict[str, str]] = []
    with screen.progress("checksums") as report:
        for number, (meter, day) in enumerate(days):
            report(number / len(days))
            if checksums.differs(meter, day):
                day_name = f"{from_epoch_ms(day * 1000):%Y-%m-%d}"
                changed.append({"meter_id": meter.name, "day": day_name})
                screen.say(
                    f"meter {meter.name}, {day_name}: the disk has changed values; restore a backup"
                )
    screen.say(f"checksums: {amount(len(days), 'day')} compared, {len(changed)} differ")
    return changed


def _check_rollups(
    screen: Screen, database: peewee.Database, chosen: Sequence[Meter]
) -> tuple[int, list[dict[str, str]]]:
    """Return the number of days compared, and those whose roll-ups differ."""
    wrong: list[dict[str, str]] = []
    checked = 0
    with screen.progress("roll-ups") as report:
        for place, meter in enumerate(chosen):
            days = [(differs, day) for day in days_of(database, meter)]
            days += [(levels_differ, day) for day in older_days_of(database, meter)]
            for number, (is_wrong, day) in enumerate(days):
                report((place + number / len(days)) / len(chosen))
                checked += 1
                if is_wrong(database, meter, day):
                    day_name = f"{from_epoch_ms(day * 1000):%Y-%m-%d}"
                    wrong.append({"meter_id": meter.name, "day": day_name})
                    screen.say(f"meter {meter.name}, {day_name}: roll-ups differ from the readings")
    screen.say(f"roll-ups: {amount(checked, 'day')} of readings compared, {len(wrong)} differ")
    return checked, wrong


def _find_gaps(
    screen: Screen, database: peewee.Database, chosen: Sequence[Meter]
) -> list[DayOfGaps]:
    with screen.progress("gaps"):
        days = [day for meter in chosen for day in gaps(database, meter)]
    if not days:
        screen.say("gaps: none")
        return []
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
    screen.say()
    screen.show(shown)
    return days


def _show_voids(
    screen: Screen, database: peewee.Database, chosen: Sequence[Meter], zone: ZoneInfo
) -> list[Void]:
    """Show which readings count in no sum, and return their voids."""
    ids = {meter.name for meter in chosen}
    voids = [each for each in read_voids(database) if each.meter_id in ids and not each.undone_at]
    if voids:
        screen.say()
        show_voids(screen, voids, zone)
    return voids


def _facts(day: DayOfGaps) -> dict[str, Any]:
    return {**asdict(day), "day": f"{day.day:%Y-%m-%d}"}
