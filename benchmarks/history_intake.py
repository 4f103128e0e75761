"""How fast readings are stored and rolled up, beside SQLite's plain executemany.

    python -m benchmarks.history_intake [postgresql://... of an empty database]

"Plain" stores the same rows in a table of the same form, and does nothing else.
"""

import argparse
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles

import peewee

from benchmarks.figures import NAMES, START, Verdict, line, ms, readings, title
from contract.readings import Reading
from contract.times import epoch_ms
from history.database import migrate, open_database
from history.dialect import dialect_of, run_many
from history.exchange.archive import Archive
from history.readings_table import Writer
from history.retention import Keep, Retention
from history.rollups.rollups import Rollups

METERS, BATCH, ROUNDS = 20, 500, 5
HOURS = 3
INFLUXDB_BYTES = 6.7
READER = """
import sqlite3, sys
database = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
print("ready", flush=True)
while True:
    database.execute("SELECT AVG(power), MAX(energy) FROM (SELECT power, energy FROM readings_raw "
                     "WHERE meter = 1 ORDER BY ts DESC LIMIT 10000)").fetchall()
"""


class History:
    """A database as the recorder fills it."""

    def __init__(self, url: str) -> None:
        self.database = open_database(url)
        migrate(self.database)
        self.writer, self.rollups = Writer(self.database), Rollups(self.database)
        self.longest_s = 0.0

    def store(self, some: Sequence[Reading]) -> float:
        """Store readings in batches, roll them up, and return how many seconds that took."""
        began_s = time.perf_counter()
        for place in range(0, len(some), BATCH):
            self._step(lambda place=place: self.writer.write(some[place : place + BATCH]))
        for _ in (steps := self.rollups.steps()):
            self._step(lambda: next(steps, None))
        return time.perf_counter() - began_s

    def _step(self, work: Callable[[], object]) -> None:
        began_s = time.perf_counter()
        work()
        self.longest_s = max(self.longest_s, time.perf_counter() - began_s)


class Plain:
    """The same rows by executemany, and nothing else."""

    def __init__(self, database: peewee.Database) -> None:
        self._database = database
        columns = ", ".join(f"{name} BIGINT" for name in NAMES)
        ending = "WITHOUT ROWID" if dialect_of(database).file else ""
        database.execute_sql(
            f"CREATE TABLE plain (meter INTEGER, ts BIGINT, {columns}, "
            f"PRIMARY KEY (meter, ts)) {ending}"
        )
        self._insert = (
            f"INSERT INTO plain VALUES ({', '.join('?' * (len(NAMES) + 2))}) "
            "ON CONFLICT (meter, ts) DO NOTHING"
        )

    def store(self, some: Sequence[Reading]) -> float:
        """Store readings in batches and return how many seconds that took."""
        began_s = time.perf_counter()
        for place in range(0, len(some), BATCH):
            rows = [
                (int(r.meter_id), epoch_ms(r.ts), *[round(v * 1000) for v in r.values.values()])
                for r in some[place : place + BATCH]
            ]
            with self._database.atomic():
                run_many(self._database, self._insert, rows)
        return time.perf_counter() - began_s


def intake(directory: Path, url: str | None, verdict: Verdict) -> None:
    """Compare with plain executemany: on top of a year of history, and into an empty file."""
    where = "PostgreSQL" if url else "SQLite"
    title(f"Intake with roll-ups into {where}: {METERS} meters, {len(NAMES)} quantities every 10 s")
    full = History(url or f"sqlite:///{directory}/year.db")
    year = readings(METERS, 365 * 6, 4 * 3600, START - timedelta(days=365))
    full.store(list(year))
    full.longest_s = 0.0
    plain = Plain(full.database if url else _beside(directory))
    parts = {"plain": plain.store, "year": full.store}
    if not url:
        parts["empty"] = History(f"sqlite:///{directory}/empty.db").store
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(ROUNDS):
        begin = START + timedelta(hours=number * HOURS)
        some = list(readings(METERS, HOURS * 360, 10, begin))
        for name, store in parts.items():
            times[name].append(store(some))
    values = METERS * HOURS * 360 * len(NAMES)
    base = median(times["plain"])
    for name in list(parts)[1:]:
        ratio = base / median(times[name])
        what = f"{name} of history" if name == "year" else "empty file"
        verdict.figure(
            f"on top of a {what}" if name == "year" else f"into an {what}",
            f"{ratio:.2f}",
            f"of plain, {values / base / 1e6:.1f} M values/s",
            ">= 0.4",
            ok=ratio >= 0.4,
        )
        if name == "year" and not url:
            rate = values / median(times[name])
            verdict.figure("    values/s", f"{rate / 1e6:.2f} M", "", ">= 0.8 M", ok=rate >= 8e5)
    verdict.figure(
        "longest transaction", ms(full.longest_s), "", "< 100 ms", ok=full.longest_s < 0.1
    )


