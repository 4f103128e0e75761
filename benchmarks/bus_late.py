"""How many values late answers cost, and whether any published value was not measured.

    python benchmarks/bus_late.py [--seeds 5]

A line at 9600 baud is read every second for a minute, in which twelve answers arrive up to 1.5 s
after the timeout: at random moments or one after another, while the line goes on, or while it
waits for them. The reference is the same minute without a late answer. On a clock that leaps
over every wait, so the load of the machine changes nothing.
"""

import argparse
import asyncio
import itertools
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
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
LEAST = {1: 0.65, 3: 0.90}
PATTERNS = {"scattered": True, "in a row": False}
LINES = {"late": "the line goes on", "slow": "the line waits"}


@dataclass(frozen=True)
class Case:
    """A line, and how its answers are late."""

    framing: Framing
    meters: int
    fault: str
    scattered: bool
    interval_s: float = 1.0


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
    site = {"interval_s": case.interval_s, "cost": LineCost(), "timeout_s": TIMEOUT_S}
    async with (
        simulator,
        polling_into(gateway_at(simulator, framing=case.framing, **site), truth),  # type: ignore[arg-type]
    ):
        await until(lambda: truth.readings >= 10 * case.meters, timeout_s=60)
        before = truth.values
        ends_s = time.monotonic() + SPAN_S
        await strike(simulator, case, delays_s, dice)
        await asyncio.sleep(ends_s - time.monotonic())
        truth.values -= before
    return truth


async def strike(
    simulator: Simulator, case: Case, delays_s: Sequence[float], dice: random.Random
) -> None:
    """Let one answer after another be late."""
    began_s = time.monotonic()
    last_s = SPAN_S - 10 if case.scattered else 0.0
    for moment_s in sorted(dice.uniform(0, last_s) for _ in delays_s):
        await asyncio.sleep(began_s + moment_s - time.monotonic())
        delay_s = delays_s[0]
        simulator.fault(None, case.fault, delay_s, times=1)
        delays_s = delays_s[1:]
        await until(lambda: simulator.bus.faults.number(case.fault) is None, timeout_s=SPAN_S)


def kept(case: Case, seeds: int) -> tuple[list[float], int]:
    """Return the shares of the values that are kept, and how many are wrong."""
    whole = run_leaping(minute(case, (), random.Random(0)))
    shares, wrong = [], len(whole.wrong)
    for seed in range(seeds):
        dice = random.Random(f"{seed} {case}")
        delays_s = [TIMEOUT_S + dice.uniform(0, LATEST_S) for _ in range(LATE)]
        truth = run_leaping(minute(case, delays_s, dice))
        shares.append(truth.values / whole.values)
        wrong += len(truth.wrong)
    return shares, wrong


def main() -> None:
    """Measure each kind of lateness on each line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--interval", type=float, default=1.0)
    options = parser.parse_args()
    logging.getLogger("gateway_bridge").setLevel(logging.CRITICAL)
    verdict, wrong = Verdict(), 0
    title(f"Values kept of a minute with {LATE} late answers, the least of {options.seeds}")
    kinds: list[tuple[Framing, int]] = [("tcp", 1), ("tcp", 3), ("rtu", 1), ("rtu", 3)]
    for (framing, meters), fault, (pattern, scattered) in itertools.product(
        kinds, LINES, PATTERNS.items()
    ):
        case = Case(framing, meters, fault, scattered, options.interval)
        shares, ill = kept(case, options.seeds)
        wrong += ill
        beside = f"{pattern}, {LINES[fault]}; at most {max(shares):.0%}"
        least = LEAST[meters]
        what = f"{framing}, {meters} meter{'s' * (meters > 1)}"
        verdict.figure(
            what, f"{min(shares):.0%}", beside, f">= {least:.0%}", ok=min(shares) >= least
        )
    verdict.figure("wrong values", str(wrong), "", "0", ok=not wrong)
    verdict.end()


if __name__ == "__main__":
    main()
