"""Plausibility: holds back what a meter cannot have measured or counted. Pure.

One false 0 of a counter makes Home Assistant book the whole counter as consumption. So a counter
that reads 0, falls, or rises by more than the wiring can carry is held back until several polls
agree with one another: then it was a true reset or another meter, and is accepted and reported.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache

from contract.quantities import BY_NAME, QUANTITIES, VOLTAGE

AGREEING_POLLS = 3
AGREE_FOR_S = 3.0
ZERO_AGREES_FOR_S = 60.0
"""A meter that starts up may answer 0 for some seconds, before it has loaded its counters."""
VOLTS = 253.0
PHASES = 3
TOLERANCE = 1.1
REPORT_AGAIN_S = 600.0
"""Seconds after which trouble of the same quantity is reported again."""
DARK = "held back, all values are 0"
FEWEST_DARK = 3
"""Fewer values than this may well be 0 all at once."""
FOREIGN = "held back, no meter measures this; check its model in the settings"
LEAST_MEASURED = 1e-6
"""A voltage or a frequency is 0 or above this: less is the value of another model's register."""
LISTED = 4
"""Quantities that an event names; it counts the rest."""
COUNTER_STEP = 0.1
"""Rise of a counter that is plausible at any time: counters move in steps."""
FLOAT32_STEP = 2.0**-22
_BETWEEN_PHASES = frozenset({"voltage_ll", "voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1"})
_NEVER_TINY = frozenset(q.name for q in QUANTITIES if q.kind.unit in ("V", "Hz"))
_NEVER_ZERO_AT_FIRST = frozenset({"energy", "energy_import", "energy_total"})
"""Counters that are 0 only in a new meter, unlike an export counter: held for a minute."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may be published of a reading, and what is to report about the rest.

    `held` counts the values held back now; `events` are sentences, each reported once.
    """

    values: dict[str, float]
    held: int = 0
    events: tuple[str, ...] = ()


@dataclass(slots=True)
class _Candidate:
    """A held-back value that later polls may confirm."""

    since_s: float
    value: float
    at_s: float
    polls: int = 1


@dataclass(slots=True)
class _Report:
    """What is newly wrong in a reading; one sentence covers several quantities."""

    by_trouble: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, trouble: str, detail: str) -> None:
        self.by_trouble.setdefault(trouble, []).append(f"{name} ({detail})" if detail else name)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            f"{trouble}: {_listed(names)}" if any(names) else trouble
            for trouble, names in self.by_trouble.items()
        )


