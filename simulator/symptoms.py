"""What a meter shows when it, or the wiring of its current transformers, is wrong."""

import math
from functools import partial

from contract.quantities import BY_NAME
from gateway_bridge.models.model import Register
from simulator.device import Miswiring, SimulatedMeter
from simulator.faults import Faults
from simulator.load import ROTATIONS, Phases


def miswiring(unit: int, faults: Faults) -> Miswiring | None:
    """Return what the wiring makes of the phases' power, None while it is right."""
    phase = faults.strikes(unit, "reversed-ct")
    if phase is not None:
        return partial(_reversed, int(phase))
    if faults.strikes(unit, "swapped-cts") is not None:
        return _swapped
    ratio = faults.strikes(unit, "ct-ratio")
    return None if ratio is None else partial(_scaled, ratio)


def spoilt(
    image: dict[Register, float], meter: SimulatedMeter, faults: Faults
) -> dict[Register, float]:
    """Return the registers of a meter as its faults show them."""
    unit = meter.unit
    for name, value in (("nan", math.nan), ("inf", math.inf), ("zero", 0.0)):
        if faults.strikes(unit, name) is not None:
            image = dict.fromkeys(image, value)
    if faults.strikes(unit, "counter-zero") is not None:
        image |= dict.fromkeys(_counters(meter), 0.0)
    for name, sign in (("counter-back", -1), ("jump", 1)):
        step = faults.strikes(unit, name)
        if step is not None:
            counters = _counters(meter) & image.keys()
            image |= {each: image[each] + sign * step for each in counters}
    return image


def _counters(meter: SimulatedMeter) -> set[Register]:
    registers = meter.model.registers
    return {register for name, register in registers.items() if BY_NAME[name].kind.counter}


def _reversed(phase: int, phases: Phases) -> Phases:
    a, b, c = (-power if n == phase else power for n, power in enumerate(phases, start=1))
    return a, b, c


def _swapped(phases: Phases) -> Phases:
    """L1's transformer sits on L2 and L2's on L1: each sees a current a third of a turn off."""
    turn = (ROTATIONS[1] / ROTATIONS[0]).conjugate()
    return phases[1] * turn, phases[0] / turn, phases[2]


def _scaled(ratio: float, phases: Phases) -> Phases:
    a, b, c = (power * ratio for power in phases)
    return a, b, c
