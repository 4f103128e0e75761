"""Turns: when each meter of a line is read, in which of its blocks, or only probed."""

import time
from collections.abc import Mapping
from typing import NamedTuple

from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter
from gateway_bridge.polling.schedule import PROBE_LONGEST_WAIT_S, Schedule

RUNS_TO_OVERLOAD = 4


class Job(NamedTuple):
    """One thing to do on the line: a meter's live blocks, one of its slow ones, or a probe."""

    kind: str
    meter_id: str
    place: int = 0


class Turns:
    """The schedule of one line, in terms of its meters.

    Each meter has its own phase within its interval, shifted by `offset` (0 to 1) of one meter's
    share, so that neither the meters of a line nor the lines of a process all come at once. A
    probe may take `probe_s` of the line's time.
    """

    def __init__(self, meters: Mapping[str, PolledMeter], *, offset: float, probe_s: float) -> None:
        self.schedule = Schedule()
        self._phases = {
            meter_id: (place + offset) / len(meters) for place, meter_id in enumerate(meters)
        }
        self._probe_s = probe_s

    def start(self, meter: PolledMeter) -> None:
        """Read a meter at once, and then on its grid."""
        config, now_s = meter.meter, time.monotonic()
        self.schedule.add(
            Job("live", config.meter_id),
            interval_s=config.interval_s,
            grid_s=self._phase_s(meter),
            first_s=now_s,
        )
        self._start_slow(meter)

    def stop(self, meter: PolledMeter) -> None:
        """Read a meter no more."""
        self.schedule.remove(Job("live", meter.meter.meter_id))
        self._stop_slow(meter, meter.slow)

    def replanned(self, meter: PolledMeter, slow_before: tuple[Block, ...]) -> None:
        """Take note that a meter may have other slow blocks than it had before."""
        if meter.slow != slow_before:
            self._stop_slow(meter, slow_before)
            self._start_slow(meter)

    def probe(self, meter: PolledMeter, delay_s: float) -> None:
        """Ask a dead meter once, from `delay_s` on."""
        job = Job("probe", meter.meter.meter_id)
        self.schedule.probe(job, at_s=time.monotonic() + delay_s, lasts_s=self._probe_s)

    def probe_first(self, meter: PolledMeter) -> None:
        """Ask a dead meter before all else: it is likely to be back."""
        self.probe(meter, -PROBE_LONGEST_WAIT_S)

    def _start_slow(self, meter: PolledMeter) -> None:
        """Read the slow blocks now and on their grid: just before a live tick, which sends them."""
        now_s = time.monotonic()
        before_s = meter.cost.total_ms(meter.slow) / 1000
        for place, _ in enumerate(meter.slow):
            self.schedule.add(
                Job("slow", meter.meter.meter_id, place),
                interval_s=meter.meter.slow_interval_s,
                grid_s=self._phase_s(meter) - before_s,
                first_s=now_s,
            )

    def _stop_slow(self, meter: PolledMeter, slow: tuple[Block, ...]) -> None:
        for place, _ in enumerate(slow):
            self.schedule.remove(Job("slow", meter.meter.meter_id, place))

    def _phase_s(self, meter: PolledMeter) -> float:
        return self._phases[meter.meter.meter_id] * meter.meter.interval_s


class Overload:
    """Finds out once that a line is too slow for its meters; `known` if the plan says so."""

    def __init__(self, *, known: bool) -> None:
        self._known = known
        self._late: dict[Job, int] = {}

    def begins(self, job: Job, skipped: int, *, clean: bool) -> bool:
        """Take note of a run; True where a job has skipped ticks in one run after another.

        What follows a fault (not `clean`) does not count: it is the fault that took the time.
        """
        if not clean:
            self._late.clear()
            return False
        self._late[job] = self._late.get(job, 0) + 1 if skipped else 0
        if self._known or self._late[job] < RUNS_TO_OVERLOAD:
            return False
        self._known = True
        return True
