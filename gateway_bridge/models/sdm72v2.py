"""Eastron SDM72D-M v2: three phases in four modules.

From the maker's "SDM72D-M User Manual" V1.1 (meter code 0x0089). The first SDM72D-M
is another meter, without voltages and currents. Net energy (0x018C) can fall and is left out.

The manual does not say whether import and export are netted across the phases. openWB treats the
SDM72 like the SDM630, as not netted (pull request 1916 of its core), and the first SDM72D-M showed
import and export of power at once (pull request 6 of nmakel/sdm_modbus).
"""

from gateway_bridge.models.eastron import (
    CODE_REGISTER,
    SERIAL_NUMBER,
    SYSTEM_TYPE,
    SYSTEM_TYPES,
)
from gateway_bridge.models.model import MeterModel, float32

SDM72V2 = MeterModel(
    name="sdm72v2",
    maker="Eastron",
    title="SDM72D-M v2",
    manual="https://github.com/nmakel/sdm_modbus/blob/master/documents/sdm72d-m-v2-manual_v1.1.pdf",
    registers=float32({
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
        "voltage": 0x002A,
        "current_average": 0x002E,
        "current": 0x0030,
        "power": 0x0034,
        "apparent_power": 0x0038,
        "reactive_power": 0x003C,
        "power_factor": 0x003E,
        "frequency": 0x0046,
        "energy": 0x0048,
        "energy_import": 0x0048,
        "energy_export": 0x004A,
        "voltage_l1_l2": 0x00C8,
        "voltage_l2_l3": 0x00CA,
        "voltage_l3_l1": 0x00CC,
        "voltage_ll": 0x00CE,
        "current_n": 0x00E0,
        "energy_total": 0x0156,
        "reactive_energy_total": 0x0158,
        "energy_total_resettable": 0x0180,
        "energy_import_resettable": 0x0184,
        "energy_export_resettable": 0x0186,
    }),
    absent={
        "3p4w": frozenset(),
        "1p2w": frozenset({
            "voltage", "voltage_l2", "voltage_l3", "current_l2", "current_l3",
            "power_l2", "power_l3", "apparent_power_l2", "apparent_power_l3",
            "reactive_power_l2", "reactive_power_l3", "power_factor_l2", "power_factor_l3",
            "voltage_l1_l2", "voltage_l2_l3", "voltage_l3_l1", "voltage_ll", "current_n",
        }),
    },
    limit=60,
    alignment=2,
    word_order=None,
    serial_number=SERIAL_NUMBER,
    system_type=SYSTEM_TYPE,
    system_types=SYSTEM_TYPES,
    code_register=CODE_REGISTER,
    code=0x0089,
)  # fmt: skip
