"""Schedule: which meter of a line is read next, in which block. Pure; the time is an argument.

Ticks lie on a grid of the monotonic clock that never drifts. Of the jobs that are due, the one
with the earliest deadline runs. Where the line cannot keep up, ticks are skipped and counted,
nothing is queued, and the jobs take turns back to back.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from gateway_bridge.meter.plan import Block
from gateway_bridge.meter.state import PolledMeter

PROBE_PATIENCE_S = 0.3
"""Seconds that a probe waits for a gap, before it takes time from other jobs."""
PROBE_SHARE = 0.04
"""Share of the line's time that probes may take."""
PROBE_SAVINGS_S = 9.0
"""Line time that is saved for probes while there are none: enough for a minute of frequent ones."""
RUNS_TO_OVERLOAD = 4
"""Late runs of a job in a row that prove that the line is too slow."""


Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Job:
    interval_s: float
    grid_s: float
    due_s: float
    tick: int | None = None
    finished_s: float = float("-inf")

    @property
    def deadline_s(self) -> float:
        """The end of the interval; a job that was late starts a new one when it has run."""
        return max(self.due_s, self.finished_s) + self.interval_s

    def next_tick_after(self, now_s: float) -> int:
        return int((now_s - self.grid_s) // self.interval_s) + 1


@dataclass(frozen=True, slots=True)
class _Probe:
    due_s: float
    lasts_s: float
    urgent: bool

    @property
    def latest_s(self) -> float:
        """Time from which it takes time from other jobs."""
        return self.due_s + PROBE_PATIENCE_S


@dataclass(slots=True)
class ProbeBudget:
    """Line time that probes may take: a share of all time, saved up to a limit.

    So a meter that has just fallen silent is probed often, and one that stays silent seldom.
    """

    free_at_s: float = float("-inf")
    """Time from which another probe may begin; the longer ago, the more is saved."""

    def spend(self, cost_s: float, now_s: float) -> None:
        """Pay for a probe."""
        earliest_s = now_s - PROBE_SAVINGS_S / PROBE_SHARE
        self.free_at_s = max(self.free_at_s, earliest_s) + cost_s / PROBE_SHARE


@dataclass(slots=True)
class Schedule(Generic[Key]):
    """The jobs of one line and the probes of its silent meters, each under a key of the caller."""

    skipped: int = 0
    budget: ProbeBudget = field(default_factory=ProbeBudget)
    _jobs: dict[Key, _Job] = field(default_factory=dict)
    _probes: dict[Key, _Probe] = field(default_factory=dict)

    def add(self, key: Key, *, interval_s: float, grid_s: float, first_s: float) -> None:
        """Run `key` at `first_s`, and then at `grid_s` plus each multiple of the interval."""
        self._jobs[key] = _Job(interval_s, grid_s, first_s)

    def remove(self, key: Key) -> None:
        """Remove a job or a probe, if there is one."""
        self._jobs.pop(key, None)
        self._probes.pop(key, None)

    def again(self, key: Key, at_s: float) -> None:
        """Run `key` once more at `at_s`, off its grid, unless it is due earlier."""
        job = self._jobs.get(key)
        if job and at_s < job.due_s:
            job.due_s, job.tick = at_s, None

    def move(self, key: Key, at_s: float) -> None:
        """Run `key` next at `at_s`, off its grid, even if it is due earlier."""
        if job := self._jobs.get(key):
            job.due_s, job.tick = at_s, None

    def probe(self, key: Key, *, at_s: float, lasts_s: float, urgent: bool = False) -> None:
        """Run `key` once from `at_s` on, when the budget allows it and the line has `lasts_s` free.

        After PROBE_PATIENCE_S it takes the time from other jobs. An `urgent` one waits for nothing.
        """
        self._probes[key] = _Probe(at_s, lasts_s, urgent)

    def next(self, now_s: float) -> Key | None:
        """Return the key to run now, None while nothing is due; a probe is removed."""
        ready = [key for key, job in self._jobs.items() if job.due_s <= now_s]
        probe = self._due_probe(now_s, busy=bool(ready))
        if probe is not None:
            del self._probes[probe]
            return probe
        return min(ready, key=lambda key: self._jobs[key].deadline_s, default=None)

    def done(self, key: Key, now_s: float) -> int:
        """Move a job to its next tick after a run; return how many ticks were skipped."""
        job = self._jobs.get(key)
        if job is None:
            return 0
        job.finished_s = now_s
        if job.tick is None:
            job.tick, skipped = job.next_tick_after(now_s), 0
        else:
            missed = job.next_tick_after(now_s) - 1 - job.tick
            job.tick += max(1, missed)
            skipped = max(0, missed - 1)
        job.due_s = job.grid_s + job.tick * job.interval_s
        self.skipped += skipped
        return skipped

    def _next_due_s(self) -> float:
        return min((job.due_s for job in self._jobs.values()), default=float("inf"))

    def idle_until(self, now_s: float) -> float:
        """Return the time at which to call `next` again."""
        next_s = self._next_due_s()
        times = [next_s] if self._jobs else []
        for probe in self._probes.values():
            due_s = self._due_s(probe)
            fits = probe.urgent or next_s - max(now_s, due_s) >= probe.lasts_s
            times.append(due_s if fits else max(due_s, probe.latest_s))
        return max(now_s, min(times)) if times else now_s + 1.0

    def _due_probe(self, now_s: float, *, busy: bool) -> Key | None:
        due = [
            (not probe.urgent, probe.due_s, key)
            for key, probe in self._probes.items()
            if self._due_s(probe) <= now_s
        ]
        if not due:
            return None
        *_, key = min(due, key=lambda item: item[:2])
        probe = self._probes[key]
        fits = not busy and self._next_due_s() - now_s >= probe.lasts_s
        return key if fits or probe.urgent or now_s >= probe.latest_s else None

    def _due_s(self, probe: _Probe) -> float:
        return probe.due_s if probe.urgent else max(probe.due_s, self.budget.free_at_s)


class Job(NamedTuple):
    """One run on the line: a meter's live blocks, one of its slow ones, or a probe."""

    kind: str
    meter_id: str
    place: int = 0


class MeterSchedule:
    """The schedule of one line, in terms of its meters.

    Each meter has its own phase within its interval, shifted by `offset` (0 to 1) of one meter's
    share, so that neither the meters of a line nor the lines of a process are read all at once.
    """

    def __init__(self, meters: Mapping[str, PolledMeter], *, offset: float, probe_s: float) -> None:
        self.jobs: Schedule[Job] = Schedule()
        self._phases = {
            meter_id: (place + offset) / len(meters) for place, meter_id in enumerate(meters)
        }
        self.probe_s = probe_s
        """Line time that a probe in vain takes."""

    def start(self, meter: PolledMeter, now_s: float) -> None:
        """Read a meter at once, and then on its grid."""
        config = meter.config
        self.jobs.remove(Job("probe", config.meter_id))
        self.jobs.add(
            Job("live", config.meter_id),
            interval_s=config.interval_s,
            grid_s=self._phase_s(meter),
            first_s=now_s,
        )
        self._start_slow(meter, now_s)

    def stop(self, meter: PolledMeter) -> None:
        """Stop reading a meter."""
        self.jobs.remove(Job("live", meter.config.meter_id))
        self._stop_slow(meter, meter.slow)

    def replanned(self, meter: PolledMeter, slow_before: tuple[Block, ...], now_s: float) -> None:
        """Follow a new plan of a meter, which may have other slow blocks than before."""
        if meter.slow != slow_before:
            self._stop_slow(meter, slow_before)
            self._start_slow(meter, now_s)

    def probe(self, meter: PolledMeter, at_s: float) -> None:
        """Probe a silent meter once, from `at_s` on."""
        self.jobs.probe(Job("probe", meter.config.meter_id), at_s=at_s, lasts_s=self.probe_s)

    def probe_first(self, meter: PolledMeter, at_s: float) -> None:
        """Probe a silent meter once at a time, before everything else."""
        key = Job("probe", meter.config.meter_id)
        self.jobs.probe(key, at_s=at_s, lasts_s=self.probe_s, urgent=True)

    def _start_slow(self, meter: PolledMeter, now_s: float) -> None:
        """Read the slow blocks now and on their grid: just before a live tick, which sends them."""
        before_s = meter.cost.total_ms(meter.slow) / 1000
        for place, _ in enumerate(meter.slow):
            self.jobs.add(
                Job("slow", meter.config.meter_id, place),
                interval_s=meter.config.slow_interval_s,
                grid_s=self._phase_s(meter) - before_s,
                first_s=now_s,
            )

    def _stop_slow(self, meter: PolledMeter, slow: tuple[Block, ...]) -> None:
        for place, _ in enumerate(slow):
            self.jobs.remove(Job("slow", meter.config.meter_id, place))

    def _phase_s(self, meter: PolledMeter) -> float:
        return self._phases[meter.config.meter_id] * meter.config.interval_s


class Overload:
    """Finds out once that a line is too slow for its meters; `known` if the plan shows it."""

    def __init__(self, *, known: bool) -> None:
        self._known = known
        self._late: dict[Job, int] = {}

    def begins(self, job: Job, skipped: int, *, clean: bool) -> bool:
        """Note a run; return True where a job has skipped ticks in one run after another.

        A run that follows a fault (not `clean`) does not count: the fault took the time.
        """
        if not clean:
            self._late.clear()
            return False
        self._late[job] = self._late.get(job, 0) + 1 if skipped else 0
        if self._known or self._late[job] < RUNS_TO_OVERLOAD:
            return False
        self._known = True
        return True
