"""One simulated meter: what it measures at a moment, and its registers as Modbus shows them."""

import math
import random
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from contract.quantities import BY_NAME
from gateway_bridge.models import MeterModel
from gateway_bridge.models.model import HOLDING, STRUCT_CODES, Register, WordOrder
from simulator.faults import Faults
from simulator.frames import Request
from simulator.load import (
    MONDAY,
    ROTATIONS,
    USUAL_PROFILES,
    Phases,
    counters,
    demands,
    distortions,
    gauges,
    others,
    week_of,
)

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3
LARGEST_HOLE = 32
"""Undefined registers between two defined ones that an SDM630 still answers, with 0."""

_BAUDS = (2400, 4800, 9600, 19200, 38400)
_NOISE = 0.06
_DIFFERENT_WEEKS = 4

Miswiring = Callable[[Phases], Phases]
Image = Mapping[Register, float | str]


@dataclass(frozen=True, slots=True)
class Noise:
    """What is added to the load in a minute, second by second.

    `power` are factors with the mean 1, so that the energy of a minute stays what its curve gives.
    """

    power: tuple[float, ...]
    voltage: tuple[tuple[float, float, float], ...]
    frequency: tuple[float, ...]
    distortion: tuple[float, ...]


class SimulatedMeter:
    """A meter that measures the week of a profile; deterministic by unit id, seed and time.

    The first three meters are a house with solar, a heat pump and a workshop; further ones are
    variations, unless `follow` chooses a profile. Values change every second, as those of a real
    meter do. A meter with `netting` counts import and export of the sum of its phases; without, as
    an SDM630, phase by phase.
    """

    def __init__(self, unit: int, model: MeterModel, seed: int = 1) -> None:
        self.unit = unit
        self.model = model
        self.netting = False
        self.serial_number = 21_000_000 + 1_009 * seed + 17 * unit
        self.system_type = _system_type(model)
        self.pinned: dict[Register, float] = {}
        self._name = f"{seed} {unit}"
        dice = random.Random(self._name)
        self._scale = dice.uniform(0.6, 1.5) if unit > 3 or seed != 1 else 1.0
        self._demands_of: tuple[int | None, dict[str, float]] = (None, {})
        self._noise_of: tuple[int | None, Noise] = (None, Noise((), (), (), ()))
        self._first_kwh = dice.uniform(250, 900)
        self._one_phase = model.wirings == ("1p2w",)
        self._seed = seed % _DIFFERENT_WEEKS
        self.follow(USUAL_PROFILES[(unit - 1) % len(USUAL_PROFILES)])

    def follow(self, profile: str) -> None:
        """Measure the week of another profile."""
        self._week = week_of(profile, self._seed, one_phase=self._one_phase)

    def measure(self, now_s: float, miswired: Miswiring | None = None) -> dict[str, float]:
        """Return every quantity at a moment (seconds since 1970), in the catalogue's units.

        `miswired` changes the power that the meter sees on its phases; counters are not affected.
        """
        minute, second = divmod(int(now_s) - MONDAY, 60)
        noise = self._noise(minute)
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
            netting=self.netting,
        )
        values |= self._demands(minute)
        if self.model.signed_currents:
            values |= _signed_currents(values)
        return values | others(self.model.registers.keys() - values.keys(), values, now_s)

    def image(self, now_s: float, faults: Faults) -> dict[Register, float]:
        """Return {register: value} at a moment, pinned values included, as its faults show them."""
        values = self.measure(now_s, miswiring(self.unit, faults))
        found = {
            register: values[name]
            for name, register in self.model.registers.items()
            if register.parts == 1
        }
        return _spoilt(found | self.pinned, self, faults)

    def code(self) -> Image:
        """Return the register that holds the code of the model."""
        return {Register(self.model.code_register or 0, "uint16"): self.model.code or 0}

    def holding(self, baud: int) -> Image:
        """Return {register: value} of the holding registers."""
        model = self.model
        found = _eastron_menu(self.unit, baud) if model.maker == "Eastron" else {}
        if model.serial_number:
            text = model.serial_number.type == "text"
            found[model.serial_number] = str(self.serial_number) if text else self.serial_number
        if model.system_type:
            found[model.system_type] = self.system_type
        return found

    def _noise(self, minute: int) -> Noise:
        if self._noise_of[0] != minute:
            self._noise_of = (minute, noise_of(self._name, minute))
        return self._noise_of[1]

    def _demands(self, minute: int) -> dict[str, float]:
        if self._demands_of[0] != minute:
            self._demands_of = (minute, demands(self._week, minute, self._scale))
        return self._demands_of[1]


def _system_type(model: MeterModel) -> float:
    """Return what the meter reports for the usual wiring of its model."""
    usual = (value for value, wiring in model.system_types.items() if wiring == model.wirings[0])
    return next(usual, 3.0)


def _signed_currents(values: Mapping[str, float]) -> dict[str, float]:
    """Return the currents with the sign of the power of their phase, and their sum."""
    signed = {
        f"current_{phase}": math.copysign(values[f"current_{phase}"], values[f"power_{phase}"])
        for phase in ("l1", "l2", "l3")
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
        Register(0x0028): 2141.0,  # reads as this number in the word order of the menu
    }


def noise_of(name: str, minute: int) -> Noise:
    """Return the noise of a meter in a minute."""
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


