"""The load of a meter: what consumers draw in a week, and what a meter shows of it. Pure.

The load is a complex power (W + j var) for each phase and minute. Every week is the same, so that
energy is a function of time: a simulator that starts again continues to count where the one before
would be now.
"""

import math
import random
from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from itertools import chain

from contract.quantities import BY_NAME, Kind

MINUTES = 7 * 1440
NOMINAL_V = 230.0
DEMAND_MINUTES = 60
MONDAY = 1_704_067_200
"""Monday 2024-01-01 00:00 UTC, from which weeks are counted."""
THOUSANDTHS_PER_HOUR = 60 * 1000
USUAL = 20.0
"""The value of an unknown gauge whose range allows it, such as a room temperature or a share."""

THIRDS = (1 / 3, 1 / 3, 1 / 3)
L1, L2, L3 = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)

Phases = tuple[complex, complex, complex]

ROTATIONS = tuple(complex(math.cos(a), math.sin(a)) for a in (0, -math.tau / 3, math.tau / 3))
"""The directions of the voltages of the phases, a third of a turn apart."""

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
"""The rates that are summed over time: W, var, VA and A."""

DIRECTED = (
    "energy_import", "energy_export", "reactive_energy_import", "reactive_energy_export",
)  # fmt: skip
"""The totals that depend on whether a meter nets its phases."""


class Day:
    """One day of load, filled consumer by consumer."""

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
        """Add a consumer that runs from minute `start` for `length` minutes."""
        power = complex(watts, watts * math.tan(math.acos(power_factor)))
        for minute in range(int(start), int(start + length)):
            drawn = self.minutes[minute % 1440]
            for phase, share in enumerate(phases):
                drawn[phase] += power * share


def house(day: Day) -> None:
    """Add a family's house: its household, and solar power on the roof."""
    household(day)
    _solar(day, 4300)


def household(day: Day) -> None:
    """Add a family's household: base load, fridge, light, kitchen, washing."""
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


def solar(day: Day) -> None:
    """Add solar power on a large roof."""
    _solar(day, 9000)


def heat_pump(day: Day) -> None:
    """Add a heat pump: a compressor that cycles, faster in the cold of the night."""
    day.run(0, 1440, 38, L1, 0.6)
    minute = day.dice.randrange(20)
    while minute < 1440:
        on = day.dice.randint(22, 34)
        day.run(minute, on, day.dice.uniform(2150, 2600), THIRDS, 0.93)
        day.run(minute, on + 3, 65, L1, 0.85)
        night = minute < 480 or minute > 1200
        minute += on + day.dice.randint(8, 14) + (0 if night else 18)


def workshop(day: Day) -> None:
    """Add a joiner's workshop: machines on working days, on and off, unevenly on the phases."""
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
    """Add a flat: base load, fridge, evenings at home."""
    day.run(0, 1440, 120, (0.6, 0.2, 0.2), 0.9)
    for start in range(day.dice.randrange(30), 1440, 52):
        day.run(start, 18, 80, L2, 0.8)
    _kitchen(day, day.dice.randint(1080, 1170), 6)
    day.run(day.dice.randint(1020, 1080), 300, 190, L3, 0.93)


USUAL_PROFILES = ("house", "heat pump", "workshop", "flat")
"""The profiles of meters that choose none, in the order of their unit ids."""
HOMESTEAD = ("homestead", "solar", "heat pump", "workshop")
"""The profiles of the demo: what the first meter measures is the sum of the others and of more."""

PROFILES: dict[str, Callable[[Day], None]] = {
    "house": house,
    "heat pump": heat_pump,
    "workshop": workshop,
    "flat": flat,
    "household": household,
    "solar": solar,
}
SUMS = {"homestead": ("household", "solar", "heat pump", "workshop")}
"""Profiles that are the sum of others."""


