"""Inversion: a meter that is fed from below counts import as export; `invert` corrects that.

The counters of the two directions change places, and signed values change their sign. Pure.
"""

import dataclasses
from collections.abc import Mapping

from gateway_bridge.models import MeterModel

_PHASES = ("", "_l1", "_l2", "_l3")
_TURNED = ("power", "reactive_power", "power_factor")
SIGNED = frozenset({f"{name}{phase}" for name in _TURNED for phase in _PHASES} | {"power_demand"})
_SIGNED_AND_CURRENTS = SIGNED | {f"current{phase}" for phase in _PHASES}
ANGLES = frozenset(f"phase_angle{phase}" for phase in _PHASES)
_HIGHEST_OF_IMPORT = "power_demand_max"
"""Meters keep no such maximum of what they count as export."""


def inverted(model: MeterModel) -> MeterModel:
    """Return the model with the registers of import and export exchanged."""
    registers = {
        _other_way(name): register
        for name, register in model.registers.items()
        if name != _HIGHEST_OF_IMPORT
    }
    registers["energy"] = registers["energy_import"]
    absent = {
        wiring: frozenset(map(_other_way, names)) & registers.keys()
        for wiring, names in model.absent.items()
    }
    return dataclasses.replace(model, registers=registers, absent=absent)


def turned(values: Mapping[str, float], *, signed_currents: bool = False) -> dict[str, float]:
    """Return the values of an inverted meter as seen from the other side."""
    signed = _SIGNED_AND_CURRENTS if signed_currents else SIGNED
    return {name: _turned(name, value, signed) for name, value in values.items()}


def _other_way(name: str) -> str:
    if "_import" in name:
        return name.replace("_import", "_export")
    return name.replace("_export", "_import")


def _turned(name: str, value: float, signed: frozenset[str]) -> float:
    if name in signed:
        return -value
    if name in ANGLES:
        return value - 180 if value > 0 else value + 180
    return value
