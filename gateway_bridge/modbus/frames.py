"""Frames: requests as they are sent, and the answers found in the bytes that arrive. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pymodbus.framer.rtu import FramerRTU

from service.amounts import amount

Framing = Literal["tcp", "rtu"]
HOLDING, INPUT = 3, 4
"""The functions that read registers."""
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal count",
    4: "device failure",
    5: "acknowledged, no response yet",
    6: "busy",
    10: "gateway path unavailable",
    11: "gateway: the meter does not respond",
}
NO_ANSWER = frozenset({10, 11})
"""Exceptions by which a gateway reports that the meter does not respond."""
REFUSED = frozenset({2, 3})
"""Exceptions of a meter that lacks some of the registers, or refuses as many at once."""
SMALLEST_READ = 2
"""Registers to read from a unit of which nothing is known: one value of most meters."""
LONGEST = 254
"""The most bytes that the length field of a Modbus TCP frame can announce."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An answer: the unit id, the PDU (function code first) and the transaction id.

    `end` is the position after the frame in the bytes that contain it.
    """

    unit: int
    pdu: bytes
    transaction: int = 0
    end: int = 0

    @property
    def function(self) -> int:
        """The function that the answer belongs to."""
        return self.pdu[0] & 0x7F

    @property
    def exception(self) -> int | None:
        """The exception code, None for an ordinary answer."""
        return self.pdu[1] if self.pdu[0] & 0x80 else None

    @property
    def count(self) -> int:
        """The number of registers that the answer announces."""
        return 0 if self.pdu[0] & 0x80 else self.pdu[1] // 2

    @property
    def content(self) -> bytes:
        """The bytes of the registers."""
        return self.pdu[2:]


@dataclass(frozen=True, slots=True)
class Request:
    """A request for `count` registers of a unit."""

    unit: int
    function: int
    count: int

    def misfit(self, frame: Frame) -> str | None:
        """Return why an answer of this unit does not fit the request; None where it fits."""
        if frame.function != self.function:
            return f"response to function {frame.function} instead of {self.function}"
        if frame.exception is not None:
            return None
        if frame.count != self.count:
            return f"response of {amount(frame.count, 'register')} instead of {self.count}"
        if len(frame.content) != 2 * self.count:
            return f"response of {len(frame.content)} bytes that announces {2 * self.count}"
        return None


def encode(framing: Framing, unit: int, pdu: bytes, transaction: int) -> bytes:
    """Return a request as it is sent; RTU has a checksum and no transaction id."""
    if framing == "rtu":
        frame = bytes([unit]) + pdu
        return frame + _crc(frame)
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def find(framing: Framing, raw: bytes) -> Iterator[Frame]:
    """Return the answers among the bytes that have arrived."""
    return _in_rtu(raw) if framing == "rtu" else _in_tcp(raw)


def other(framing: Framing) -> Framing:
    """Return the framing that this one may be mistaken for."""
    return "rtu" if framing == "tcp" else "tcp"


def _in_rtu(raw: bytes) -> Iterator[Frame]:
    """Yield the answers with a correct checksum, wherever in the bytes they begin."""
    start = 0
    while start + 5 <= len(raw):
        function = raw[start + 1]
        length = 5 if function & 0x80 else 5 + raw[start + 2]
        frame = raw[start : start + length]
        if len(frame) == length and frame[0] and _crc(frame[:-2]) == frame[-2:]:
            start += length
            yield Frame(frame[0], frame[1:-2], end=start)
        else:
            start += 1


def _in_tcp(raw: bytes) -> Iterator[Frame]:
    """Yield the answers in a Modbus TCP stream; skip bytes that cannot begin one.

    An incomplete frame ends the search, so that nothing inside it is taken for a frame.
    """
    start = 0
    while start + 9 <= len(raw):
        transaction, protocol, length = struct.unpack(">HHH", raw[start : start + 6])
        end = start + 6 + length
        if protocol or not 3 <= length <= LONGEST:
            start += 1
            continue
        if end > len(raw):
            return
        yield Frame(raw[start + 6], raw[start + 7 : end], transaction, end)
        start = end


def _crc(frame: bytes) -> bytes:
    return FramerRTU.compute_CRC(frame).to_bytes(2, "big")
