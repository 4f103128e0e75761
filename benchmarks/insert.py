"""How fast the recorder's hot path puts rows into SQLite, beside sqlite3's executemany alone.

    python benchmarks/insert.py

Both begin with the same decoded readings and end with rows of whole thousandths in tables of the
same form, 500 per transaction. Also shown: executemany alone, with rows that exist already.
"""

import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import peewee

from benchmarks.figures import NAMES, Verdict, line, readings, title
from contract.readings import Reading
from contract.times import epoch_ms
from history.database import migrate, open_database
from history.dialect import transaction
from history.readings_table import RawTable
from history.sequences import Stamped

METERS, BATCH, EACH, ROUNDS = 20, 500, 2000, 7


def batches(some: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
    """Yield readings as the recorder gets them, batch by batch."""
    return (some[place : place + BATCH] for place in range(0, len(some), BATCH))


def hot(database: peewee.Database, some: Sequence[Reading]) -> float:
    """Store readings by the hot path and return how many seconds that took."""
    table = RawTable(database)
    began_s = time.perf_counter()
    for batch in batches(some):
        stamped: dict[int, list[Stamped]] = {}
        for reading in batch:
            stamped.setdefault(int(reading.meter_id), []).append((epoch_ms(reading.ts), reading))
        with transaction(database):
            table.insert(stamped)
    return time.perf_counter() - began_s


def plain(database: sqlite3.Connection, some: Sequence[Reading]) -> tuple[float, float]:
    """Store the same rows by executemany; return the seconds for making and for storing them."""
    began_s = time.perf_counter()
    rows = [
        (int(r.meter_id), epoch_ms(r.ts), *[round(v * 1000) for v in r.values.values()])
        for r in some
    ]
    insert = (
        f"INSERT INTO readings_raw (meter, ts, {', '.join(NAMES)}) "
        f"VALUES ({', '.join('?' * (len(NAMES) + 2))}) ON CONFLICT (meter, ts) DO NOTHING"
    )
    made_s = time.perf_counter()
    for place in range(0, len(rows), BATCH):
        with database:
            database.executemany(insert, rows[place : place + BATCH])
    return made_s - began_s, time.perf_counter() - made_s


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        paths = [Path(name).absolute() / f"{each}.db" for each in ("hot", "plain")]
        for path in paths:
            database = open_database(f"sqlite:///{path}")
            migrate(database)
            RawTable(database).insert({1: [(0, next(iter(readings(1, 1, 1.0))))]})
            database.close()
        ours, bare = open_database(f"sqlite:///{paths[0]}"), sqlite3.connect(paths[1])
        for pragma in ("journal_mode = wal", "synchronous = normal"):
            bare.execute(f"PRAGMA {pragma}")
        everything = list(readings(METERS, EACH * ROUNDS, 10))
        each = METERS * EACH
        rounds = [everything[n * each : (n + 1) * each] for n in range(ROUNDS)]
        pairs = [(hot(ours, some), plain(bare, some)) for some in rounds]
    title(f"Rows of {len(NAMES)} quantities into SQLite, {BATCH} a transaction")
    ratio = median(sum(theirs) / mine for mine, theirs in pairs)
    alone = median(theirs[1] / mine for mine, theirs in pairs)
    verdict = Verdict()
    line("hot path, rows/s", f"{each / median(mine for mine, _ in pairs):.0f}")
    verdict.figure(
        "of executemany alone, with rows that exist",
        f"{alone:.2f}",
        f"of a loop that makes rows, and executemany: {ratio:.2f}",
        ">= 0.85",
        ok=alone >= 0.85,
    )
    verdict.end()


if __name__ == "__main__":
    main()
