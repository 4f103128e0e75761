"""Answers: the bytes of a meter's registers, and whether they are those that were asked for.

pymodbus's own classes take each register out on its own and write them all into a message for the
log, whether that is wanted or not: a tenth of the CPU time of a read.
"""

from dataclasses import dataclass

from pymodbus.exceptions import ModbusIOException
from pymodbus.pdu import ModbusPDU
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


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asked for."""

    unit: int
    function: int
    count: int

    def misfit(self, answer: ModbusPDU) -> str | None:
        """Return in words why a unit's answer is not the one to this request; None if it may be."""
        function = answer.function_code & 0x7F
        if function != self.function:
            return f"answered function {function}, asked for {self.function}"
        count = registers_in(answer)
        if not answer.isError() and count != self.count:
            return f"answered {count} registers, asked for {self.count}"
        return None


def registers_in(answer: ModbusPDU) -> int:
    """Return how many registers an answer brings; 0 where it is none to a read of registers."""
    return len(content_of(answer)) // 2


def content_of(answer: ModbusPDU) -> bytes:
    """Return the bytes of an answer's registers, none where there are none."""
    content: bytes = getattr(answer, "content", b"")
    return content


def _announced(data: bytes) -> bytes:
    end = 1 + data[0]
    if end > len(data):
        raise ModbusIOException(f"{data[0]} bytes announced, {len(data) - 1} there")
    return data[1:end]
