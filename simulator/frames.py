"""Modbus frames as a gateway sees them: Modbus TCP (MBAP header) and RTU (CRC)."""

import struct
from dataclasses import dataclass
from typing import Literal

Framing = Literal["tcp", "rtu"]

LONGEST_PDU = 253


@dataclass(frozen=True, slots=True)
class Request:
    """One question of a client: `pdu` is function code and arguments."""

    unit: int
    pdu: bytes
    transaction: int = 0

    @property
    def function(self) -> int:
        """The function code, 0 of an empty request."""
        return self.pdu[0] if self.pdu else 0

    @property
    def registers(self) -> tuple[int, int]:
        """First register and number of registers asked for; (0, 0) where none are named."""
        if len(self.pdu) != 5:
            return 0, 0
        address, count = struct.unpack(">HH", self.pdu[1:5])
        return int(address), int(count)


def crc16(frame: bytes) -> bytes:
    """Return the two CRC bytes of an RTU frame, in the order they go out."""
    crc = 0xFFFF
    for byte in frame:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def split_tcp(buffer: bytes) -> tuple[list[Request], bytes]:
    """Return the complete requests of a Modbus TCP stream and the bytes that remain.

    What cannot be Modbus TCP (another protocol id, an absurd length) is thrown away whole.
    """
    requests: list[Request] = []
    while len(buffer) >= 8:
        transaction, protocol, length = struct.unpack(">HHH", buffer[:6])
        if protocol != 0 or not 2 <= length <= LONGEST_PDU + 1:
            return requests, b""
        if len(buffer) < 6 + length:
            break
        requests.append(Request(buffer[6], buffer[7 : 6 + length], transaction))
        buffer = buffer[6 + length :]
    return requests, buffer


def split_rtu(buffer: bytes) -> tuple[list[Request], bytes]:
    """Return the requests in bytes that arrived together on a transparent gateway.

    Bytes that are no frame with a valid CRC reach the line too; no meter answers them.
    """
    requests: list[Request] = []
    while len(buffer) >= 8:
        length = 8 if crc16(buffer[:6]) == buffer[6:8] else len(buffer)
        frame = buffer[:length]
        if crc16(frame[:-2]) == frame[-2:]:
            requests.append(Request(frame[0], frame[1:-2]))
        buffer = buffer[length:]
    return requests, buffer


def encode_tcp(unit: int, pdu: bytes, transaction: int, protocol: int = 0) -> bytes:
    """Return a Modbus TCP frame."""
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1, unit) + pdu


def encode_rtu(unit: int, pdu: bytes) -> bytes:
    """Return an RTU frame."""
    frame = bytes([unit]) + pdu
    return frame + crc16(frame)


def exception(function: int, code: int) -> bytes:
    """Return the PDU of a Modbus exception."""
    return bytes([function & 0x7F | 0x80, code])


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC_TABLE = tuple(_crc_entry(byte) for byte in range(256))