def _beside(directory: Path) -> peewee.Database:
    pragmas = {
        "page_size": 2048,
        "journal_mode": "wal",
        "synchronous": "normal",
        "wal_autocheckpoint": 8000,
    }
    return peewee.SqliteDatabase(str(directory / "plain.db"), pragmas=pragmas)


def sizes(directory: Path, verdict: Verdict) -> None:
    """Measure how many bytes a value takes."""
    title("Size: 4 meters, 2 days of readings every 10 s")
    some = list(readings(4, 2 * 8640, 10))
    history = History(f"sqlite:///{directory}/size.db")
    for place in range(0, len(some), BATCH):
        history.writer.write(some[place : place + BATCH])
    values = len(some) * len(NAMES)
    raw = _size(history.database, directory) / values
    history.rollups.run(float("inf"))
    both = _size(history.database, directory) / values
    plain = sqlite3.connect(directory / "real.db")
    plain.execute(f"CREATE TABLE r (meter INTEGER, ts INTEGER, {' REAL, '.join(NAMES)} REAL, "
                  "UNIQUE (meter, ts))")  # fmt: skip
    plain.executemany(
        f"INSERT INTO r VALUES ({', '.join('?' * (len(NAMES) + 2))})",
        ((int(r.meter_id), epoch_ms(r.ts), *r.values.values()) for r in some),
    )
    plain.commit()
    real = (directory / "real.db").stat().st_size / values
    line("bytes a value, readings", f"{raw:.2f}", f"REAL columns: {real:.2f}")
    verdict.figure(
        "bytes a value, with roll-ups",
        f"{both:.2f}",
        f"InfluxDB 1.6 (elsewhere): {INFLUXDB_BYTES}",
        "<= 6.5",
        ok=both <= 6.5,
    )
    _archive(history.database, directory, values, verdict)


def _archive(database: peewee.Database, directory: Path, values: int, verdict: Verdict) -> None:
    archive = Archive(directory / "archive")
    later_s = (START + timedelta(days=90)).timestamp()
    list(Retention(database, Keep(raw=1), archive).steps(later_s))
    packed = sum(path.stat().st_size for path in (directory / "archive").rglob("*.parquet"))
    verdict.figure(
        "bytes a value, in the archive",
        f"{packed / values:.2f}",
        "the same readings in Parquet",
        "<= 1.7",
        ok=packed / values <= 1.7,
    )


def _size(database: peewee.Database, directory: Path) -> int:
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    return (directory / "size.db").stat().st_size


def busy_readers(directory: Path, verdict: Verdict) -> None:
    """Measure how long commits take while two readers are busy."""
    title("Commits of 20 readings, roll-ups between them, two readers in a tight loop")
    path = directory / "busy.db"
    history = History(f"sqlite:///{path}")
    history.store(list(readings(METERS, 1000, 10)))
    some = list(readings(METERS, 3000, 10, START + timedelta(days=1)))
    batches = [some[place : place + METERS] for place in range(0, len(some), METERS)]
    alone = _commits(history, batches[: len(batches) // 2])
    command = [sys.executable, "-c", READER, str(path)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for reader in readers:
            assert reader.stdout
            reader.stdout.readline()
        beside = _commits(history, batches[len(batches) // 2 :])
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
    p99 = quantiles(beside, n=100)[-1]
    verdict.figure(
        "commit, p99",
        ms(p99),
        f"alone: {ms(quantiles(alone, n=100)[-1])}",
        "< 25 ms",
        ok=p99 < 0.025,
    )
    line("commit, median", ms(median(beside)), f"alone: {ms(median(alone))}")


def _commits(history: History, batches: Sequence[Sequence[Reading]]) -> list[float]:
    times = []
    for number, batch in enumerate(batches):
        began_s = time.perf_counter()
        history.writer.write(batch)
        times.append(time.perf_counter() - began_s)
        if number % 30 == 0:
            history.rollups.run(time.monotonic() + 0.05)
        time.sleep(0.002)
    return times


def main() -> None:
    """Measure everything; SQLite in a temporary directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="URL of a database (default: a new SQLite file)")
    url = parser.parse_args().url
    with tempfile.TemporaryDirectory(dir=".") as name:
        directory = Path(name).absolute()
        verdict = Verdict()
        intake(directory, url, verdict)
        sizes(directory, verdict)
        busy_readers(directory, verdict)
    verdict.end()


if __name__ == "__main__":
    main()
