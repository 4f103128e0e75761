"""One simulated meter: what it measures at a moment, and the registers that tell it."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from gateway_bridge.models import MeterModel
from gateway_bridge.models.model import Register
from simulator.electricity import counters, demands, distortions, gauges, others
from simulator.load import MONDAY, PROFILES, Phases, week_of

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
        self.system_type = _system_type(model)
        self.pinned: dict[Register, float] = {}
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
        if self.model.signed_currents:
            values |= _signed_currents(values)
        values |= self._demands(minute)
        return values | others(self.model.registers.keys() - values.keys(), values, now_s)

    def image(self, now_s: float, miswired: Miswiring | None = None) -> dict[Register, float]:
        """Return {register: value} of what it measures; pinned ones stay as they were set."""
        values = self.measure(now_s, miswired)
        found = {
            register: values[name]
            for name, register in self.model.registers.items()
            if register.parts == 1
        }
        return found | self.pinned

    def code(self) -> dict[Register, float | str]:
        """Return the register that holds the code of the model."""
        return {Register(self.model.code_register or 0, "uint16"): self.model.code or 0}

    def holding(self, baud: int) -> dict[Register, float | str]:
        """Return {register: value} of the holding registers."""
        model = self.model
        found = _eastron_menu(self.unit, baud) if model.maker == "Eastron" else {}
        if model.serial_number:
            text = model.serial_number.type == "text"
            found[model.serial_number] = str(self.serial_number) if text else self.serial_number
        if model.system_type:
            found[model.system_type] = self.system_type
        return found

    def _demands(self, minute: int) -> dict[str, float]:
        if self._demands_of[0] != minute:
            self._demands_of = (minute, demands(self._week, minute, self._scale))
        return self._demands_of[1]


def _system_type(model: MeterModel) -> float:
    """Return what the meter reports for the usual wiring of its model."""
    usual = (value for value, wiring in model.system_types.items() if wiring == model.wirings[0])
    return next(usual, 3.0)


def _signed_currents(values: Mapping[str, float]) -> dict[str, float]:
    """Return the currents with the sign of their phase's power, and their sum."""
    phases = ("l1", "l2", "l3")
    signed = {
        f"current_{phase}": math.copysign(values[f"current_{phase}"], values[f"power_{phase}"])
        for phase in phases
    }
    return signed | {"current": sum(signed.values())}


def _eastron_menu(unit: int, baud: int) -> dict[Register, float | str]:
    """Return the menu settings that an Eastron meter shows as holding registers."""
    code = _BAUDS.index(baud if baud in _BAUDS else 9600)
    return {
        Register(0x0002): 60.0,  # demand period
        Register(0x000C): 100.0,  # pulse width
        Register(0x0012): 0.0,  # parity
        Register(0x0014): float(unit),
        Register(0x001C): float(code),  # baud rate
        Register(0x0028): 2141.0,  # reads so in the right word order
    }


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