def miswiring(unit: int, faults: Faults) -> Miswiring | None:
    """Return how the wiring changes the power of the phases; None while it is right."""
    phase = faults.strikes(unit, "reversed-ct")
    if phase is not None:
        return partial(_reversed, int(phase))
    if faults.strikes(unit, "swapped-cts") is not None:
        return _swapped
    ratio = faults.strikes(unit, "ct-ratio")
    return None if ratio is None else partial(_scaled, ratio)


def _reversed(phase: int, phases: Phases) -> Phases:
    a, b, c = (-power if n == phase else power for n, power in enumerate(phases, start=1))
    return a, b, c


def _swapped(phases: Phases) -> Phases:
    """Exchange the transformers of L1 and L2: each then sees a current a third of a turn off."""
    turn = (ROTATIONS[1] / ROTATIONS[0]).conjugate()
    return phases[1] * turn, phases[0] / turn, phases[2]


def _scaled(ratio: float, phases: Phases) -> Phases:
    a, b, c = (power * ratio for power in phases)
    return a, b, c


def _spoilt(
    image: dict[Register, float], meter: SimulatedMeter, faults: Faults
) -> dict[Register, float]:
    """Return the registers of a meter as its faults show them."""
    unit, registers = meter.unit, meter.model.registers
    counting = {each for name, each in registers.items() if BY_NAME[name].kind.counter}
    counting &= image.keys()
    for name, value in (("nan", math.nan), ("inf", math.inf), ("zero", 0.0)):
        if faults.strikes(unit, name) is not None:
            image = dict.fromkeys(image, value)
    if faults.strikes(unit, "counter-zero") is not None:
        image |= dict.fromkeys(counting, 0.0)
    for name, sign in (("counter-back", -1), ("jump", 1)):
        step = faults.strikes(unit, name)
        if step is not None:
            image |= {each: image[each] + sign * step for each in counting}
    return image


@dataclass(frozen=True, slots=True)
class Rules:
    """What a meter accepts: a read of aligned start and length, within a block, up to a limit."""

    model: MeterModel
    limit: int
    strict_holes: bool = False

    def refusal(self, function: int, address: int, count: int, length: int) -> int | None:
        """Return the exception code for a request, None if it may be answered."""
        if function not in (*self.model.functions, HOLDING):
            return ILLEGAL_FUNCTION
        if length != 5 or count == 0:
            return ILLEGAL_VALUE
        if self.asks_for_code(function, address, count):
            return None
        alignment = self.model.alignment
        if address % alignment or count % alignment or count > self.limit:
            return ILLEGAL_ADDRESS
        return None

    def asks_for_code(self, function: int, address: int, count: int) -> bool:
        """Return whether a request asks for the code of the model, which is read alone."""
        return (address, count) == (self.model.code_register, 1) and self.reads_holding(function)

    def reads_holding(self, function: int) -> bool:
        """Return whether a function reads holding registers."""
        return HOLDING in (function, *self.model.functions)

    def reads_values(self, function: int, address: int, count: int) -> bool:
        """Return whether a function reads values, and these are in one block."""
        hole = 0 if self.strict_holes else LARGEST_HOLE
        values = self.model.registers.values()
        return function in self.model.functions and in_one_block(values, address, count, hole)


def in_one_block(registers: Iterable[Register], address: int, count: int, hole: int = 0) -> bool:
    """Return whether a run of registers with holes up to `hole` includes these."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted((register.address, register.end) for register in registers):
        if found and begin - found[-1][1] <= hole:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return any(begin <= address and address + count <= end for begin, end in found)


def encoded(model: MeterModel, image: Image, request: Request, menu: WordOrder) -> bytes:
    """Return the PDU that answers a read; undefined registers are 0.

    The word order is that of the model. Where it has none, a menu decides for float values.
    """
    address, count = request.registers
    data = bytearray(2 * count)
    for register, value in image.items():
        begin, end = max(register.address, address), min(register.end, address + count)
        if begin < end:
            chosen = menu if register.type == "float32" else "high-first"
            packed = _packed(value, register, model.word_order or chosen)
            inside = slice(2 * (begin - register.address), 2 * (end - register.address))
            data[2 * (begin - address) : 2 * (end - address)] = packed[inside]
    return bytes([request.function, len(data)]) + data


def _packed(value: float | str, register: Register, order: WordOrder) -> bytes:
    """Return a value as the bytes of its registers."""
    if isinstance(value, str):
        return value.encode().ljust(2 * register.count, b"\0")[: 2 * register.count]
    number = value * register.per_unit
    packed = _float(number) if register.type == "float32" else _integer(number, register)
    if order == "high-first":
        return packed
    return b"".join(packed[at : at + 2] for at in range(len(packed) - 2, -1, -2))


def _float(number: float) -> bytes:
    """Return a float32; what is too large for one is infinite."""
    try:
        return struct.pack(">f", number)
    except OverflowError:
        return struct.pack(">f", math.copysign(math.inf, number))


def _integer(number: float, register: Register) -> bytes:
    """Return an integer; what is too large for it, or not a number, is missing."""
    bits = 16 * register.width
    signed = register.type.startswith("int")
    lowest, highest = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    missing = highest if register.missing is None else register.missing
    inside = math.isfinite(number) and lowest <= round(number) <= highest
    return struct.pack(f">{STRUCT_CODES[register.type]}", round(number) if inside else missing)
