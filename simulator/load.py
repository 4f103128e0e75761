"""What consumers draw in a week: complex power (W + j var) per phase and minute, and its sums.

Every week is the same, so that energy is a pure function of time: a simulator started again
goes on counting where the other would be now.
"""

import math
import random
from array import array
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from itertools import accumulate, chain

MINUTES = 7 * 1440
NOMINAL_V = 230.0
DEMAND_MINUTES = 60
MONDAY = 1_704_067_200
"""Monday 2024-01-01 00:00 UTC: where weeks are counted from."""

THIRDS = (1 / 3, 1 / 3, 1 / 3)
L1, L2, L3 = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)

Phases = tuple[complex, complex, complex]

ROTATIONS = tuple(complex(math.cos(a), math.sin(a)) for a in (0, -math.tau / 3, math.tau / 3))
"""Where the voltages of the phases point, a third of a turn apart."""

CHANNELS = (
    "energy_import_l1", "energy_export_l1",
    "reactive_energy_import_l1", "reactive_energy_export_l1",
    "energy_import_l2", "energy_export_l2",
    "reactive_energy_import_l2", "reactive_energy_export_l2",
    "energy_import_l3", "energy_export_l3",
    "reactive_energy_import_l3", "reactive_energy_export_l3",
    "energy_import", "energy_export", "reactive_energy_import", "reactive_energy_export",
    "apparent_energy", "charge_l1", "charge_l2", "charge_l3", "charge_n",
)  # fmt: skip
"""What is summed up over time: W, var, VA and A."""


class Day:
    """One day, filled consumer by consumer."""

    def __init__(self, weekday: int, dice: random.Random) -> None:
        self.weekday = weekday
        self.dice = dice
        self.minutes = [[0j, 0j, 0j] for _ in range(1440)]

    def run(
        self,
        start: float,
        length: float,
        watts: float,
        phases: Sequence[float] = THIRDS,
        power_factor: float = 1.0,
    ) -> None:
        """Let a consumer run from minute `start` for `length` minutes."""
        power = complex(watts, watts * math.tan(math.acos(power_factor)))
        for minute in range(int(start), int(start + length)):
            drawn = self.minutes[minute % 1440]
            for phase, share in enumerate(phases):
                drawn[phase] += power * share


def house(day: Day) -> None:
    """Run a family's house: base load, fridge, light, kitchen, washing, and solar on the roof."""
    dice = day.dice
    day.run(0, 1440, 230, (0.5, 0.3, 0.2), 0.88)
    for start in range(dice.randrange(40), 1440, 46):
        day.run(start, 17, 95, L2, 0.82)
    day.run(dice.randint(360, 400), 75, 140, L1, 0.95)
    day.run(dice.randint(1000, 1050), 360, 210, L1, 0.95)
    day.run(dice.randint(400, 420), 4, 2000, L3)
    _kitchen(day, dice.randint(715, 735), 5)
    _kitchen(day, dice.randint(1095, 1125), 10)
    if day.weekday in (0, 3, 5):
        start = dice.randint(540, 660)
        day.run(start, 22, 2050, L2)
        day.run(start, 95, 160, L2, 0.7)
    _solar(day, 4300)


def heat_pump(day: Day) -> None:
    """Run a heat pump: a compressor that cycles, faster in the cold of the night."""
    day.run(0, 1440, 38, L1, 0.6)
    minute = day.dice.randrange(20)
    while minute < 1440:
        on = day.dice.randint(22, 34)
        day.run(minute, on, day.dice.uniform(2150, 2600), THIRDS, 0.93)
        day.run(minute, on + 3, 65, L1, 0.85)
        night = minute < 480 or minute > 1200
        minute += on + day.dice.randint(8, 14) + (0 if night else 18)


def workshop(day: Day) -> None:
    """Run a joiner's workshop: machines on working days, on and off, unevenly on the phases."""
    day.run(0, 1440, 55, L3, 0.7)
    if day.weekday > 4:
        return
    for begin, end in ((420, 720), (780, 970)):
        day.run(begin, end - begin, 420, (0.4, 0.4, 0.2), 0.96)
        minute = begin
        while minute < end:
            on = day.dice.randint(2, 9)
            share = day.dice.uniform(0.28, 0.38)
            day.run(minute, on, day.dice.uniform(1400, 4200), (share, share, 1 - 2 * share), 0.79)
            minute += on + day.dice.randint(1, 7)


