"""The terminal of a command: text, tables and progress for a person, or JSON for a script."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from service.escaping import escaped, escaped_json, escaped_lines

NARROW, WIDE = 80, 140


class Screen:
    """Where a command writes its results; with `as_json` only the outcome, as JSON."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._console = Console(
            highlight=False, width=None if sys.stdout.isatty() else WIDE, quiet=as_json
        )
        self.aside = Console(stderr=True, highlight=False, quiet=as_json)
        """Standard error, for what is shown only while the command works."""

    def say(self, text: str = "", style: str = "") -> None:
        """Print a line."""
        shown = Text(escaped_lines(text), style)
        self._console.print(shown, soft_wrap=not self._console.is_terminal)

    def show(self, made: Table) -> None:
        """Print a table."""
        self._console.print(made)

    def outcome(self, found: Any) -> None:
        """Print the outcome as JSON, where that is wanted."""
        if self.as_json:
            sys.stdout.write(escaped_json(json.dumps(found, indent=2, ensure_ascii=False)) + "\n")

    def progress_bar(self) -> Progress:
        """Return a progress bar for standard error; it draws nothing where that is no terminal."""
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self.aside,
            transient=True,
            disable=not self.aside.is_terminal,
        )

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Callable[[float], None]]:
        """Show a progress bar; yields the function that sets it, from 0 to 1."""
        with self.progress_bar() as bar:
            task = bar.add_task(text, total=1.0)
            yield lambda done: bar.update(task, completed=done)


class PlainTable(Table):
    """A table whose cells of type str are plain text: no markup, no control characters."""

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """Add a row."""
        texts = (Text(escaped(cell)) if isinstance(cell, str) else cell for cell in cells)
        super().add_row(*texts, **options)


def table(*columns: str, title: str = "") -> Table:
    """Return an empty table; a column whose name begins with > holds numbers, aligned right."""
    made = PlainTable(
        title=Text(escaped(title)) if title else None,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for column in columns:
        if column.startswith(">"):
            made.add_column(column[1:], justify="right", no_wrap=True)
        else:
            made.add_column(column)
    return made
