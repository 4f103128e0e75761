"""Carlo Gavazzi EM340: three phases up to 65 A, integers with the low word first.

From the maker's "EM300 Series and ET300 Series Communication Protocol" V2 R6, table 2.4-1. The
EM330, EM341, ET330 and ET340 have the same registers. Without the measurement mode B in the
meter's menu (versions X and PFB), `energy_import` counts the energy of both directions and
`energy_export` stays 0. The meter has no total of its currents: `current` is their sum. Energy of
export per phase and distortion are in the ET series only, and left out.
"""

from gateway_bridge.models.model import MeterModel, Register

OVERFLOW = 0x7FFFFFFF
"""What the meter answers where its display shows EEE."""


def int32(address: int, per_unit: float, parts: int = 1) -> Register:
    """Return a register of this maker's usual type."""
    return Register(address, "int32", per_unit, OVERFLOW, parts)


EM340 = MeterModel(
    name="em340",
    maker="Carlo Gavazzi",
    title="EM340",
    manual="https://www.gavazziautomation.com/fileadmin/images/PIM/OTHERSTUFF/COMPRO/EM330_EM340_ET330_ET340_CP.pdf",
    registers={
        "voltage_l1": int32(0x0000, 10),
        "voltage_l2": int32(0x0002, 10),
        "voltage_l3": int32(0x0004, 10),
        "voltage_l1_l2": int32(0x0006, 10),
        "voltage_l2_l3": int32(0x0008, 10),
        "voltage_l3_l1": int32(0x000A, 10),
        "current_l1": int32(0x000C, 1000),
        "current_l2": int32(0x000E, 1000),
        "current_l3": int32(0x0010, 1000),
        "current": int32(0x000C, 1000, parts=3),
        "power_l1": int32(0x0012, 10),
        "power_l2": int32(0x0014, 10),
        "power_l3": int32(0x0016, 10),
        "apparent_power_l1": int32(0x0018, 10),
        "apparent_power_l2": int32(0x001A, 10),
        "apparent_power_l3": int32(0x001C, 10),
        "reactive_power_l1": int32(0x001E, 10),
        "reactive_power_l2": int32(0x0020, 10),
        "reactive_power_l3": int32(0x0022, 10),
        "voltage": int32(0x0024, 10),
        "voltage_ll": int32(0x0026, 10),
        "power": int32(0x0028, 10),
        "apparent_power": int32(0x002A, 10),
        "reactive_power": int32(0x002C, 10),
        "power_factor_l1": Register(0x002E, "int16", 1000),
        "power_factor_l2": Register(0x002F, "int16", 1000),
        "power_factor_l3": Register(0x0030, "int16", 1000),
        "power_factor": Register(0x0031, "int16", 1000),
        "frequency": Register(0x0033, "int16", 10),
        "energy": int32(0x0034, 10),
        "energy_import": int32(0x0034, 10),
        "reactive_energy_import": int32(0x0036, 10),
        "power_demand": int32(0x0038, 10),
        "power_demand_max": int32(0x003A, 10),
        "energy_import_resettable": int32(0x003C, 10),
        "energy_import_l1": int32(0x0040, 10),
        "energy_import_l2": int32(0x0042, 10),
        "energy_import_l3": int32(0x0044, 10),
        "energy_export": int32(0x004E, 10),
        "reactive_energy_export": int32(0x0050, 10),
    },
    absent={
        "3p4w": frozenset(),
        "3p3w": frozenset({
            "voltage", "voltage_l1", "voltage_l2", "voltage_l3", "power_l1", "power_l2", "power_l3",
            "apparent_power_l1", "apparent_power_l2", "apparent_power_l3",
            "reactive_power_l1", "reactive_power_l2", "reactive_power_l3",
            "power_factor_l1", "power_factor_l2", "power_factor_l3",
        }),
    },
    functions=(4, 3),
    limit=50,
    word_order="low-first",
    serial_number=Register(0x5000, "text", parts=7),
    system_type=Register(0x1002, "uint16"),
    system_types={0: "3p4w", 1: "3p3w"},
    code_register=0x000B,
    code=341,
    max_current_a=65.0,
    signed_currents=True,
)  # fmt: skip
