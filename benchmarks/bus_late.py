"""How many values late answers cost, and whether any published value was not measured.

    python benchmarks/bus_late.py [--seeds 5]

A line at 9600 baud is read every second for a minute, in which twelve answers arrive up to 1.5 s
after the timeout. The reference is the same minute without a late answer; where the line waits
for the late answers, it is what the line has time for. On a clock that leaps over every wait, so
that the load of the machine changes nothing.
"""

import argparse
import asyncio
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.figures import Verdict, title
from gateway_bridge.models.line_cost import LineCost
from simulator.bus import LineTiming
from simulator.frames import Framing
from simulator.simulator import Simulator
from tests.support.faulted import FIRST_S, Truth
from tests.support.leaping import run_leaping
from tests.support.polling import gateway_at, polling_into, until

LATE, LATEST_S, TIMEOUT_S = 12, 1.5, 1.0
SPAN_S = 60.0
ANSWER_S = LineCost().request_ms(76) / 1000
"""Time that an answer takes when it is not late."""
KINDS: tuple[tuple[Framing, int], ...] = (("tcp", 1), ("tcp", 3), ("rtu", 1), ("rtu", 3))


@dataclass(frozen=True)
class Lateness:
    """How answers are late: at random moments or in a row, while the line waits or goes on.

    `least` is the target by the number of meters. While a line waits nobody can read it, so that
    the reference is what it has time for.
    """

    title: str
    scattered: bool
    waits: bool
    least: Mapping[int, float]

    def possible(self, delays_s: Sequence[float]) -> float:
        """Return the share of the minute in which the line can be read."""
        waits_s = sum(delay_s + ANSWER_S for delay_s in delays_s) if self.waits else 0.0
        return 1 - waits_s / SPAN_S


LATENESS = (
    Lateness("at random moments", True, False, {1: 0.65, 3: 0.90}),
    Lateness("one after another", False, False, {1: 0.65, 3: 0.65}),
    Lateness("at random moments, the line waits", True, True, {1: 0.80, 3: 0.80}),
    Lateness("one after another, the line waits", False, True, {1: 0.80, 3: 0.80}),
)


@dataclass(frozen=True)
class Case:
    """A line, and how its answers are late."""

    framing: Framing
    meters: int
    lateness: Lateness


async def minute(case: Case, delays_s: Sequence[float], dice: random.Random) -> Truth:
    """Read a line for a minute in which as many answers are late; return the result."""
    asked_at_s: list[float] = []

    def clock() -> float:
        asked_at_s.append(time.time())
        return FIRST_S + len(asked_at_s) - 1

    timing = LineTiming(reply_timeout_s=2 * (TIMEOUT_S + LATEST_S))
    units = range(1, case.meters + 1)
    simulator = Simulator(units, timing=timing, framing=case.framing, clock=clock)
    simulator.statistics.served = deque(maxlen=10_000)
    truth = Truth(simulator, asked_at_s)
    site = {"interval_s": 1.0, "cost": LineCost(), "timeout_s": TIMEOUT_S}
    async with (
        simulator,
        polling_into(gateway_at(simulator, framing=case.framing, **site), truth),  # type: ignore[arg-type]
    ):
        await until(lambda: truth.readings >= 10 * case.meters, timeout_s=60)
        before = truth.values
        ends_s = time.monotonic() + SPAN_S
        await strike(simulator, case.lateness, delays_s, dice)
        await asyncio.sleep(ends_s - time.monotonic())
        truth.values -= before
    return truth


async def strike(
    simulator: Simulator, lateness: Lateness, delays_s: Sequence[float], dice: random.Random
) -> None:
    """Let one answer after another be late."""
    fault = "slow" if lateness.waits else "late"
    began_s = time.monotonic()
    last_s = SPAN_S - 10 if lateness.scattered else 0.0
    moments_s = sorted(dice.uniform(0, last_s) for _ in delays_s)
    for moment_s, delay_s in zip(moments_s, delays_s, strict=True):
        await asyncio.sleep(began_s + moment_s - time.monotonic())
        simulator.fault(None, fault, delay_s, times=1)
        await until(lambda: simulator.bus.faults.number(fault) is None, timeout_s=SPAN_S)


def kept(case: Case, seeds: int) -> tuple[list[float], int]:
    """Return the shares of the possible values that are kept, and how many are wrong."""
    whole = run_leaping(minute(case, (), random.Random(0)))
    shares, wrong = [], len(whole.wrong)
    for seed in range(seeds):
        dice = random.Random(f"{seed} {case.framing} {case.meters} {case.lateness.title}")
        delays_s = [TIMEOUT_S + dice.uniform(0, LATEST_S) for _ in range(LATE)]
        truth = run_leaping(minute(case, delays_s, dice))
        shares.append(truth.values / whole.values / case.lateness.possible(delays_s))
        wrong += len(truth.wrong)
    return shares, wrong


def main() -> None:
    """Measure each kind of lateness on each line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    logging.getLogger("gateway_bridge").setLevel(logging.CRITICAL)
    verdict, wrong = Verdict(), 0
    title(f"Values kept of a minute with {LATE} late answers, the least of {seeds}")
    for lateness, (framing, meters) in itertools.product(LATENESS, KINDS):
        shares, found = kept(Case(framing, meters, lateness), seeds)
        wrong += found
        least, share = lateness.least[meters], min(shares)
        what = f"{framing}, {meters} meter{'s' * (meters > 1)}"
        beside = f"{lateness.title}; at most {max(shares):.0%}"
        verdict.figure(what, f"{share:.0%}", beside, f">= {least:.0%}", ok=share >= least)
    verdict.figure("wrong values", str(wrong), "", "0", ok=not wrong)
    verdict.end()


if __name__ == "__main__":
    main()
