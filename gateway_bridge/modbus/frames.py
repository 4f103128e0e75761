"""Frames: requests as they go out, and what is found in the bytes that come back. Pure."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pymodbus.framer.rtu import FramerRTU

LONGEST = 254


class Frame(NamedTuple):
    """A whole frame: who speaks, what it says (function code first), its transaction id.

    `end` is where it ended in the bytes that it was found in.
    """

    unit: int
    pdu: bytes
    transaction: int = 0
    end: int = 0


def rtu_request(unit: int, pdu: bytes) -> bytes:
    """Return an RTU frame with its checksum."""
    frame = bytes([unit]) + pdu
    return frame + _crc(frame)


def tcp_request(unit: int, pdu: bytes, transaction: int) -> bytes:
    """Return a Modbus TCP frame."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def rtu_frames(raw: bytes) -> Iterator[Frame]:
    """Yield the answers with a right checksum, wherever in the bytes they begin."""
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


def tcp_frames(raw: bytes) -> Iterator[Frame]:
    """Yield the answers in a Modbus TCP stream; what cannot be one is passed over.

    The rest of one that has come in part is waited for, lest something be seen inside of it.
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
