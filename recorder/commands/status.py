"""`meterflow status`: what the history holds, its size now and in a year."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from contract.times import format_time
from history import queries
from history.database import name_of, reading
from history.dialect import dialect_of
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, QUARTER_HOUR, RAW
from history.size_forecast import LevelSize, begins, in_a_year, level_sizes
from history.voids import read_voids
from recorder.commands.arguments import add_json, parser_for
from recorder.commands.void import show_voids
from recorder.settings import RecorderSettings
from service.amounts import amount, clock, size, span
from service.terminal import Screen, table

_LEVELS = {
    RAW: "readings",
    FIVE_MINUTES: "5 minutes",
    QUARTER_HOUR: "quarters",
    HOUR: "hours",
    DAY: "days",
}


def main(arguments: Sequence[str]) -> int:
    """Show the history. Raises StorageError where there is none."""
    parser = parser_for("status", "Show what the history holds, and its size now and in a year.")
    add_json(parser)
    screen = Screen(as_json=parser.parse_args(arguments).json)
    settings = RecorderSettings.load()
    with reading(settings.database_url) as database:
        taken, free = dialect_of(database).size()
        entries = queries.meters(database)
        levels = level_sizes(database, settings.keep)
        voids = [each for each in read_voids(database) if not each.undone_at]
        name = name_of(database)
    screen.say(f"{name}: {size(taken)}, {size(free)} of it free")
    if begin := begins(levels):
        screen.say(f"history since {clock(begin, settings.zone)}")
    _show_meters(screen, entries, settings.zone)
    _show_levels(screen, levels, settings.zone)
    if voids:
        screen.say()
        show_voids(screen, voids, settings.zone)
    sizes = {"bytes": taken, "free_bytes": free}
    facts = {**_facts(entries, levels), "voids": [each.to_dict() for each in voids]}
    screen.outcome({"database": name, **sizes, **facts})
    return 0


def _show_meters(screen: Screen, entries: Sequence[queries.MeterEntry], zone: ZoneInfo) -> None:
    if not entries:
        screen.say("no meter has sent anything yet")
        return
    now = datetime.now(UTC)
    shown = table("meter", "first reading", "newest reading", ">ago")
    for entry in entries:
        age = span(max((now - entry.last_seen).total_seconds(), 0))
        first, last = clock(entry.first_seen, zone), clock(entry.last_seen, zone)
        shown.add_row(entry.meter_id, first, last, age)
    screen.say()
    screen.show(shown)


def _show_levels(screen: Screen, levels: Sequence[LevelSize], zone: ZoneInfo) -> None:
    if not levels:
        return
    shown = table("level", "kept for", "since", ">rows", ">about", ">per day")
    for level in levels:
        kept = amount(level.kept_days, "day") if level.kept_days else "forever"
        rows = f"{level.rows:,}{' values' if level.level == RAW else ''}"
        since = clock(level.first, zone)
        figures = (rows, size(level.size), size(level.daily)) if level.is_counted else ("-",) * 3
        shown.add_row(_LEVELS[level.level], kept, since, *figures)
    screen.say()
    screen.show(shown)
    if not all(level.is_counted for level in levels):
        screen.say("readings are counted once they are rolled up: the figures follow in minutes")
        return
    total, whole = in_a_year(levels)
    screen.say()
    screen.say(f"at this rate {size(total)} in a year ({size(whole)} if every reading were kept)")


def _facts(entries: Sequence[queries.MeterEntry], levels: Sequence[LevelSize]) -> dict[str, Any]:
    """Return the tables for --json; what is not known is None."""
    total, whole = in_a_year(levels)
    begin = begins(levels)
    known = bool(levels) and all(level.is_counted for level in levels)
    return {
        "begins": format_time(begin) if begin else None,
        "meters": [
            {
                "meter_id": entry.meter_id,
                "first_reading": format_time(entry.first_seen),
                "newest_reading": format_time(entry.last_seen),
            }
            for entry in entries
        ],
        "levels": [
            {
                "level": _LEVELS[level.level],
                "kept_days": level.kept_days or None,
                "since": format_time(level.first) if level.first else None,
                "rows": level.rows if level.is_counted else None,
                "bytes": round(level.size) if level.is_counted else None,
                "bytes_per_day": round(level.daily) if level.is_counted else None,
            }
            for level in levels
        ],
        "bytes_in_a_year": round(total) if known else None,
        "bytes_in_a_year_if_all_kept": round(whole) if known else None,
    }
