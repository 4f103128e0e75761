"""How fast the recorder puts rows into SQLite, beside sqlite3's executemany alone.

    python benchmarks/insert.py

All begin with the same decoded readings and end with rows of whole thousandths in tables of the
same form, 500 per transaction. The reference has its rows made before. "All of a batch" is what the
recorder does with one: also meters, sequence numbers and dirty buckets.
"""

import argparse
import gc
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
from history.readings_table import RawTable, Writer
from history.sequences import Stamped

BATCH, EACH, ROUNDS = 500, 40_000, 7


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


def whole(writer: Writer, some: Sequence[Reading]) -> float:
    """Store readings as the recorder does and return how many seconds that took."""
    began_s = time.perf_counter()
    for batch in batches(some):
        writer.write(batch)
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


def measured(directory: Path, meters: int, verdict: Verdict, *, least: float) -> None:
    """Compare with executemany alone, for readings of so many meters in turn."""
    title(f"{BATCH} readings of {len(NAMES)} quantities a transaction, {min(meters, BATCH)} meters")
    paths = [directory / f"{each}-{meters}.db" for each in ("hot", "whole", "plain")]
    for path in paths:
        database = open_database(f"sqlite:///{path}")
        migrate(database)
        RawTable(database).insert({1: [(0, next(iter(readings(1, 1, 1.0))))]})
        database.close()
    ours, writer = (open_database(f"sqlite:///{path}") for path in paths[:2])
    bare = sqlite3.connect(paths[2])
    for pragma in ("journal_mode = wal", "synchronous = normal"):
        bare.execute(f"PRAGMA {pragma}")
    everything = [
        Reading(r.meter_id, r.ts, r.values, 1 + number // meters)
        for number, r in enumerate(readings(meters, EACH * ROUNDS // meters, 10))
    ]
    rounds = [everything[n * EACH : (n + 1) * EACH] for n in range(ROUNDS)]
    store = Writer(writer)
    times = [(hot(ours, some), whole(store, some), plain(bare, some)) for some in rounds]
    made = median(sum(bare_s) / hot_s for hot_s, _, bare_s in times)
    alone = median(bare_s[1] / hot_s for hot_s, _, bare_s in times)
    batch = median(bare_s[1] / whole_s for _, whole_s, bare_s in times)
    line("executemany alone", f"{median(t[2][1] for t in times) / EACH * 1e6:.1f} us", "a reading")
    verdict.figure(
        "hot path, compared with it",
        f"{alone:.2f}",
        f"with a loop that makes its rows: {made:.2f}",
        ">= 0.85",
        ok=alone >= 0.85,
    )
    verdict.figure(
        "all of a batch, compared with it",
        f"{batch:.2f}",
        f"{median(t[1] for t in times) / EACH * 1e6:.1f} us a reading",
        f">= {least}",
        ok=batch >= least,
    )


def main() -> None:
    """Print the figures."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    verdict = Verdict()
    gc.set_threshold(50_000)  # as the recorder does
    with tempfile.TemporaryDirectory(dir=".") as name:
        measured(Path(name).absolute(), 20, verdict, least=0.45)
        measured(Path(name).absolute(), 1000, verdict, least=0.5)
    verdict.end()


if __name__ == "__main__":
    main()
