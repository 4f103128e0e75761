"""What a person sees of a command: lines, tables, sizes."""

import sys
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 140
_CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
ASIDE = Console(stderr=True, highlight=False)
"""For what passes: bars."""


def say(text: str = "") -> None:
    """Print a line."""
    _CONSOLE.print(Text(text), soft_wrap=True)


def show(made: Table) -> None:
    """Print a table."""
    _CONSOLE.print(made)


def table(*columns: str) -> Table:
    """Return an empty table; a column that begins with > is set to the right."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        name = column.removeprefix(">")
        made.add_column(name, justify="right" if name != column else "left", no_wrap=True)
    return made


def size(count: float) -> str:
    """Return a number of bytes as a person would say it."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.{0 if unit == 'B' or count >= 9.95 else 1}f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def span(seconds: float) -> str:
    """Return a length of time as a person would say it."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.{0 if seconds >= 10 * length else 1}f} {unit}"
    return f"{seconds:.0f} s"


def clock(moment: datetime | None, zone: ZoneInfo) -> str:
    """Return a time by a site's clock, - for none."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}" if moment else "-"


def amount(number: int, noun: str) -> str:
    """Return a number and its noun, as in 1 reading or 2,000 readings."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
