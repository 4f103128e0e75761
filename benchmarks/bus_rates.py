"""Whether meters keep their rate: at 80 % of a line, at twice a line, with a dead meter.

python benchmarks/bus_rates.py [--seconds 60]
"""

import argparse
import asyncio
import logging
import time
from statistics import fmean, quantiles

from benchmarks.bus import ALL, Line, line
from benchmarks.figures import Verdict, title
from contract.quantities import DEFAULT_SET
from tests.support.leaping import run_leaping

LIVE = tuple(DEFAULT_SET)
BEFORE_S = 20.0
SAVINGS_S, DEAD_S = 300.0, 600.0
"""Seconds until the savings for probes are used up, and those that are measured then."""


class Lines(logging.Handler):
    """Counts log lines."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        """Count a line."""
        self.count += 1


async def rates(on: Line, seconds: float) -> dict[str, float]:
    """Return the readings per second of each meter from now on."""
    since, began_s = len(on.received.readings), time.monotonic()
    await asyncio.sleep(seconds)
    passed_s = time.monotonic() - began_s
    return {meter_id: count / passed_s for meter_id, count in on.received.count(since).items()}


async def four_fifths(seconds: float, verdict: Verdict) -> None:
    """Three meters with all quantities: a live block every second, the rest every 20 s."""
    async with line(quantities=ALL, slow_interval_s=20.0) as on:
        await on.settle()
        await asyncio.sleep(BEFORE_S / 2)
        since, skipped = len(on.received.readings), on.poller.line.skipped
        each = await rates(on, seconds)
        skipped = on.poller.line.skipped - skipped
        meter = on.poller.meters["1"]
        longest_ms = max(on.cost.request_ms(b.count) for b in (*meter.live, *meter.slow))
        late_ms, drift_ms = _lateness(on, since)
    title(f"A line that is {100 * on.poller.line.busy_share():.0f} % busy (9600 baud, 1 s)")
    worst = max(abs(rate - 1) for rate in each.values())
    shown = ", ".join(f"{rate:.3f}" for rate in each.values())
    # a reading more or less in the window is none of the meter's rate
    ok = worst <= 0.005 + 1 / seconds
    verdict.figure("readings per interval", shown, "the wanted 1", "+- 0.5 %", ok=ok)
    verdict.figure("skipped ticks", str(skipped), "", "0", ok=skipped == 0)
    p95 = quantiles(late_ms, n=20)[-1]
    reach = longest_ms + 20
    beside = "p95, beside the grid; the longest block + 20 ms"
    verdict.figure("late by", f"{p95:.0f} ms", beside, f"<= {reach:.0f} ms", ok=p95 <= reach)
    beside = "mean lateness, second half beside the first"
    verdict.figure("drift", f"{drift_ms:+.1f} ms", beside, "<= 20 ms", ok=abs(drift_ms) <= 20)


def _lateness(on: Line, since: int) -> tuple[list[float], float]:
    """Return by how much each request was later than its meter's grid, and how that drifts."""
    meters = list(on.poller.meters)
    offset_s = time.time() - time.monotonic()
    late = [
        1000 * ((ts.timestamp() - offset_s - meters.index(meter_id) / len(meters)) % 1.0)
        for meter_id, _, ts in on.received.readings[since:]
    ]
    half = len(late) // 2
    return late, fmean(late[half:]) - fmean(late[:half])


async def twice(seconds: float, verdict: Verdict) -> None:
    """Eight meters, of which a line can carry four."""
    async with line(8, quantities=ALL, slow_interval_s=20.0) as on:
        await on.settle()
        before_s, began_s = on.simulator.statistics.busy_s, time.monotonic()
        since = len(on.received.readings)
        await asyncio.sleep(seconds)
        busy = (on.simulator.statistics.busy_s - before_s) / (time.monotonic() - began_s)
        counts = on.received.count(since).values()
    title(f"A line with {on.poller.line.busy_share():.1f} times the load that it can carry")
    verdict.figure("line busy", f"{100 * busy:.1f} %", "", ">= 97 %", ok=busy >= 0.97)
    beside = f"readings of a meter, {min(counts)} to {max(counts)}"
    fair = max(counts) - min(counts) <= max(0.05 * max(counts), 1)
    spread = 100 * (max(counts) / min(counts) - 1)
    verdict.figure("most against least", f"+{spread:.1f} %", beside, "<= 5 %", ok=fair)


async def beside_the_dead(verdict: Verdict, log: Lines) -> None:
    """Four meters on a line with time to spare, of which one dies; from when no probes are saved.

    On a clock that leaps over every wait.
    """
    async with line(4, 19200, quantities=LIVE) as on:
        await on.settle()
        before_log = log.count
        on.simulator.fault(4, "dead")
        await asyncio.sleep(SAVINGS_S)
        timing, requests = on.simulator.bus.timing, on.simulator.statistics.requests
        before = requests[4]
        live = await rates(on, DEAD_S)
        probe_s = timing.bytes_s(8) + timing.reply_timeout_s + timing.pause_s
        lost = (requests[4] - before) * probe_s / DEAD_S
        lines = log.count - before_log
    title(f"With a dead meter, line busy {100 * on.poller.line.busy_share():.0f} %")
    shown = f"{100 * min(live.values()):.1f} %"
    mean = fmean(live.values())
    what = f"rate of the slowest neighbour (mean {100 * mean:.1f} %)"
    verdict.figure(what, shown, "of its rate before", ">= 95 %", ok=min(live.values()) >= 0.95)
    reading_of_the_dead = "4" in live
    verdict.figure("readings of the dead meter", str(int(reading_of_the_dead)), "", "0",
                   ok=not reading_of_the_dead)  # fmt: skip
    verdict.figure("line time it costs", f"{100 * lost:.1f} %", "", "<= 5 %", ok=lost <= 0.05)
    verdict.figure("log lines", str(lines), "", "<= 10", ok=lines <= 10)


async def share_of_the_dead(seconds: float, verdict: Verdict) -> None:
    """Three meters on a full line, of which one dies: the others get its share."""
    async with line(quantities=LIVE, interval_s=0.1) as on:
        await on.settle()
        before = await rates(on, BEFORE_S)
        on.simulator.fault(3, "dead")
        await asyncio.sleep(BEFORE_S / 2)
        after = await rates(on, seconds - BEFORE_S / 2)
    title("With a dead meter on a full line")
    ratio = min(after["1"], after["2"]) / fmean(before.values())
    beside = f"{min(after['1'], after['2']):.2f} beside {fmean(before.values()):.2f} a second"
    verdict.figure("rate of the others", f"{ratio:.2f} x", beside, ">= 1.00", ok=ratio >= 1)


async def measure(seconds: float, verdict: Verdict) -> None:
    """Measure all lines at the same time: they hardly compute."""
    await asyncio.gather(
        four_fifths(seconds, verdict),
        twice(seconds, verdict),
        share_of_the_dead(seconds, verdict),
    )


def main() -> None:
    """Measure in real time, and what takes many minutes on a clock that leaps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    seconds = parser.parse_args().seconds
    verdict, log = Verdict(), Lines()
    logger = logging.getLogger("gateway_bridge")
    logger.addHandler(log)
    logger.propagate = False
    run_leaping(beside_the_dead(verdict, log))
    asyncio.run(measure(seconds, verdict))
    verdict.end()


if __name__ == "__main__":
    main()
