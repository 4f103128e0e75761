"""What a meter shows, derived from complex power (W + j var), voltage and sums over time."""

import math
from collections.abc import Iterable

from contract.quantities import BY_NAME, Kind
from simulator.load import CHANNELS, MONDAY, Phases, Week, neutral, rates

THOUSANDTHS_PER_HOUR = 60 * 1000
USUAL = 20.0
"""What an unknown gauge shows, where its range allows it: a room's temperature, a share."""


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
    week: Week, minute: int, elapsed: float, *, scale: float, first_kwh: float
) -> dict[str, float]:
    """Return the counters `elapsed` minutes into a minute; they began at `first_kwh`."""
    rate = rates(week.at(minute))
    counted = {
        channel: (week.sum_until(channel, minute) + gain * elapsed) * scale / THOUSANDTHS_PER_HOUR
        for channel, gain in zip(CHANNELS, rate, strict=True)
    }
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
    """Three phases a third of a turn apart: the third side of each triangle."""
    pairs = {"l1_l2": (0, 1), "l2_l3": (1, 2), "l3_l1": (2, 0)}
    values = {}
    for name, (a, b) in pairs.items():
        u, v = voltages[a], voltages[b]
        values[f"voltage_{name}"] = math.sqrt(u * u + v * v + u * v)
    return values | {"voltage_ll": sum(values.values()) / 3}


def distortions(factor: float) -> dict[str, float]:
    """Return the harmonic distortions, varied by a factor about 1."""
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
    """Return the counters that a person set back when the meter was installed."""
    return {
        "energy_import_resettable": counted["energy_import"],
        "energy_export_resettable": counted["energy_export"],
        "energy_total_resettable": counted["energy_import"] + counted["energy_export"],
        "reactive_energy_total_resettable": (
            counted["reactive_energy_import"] + counted["reactive_energy_export"]
        ),
    }


def demands(week: Week, minute: int, scale: float) -> dict[str, float]:
    """Return the means over the demand period that ends with a minute, and their maxima."""
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
    """Return values for quantities that nothing here measures, by their kind in the catalogue.

    Each is that of a measured quantity of the same kind; where there is none, it is within the
    range of its kind, and grows by one unit an hour if it is a counter.
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
