"""What a person sees of a command: text and tables on the terminal, or JSON for a script."""

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

NARROW, WIDE = 80, 140


class Screen:
    """Where a command says what it has found; with `as_json` only the outcome, as JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = Console(
            highlight=False, width=None if sys.stdout.isatty() else WIDE, quiet=as_json
        )
        self.progress = Console(stderr=True, highlight=False, quiet=as_json)
        """For what passes: bars, and what is being done."""

    def say(self, text: str = "", style: str = "") -> None:
        """Say a line."""
        self._console.print(Text(text, style))

    def show(self, table: Table) -> None:
        """Show a table."""
        self._console.print(table)

    def outcome(self, found: Any) -> None:
        """Print the outcome for a script, where one is asked for."""
        if self.as_json:
            sys.stdout.write(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def table(*columns: str, title: str = "") -> Table:
    """Return an empty table; a column that begins with > is set to the right."""
    made = Table(title=title or None, title_justify="left", title_style="bold", box=None)
    for column in columns:
        made.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left"
        )
    return made
