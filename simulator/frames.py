"""Modbus frames as a gateway sees them, in Modbus TCP (MBAP header) and RTU (CRC).

Requests are taken from the bytes of a client; answers become bytes, damaged where a fault strikes.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from simulator.faults import Faults

Framing = Literal["tcp", "rtu"]

LONGEST_PDU = 253


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client: `pdu` is the function code and its arguments."""

    unit: int
    pdu: bytes
    transaction: int = 0

    @property
    def function(self) -> int:
        """The function code; 0 if the request is empty."""
        return self.pdu[0] if self.pdu else 0

    @property
    def registers(self) -> tuple[int, int]:
        """The first register and the number of registers; (0, 0) where none are named."""
        if len(self.pdu) != 5:
            return 0, 0
        address, count = struct.unpack(">HH", self.pdu[1:5])
        return int(address), int(count)


@dataclass(frozen=True, slots=True)
class Answer:
    """A PDU from the line; `collided` if two meters answered at once and their bytes are mixed."""

    pdu: bytes
    collided: bool = False


def crc16(frame: bytes) -> bytes:
    """Return the two CRC bytes of an RTU frame, in the order on the wire."""
    crc = 0xFFFF
    for byte in frame:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def split_tcp(buffer: bytes) -> tuple[list[Request], bytes]:
    """Return the complete requests of a Modbus TCP stream and the bytes that remain.

    Bytes that cannot be Modbus TCP (another protocol id, an absurd length) are all dropped.
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

    Bytes without a valid CRC reach the line too, but no meter answers them.
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


def frame(framing: Framing, request: Request, answer: Answer, faults: Faults) -> bytes:
    """Return the bytes that a client receives for its request; none where the CRC is wrong.

    A gateway that speaks Modbus TCP checks the CRC on the line; a transparent one does not.
    """
    if answer.collided and framing == "tcp":
        return b""
    pdu = _damaged_pdu(answer.pdu, request.unit, faults)
    unit = request.unit
    if faults.strikes(unit, "wrong-unit") is not None:
        unit = unit % 247 + 1
    if framing == "tcp":
        sent = _tcp(request, unit, pdu, faults)
    else:
        sent = _rtu(unit, pdu, broken=answer.collided or _strikes(faults, request, "bad-crc"))
    garbage = faults.strikes(request.unit, "garbage")
    if garbage is not None:
        sent = faults.dice.randbytes(int(garbage)) + sent
    if _strikes(faults, request, "duplicate"):
        sent += sent
    return sent


def _damaged_pdu(pdu: bytes, unit: int, faults: Faults) -> bytes:
    if pdu[0] & 0x80:
        return pdu
    if faults.strikes(unit, "wrong-function") is not None:
        pdu = bytes([7 - pdu[0]]) + pdu[1:]
    fewer, more = faults.strikes(unit, "fewer"), faults.strikes(unit, "more")
    if fewer is not None:
        pdu = _with_data(pdu[0], pdu[2 : len(pdu) - 2 * int(fewer)])
    if more is not None:
        excess = struct.pack(">f", 1.0) * int(more)
        pdu = _with_data(pdu[0], pdu[2:] + excess[: 2 * int(more)])
    extra = faults.strikes(unit, "byte-count")
    if extra is not None:
        pdu = bytes([pdu[0], min(255, pdu[1] + int(extra))]) + pdu[2:]
    return pdu


def _with_data(function: int, data: bytes) -> bytes:
    return bytes([function, min(255, len(data))]) + data


def _tcp(request: Request, unit: int, pdu: bytes, faults: Faults) -> bytes:
    transaction = request.transaction
    if faults.strikes(request.unit, "wrong-transaction") is not None:
        transaction = (transaction + 1) & 0xFFFF
    if faults.strikes(request.unit, "transaction-0") is not None:
        transaction = 0
    protocol = faults.strikes(request.unit, "protocol") or 0
    return encode_tcp(unit, pdu, transaction, int(protocol))


def _rtu(unit: int, pdu: bytes, *, broken: bool) -> bytes:
    sent = encode_rtu(unit, pdu)
    return sent[:-1] + bytes([sent[-1] ^ 0x55]) if broken else sent


def _strikes(faults: Faults, request: Request, name: str) -> bool:
    return faults.strikes(request.unit, name) is not None


def _crc_entry(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ 0xA001 if byte & 1 else byte >> 1
    return byte


_CRC_TABLE = tuple(_crc_entry(byte) for byte in range(256))
