"""Eastron SDM630MCT: an SDM630 for current transformers, with resettable counters.

From the maker's "SDM630MCT Modbus Protocol" V1.7, which allows 30 values in a request in one
place and 40 in another: the smaller number applies. The SDM630MCT-ML with several channels is
another meter.
"""

from gateway_bridge.models.eastron import SERIAL_NUMBER, SYSTEM_TYPE, SYSTEM_TYPES
from gateway_bridge.models.model import MeterModel, Register
from gateway_bridge.models.sdm630 import ONE_PHASE, REGISTERS, WITHOUT_NEUTRAL

SDM630MCT = MeterModel(
    name="sdm630mct",
    maker="Eastron",
    title="SDM630MCT",
    manual="https://www.eastroneurope.com/images/uploads/products/protocol/SDM630MCT_MODBUS_Protocol_V1.7.pdf",
    registers={
        **REGISTERS,
        "energy_total_resettable": Register(0x0180),
        "reactive_energy_total_resettable": Register(0x0182),
        "energy_import_resettable": Register(0x0184),
        "energy_export_resettable": Register(0x0186),
    },
    absent={"3p4w": frozenset(), "3p3w": WITHOUT_NEUTRAL, "1p2w": ONE_PHASE},
    limit=60,
    alignment=2,
    word_order=None,
    serial_number=SERIAL_NUMBER,
    system_type=SYSTEM_TYPE,
    system_types=SYSTEM_TYPES,
    max_current_a=9999.0,
)