def flat(day: Day) -> None:
    """Run a flat: base load, fridge, evenings at home."""
    day.run(0, 1440, 120, (0.6, 0.2, 0.2), 0.9)
    for start in range(day.dice.randrange(30), 1440, 52):
        day.run(start, 18, 80, L2, 0.8)
    _kitchen(day, day.dice.randint(1080, 1170), 6)
    day.run(day.dice.randint(1020, 1080), 300, 190, L3, 0.93)


PROFILES: dict[str, Callable[[Day], None]] = {
    "house": house,
    "heat pump": heat_pump,
    "workshop": workshop,
    "flat": flat,
}


class Week:
    """A week's curve of one profile, and its sums up to each minute."""

    def __init__(self, minutes: list[Phases]) -> None:
        self.minutes = minutes
        columns = zip(*(rates(phases) for phases in minutes), strict=True)
        sums = (array("d", accumulate(column, initial=0.0)) for column in columns)
        self.sums = dict(zip(CHANNELS, sums, strict=True))
        self._highest: dict[str, float] = {}

    def at(self, minute: int) -> Phases:
        """Return the power in a minute, counted from Monday's epoch."""
        return self.minutes[minute % MINUTES]

    def sum_until(self, channel: str, minute: int) -> float:
        """Return a channel's sum (rate x minutes) from Monday's epoch to the start of a minute."""
        weeks, rest = divmod(minute, MINUTES)
        sums = self.sums[channel]
        return float(weeks * sums[-1] + sums[rest])

    def demand(self, channel: str, minute: int) -> float:
        """Return a channel's mean over the demand period that ends with the start of a minute."""
        begin = minute - DEMAND_MINUTES
        return (self.sum_until(channel, minute) - self.sum_until(channel, begin)) / DEMAND_MINUTES

    def highest_demand(self, channel: str) -> float:
        """Return the highest demand of the week."""
        if channel not in self._highest:
            sums = self.sums[channel]
            later = chain(sums[DEMAND_MINUTES:], (sums[-1] + x for x in sums[1:DEMAND_MINUTES]))
            highest = max(b - a for a, b in zip(sums, later, strict=False))
            self._highest[channel] = highest / DEMAND_MINUTES
        return self._highest[channel]


@lru_cache(maxsize=1024)
def rates(phases: Phases) -> tuple[float, ...]:
    """Return what the channels gain: W and var by direction, VA, A at the nominal voltage."""
    gains: list[float] = []
    for power in (*phases, sum(phases)):
        gains += max(power.real, 0), max(-power.real, 0), max(power.imag, 0), max(-power.imag, 0)
    gains.append(sum(abs(power) for power in phases))
    currents = [power.conjugate() / NOMINAL_V for power in phases]
    gains += (abs(current) for current in currents)
    gains.append(abs(neutral(currents)))
    return tuple(gains)


def neutral(currents: Sequence[complex]) -> complex:
    """Return the neutral's current from those of the phases, each seen from its own voltage."""
    return sum((a * b for a, b in zip(currents, ROTATIONS, strict=True)), 0j)


@cache
def week_of(profile: str, seed: int, *, one_phase: bool = False) -> Week:
    """Return the week of a profile; the same seed gives the same week.

    Where there is one phase only, everything runs on it.
    """
    minutes: list[Phases] = []
    for weekday in range(7):
        day = Day(weekday, random.Random(f"{seed} {profile} {weekday}"))
        PROFILES[profile](day)
        for l1, l2, l3 in day.minutes:
            minutes.append((l1 + l2 + l3, 0j, 0j) if one_phase else (l1, l2, l3))
    return Week(minutes)


def _kitchen(day: Day, start: int, switches: int) -> None:
    for turn in range(switches):
        day.run(start + 4 * turn, day.dice.randint(2, 3), 2200, L3)
    day.run(start + 6, 3 * switches, 1500, L1)


def _solar(day: Day, peak_w: float) -> None:
    sky = day.dice.uniform(0.55, 1.0)
    for minute in range(400, 1110):
        sky = min(1.0, max(0.3, sky + day.dice.uniform(-0.06, 0.061)))
        height = math.sin(math.pi * (minute - 400) / 710)
        day.run(minute, 1, -peak_w * sky * height**1.3)
