"""Schedule: what to do next on one line. Pure; every clock is told.

Ticks lie on a grid of the monotonic clock that never drifts. Of the jobs that are due, the one
whose next tick comes first is done; where the line cannot keep up, ticks are skipped and counted,
nothing is queued, and the jobs take turns back to back.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

PROBE_PATIENCE_S = 2.0
"""A probe that fits no idle time waits so long for a moment when nothing else is due."""
PROBE_LONGEST_WAIT_S = 5.0
"""On a line that is never idle it then goes before the others."""


@dataclass(slots=True)
class _Job:
    interval_s: float
    grid_s: float
    due_s: float
    tick: int | None = None
    finished_s: float = float("-inf")

    @property
    def deadline_s(self) -> float:
        """The end of its interval; a job that was late starts a new one when it has run."""
        return max(self.due_s, self.finished_s) + self.interval_s

    def next_tick_after(self, now_s: float) -> int:
        return int((now_s - self.grid_s) // self.interval_s) + 1


@dataclass(frozen=True, slots=True)
class _Probe:
    due_s: float
    lasts_s: float


@dataclass(slots=True)
class Schedule:
    """The jobs of one line and the probes of its dead meters, each under a key of the caller's."""

    skipped: int = 0
    _jobs: dict[Hashable, _Job] = field(default_factory=dict)
    _probes: dict[Hashable, _Probe] = field(default_factory=dict)

    def add(self, key: Hashable, *, interval_s: float, grid_s: float, first_s: float) -> None:
        """Do `key` at `first_s`, and then at each `grid_s` plus a multiple of the interval."""
        self._jobs[key] = _Job(interval_s, grid_s, first_s)

    def remove(self, key: Hashable) -> None:
        """Forget a job or a probe, if it is there."""
        self._jobs.pop(key, None)
        self._probes.pop(key, None)

    def again(self, key: Hashable, at_s: float) -> None:
        """Do `key` once more at `at_s`, beside its grid, unless it is due before."""
        job = self._jobs.get(key)
        if job and at_s < job.due_s:
            job.due_s, job.tick = at_s, None

    def probe(self, key: Hashable, *, at_s: float, lasts_s: float) -> None:
        """Do `key` once from `at_s` on, when the line has `lasts_s` to spare or it must be."""
        self._probes[key] = _Probe(at_s, lasts_s)

    def next(self, now_s: float) -> Hashable | None:
        """Return the key of what to do now, None while nothing is due. A probe is taken off."""
        ready = [key for key, job in self._jobs.items() if job.due_s <= now_s]
        probe = self._due_probe(now_s, busy=bool(ready))
        if probe is not None:
            del self._probes[probe]
            return probe
        return min(ready, key=lambda key: self._jobs[key].deadline_s, default=None)

    def done(self, key: Hashable, now_s: float) -> int:
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

    def idle_until(self, now_s: float) -> float:
        """Return when `next` is worth asking again, on the same clock."""
        times = [job.due_s for job in self._jobs.values()]
        for probe in self._probes.values():
            fits = not times or min(times) - now_s >= probe.lasts_s
            times.append(probe.due_s if fits else probe.due_s + PROBE_PATIENCE_S)
        return max(now_s, min(times)) if times else now_s + 1.0

    def _due_probe(self, now_s: float, *, busy: bool) -> Hashable | None:
        due = [(probe.due_s, key) for key, probe in self._probes.items() if probe.due_s <= now_s]
        if not due:
            return None
        due_s, key = min(due, key=lambda item: item[0])
        if busy:
            return key if now_s >= due_s + PROBE_LONGEST_WAIT_S else None
        idle_s = min((job.due_s for job in self._jobs.values()), default=float("inf")) - now_s
        fits = idle_s >= self._probes[key].lasts_s
        return key if fits or now_s >= due_s + PROBE_PATIENCE_S else None
