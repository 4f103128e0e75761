"""The catalogue: one row for every quantity that Meterflow supports.

Registers, payloads, table columns, Home Assistant entities, dashboard labels and the page
`docs/quantities.md` are derived from this table. The ranges are wide on purpose (current
transformers of several thousand amperes): they exclude values that no meter can mean, and keep
every value within a 64-bit integer of thousandths.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """The properties that similar quantities share; `device_class` is that of Home Assistant.

    `additive`: the value of the meter is the sum of its phases, else their mean. `kilo`: pages
    show large values in thousands of the unit, such as kW.
    """

    unit: str
    decimals: int
    device_class: str | None
    lowest: float
    highest: float
    counter: bool = False
    additive: bool = True
    kilo: bool = False

    @property
    def state_class(self) -> str:
        """State class of Home Assistant: a counter only increases, a gauge is a measurement."""
        return "total_increasing" if self.counter else "measurement"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A quantity that a meter measures: its name on the wire, its label for people, its kind.

    Home Assistant enables `shown` quantities at first, and lists `diagnostic` ones separately.
    """

    name: str
    label: str
    kind: Kind
    shown: bool = False
    diagnostic: bool = False


VOLTAGE = Kind("V", 1, "voltage", 0, 1_000_000, additive=False)
CURRENT = Kind("A", 2, "current", -100_000, 100_000)
POWER = Kind("W", 0, "power", -1e9, 1e9, kilo=True)
APPARENT_POWER = Kind("VA", 0, "apparent_power", -1e9, 1e9, kilo=True)
REACTIVE_POWER = Kind("var", 0, "reactive_power", -1e9, 1e9, kilo=True)
POWER_FACTOR = Kind("", 2, "power_factor", -1.001, 1.001, additive=False)
ANGLE = Kind("°", 1, None, -360, 360, additive=False)
FREQUENCY = Kind("Hz", 2, "frequency", 0, 1000, additive=False)
DISTORTION = Kind("%", 1, None, 0, 1000, additive=False)
ENERGY = Kind("kWh", 2, "energy", 0, 1e9, counter=True)
REACTIVE_ENERGY = Kind("kvarh", 2, None, 0, 1e9, counter=True)
"""Without its device class: Home Assistant 2025.4 does not know it, and refuses the entity."""
APPARENT_ENERGY = Kind("kVAh", 2, None, 0, 1e9, counter=True)
CHARGE = Kind("Ah", 1, None, 0, 1e9, counter=True)

