"""One simulated meter: what it measures at a moment, and the registers that tell it."""

import math
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gateway_bridge.models import MeterModel
from gateway_bridge.simulator.load import (
    CHANNELS,
    MONDAY,
    PROFILES,
    Phases,
    Week,
    neutral,
    rates,
    week_of,
)
from gateway_bridge.simulator.registers import WordOrder, pack

DEMAND_PERIOD, SYSTEM_TYPE, PULSE_WIDTH, PARITY = 0x0002, 0x000A, 0x000C, 0x0012
NODE, BAUD, REGISTER_ORDER, SERIAL_NUMBER = 0x0014, 0x001C, 0x0028, 0xFC00

_BAUDS = (2400, 4800, 9600, 19200, 38400)
_NOISE = 0.06


@dataclass(frozen=True, slots=True)
class Noise:
    """What one minute adds, second by second.

    `power` are factors with the mean 1, so that a minute's energy stays what its curve says.
    """

    power: tuple[float, ...]
    voltage: tuple[tuple[float, float, float], ...]
    frequency: tuple[float, ...]
    distortion: tuple[float, ...]


class SimulatedMeter:
    """A meter that measures a profile's week; deterministic by unit, seed and time.

    The first three units are a house with solar, a heat pump and a workshop; further ones are
    varied. Values are refreshed each second, as a real meter does.
    """

    def __init__(self, unit: int, model: MeterModel, seed: int = 1) -> None:
        self.unit = unit
        self.model = model
        self.serial_number = 21_000_000 + 1_009 * seed + 17 * unit
        self.system_type = 3.0
        self.pinned: dict[int, float] = {}
        self._name = f"{seed} {unit}"
        dice = random.Random(self._name)
        self._scale = dice.uniform(0.6, 1.5) if unit > 3 else 1.0
        self._first_kwh = dice.uniform(250, 900)
        self._one_phase = model.wirings == ("1p2w",)
        profile = list(PROFILES)[(unit - 1) % len(PROFILES)]
        self._week = week_of(profile, seed, one_phase=self._one_phase)

    def measure(self, now_s: float) -> dict[str, float]:
        """Return every quantity at a moment (seconds since 1970), in the catalogue's units."""
        minute, second = divmod(int(now_s) - MONDAY, 60)
        noise = noise_of(self._name, minute)
        curve = self._week.minutes[minute % len(self._week.minutes)]
        factor = self._scale * noise.power[second]
        phases = (curve[0] * factor, curve[1] * factor, curve[2] * factor)
        voltages = tuple(
            231 + shift + 1.8 * math.sin(math.tau * minute / 311 + shift) + noise.voltage[second][n]
            for n, shift in enumerate((0.4, -0.9, 1.3))
        )
        values = gauges(phases, voltages)
        if self._one_phase:
            values["voltage"] = values["voltage_l1"]
        values["frequency"] = 50 + 0.015 * math.sin(minute / 7) + noise.frequency[second]
        values |= _distortions(noise.distortion[second])
        values |= self._counters(curve, minute, sum(noise.power[:second]) / 60)
        values |= _demands(self._week, minute, self._scale)
        return values

    def image(self, now_s: float) -> dict[int, float]:
        """Return {address: value} of the input registers; pinned ones stay as they were set."""
        values = self.measure(now_s)
        found = {address: values[name] for name, address in self.model.registers.items()}
        return found | self.pinned

    def holding(self, baud: int, order: WordOrder) -> Mapping[int, bytes]:
        """Return {address: two registers} of the holding registers of this series."""
        code = _BAUDS.index(baud) if baud in _BAUDS else _BAUDS.index(9600)
        floats = {
            DEMAND_PERIOD: 60.0,
            SYSTEM_TYPE: self.system_type,
            PULSE_WIDTH: 100.0,
            PARITY: 0.0,
            NODE: float(self.unit),
            BAUD: float(code),
            REGISTER_ORDER: 2141.0,
        }
        packed = {address: pack(value, order) for address, value in floats.items()}
        return packed | {SERIAL_NUMBER: struct.pack(">I", self.serial_number)}

    def _counters(self, curve: Phases, minute: int, elapsed: float) -> dict[str, float]:
        rate = dict(zip(CHANNELS, rates(curve), strict=True))
        thousandth_hours = self._scale / 60 / 1000
        counted = {
            channel: (self._week.sum_until(channel, minute) + rate[channel] * elapsed)
            * thousandth_hours
            for channel in CHANNELS
        }
        counted |= _resettable(counted)
        for phase in ("_l1", "_l2", "_l3"):
            counted[f"energy_import{phase}"] += self._first_kwh / 3
        counted["energy_import"] += self._first_kwh
        charges = [counted.pop(f"charge_{phase}") for phase in ("l1", "l2", "l3", "n")]
        counted["charge"] = 1000 * sum(charges[:3])
        counted["energy"] = counted["energy_import"]
        for sort in ("energy", "reactive_energy"):
            for phase in ("", "_l1", "_l2", "_l3"):
                counted[f"{sort}_total{phase}"] = (
                    counted[f"{sort}_import{phase}"] + counted[f"{sort}_export{phase}"]
                )
        return counted


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


@lru_cache(maxsize=4096)
def noise_of(name: str, minute: int) -> Noise:
    """Return the noise of a meter's minute."""
    dice = random.Random(f"{name} {minute}")
    power = [dice.uniform(-_NOISE, _NOISE) for _ in range(60)]
    mean = sum(power) / 60
    return Noise(
        power=tuple(1 + step - mean for step in power),
        voltage=tuple(
            (dice.gauss(0, 0.2), dice.gauss(0, 0.2), dice.gauss(0, 0.2)) for _ in range(60)
        ),
        frequency=tuple(dice.gauss(0, 0.004) for _ in range(60)),
        distortion=tuple(dice.uniform(0.95, 1.05) for _ in range(60)),
    )


def _line_to_line(voltages: tuple[float, ...]) -> dict[str, float]:
    """Three phases a third of a turn apart: the third side of each triangle."""
    pairs = {"l1_l2": (0, 1), "l2_l3": (1, 2), "l3_l1": (2, 0)}
    values = {}
    for name, (a, b) in pairs.items():
        u, v = voltages[a], voltages[b]
        values[f"voltage_{name}"] = math.sqrt(u * u + v * v + u * v)
    return values | {"voltage_ll": sum(values.values()) / 3}


def _distortions(factor: float) -> dict[str, float]:
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


def _demands(week: Week, minute: int, scale: float) -> dict[str, float]:
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