class Gate:
    """Checks the readings of one meter, whose wiring can carry `max_current_a` per phase.

    A phase voltage above `max_voltage_v`, where that is set, is not accepted.
    """

    def __init__(self, max_current_a: float = 100.0, max_voltage_v: float | None = None) -> None:
        self._ranges = _ranges(max_voltage_v)
        self._most_per_hour = {
            "kWh": PHASES * max_current_a * (max_voltage_v or VOLTS) / 1000,
            "Ah": PHASES * max_current_a,
        }
        self._accepted: dict[str, tuple[float, float]] = {}
        self._candidates: dict[str, _Candidate] = {}
        self._reported_s: dict[str, float] = {}
        self._dark_since_s: dict[str, float] = {}

    def judge(self, values: Mapping[str, float], expected: Iterable[str], now_s: float) -> Verdict:
        """Return what to publish of the finite `values` of the quantities `expected`.

        `now_s` is a monotonic clock. A reading in which all is 0, or which is that of another
        model, is held back as a whole.
        """
        report = _Report()
        if self._is_dark(values, now_s):
            self._note(report, "", DARK, "", now_s)
            return Verdict({}, len(values), report.sentences())
        if name := _foreign(values):
            self._note(report, name, FOREIGN, f"{values[name]:.0e}", now_s)
            return Verdict({}, len(values), report.sentences())
        kept = {}
        for name in expected:
            value = values.get(name)
            lowest, highest, counter = self._ranges[name]
            if value is None:
                self._note(report, name, "left out, not a number", "", now_s)
            elif not lowest <= value <= highest:
                detail = f"{value:g} {BY_NAME[name].kind.unit}".strip()
                self._note(report, name, "left out, out of range", detail, now_s)
            elif not counter or self._accepts(name, value, now_s, report):
                kept[name] = value
        return Verdict(kept, len(values) - len(kept), report.sentences())

    def interrupted(self) -> None:
        """Start agreeing polls again: the meter may have changed during the interruption."""
        self._candidates.clear()

    def forget(self) -> None:
        """Start again: another meter responds now."""
        self._accepted.clear()
        self._candidates.clear()
        self._reported_s.clear()

    def _accepts(self, name: str, value: float, now_s: float, report: _Report) -> bool:
        trouble = self._counter_trouble(name, value, now_s)
        if trouble is None:
            return True
        last, _ = self._accepted.get(name, (0.0, 0.0))
        detail = f"{value:g} after {last:.3f} {BY_NAME[name].kind.unit}"
        if self._confirmed(name, value, now_s):
            report.add(name, "accepted, several polls agree", detail)
            return True
        self._note(report, name, trouble, detail, now_s)
        return False

    def _note(self, report: _Report, name: str, trouble: str, detail: str, now_s: float) -> None:
        """Add trouble of a quantity, unless it was reported lately."""
        if now_s - self._reported_s.get(name, -math.inf) >= REPORT_AGAIN_S:
            self._reported_s[name] = now_s
            report.add(name, trouble, detail)

    def _counter_trouble(self, name: str, value: float, now_s: float) -> str | None:
        if name not in self._accepted and value == 0 and name in _NEVER_ZERO_AT_FIRST:
            return "held back, 0 from the start"
        last, at_s = self._accepted.get(name, (value, now_s))
        if value < last:
            return "held back, a counter reads 0" if value == 0 else "held back, a counter fell"
        if value > last + self._most(name, last, now_s - at_s):
            return "held back, a counter rose faster than its wires can carry (see max_current)"
        self._accepted[name] = (value, now_s)
        self._candidates.pop(name, None)
        return None

    def _confirmed(self, name: str, value: float, now_s: float) -> bool:
        candidate = self._candidates.get(name)
        if candidate is None or not self._agrees(name, candidate, value, now_s):
            self._candidates[name] = _Candidate(now_s, value, now_s)
            return False
        candidate.value, candidate.at_s = value, now_s
        candidate.polls += 1
        for_s = ZERO_AGREES_FOR_S if value == 0 else AGREE_FOR_S
        if candidate.polls < AGREEING_POLLS or now_s - candidate.since_s < for_s:
            return False
        del self._candidates[name]
        self._reported_s.pop(name, None)
        self._accepted[name] = (value, now_s)
        return True

    def _agrees(self, name: str, candidate: _Candidate, value: float, now_s: float) -> bool:
        most = self._most(name, candidate.value, now_s - candidate.at_s)
        return candidate.value <= value <= candidate.value + most

    def _most(self, name: str, value: float, passed_s: float) -> float:
        """Return the most by which a counter at `value` can rise in `passed_s`."""
        unit = BY_NAME[name].kind.unit
        per_hour = self._most_per_hour.get(unit, self._most_per_hour["kWh"])
        steps = COUNTER_STEP + abs(value) * FLOAT32_STEP
        return per_hour * TOLERANCE * passed_s / 3600 + steps

    def _is_dark(self, values: Mapping[str, float], now_s: float) -> bool:
        """Return whether all values are 0, and that is impossible or not to be accepted yet.

        A meter is powered by the voltage that it measures, and a counter does not go back to 0.
        Other values, such as currents and their distortion, can be 0; that is accepted after a
        while.
        """
        name = next(iter(values), "")
        if any(values.values()):
            self._dark_since_s.pop(name, None)
            return False
        if any(self._cannot_be_zero(name) for name in values):
            return True
        if len(values) < FEWEST_DARK:
            return False
        since_s = self._dark_since_s.setdefault(name, now_s)
        return now_s - since_s < ZERO_AGREES_FOR_S

    def _cannot_be_zero(self, name: str) -> bool:
        return BY_NAME[name].kind.unit == "V" or self._accepted.get(name, (0.0, 0.0))[0] > 0


def _foreign(values: Mapping[str, float]) -> str | None:
    """Return the quantity that shows that the registers are those of another model.

    Its integers, or floats with their words exchanged, are next to nothing here: 1e-40 V.
    """
    for name in _NEVER_TINY & values.keys():
        if 0 < abs(values[name]) < LEAST_MEASURED:
            return name
    return None


@cache
def _ranges(max_voltage_v: float | None) -> Mapping[str, tuple[float, float, bool]]:
    """Return {quantity: (lowest, highest, is a counter)}; a table, because each value needs it."""
    ranges = {q.name: (q.kind.lowest, q.kind.highest, q.kind.counter) for q in QUANTITIES}
    if max_voltage_v is None:
        return ranges
    return ranges | {
        q.name: (0.0, max_voltage_v * (math.sqrt(3) if q.name in _BETWEEN_PHASES else 1), False)
        for q in QUANTITIES
        if q.kind is VOLTAGE
    }


def _listed(names: list[str]) -> str:
    more = len(names) - LISTED
    return ", ".join(names[:LISTED]) + (f" and {more} more" if more > 0 else "")
