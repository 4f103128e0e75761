"""What it costs to wait for the disk: never, every 30 s as the recorder does, or at each commit.

    python benchmarks/syncs.py [--seconds 180]

Three histories at the same time, each in a file system of its own (ext4 on a loop device, as root),
get a reading of three meters every second, as devices without a journal send them: a commit each.
"""

import argparse
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.figures import NAMES, Verdict, line, ms, title
from benchmarks.writes import blocks, device
from contract.readings import Reading
from recorder.storage import SYNC_S, Storage

MODES = {"never": float("inf"), "every 30 s": SYNC_S, "at each commit": 0.0}
MOST = 1.3
METERS = 3


@dataclass
class Run:
    """A history, how long its syncs took, and the bytes that its device has written."""

    storage: Storage
    counters: Path | None
    every_s: float
    syncs: list[float] = field(default_factory=list)
    begun: int = 0
    bytes: int | None = None

    def commit(self, number: int) -> None:
        """Store a reading of each meter, and sync where it is due."""
        now = datetime.now(UTC)
        values = {name: 230.0 + (number % 100) / 1000 + place for place, name in enumerate(NAMES)}
        batch = [Reading(str(meter), now, values) for meter in range(METERS)]
        self.storage._synced_s = time.monotonic()  # `write` is not to sync by itself
        self.storage.write(batch, [], threading.Event())

    def sync(self) -> None:
        """Sync as the recorder does, and note how long it took."""
        self.storage._synced_s = -float("inf")
        began_s = time.perf_counter()
        self.storage.sync(0)
        self.syncs.append(time.perf_counter() - began_s)


def measure(seconds: float) -> dict[str, Run]:
    """Write to the three histories; return what each cost."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        runs: dict[str, Run] = {}
        for number, (mode, every_s) in enumerate(MODES.items()):
            place = Path(name, str(number))
            place.mkdir()
            counters = stack.enter_context(device(place))
            storage = Storage(f"sqlite:///{place}/energy_meters.db")
            stack.callback(storage.close)
            storage.open(threading.Event())
            runs[mode] = Run(storage, counters, every_s)
        for run in runs.values():
            run.begun = blocks(run.counters) if run.counters else 0
        began_s = time.monotonic()
        for number in range(1, int(seconds) + 1):
            time.sleep(max(began_s + number - time.monotonic(), 0))
            for run in runs.values():
                run.commit(number)
                if run.every_s <= 1 or number % run.every_s == 0:
                    run.sync()
        for run in runs.values():
            run.bytes = blocks(run.counters) - run.begun if run.counters else None
    return runs


def main() -> None:
    """Measure, and print what each way costs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    options = parser.parse_args()
    verdict = Verdict()
    title(f"A commit of {METERS} readings every second, for {options.seconds:.0f} s")
    runs = measure(options.seconds)
    never = runs["never"].bytes
    for mode, run in runs.items():
        if run.syncs:
            beside = f"longest {ms(max(run.syncs))}, {len(run.syncs)} of them"
            line(f"a sync, {mode}", ms(median(run.syncs)), beside)
        if run.bytes is None or not never:
            line(f"blocks of the device, {mode}", "-", "needs root and a loop device")
            continue
        mb = run.bytes / 1e6 * 3600 / options.seconds
        ratio = run.bytes / never
        what, beside = f"blocks of the device, {mode}", f"{ratio:.2f} x never"
        if run.every_s == SYNC_S:
            verdict.figure(what, f"{mb:.0f} MB/h", beside, f"<= {MOST} x", ok=ratio <= MOST)
        else:
            line(what, f"{mb:.0f} MB/h", beside)
    verdict.end()


if __name__ == "__main__":
    main()
