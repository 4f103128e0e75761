"""How fast `meterflow import` reads a CSV file, roll-ups included, beside executemany alone.

    python benchmarks/csv_import.py [--hours 120]

The file is one that `meterflow export` writes: meter by meter, 32 quantities every 10 s. The
reference stores the same rows, made before, in a table of the same form, and does nothing else.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from benchmarks.figures import NAMES, Verdict, line, readings, title
from contract.times import epoch_ms
from history.dialect import Row
from history.exchange.batches import MOST_ROWS, Batch
from history.exchange.csv_files import CsvWriter
from tests.support.parts import ROOT

METERS, EVERY_S, ROUNDS = 4, 10, 3


def rows_of(hours: int) -> dict[str, list[Row]]:
    """Return the rows of each meter: time and thousandths."""
    rows: dict[str, list[Row]] = {}
    for each in readings(METERS, hours * 3600 // EVERY_S, EVERY_S):
        values = [round(value * 1000) for value in each.values.values()]
        rows.setdefault(each.meter_id, []).append((epoch_ms(each.ts), *values))
    return rows


def imported(directory: Path, file: Path) -> float:
    """Import the file into a new history as a user does; return the seconds."""
    database = f"sqlite:///{directory}/history.db"
    began_s = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "recorder", "import", str(file)],
        cwd=directory,
        env=os.environ | {"DATABASE_URL": database, "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began_s


def plain(directory: Path, rows: Sequence[Row]) -> float:
    """Store the rows by executemany alone; return the seconds."""
    columns = ", ".join(f"{name} BIGINT" for name in NAMES)
    with closing(sqlite3.connect(directory / "plain.db")) as database:
        for pragma in ("page_size = 2048", "journal_mode = wal", "synchronous = normal"):
            database.execute(f"PRAGMA {pragma}")
        database.execute(
            f"CREATE TABLE plain (meter INTEGER, ts BIGINT, {columns}, PRIMARY KEY (meter, ts)) "
            "WITHOUT ROWID"
        )
        insert = f"INSERT INTO plain VALUES ({', '.join('?' * (len(NAMES) + 2))})"
        began_s = time.perf_counter()
        for place in range(0, len(rows), MOST_ROWS):
            with database:
                database.executemany(insert, rows[place : place + MOST_ROWS])
        return time.perf_counter() - began_s


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=120)
    hours = parser.parse_args().hours
    by_meter = rows_of(hours)
    rows = [(int(meter), *row) for meter, part in by_meter.items() for row in part]
    values, pairs = len(rows) * len(NAMES), []
    with tempfile.TemporaryDirectory(dir=".") as name:
        file = Path(name).absolute() / "all.csv"
        with file.open("w", newline="") as text:
            writer = CsvWriter(text, NAMES)
            for meter, part in by_meter.items():
                writer.write(Batch(meter, NAMES, part))
        for number in range(ROUNDS):
            directory = file.with_name(str(number))
            directory.mkdir()
            pairs.append((imported(directory, file), plain(directory, rows)))
        megabytes = file.stat().st_size / 1e6
    title(f"meterflow import: {values / 1e6:.1f} M values, {megabytes:.0f} MB of CSV")
    verdict = Verdict()
    rate = values / median(mine for mine, _ in pairs)
    ratio = median(other / mine for mine, other in pairs)
    base = f"{values / median(other for _, other in pairs) / 1e6:.1f} M values/s"
    line("executemany alone", base)
    verdict.figure(
        "import with roll-ups, values/s",
        f"{rate / 1e6:.2f} M",
        f"{ratio:.2f} of executemany alone",
        ">= 0.8 M",
        ok=rate >= 8e5,
    )
    verdict.end()


if __name__ == "__main__":
    main()
