"""Eastron SDM630-Modbus V2: the most common three-phase meter.

From the maker's "SDM630Modbus Protocol" V1.8, which lacks some values of other lists: 0x0058 to
0x005E belong to one-phase meters, 0x006C, 0x006E and 0x0180 to 0x018A to the SDM630MCT, and 0x00FE
is the power factor with the opposite sign. Register 0x0156 is import plus export, so `energy` is
the import counter at 0x0048.

Import and export are the sums of those of the phases, which are not netted: while one phase exports
and another imports, both count. The manual does not say so; openWB (pull request 1916 of its core)
and users of OpenDTU-OnBattery (issue 732) report it.
"""

from gateway_bridge.models.eastron import (
    CODE_REGISTER,
    SERIAL_NUMBER,
    SYSTEM_TYPE,
    SYSTEM_TYPES,
)
from gateway_bridge.models.model import MeterModel, float32

REGISTERS = float32({
    "voltage_l1": 0x0000,
    "voltage_l2": 0x0002,
    "voltage_l3": 0x0004,
    "current_l1": 0x0006,
    "current_l2": 0x0008,
    "current_l3": 0x000A,
    "power_l1": 0x000C,
    "power_l2": 0x000E,
    "power_l3": 0x0010,
    "apparent_power_l1": 0x0012,
    "apparent_power_l2": 0x0014,
    "apparent_power_l3": 0x0016,
    "reactive_power_l1": 0x0018,
    "reactive_power_l2": 0x001A,
    "reactive_power_l3": 0x001C,
    "power_factor_l1": 0x001E,
    "power_factor_l2": 0x0020,
    "power_factor_l3": 0x0022,
    "phase_angle_l1": 0x0024,
    "phase_angle_l2": 0x0026,
    "phase_angle_l3": 0x0028,
    "voltage": 0x002A,
    "current_average": 0x002E,
    "current": 0x0030,
    "power": 0x0034,
    "apparent_power": 0x0038,
    "reactive_power": 0x003C,
    "power_factor": 0x003E,
    "phase_angle": 0x0042,
    "frequency": 0x0046,
    "energy": 0x0048,
    "energy_import": 0x0048,
    "energy_export": 0x004A,
    "reactive_energy_import": 0x004C,
    "reactive_energy_export": 0x004E,
    "apparent_energy": 0x0050,
    "charge": 0x0052,
    "power_demand": 0x0054,
    "power_demand_max": 0x0056,
    "apparent_power_demand": 0x0064,
    "apparent_power_demand_max": 0x0066,
    "current_demand_n": 0x0068,
    "current_demand_max_n": 0x006A,
    "voltage_l1_l2": 0x00C8,
    "voltage_l2_l3": 0x00CA,
    "voltage_l3_l1": 0x00CC,
    "voltage_ll": 0x00CE,
    "current_n": 0x00E0,
    "voltage_thd_l1": 0x00EA,
    "voltage_thd_l2": 0x00EC,
    "voltage_thd_l3": 0x00EE,
    "current_thd_l1": 0x00F0,
    "current_thd_l2": 0x00F2,
    "current_thd_l3": 0x00F4,
    "voltage_thd": 0x00F8,
    "current_thd": 0x00FA,
    "current_demand_l1": 0x0102,
    "current_demand_l2": 0x0104,
    "current_demand_l3": 0x0106,
    "current_demand_max_l1": 0x0108,
    "current_demand_max_l2": 0x010A,
    "current_demand_max_l3": 0x010C,
    "voltage_thd_l1_l2": 0x014E,
    "voltage_thd_l2_l3": 0x0150,
    "voltage_thd_l3_l1": 0x0152,
    "voltage_thd_ll": 0x0154,
    "energy_total": 0x0156,
    "reactive_energy_total": 0x0158,
    "energy_import_l1": 0x015A,
    "energy_import_l2": 0x015C,
    "energy_import_l3": 0x015E,
    "energy_export_l1": 0x0160,
    "energy_export_l2": 0x0162,
    "energy_export_l3": 0x0164,
    "energy_total_l1": 0x0166,
    "energy_total_l2": 0x0168,
    "energy_total_l3": 0x016A,
    "reactive_energy_import_l1": 0x016C,
    "reactive_energy_import_l2": 0x016E,
    "reactive_energy_import_l3": 0x0170,
    "reactive_energy_export_l1": 0x0172,
    "reactive_energy_export_l2": 0x0174,
    "reactive_energy_export_l3": 0x0176,
    "reactive_energy_total_l1": 0x0178,
    "reactive_energy_total_l2": 0x017A,
    "reactive_energy_total_l3": 0x017C,
})  # fmt: skip

WITHOUT_NEUTRAL = frozenset({
    "voltage", "voltage_l1", "voltage_l2", "voltage_l3", "power_l1", "power_l2", "power_l3",
    "apparent_power_l1", "apparent_power_l2", "apparent_power_l3",
    "reactive_power_l1", "reactive_power_l2", "reactive_power_l3",
    "power_factor_l1", "power_factor_l2", "power_factor_l3",
    "phase_angle_l1", "phase_angle_l2", "phase_angle_l3",
    "current_n", "current_demand_n", "current_demand_max_n",
    "voltage_thd", "voltage_thd_l1", "voltage_thd_l2", "voltage_thd_l3",
})  # fmt: skip
"""Quantities that three phases without a neutral lack: a phase has no reference."""

# The manual ticks power_l2 (one phase) and the per-phase energies (every wiring) where the
# phase itself is missing; they can only count 0 there.
ONE_PHASE = frozenset(
    name
    for name in REGISTERS
    if name.endswith(("_l2", "_l3", "_l3_l1", "_n"))
    or name in {"voltage", "voltage_ll", "voltage_thd_ll"}
)
"""Quantities that one phase lacks: the other two phases, and everything between phases."""

SDM630 = MeterModel(
    name="sdm630",
    maker="Eastron",
    title="SDM630-Modbus V2",
    manual="https://www.eastroneurope.com/images/uploads/products/protocol/SDM630_MODBUS_Protocol.pdf",
    registers=REGISTERS,
    absent={"3p4w": frozenset(), "3p3w": WITHOUT_NEUTRAL, "1p2w": ONE_PHASE},
    alignment=2,
    word_order=None,
    serial_number=SERIAL_NUMBER,
    system_type=SYSTEM_TYPE,
    system_types=SYSTEM_TYPES,
    code_register=CODE_REGISTER,
    code=0x0070,
)
