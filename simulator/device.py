"""One simulated meter: what it measures at a moment, and the registers that tell it."""

import math
import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from gateway_bridge.models import MeterModel
from gateway_bridge.models.model import METER_CODE
from simulator.electricity import counters, demands, distortions, gauges
from simulator.load import MONDAY, PROFILES, Phases, week_of
from simulator.registers import WordOrder, pack

DEMAND_PERIOD, SYSTEM_TYPE, PULSE_WIDTH, PARITY = 0x0002, 0x000A, 0x000C, 0x0012
NODE, BAUD, REGISTER_ORDER, SERIAL_NUMBER = 0x0014, 0x001C, 0x0028, 0xFC00

_BAUDS = (2400, 4800, 9600, 19200, 38400)
_NOISE = 0.06
_DIFFERENT_WEEKS = 4

Miswiring = Callable[[Phases], Phases]


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
        self._scale = dice.uniform(0.6, 1.5) if unit > 3 or seed != 1 else 1.0
        self._demands_of: tuple[int | None, dict[str, float]] = (None, {})
        self._first_kwh = dice.uniform(250, 900)
        self._one_phase = model.wirings == ("1p2w",)
        profile = list(PROFILES)[(unit - 1) % len(PROFILES)]
        self._week = week_of(profile, seed % _DIFFERENT_WEEKS, one_phase=self._one_phase)

    def measure(self, now_s: float, miswired: Miswiring | None = None) -> dict[str, float]:
        """Return every quantity at a moment (seconds since 1970), in the catalogue's units.

        `miswired` changes the power the meter sees on its phases; counters stay as they were.
        """
        minute, second = divmod(int(now_s) - MONDAY, 60)
        noise = noise_of(self._name, minute)
        curve = self._week.at(minute)
        factor = self._scale * noise.power[second]
        phases = (curve[0] * factor, curve[1] * factor, curve[2] * factor)
        voltages = tuple(
            231 + shift + 1.8 * math.sin(math.tau * minute / 311 + shift) + noise.voltage[second][n]
            for n, shift in enumerate((0.4, -0.9, 1.3))
        )
        values = gauges(phases if miswired is None else miswired(phases), voltages)
        if self._one_phase:
            values["voltage"] = values["voltage_l1"]
        values["frequency"] = 50 + 0.015 * math.sin(minute / 7) + noise.frequency[second]
        values |= distortions(noise.distortion[second])
        values |= counters(
            self._week,
            minute,
            sum(noise.power[:second]) / 60,
            scale=self._scale,
            first_kwh=self._first_kwh,
        )
        return values | self._demands(minute)

    def image(self, now_s: float, miswired: Miswiring | None = None) -> dict[int, float]:
        """Return {address: value} of the input registers; pinned ones stay as they were set."""
        values = self.measure(now_s, miswired)
        found = {address: values[name] for name, address in self.model.registers.items()}
        return found | self.pinned

    def holding(self, baud: int, order: WordOrder) -> Mapping[int, bytes]:
        """Return {address: its registers} of the holding registers of this series."""
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
        packed[SERIAL_NUMBER] = struct.pack(">I", self.serial_number)
        if self.model.code is not None:
            packed[METER_CODE] = struct.pack(">H", self.model.code)
        return packed

    def _demands(self, minute: int) -> dict[str, float]:
        if self._demands_of[0] != minute:
            self._demands_of = (minute, demands(self._week, minute, self._scale))
        return self._demands_of[1]


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
