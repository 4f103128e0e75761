"""How much `meterflow run` writes to the disk with three simulated meters, and who writes it.

    python benchmarks/writes.py [--seconds 600]

Both brokers at the same time, each in a file system of its own. What a process writes is that of
/proc/PID/io; a file that SQLite writes ahead (-wal) is counted by its frames. As root the blocks of
the device are counted too (ext4 on a loop device), with all that is written when everything stops.
The reference is the size of the values: four bytes each.
"""

import argparse
import contextlib
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from benchmarks.figures import Verdict, line, title
from benchmarks.whole import BROKERS, PROGRAMS, Process, Whole
from tests.support.parts import simulated_gateway

MOST_MB = {"mosquitto": 15.0, "embedded": 20.0}
SETTLED_S = 60
IMAGE_BYTES = 400_000_000
_LIKE_A_CARD = ("-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
"""Blocks of 4 kB, as on any larger disk: mkfs would give such a small one blocks of 1 kB."""
VALUE_BYTES = 4
WALS = {"recorder": "energy_meters.db-wal", "gateway_bridge": "state/journal-gateway.db-wal"}
"""The files that SQLite writes ahead, by the process that writes them."""
_INDEX = struct.Struct("=14xHI")
"""Start of a -shm file: the size of a page, and the number of frames in the -wal file."""
_FRAME_HEAD = 24


class Wal:
    """Counts the bytes that are written ahead, by looking at the index several times a second."""

    def __init__(self, path: Path) -> None:
        self._index = path.with_name(path.name.replace("-wal", "-shm"))
        _, self._frames = self._state()
        self.bytes = 0

    def look(self) -> None:
        """Count the frames since the last look; fewer than then: the file began again."""
        (page, frames), before = self._state(), self._frames
        self.bytes += (frames - before if frames >= before else frames) * (page + _FRAME_HEAD)
        self._frames = frames

    def _state(self) -> tuple[int, int]:
        with contextlib.suppress(OSError, struct.error), self._index.open("rb") as file:
            page, frames = _INDEX.unpack(file.read(_INDEX.size))
            return page, frames
        return 0, 0


@contextmanager
def device(directory: Path) -> Iterator[Path | None]:
    """Mount a new ext4 on a directory and give the counters of its device; None if not root."""
    image, name = directory.with_suffix(".img"), None
    with image.open("wb") as file:
        file.truncate(IMAGE_BYTES)
    try:
        _run("mkfs.ext4", "-q", *_LIKE_A_CARD, str(image))
        name = _run("losetup", "--find", "--show", str(image))
        _run("mount", name, str(directory))
    except (OSError, subprocess.CalledProcessError):
        yield None
    else:
        try:
            yield Path("/sys/block", Path(name).name, "stat")
        finally:
            _run("umount", str(directory))
    finally:
        if name:
            _run("losetup", "--detach", name)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def blocks(counters: Path) -> int:
    """Return the bytes that a device has written, after all that waits is run."""
    subprocess.run(["sync"], check=True)
    return int(counters.read_text().split()[6]) * 512


class Run:
    """A run in a file system of its own, and what it has written since `begin`, in bytes."""

    def __init__(self, broker: str, place: Path, stack: ExitStack) -> None:
        self._place = place
        self._counters = stack.enter_context(device(place))
        stack.callback(self._count_blocks)
        elsewhere = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        modbus = stack.enter_context(simulated_gateway(elsewhere, "1,2,3"))
        settings = {"POLL_INTERVAL": 1, **modbus}
        self._whole = Whole(place, sys.executable, broker, settings)
        stack.enter_context(self._whole.part)
        self._whole.wait_until_complete(PROGRAMS)
        self.blocks: int | None = None

    def begin(self) -> None:
        """Start to count."""
        self.seconds, self.values = -time.monotonic(), -self._stored()
        self.wals = {name: Wal(self._place / path) for name, path in WALS.items()}
        self.blocks = -blocks(self._counters) if self._counters else None
        self.processes = {each.name: -count for each, count in self._written()}

    def end(self) -> None:
        """Stop to count, but for the blocks of the device."""
        self.seconds += time.monotonic()
        assert len(self._whole.processes()) == PROGRAMS, self._whole.part.output
        self.values += self._stored()
        for each, count in self._written():
            self.processes[each.name] += count

    def mb_per_hour(self, count: float) -> float:
        """Return a number of bytes as MB an hour."""
        return count / 1e6 * 3600 / self.seconds

    def _count_blocks(self) -> None:
        """Count the blocks when all has stopped: what was put off is among them."""
        if self._counters and self.blocks is not None:
            self.blocks += blocks(self._counters)

    def _written(self) -> list[tuple[Process, int]]:
        return [(each, each.proc("io")["write_bytes"]) for each in self._whole.processes()]

    def _stored(self) -> int:
        """Return how many values the history holds, without those of the roll-ups."""
        path = self._place / "energy_meters.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            columns = len(database.execute("SELECT * FROM readings_raw LIMIT 1").fetchone()) - 2
            [(rows,)] = database.execute("SELECT count(*) FROM readings_raw")
        return columns * int(rows)


def measure(settle_s: float, seconds: float) -> dict[str, Run]:
    """Run the whole on both brokers at the same time and return what each wrote."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        runs: dict[str, Run] = {}
        for broker in BROKERS:
            place = Path(name, broker)
            place.mkdir()
            runs[broker] = Run(broker, place, stack)
        time.sleep(settle_s)
        for run in runs.values():
            run.begin()
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            time.sleep(0.1)
            for run in runs.values():
                for wal in run.wals.values():
                    wal.look()
        for run in runs.values():
            run.end()
    return runs


def report(verdict: Verdict, broker: str, run: Run) -> None:
    """Print who wrote how much in an hour and a day."""
    title(f"Written by three meters every second in {run.seconds:.0f} s, broker: {broker}")
    values = run.mb_per_hour(VALUE_BYTES * run.values)
    line("values", f"{values:.1f} MB/h", f"{24 * values:.0f} MB a day, {VALUE_BYTES} bytes each")
    in_all = sum(run.processes.values())
    for name, count in run.processes.items():
        if count:
            share = f"{100 * count / in_all:.0f} % of all"
            line(name, f"{run.mb_per_hour(count):.1f} MB/h", share)
        ahead = run.wals.get(name)
        if ahead and ahead.bytes:
            share = f"{100 * ahead.bytes / max(count, 1):.0f} % of it"
            line(f"    {WALS[name]}", f"{run.mb_per_hour(ahead.bytes):.1f} MB/h", share)
    for name, counted in (("all, by process", in_all), ("all, by block", run.blocks)):
        if counted is None:
            line(name, "-", "needs root and a loop device")
            continue
        each, most = run.mb_per_hour(counted), MOST_MB[broker]
        beside = f"{24 * each:.0f} MB a day, {each / values:.1f} x the values"
        verdict.figure(name, f"{each:.1f} MB/h", beside, f"<= {most:g} MB/h", ok=each <= most)


def main() -> None:
    """Run both brokers at the same time and print what they wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    verdict = Verdict()
    for broker, run in measure(min(SETTLED_S, options.seconds), options.seconds).items():
        report(verdict, broker, run)
    verdict.end()


if __name__ == "__main__":
    main()
