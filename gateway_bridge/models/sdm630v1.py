"""Eastron SDM630 of the first series, before "Modbus V2": the same values at the same places.

From the maker's "SDM630 Protocol" v2.0 of 2018. What differs lies around the table: the
power factor's sign tells the load (+ capacitive, - inductive) instead of the direction, demand
counts import only, and a setting on the meter (holding register 0x001E) turns kWh into MWh. The
serial number is not in one register pair, so the meter cannot be told apart by it.
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
