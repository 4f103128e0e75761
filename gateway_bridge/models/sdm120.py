"""Eastron SDM120: one phase, one module wide.

From the maker's "SDM120-Modbus Protocol" V2.5. A setting of the meter (0xF920) decides whether
its total counts import only, import plus export (the default) or import minus export, so `energy`
is the import counter.
"""

from gateway_bridge.models.eastron import SERIAL_NUMBER
from gateway_bridge.models.model import MeterModel, float32

REGISTERS = float32({
    "voltage": 0x0000,
    "current": 0x0006,
    "power": 0x000C,
    "apparent_power": 0x0012,
    "reactive_power": 0x0018,
    "power_factor": 0x001E,
    "frequency": 0x0046,
    "energy": 0x0048,
    "energy_import": 0x0048,
    "energy_export": 0x004A,
    "reactive_energy_import": 0x004C,
    "reactive_energy_export": 0x004E,
    "power_demand": 0x0054,
    "power_demand_max": 0x0056,
    "power_import_demand": 0x0058,
    "power_import_demand_max": 0x005A,
    "power_export_demand": 0x005C,
    "power_export_demand_max": 0x005E,
    "current_demand_l1": 0x0102,
    "current_demand_max_l1": 0x0108,
    "energy_total": 0x0156,
    "reactive_energy_total": 0x0158,
})  # fmt: skip

SDM120 = MeterModel(
    name="sdm120",
    maker="Eastron",
    title="SDM120-Modbus",
    manual="https://www.eastroneurope.com/images/uploads/products/protocol/SDM120-MODBUS_Protocol.pdf",
    registers=REGISTERS,
    absent={"1p2w": frozenset()},
    alignment=2,
    word_order=None,
    serial_number=SERIAL_NUMBER,
)