class Week:
    """The load of one profile in a week, and its sums up to each minute."""

    def __init__(self, minutes: list[Phases]) -> None:
        self.minutes = minutes
        # Minute by minute: all rates of a week at once would take 10 MB for a moment.
        sums = [array("d", bytes(8 * (len(minutes) + 1))) for _ in CHANNELS]
        for minute, phases in enumerate(minutes):
            for column, rate in zip(sums, rates(phases), strict=True):
                column[minute + 1] = column[minute] + rate
        alike: dict[bytes, array[float]] = {}  # such as those without any export
        self.sums = {
            name: alike.setdefault(column.tobytes(), column)
            for name, column in zip(CHANNELS, sums, strict=True)
        }
        self._highest: dict[str, float] = {}

    def at(self, minute: int) -> Phases:
        """Return the power in a minute, counted from MONDAY."""
        return self.minutes[minute % MINUTES]

    def sum_until(self, channel: str, minute: int) -> float:
        """Return a channel's sum (rate x minutes) from MONDAY to the start of a minute."""
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
    """Return the rate of each channel: W and var by direction, VA, A at the nominal voltage."""
    gains: list[float] = []
    for power in (*phases, sum(phases)):
        gains += max(power.real, 0), max(-power.real, 0), max(power.imag, 0), max(-power.imag, 0)
    gains.append(sum(abs(power) for power in phases))
    currents = [power.conjugate() / NOMINAL_V for power in phases]
    gains += (abs(current) for current in currents)
    gains.append(abs(neutral(currents)))
    return tuple(gains)


def neutral(currents: Sequence[complex]) -> complex:
    """Return the current in the neutral from those of the phases, each against its own voltage."""
    return sum((a * b for a, b in zip(currents, ROTATIONS, strict=True)), 0j)


@cache
def week_of(profile: str, seed: int, *, one_phase: bool = False) -> Week:
    """Return the week of a profile; the same seed gives the same week.

    With `one_phase` all consumers are on L1.
    """
    if profile in SUMS:
        parts = [week_of(part, seed, one_phase=one_phase).minutes for part in SUMS[profile]]
        return Week([_sum(phases) for phases in zip(*parts, strict=True)])
    minutes: list[Phases] = []
    alike: dict[Phases, Phases] = {}  # a minute like another one takes no memory
    for weekday in range(7):
        day = Day(weekday, random.Random(f"{seed} {profile} {weekday}"))
        PROFILES[profile](day)
        for l1, l2, l3 in day.minutes:
            phases = (l1 + l2 + l3, 0j, 0j) if one_phase else (l1, l2, l3)
            minutes.append(alike.setdefault(phases, phases))
    return Week(minutes)


def _sum(parts: Sequence[Phases]) -> Phases:
    l1, l2, l3 = (sum(phases) for phases in zip(*parts, strict=True))
    return l1, l2, l3


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


def gauges(phases: Phases, voltages: tuple[float, ...]) -> dict[str, float]:
    """Return what follows from complex power and voltage: U I PF = P on every phase."""
    values: dict[str, float] = {}
    currents = []
    for name, power, voltage in zip(("l1", "l2", "l3"), phases, voltages, strict=True):
        apparent = abs(power)
        currents.append(power.conjugate() / voltage)
        values[f"voltage_{name}"] = voltage
        values[f"current_{name}"] = apparent / voltage
        values[f"power_{name}"] = power.real
        values[f"apparent_power_{name}"] = apparent
        values[f"reactive_power_{name}"] = power.imag
        values[f"power_factor_{name}"] = power.real / apparent if apparent else 1.0
        values[f"phase_angle_{name}"] = _degrees(power)
    total = sum(phases)
    apparent = sum(abs(power) for power in phases)
    values["voltage"] = sum(voltages) / 3
    values["current"] = sum(abs(current) for current in currents)
    values["current_average"] = values["current"] / 3
    values["current_n"] = abs(neutral(currents))
    values["power"] = total.real
    values["apparent_power"] = apparent
    values["reactive_power"] = total.imag
    values["power_factor"] = total.real / apparent if apparent else 1.0
    values["phase_angle"] = _degrees(complex(total))
    return values | _line_to_line(voltages)


def counters(
    week: Week, minute: int, elapsed: float, *, scale: float, first_kwh: float, netting: bool
) -> dict[str, float]:
    """Return the counters `elapsed` minutes into a minute; they started at `first_kwh`.

    With `netting` a total counts the direction of the sum of the phases, else each phase counts by
    its own.
    """
    rate = rates(week.at(minute))
    counted = {
        channel: (week.sum_until(channel, minute) + gain * elapsed) * scale / THOUSANDTHS_PER_HOUR
        for channel, gain in zip(CHANNELS, rate, strict=True)
    }
    if not netting:
        for total in DIRECTED:
            counted[total] = sum(counted[f"{total}_l{n}"] for n in (1, 2, 3))
    counted |= _resettable(counted)
    for phase in ("_l1", "_l2", "_l3"):
        counted[f"energy_import{phase}"] += first_kwh / 3
    counted["energy_import"] += first_kwh
    counted["energy"] = counted["energy_import"]
    counted["charge"] = 1000 * sum(counted.pop(f"charge_l{n}") for n in (1, 2, 3))
    del counted["charge_n"]
    for sort in ("energy", "reactive_energy"):
        for phase in ("", "_l1", "_l2", "_l3"):
            both = counted[f"{sort}_import{phase}"] + counted[f"{sort}_export{phase}"]
            counted[f"{sort}_total{phase}"] = both
    return counted


