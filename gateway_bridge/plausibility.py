"""Plausibility: holds back what a meter cannot have measured or counted. Pure.

One false 0 of a counter makes Home Assistant book the whole counter as consumption. So a counter
that reads 0, falls, or rises by more than the wiring can carry is held back until several polls
agree with one another: then it was a true reset or another meter, and is believed and told.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from contract.quantities import BY_NAME

AGREEING_POLLS = 3
AGREE_FOR_S = 3.0
ZERO_AGREES_FOR_S = 60.0
"""A meter that starts up may answer 0 for some seconds, before it has loaded its counters."""
VOLTS = 253.0
PHASES = 3
TOLERANCE = 1.1
COUNTER_STEP = 0.1
"""Counters move in steps: so much may come at once, whatever the time between two polls."""
FLOAT32_STEP = 2.0**-22
_NEVER_ZERO_AT_FIRST = frozenset({"energy", "energy_import", "energy_total"})
"""Unlike an export counter these stand at 0 in a new meter only: worth a minute's doubt."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What of a reading may be published, and what there is to tell about the rest.

    `held` counts the values held back now; `events` are sentences, each told once.
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
class _Complaints:
    """What is new in this reading, by sentence, to be told of several quantities at once."""

    by_text: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, text: str) -> None:
        self.by_text.setdefault(text, []).append(name)

    def sentences(self) -> tuple[str, ...]:
        return tuple(f"{', '.join(names)}: {text}" for text, names in self.by_text.items())


class Gate:
    """Judges the readings of one meter, whose wiring can carry `max_current_a` per phase."""

    def __init__(self, max_current_a: float = 100.0) -> None:
        self._most_per_hour = {
            "kWh": PHASES * max_current_a * VOLTS / 1000,
            "Ah": PHASES * max_current_a,
        }
        self._believed: dict[str, tuple[float, float]] = {}
        self._candidates: dict[str, _Candidate] = {}
        self._told: set[str] = set()
        self._dark_since_s: float | None = None

    def judge(self, values: Mapping[str, float], expected: Iterable[str], now_s: float) -> Verdict:
        """Return what to publish of the finite `values` of those `expected`.

        `now_s` is a monotonic clock. A reading without any voltage at all is held back whole.
        """
        if self._is_dark(values):
            return self._dark(len(values), now_s)
        self._dark_since_s = None
        complaints = _Complaints()
        kept = {
            name: values[name]
            for name in expected
            if self._accepts(name, values.get(name), now_s, complaints)
        }
        held = sum(1 for name in values if name not in kept)
        return Verdict(kept, held, complaints.sentences())

    def forget(self) -> None:
        """Begin anew: another meter answers now."""
        self._believed.clear()
        self._candidates.clear()
        self._told.clear()

    def _accepts(
        self, name: str, value: float | None, now_s: float, complaints: _Complaints
    ) -> bool:
        trouble = self._gauge_trouble(name, value)
        if trouble is None and value is not None and BY_NAME[name].kind.counter:
            trouble = self._counter_trouble(name, value, now_s)
            if trouble and self._confirmed(name, value, now_s):
                unit = BY_NAME[name].kind.unit
                complaints.add(name, f"{value:g} {unit} believed: several polls agree")
                return True
        if trouble is None:
            self._told.discard(name)
            return True
        if name not in self._told:
            self._told.add(name)
            complaints.add(name, trouble)
        return False

    @staticmethod
    def _gauge_trouble(name: str, value: float | None) -> str | None:
        kind = BY_NAME[name].kind
        if value is None:
            return "is no number; left out"
        if not kind.lowest <= value <= kind.highest:
            return f"{value:g} {kind.unit} is out of range; left out"
        return None

    def _counter_trouble(self, name: str, value: float, now_s: float) -> str | None:
        if name not in self._believed and value == 0 and name in _NEVER_ZERO_AT_FIRST:
            return "held back, reads 0 from the start"
        last, at_s = self._believed.get(name, (value, now_s))
        if value < last:
            what = "reads 0" if value == 0 else f"went back to {value:g}"
        elif value > last + self._most(name, last, now_s - at_s):
            what = f"jumped to {value:g}"
        else:
            self._believed[name] = (value, now_s)
            self._candidates.pop(name, None)
            return None
        return f"held back, {what} after {last:.3f} {BY_NAME[name].kind.unit}"

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
        self._told.discard(name)
        self._believed[name] = (value, now_s)
        return True

    def _agrees(self, name: str, candidate: _Candidate, value: float, now_s: float) -> bool:
        most = self._most(name, candidate.value, now_s - candidate.at_s)
        return candidate.value <= value <= candidate.value + most

    def _most(self, name: str, value: float, passed_s: float) -> float:
        """Return by how much a counter at `value` can rise in `passed_s`."""
        unit = BY_NAME[name].kind.unit
        per_hour = self._most_per_hour.get(unit, self._most_per_hour["kWh"])
        steps = COUNTER_STEP + abs(value) * FLOAT32_STEP
        return per_hour * TOLERANCE * passed_s / 3600 + steps

    @staticmethod
    def _is_dark(values: Mapping[str, float]) -> bool:
        voltages = [value for name, value in values.items() if BY_NAME[name].kind.unit == "V"]
        return bool(voltages) and not any(voltages) and not values.get("frequency")

    def _dark(self, count: int, now_s: float) -> Verdict:
        """Hold back a reading of zeros: a meter lives on the voltage that it measures."""
        told = self._dark_since_s is not None
        self._dark_since_s = now_s if self._dark_since_s is None else self._dark_since_s
        return Verdict({}, count, () if told else ("reads 0 V on all phases; held back",))
