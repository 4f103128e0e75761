"""What the commands share: how they describe themselves, times and meters that a person names."""

import argparse
import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from history.errors import StorageError
from history.queries import natural_order
from history.tables import Meter
from recorder.commands.terminal import ASIDE
from service.errors import SettingsError

_TELL = "The history is the one that the setting DATABASE_URL names. It may be in use meanwhile."


def parser_for(command: str, purpose: str, more: str = "") -> argparse.ArgumentParser:
    """Return a parser that says what a command does."""
    return argparse.ArgumentParser(
        prog=f"python -m recorder {command}",
        description=purpose,
        epilog=f"{more}\n\n{_TELL}".lstrip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_meters(parser: argparse.ArgumentParser) -> None:
    """Let meters be named."""
    parser.add_argument(
        "--meter",
        action="append",
        default=[],
        metavar="ID",
        help="of this meter only; may be given several times (all, where not given)",
    )


def meters(wanted: Sequence[str]) -> list[Meter]:
    """Return the meters of these ids, or all; raises StorageError for one without history."""
    known = {meter.name: meter for meter in Meter.select()}
    for meter_id in wanted:
        if meter_id not in known:
            there = ", ".join(sorted(known, key=natural_order)[:10]) or "none"
            raise StorageError(f"meter {meter_id}: has no history (there is: {there})")
    return [known[name] for name in sorted(set(wanted) or known, key=natural_order)]


def moment(text: str, zone: ZoneInfo) -> datetime:
    """Return the time that a person wrote: a day is its beginning; raises SettingsError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(
            f"{text!r}: should be a day or a time, as in 2026-03-01 or 2026-03-01T12:30:00+01:00"
        ) from error
    return (found if found.tzinfo else found.replace(tzinfo=zone)).astimezone(UTC)


@contextlib.contextmanager
def progress(text: str) -> Iterator[Callable[[float], None]]:
    """Show a bar on the terminal; yields what to call with how far the work is, from 0 to 1."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    quiet = not ASIDE.is_terminal
    bar = Progress(*columns, TimeRemainingColumn(), console=ASIDE, transient=True, disable=quiet)
    with bar:
        task = bar.add_task(text, total=1.0)
        yield lambda done: bar.update(task, completed=done)