def _line_to_line(voltages: tuple[float, ...]) -> dict[str, float]:
    """Return the voltages between phases that are a third of a turn apart."""
    pairs = {"l1_l2": (0, 1), "l2_l3": (1, 2), "l3_l1": (2, 0)}
    values = {}
    for name, (a, b) in pairs.items():
        u, v = voltages[a], voltages[b]
        values[f"voltage_{name}"] = math.sqrt(u * u + v * v + u * v)
    return values | {"voltage_ll": sum(values.values()) / 3}


def distortions(factor: float) -> dict[str, float]:
    """Return the harmonic distortions, varied by a factor of about 1."""
    shapes = {"voltage_thd": 1.9, "current_thd": 11.0}
    values: dict[str, float] = {}
    for name, percent in shapes.items():
        each = [percent * factor * share for share in (0.9, 1.0, 1.13)]
        values |= {f"{name}_l{n}": value for n, value in enumerate(each, start=1)}
        values[name] = sum(each) / 3
    for pair, share in {"l1_l2": 0.9, "l2_l3": 1.0, "l3_l1": 1.1}.items():
        values[f"voltage_thd_{pair}"] = 1.7 * factor * share
    return values | {"voltage_thd_ll": 1.7 * factor}


def _resettable(counted: dict[str, float]) -> dict[str, float]:
    """Return the counters that were reset when the meter was installed."""
    return {
        "energy_import_resettable": counted["energy_import"],
        "energy_export_resettable": counted["energy_export"],
        "energy_total_resettable": counted["energy_import"] + counted["energy_export"],
        "reactive_energy_total_resettable": (
            counted["reactive_energy_import"] + counted["reactive_energy_export"]
        ),
    }


def demands(week: Week, minute: int, scale: float) -> dict[str, float]:
    """Return the means over the demand period that ends at a minute, and their maxima."""
    channels = {
        "power_import_demand": "energy_import",
        "power_export_demand": "energy_export",
        "apparent_power_demand": "apparent_energy",
        "current_demand_l1": "charge_l1",
        "current_demand_l2": "charge_l2",
        "current_demand_l3": "charge_l3",
        "current_demand_n": "charge_n",
    }
    values = {}
    for name, channel in channels.items():
        values[name] = scale * week.demand(channel, minute)
        values[_highest(name)] = scale * week.highest_demand(channel)
    values["power_demand"] = values["power_import_demand"] - values["power_export_demand"]
    values["power_demand_max"] = values["power_import_demand_max"]
    return values


def _highest(name: str) -> str:
    for end in ("_l1", "_l2", "_l3", "_n"):
        if name.endswith(end):
            return name.removesuffix(end) + "_max" + end
    return name + "_max"


def _degrees(power: complex) -> float:
    return math.degrees(math.atan2(power.imag, power.real))


def others(names: Iterable[str], known: dict[str, float], now_s: float) -> dict[str, float]:
    """Return values for quantities that nothing else here computes, by their kind.

    Each has the value of a known quantity of the same kind. Where there is none, a gauge stays
    within the range of its kind, and a counter grows by one unit an hour.
    """
    measured = {BY_NAME[name].kind: value for name, value in reversed(known.items())}
    return {
        name: measured[kind] if (kind := BY_NAME[name].kind) in measured else _usual(kind, now_s)
        for name in names
    }


def _usual(kind: Kind, now_s: float) -> float:
    if kind.counter:
        return min(kind.lowest + max(0.0, now_s - MONDAY) / 3600, kind.highest)
    middle = min(max(USUAL, kind.lowest), kind.highest)
    swing = min(1.0, middle - kind.lowest, kind.highest - middle)
    return middle + swing * math.sin(now_s / 600)
