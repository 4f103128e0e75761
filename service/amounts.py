"""Amounts as people read them: numbers of things, sizes, durations and times."""

from datetime import datetime
from zoneinfo import ZoneInfo


def size(count: float) -> str:
    """Return a number of bytes as text, as in 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.{0 if unit == 'B' or count >= 9.95 else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def span(seconds: float) -> str:
    """Return a duration as text, as in 1.5 h."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"
    return f"{seconds:.0f} s"


def clock(moment: datetime | None, zone: ZoneInfo) -> str:
    """Return a time in the zone of a site as text, - for none."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}" if moment else "-"


def amount(number: int, noun: str) -> str:
    """Return a number and its noun, as in 1 reading or 2,000 readings."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
