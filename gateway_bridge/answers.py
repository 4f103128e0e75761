"""Answers: what pymodbus makes of a meter's registers: their bytes, as they came.

Its own classes take each register out on its own and write them all into a message for the log,
whether that is wanted or not: a tenth of the CPU time of a read.
"""

from pymodbus.exceptions import ModbusIOException
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersResponse,
    ReadInputRegistersResponse,
)


class InputRegisters(ReadInputRegistersResponse):
    """The answer to a read of input registers; `content` holds their bytes."""

    content = b""

    def decode(self, data: bytes) -> None:
        """Take the bytes; raises ModbusIOException where more are announced than there are."""
        self.content = _announced(data)

    def __str__(self) -> str:
        return f"{len(self.content)} bytes of input registers"


class HoldingRegisters(ReadHoldingRegistersResponse):
    """The answer to a read of holding registers; `content` holds their bytes."""

    content = b""

    def decode(self, data: bytes) -> None:
        """Take the bytes; raises ModbusIOException where more are announced than there are."""
        self.content = _announced(data)

    def __str__(self) -> str:
        return f"{len(self.content)} bytes of holding registers"


def _announced(data: bytes) -> bytes:
    end = 1 + data[0]
    if end > len(data):
        raise ModbusIOException(f"{data[0]} bytes announced, {len(data) - 1} there")
    return data[1:end]
