"""`meterflow export`: readings into a CSV or Parquet file, or to another program."""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any

import peewee

from contract.quantities import BY_NAME, QUANTITIES
from contract.times import epoch_ms
from history.database import reading
from history.exchange.archive import Archive, merged_rows
from history.exchange.batches import MOST_ROWS, Batch
from history.exchange.csv_files import CsvWriter
from history.exchange.files import new_file, parquet
from history.tables import Meter, stored_quantities
from recorder.commands.arguments import add_meters, meters, moment, parser_for, progress, say
from recorder.settings import RecorderSettings
from service.amounts import amount
from service.errors import SettingsError

_FAR = 2**62


def main(arguments: Sequence[str]) -> int:
    """Export readings, also archived ones, in the order of meters and times."""
    options = _parse(arguments)
    settings = RecorderSettings.load()
    begin = epoch_ms(moment(options.since, settings.zone)) if options.since else 0
    end = epoch_ms(moment(options.until, settings.zone)) if options.until else _FAR
    archive = settings.archive()
    with reading(settings.database_url) as database, progress("export") as report:
        chosen = meters(database, options.meter)
        names = _names(database, archive, chosen, options.quantities)
        with _target(options.file) as file:
            to_parquet = options.file.endswith(".parquet")
            writer = (parquet().ParquetWriter if to_parquet else CsvWriter)(file, names)
            count = 0
            for batch in _batches(database, archive, chosen, names, (begin, end), report):
                writer.write(batch)
                count += len(batch.rows)
            writer.close()
    if options.file != "-":
        say(f"{options.file}: {amount(count, 'reading')} of {amount(len(chosen), 'meter')}")
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = parser_for("export", "Write readings to a file, in the order of meters and times.")
    parser.add_argument(
        "file", help="file to write: NAME.csv, NAME.parquet (extra archive), or - for CSV to stdout"
    )
    add_meters(parser)
    parser.add_argument(
        "--from", dest="since", metavar="TIME", help="only readings from this day or time on"
    )
    parser.add_argument(
        "--to", dest="until", metavar="TIME", help="only readings before this day or time"
    )
    parser.add_argument(
        "--quantities",
        metavar="NAMES",
        help="only these quantities, separated by commas (default: all)",
    )
    options = parser.parse_args(arguments)
    if options.file != "-" and not options.file.endswith((".csv", ".parquet")):
        parser.error(f"{options.file}: should end with .csv or .parquet, or be -")
    return options


def _names(
    database: peewee.Database, archive: Archive | None, chosen: Sequence[Meter], wanted: str | None
) -> list[str]:
    if wanted is None:
        there = set(stored_quantities(database))
        for meter in chosen if archive else ():
            there |= archive.names(meter.name)  # type: ignore[union-attr]
        return [quantity.name for quantity in QUANTITIES if quantity.name in there]
    names = wanted.split(",")
    unknown = next((name for name in names if name not in BY_NAME), None)
    if unknown is not None:
        raise SettingsError(f"--quantities: {unknown!r} is not a quantity; see docs/quantities.md")
    return names


@contextlib.contextmanager
def _target(name: str) -> Iterator[IO[Any]]:
    if name != "-":
        with new_file(Path(name), text=name.endswith(".csv")) as file:
            yield file
        return
    with contextlib.suppress(BrokenPipeError):
        yield sys.stdout


def _batches(
    database: peewee.Database,
    archive: Archive | None,
    chosen: Sequence[Meter],
    names: Sequence[str],
    span: tuple[int, int],
    report: Callable[[float], None],
) -> Iterator[Batch]:
    for place, meter in enumerate(chosen):
        first, last = max(span[0], meter.first_ts), min(span[1], meter.last_ts + 1)
        rows = merged_rows(database, archive, meter, names, first, last)
        while some := list(islice(rows, MOST_ROWS)):
            yield Batch(meter.name, names, some)
            report((place + (some[-1][0] - first) / max(last - first, 1)) / len(chosen))