QUANTITIES = (
    # the four core quantities, which any device can send
    Quantity("voltage", "Voltage", VOLTAGE),
    Quantity("current", "Current", CURRENT),
    Quantity("power", "Power", POWER, shown=True),
    Quantity("energy", "Energy", ENERGY),
    # the phases, and the rest of a live reading
    Quantity("voltage_l1", "Voltage L1", VOLTAGE, shown=True),
    Quantity("voltage_l2", "Voltage L2", VOLTAGE, shown=True),
    Quantity("voltage_l3", "Voltage L3", VOLTAGE, shown=True),
    Quantity("current_l1", "Current L1", CURRENT, shown=True),
    Quantity("current_l2", "Current L2", CURRENT, shown=True),
    Quantity("current_l3", "Current L3", CURRENT, shown=True),
    Quantity("current_n", "Current N", CURRENT),
    Quantity("current_average", "Current (average)", CURRENT, diagnostic=True),
    Quantity("power_l1", "Power L1", POWER, shown=True),
    Quantity("power_l2", "Power L2", POWER, shown=True),
    Quantity("power_l3", "Power L3", POWER, shown=True),
    Quantity("apparent_power", "Apparent power", APPARENT_POWER, shown=True),
    Quantity("apparent_power_l1", "Apparent power L1", APPARENT_POWER),
    Quantity("apparent_power_l2", "Apparent power L2", APPARENT_POWER),
    Quantity("apparent_power_l3", "Apparent power L3", APPARENT_POWER),
    Quantity("reactive_power", "Reactive power", REACTIVE_POWER, shown=True),
    Quantity("reactive_power_l1", "Reactive power L1", REACTIVE_POWER),
    Quantity("reactive_power_l2", "Reactive power L2", REACTIVE_POWER),
    Quantity("reactive_power_l3", "Reactive power L3", REACTIVE_POWER),
    Quantity("power_factor", "Power factor", POWER_FACTOR, shown=True),
    Quantity("power_factor_l1", "Power factor L1", POWER_FACTOR),
    Quantity("power_factor_l2", "Power factor L2", POWER_FACTOR),
    Quantity("power_factor_l3", "Power factor L3", POWER_FACTOR),
    Quantity("phase_angle", "Phase angle", ANGLE, diagnostic=True),
    Quantity("phase_angle_l1", "Phase angle L1", ANGLE, diagnostic=True),
    Quantity("phase_angle_l2", "Phase angle L2", ANGLE, diagnostic=True),
    Quantity("phase_angle_l3", "Phase angle L3", ANGLE, diagnostic=True),
    Quantity("frequency", "Frequency", FREQUENCY, shown=True),
    # counters
    Quantity("energy_import", "Energy import", ENERGY, shown=True),
    Quantity("energy_export", "Energy export", ENERGY, shown=True),
    Quantity("energy_total", "Energy total (import + export)", ENERGY),
    Quantity("energy_import_l1", "Energy import L1", ENERGY),
    Quantity("energy_import_l2", "Energy import L2", ENERGY),
    Quantity("energy_import_l3", "Energy import L3", ENERGY),
    Quantity("energy_export_l1", "Energy export L1", ENERGY),
    Quantity("energy_export_l2", "Energy export L2", ENERGY),
    Quantity("energy_export_l3", "Energy export L3", ENERGY),
    Quantity("energy_total_l1", "Energy total L1", ENERGY),
    Quantity("energy_total_l2", "Energy total L2", ENERGY),
    Quantity("energy_total_l3", "Energy total L3", ENERGY),
    Quantity("reactive_energy_import", "Reactive energy import", REACTIVE_ENERGY),
    Quantity("reactive_energy_export", "Reactive energy export", REACTIVE_ENERGY),
    Quantity("reactive_energy_total", "Reactive energy total", REACTIVE_ENERGY),
    Quantity("reactive_energy_import_l1", "Reactive energy import L1", REACTIVE_ENERGY),
    Quantity("reactive_energy_import_l2", "Reactive energy import L2", REACTIVE_ENERGY),
    Quantity("reactive_energy_import_l3", "Reactive energy import L3", REACTIVE_ENERGY),
    Quantity("reactive_energy_export_l1", "Reactive energy export L1", REACTIVE_ENERGY),
    Quantity("reactive_energy_export_l2", "Reactive energy export L2", REACTIVE_ENERGY),
    Quantity("reactive_energy_export_l3", "Reactive energy export L3", REACTIVE_ENERGY),
    Quantity("reactive_energy_total_l1", "Reactive energy total L1", REACTIVE_ENERGY),
    Quantity("reactive_energy_total_l2", "Reactive energy total L2", REACTIVE_ENERGY),
    Quantity("reactive_energy_total_l3", "Reactive energy total L3", REACTIVE_ENERGY),
    Quantity("apparent_energy", "Apparent energy", APPARENT_ENERGY),
    Quantity("charge", "Charge", CHARGE),
    # line to line
    Quantity("voltage_l1_l2", "Voltage L1-L2", VOLTAGE),
    Quantity("voltage_l2_l3", "Voltage L2-L3", VOLTAGE),
    Quantity("voltage_l3_l1", "Voltage L3-L1", VOLTAGE),
    Quantity("voltage_ll", "Voltage line to line (average)", VOLTAGE),
    # demand
    Quantity("power_demand", "Power demand", POWER, diagnostic=True),
    Quantity("power_demand_max", "Power demand maximum", POWER, diagnostic=True),
    Quantity("power_import_demand", "Import power demand", POWER, diagnostic=True),
    Quantity("power_import_demand_max", "Import power demand maximum", POWER, diagnostic=True),
    Quantity("power_export_demand", "Export power demand", POWER, diagnostic=True),
    Quantity("power_export_demand_max", "Export power demand maximum", POWER, diagnostic=True),
    Quantity("apparent_power_demand", "Apparent power demand", APPARENT_POWER, diagnostic=True),
    Quantity(
        "apparent_power_demand_max",
        "Apparent power demand maximum",
        APPARENT_POWER,
        diagnostic=True,
    ),
    Quantity("current_demand_l1", "Current demand L1", CURRENT, diagnostic=True),
    Quantity("current_demand_l2", "Current demand L2", CURRENT, diagnostic=True),
    Quantity("current_demand_l3", "Current demand L3", CURRENT, diagnostic=True),
    Quantity("current_demand_n", "Current demand N", CURRENT, diagnostic=True),
    Quantity("current_demand_max_l1", "Current demand maximum L1", CURRENT, diagnostic=True),
    Quantity("current_demand_max_l2", "Current demand maximum L2", CURRENT, diagnostic=True),
    Quantity("current_demand_max_l3", "Current demand maximum L3", CURRENT, diagnostic=True),
    Quantity("current_demand_max_n", "Current demand maximum N", CURRENT, diagnostic=True),
    # harmonic distortion
    Quantity("voltage_thd", "Voltage THD (average)", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_l1", "Voltage THD L1", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_l2", "Voltage THD L2", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_l3", "Voltage THD L3", DISTORTION, diagnostic=True),
    Quantity("current_thd", "Current THD (average)", DISTORTION, diagnostic=True),
    Quantity("current_thd_l1", "Current THD L1", DISTORTION, diagnostic=True),
    Quantity("current_thd_l2", "Current THD L2", DISTORTION, diagnostic=True),
    Quantity("current_thd_l3", "Current THD L3", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_l1_l2", "Voltage THD L1-L2", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_l2_l3", "Voltage THD L2-L3", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_l3_l1", "Voltage THD L3-L1", DISTORTION, diagnostic=True),
    Quantity("voltage_thd_ll", "Voltage THD line to line (average)", DISTORTION, diagnostic=True),
    # counters that can be reset on the meter
    Quantity("energy_total_resettable", "Energy total (resettable)", ENERGY, diagnostic=True),
    Quantity(
        "reactive_energy_total_resettable",
        "Reactive energy total (resettable)",
        REACTIVE_ENERGY,
        diagnostic=True,
    ),
    Quantity("energy_import_resettable", "Energy import (resettable)", ENERGY, diagnostic=True),
    Quantity("energy_export_resettable", "Energy export (resettable)", ENERGY, diagnostic=True),
)

BY_NAME = {quantity.name: quantity for quantity in QUANTITIES}

DERIVED = (
    Quantity("energy_import_netted", "Energy import (netted)", ENERGY),
    Quantity("energy_export_netted", "Energy export (netted)", ENERGY),
)
"""Counters that the history computes: only roll-ups have them, and no meter sends them."""

CORE_SET = (
    "voltage", "current", "power", "energy",
    "voltage_l1", "voltage_l2", "voltage_l3",
    "current_l1", "current_l2", "current_l3",
    "power_l1", "power_l2", "power_l3",
)  # fmt: skip
"""The 13 quantities of the smallest useful reading of a three-phase meter."""

DEFAULT_SET = (
    *CORE_SET,
    "apparent_power", "apparent_power_l1", "apparent_power_l2", "apparent_power_l3",
    "reactive_power", "reactive_power_l1", "reactive_power_l2", "reactive_power_l3",
    "power_factor", "power_factor_l1", "power_factor_l2", "power_factor_l3",
    "phase_angle", "phase_angle_l1", "phase_angle_l2", "phase_angle_l3",
    "frequency", "energy_import", "energy_export",
)  # fmt: skip
"""The quantities that a bridge reads by default: one block of registers of an SDM630."""


def quantity_set(words: Iterable[str]) -> tuple[str, ...]:
    """Return the names that `words` stand for: names, or the sets core, default, all.

    The order is that of the catalogue. Raises ValueError naming the first word that is neither.
    """
    sets = {"core": CORE_SET, "default": DEFAULT_SET, "all": tuple(BY_NAME)}
    wanted: set[str] = set()
    for word in words:
        if word not in sets and word not in BY_NAME:
            raise ValueError(f"{word!r} is neither a quantity nor one of {', '.join(sets)}")
        wanted.update(sets.get(word, (word,)))
    return tuple(name for name in BY_NAME if name in wanted)
