"""Inversion: a meter that is fed from below counts import as export; `invert` puts that right.

The counters of the two directions change places, and what bears a sign changes it. Pure.
"""

import dataclasses
from collections.abc import Mapping

from gateway_bridge.models import MeterModel

_TURNED = ("power", "reactive_power", "power_factor")
SIGNED = frozenset(
    {f"{name}{phase}" for name in _TURNED for phase in ("", "_l1", "_l2", "_l3")} | {"power_demand"}
)
ANGLES = frozenset(f"phase_angle{phase}" for phase in ("", "_l1", "_l2", "_l3"))
_HIGHEST_OF_IMPORT = "power_demand_max"
"""The meter keeps no such maximum of what it takes for export."""


def inverted(model: MeterModel) -> MeterModel:
    """Return the model with the registers of import and export exchanged."""
    exchanged = {
        name: model.registers[_other_way(name)]
        for name in model.registers
        if name != _HIGHEST_OF_IMPORT and _other_way(name) in model.registers
    }
    exchanged["energy"] = exchanged["energy_import"]
    registers = {name: exchanged[name] for name in model.registers if name in exchanged}
    absent = {
        wiring: frozenset(name for name in names if name in registers)
        for wiring, names in model.absent.items()
    }
    return dataclasses.replace(model, registers=registers, absent=absent)


def turned(values: Mapping[str, float]) -> dict[str, float]:
    """Return the values as seen from the other side."""
    return {name: _turned(name, value) for name, value in values.items()}


def _other_way(name: str) -> str:
    if "_import" in name:
        return name.replace("_import", "_export")
    return name.replace("_export", "_import")


def _turned(name: str, value: float) -> float:
    if name in SIGNED:
        return -value
    if name in ANGLES:
        return value - 180 if value > 0 else value + 180
    return value
