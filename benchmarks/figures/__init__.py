"""What benchmarks share: figures with their references, and readings to measure with."""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from contract.quantities import BY_NAME, DEFAULT_SET
from contract.readings import Reading

NAMES = tuple(DEFAULT_SET)[:32]
START = datetime(2026, 1, 1, tzinfo=UTC)
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC)


def title(text: str) -> None:
    """Print what the lines below are about."""
    sys.stdout.write(f"\n{text}\n")


def line(what: str, value: str, beside: str = "", reach: str = "", ok: bool | None = None) -> None:
    """Print a figure, its reference, its target, and whether it reaches the target."""
    verdict = {True: "ok", False: "MISSED", None: ""}[ok]
    sys.stdout.write(f"  {what:<44} {value:>12}  {beside:<44} {reach:<10} {verdict}\n")
    sys.stdout.flush()


@dataclass
class Verdict:
    """Prints figures, and counts those that miss their target."""

    missed: int = 0

    def figure(self, what: str, value: str, beside: str, reach: str, *, ok: bool) -> None:
        """Print a figure, its reference and its target, and count it if it misses."""
        self.missed += not ok
        line(what, value, beside, reach, ok)

    def end(self) -> None:
        """Print the load of the machine and exit, with 1 if a figure was missed."""
        sys.stdout.write(f"  (load of this machine: {os.getloadavg()[0]:.1f})\n")
        sys.exit(1 if self.missed else 0)


def ms(seconds: float) -> str:
    """Return a time as text."""
    return f"{seconds * 1000:.2f} ms"


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds some work takes."""
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def interleaved(works: Sequence[Callable[[], object]], rounds: int = 15) -> list[float]:
    """Return the median time of each, run A B A B, so that what else runs disturbs all alike."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for taken, work in zip(times, works, strict=True):
            taken.append(timed(work))
    return [median(taken) for taken in times]


def readings(
    meters: int, count: int, every_s: float, start: datetime = START, names: Sequence[str] = NAMES
) -> Iterator[Reading]:
    """Yield readings like those of three-phase meters, in the order of their times."""
    chance = random.Random(1)
    base = [chance.random() * 1000 for _ in names]
    kinds = [BY_NAME[name].kind for name in names]
    for number in range(count):
        ts = start + timedelta(seconds=number * every_s)
        counted = (ts - _EPOCH) / timedelta(hours=1)
        for meter in range(1, meters + 1):
            values = {
                name: round(level + counted, 3)
                if kind.counter
                else round(min(level + chance.randint(-500, 500) / 1000, kind.highest), 3)
                for name, level, kind in zip(names, base, kinds, strict=True)
            }
            yield Reading(str(meter), ts, values)
