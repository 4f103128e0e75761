"""Eastron SDM630 of the first series, before "Modbus V2": the same values at the same addresses.

From the maker's "SDM630 Protocol" v2.0 of 2018. The differences are outside the table: the sign
of the power factor shows the load (+ capacitive, - inductive) instead of the direction, demand
counts import only, and a setting of the meter (holding register 0x001E) changes kWh to MWh. The
serial number is not in one register pair, so it does not identify the meter.
"""

from gateway_bridge.models.eastron import SYSTEM_TYPE, SYSTEM_TYPES
from gateway_bridge.models.model import MeterModel
from gateway_bridge.models.sdm630 import ONE_PHASE, REGISTERS, WITHOUT_NEUTRAL

SDM630V1 = MeterModel(
    name="sdm630v1",
    maker="Eastron",
    title="SDM630 (first series)",
    manual="https://github.com/nmakel/sdm_modbus/blob/master/documents/sdm630_modbus_protocol_v2.0.pdf",
    registers=REGISTERS,
    absent={"3p4w": frozenset(), "3p3w": WITHOUT_NEUTRAL, "1p2w": ONE_PHASE},
    alignment=2,
    word_order=None,
    system_type=SYSTEM_TYPE,
    system_types=SYSTEM_TYPES,
)
