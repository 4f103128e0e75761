"""`meterflow status`: what the history holds, its size now and in a year."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import peewee

from history import queries
from history.database import name_of, reading
from history.dialect import dialect_of
from history.retention import Keep
from history.rollups.levels import DAY, FIVE_MINUTES, HOUR, RAW
from history.size_forecast import in_a_year, level_sizes
from recorder.commands.arguments import parser_for, say, show
from recorder.settings import RecorderSettings
from service.terminal import clock, size, span, table

_LEVELS = {RAW: "readings", FIVE_MINUTES: "5 minutes", HOUR: "hours", DAY: "days"}


def main(arguments: Sequence[str]) -> int:
    """Show the history. Raises StorageError where there is none."""
    parser_for("status", "Show what the history holds, its size now and in a year.").parse_args(
        arguments
    )
    settings = RecorderSettings.load()
    with reading(settings.database_url) as database:
        taken, free = dialect_of(database).size()
        say(f"{name_of(database)}: {size(taken)}, {size(free)} of them free")
        _show_meters(database, settings.zone)
        _show_levels(database, settings.keep, settings.zone)
    return 0


def _show_meters(database: peewee.Database, zone: ZoneInfo) -> None:
    entries, now = queries.meters(database), datetime.now(UTC)
    if not entries:
        say("no meter has sent anything yet")
        return
    shown = table("meter", "first reading", "newest reading", ">ago")
    for entry in entries:
        age = span(max((now - entry.last_seen).total_seconds(), 0))
        first, last = clock(entry.first_seen, zone), clock(entry.last_seen, zone)
        shown.add_row(entry.meter_id, first, last, age)
    say()
    show(shown)


def _show_levels(database: peewee.Database, keep: Keep, zone: ZoneInfo) -> None:
    levels = level_sizes(database, keep)
    if not levels:
        return
    shown = table("level", "kept for", "since", ">rows", ">about", ">per day")
    for level in levels:
        kept = f"{level.kept_days} days" if level.kept_days else "forever"
        rows = f"{level.rows:,}{' values' if level.level == RAW else ''}"
        since = clock(level.first, zone)
        shown.add_row(_LEVELS[level.level], kept, since, rows, size(level.size), size(level.daily))
    say()
    show(shown)
    total, whole = in_a_year(levels)
    say()
    say(f"at this rate {size(total)} in a year ({size(whole)} if every reading were kept)")
