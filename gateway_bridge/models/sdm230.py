"""Eastron SDM230: one phase, 100 A.

From the maker's "SDM230 Protocol": the values of the SDM120 and the phase angle. The protocol of
the SDM230-2T (V1.1) allows 30 values in a request, that of the SDM230 allows 40; the bridge finds
out which one applies.
"""

from gateway_bridge.models.model import MeterModel, Register
from gateway_bridge.models.sdm120 import REGISTERS

SDM230 = MeterModel(
    name="sdm230",
    maker="Eastron",
    title="SDM230-Modbus",
    manual="https://github.com/nmakel/sdm_modbus/blob/master/documents/sdm230_modbus_protocol.pdf",
    registers={**REGISTERS, "phase_angle": Register(0x0024)},
    absent={"1p2w": frozenset()},
    alignment=2,
    word_order=None,
)
