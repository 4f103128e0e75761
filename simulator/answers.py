"""From a meter's PDU to the bytes a client gets, damaged where a fault strikes."""

import struct

from simulator.bus import Answer
from simulator.faults import Faults
from simulator.frames import Framing, Request, encode_rtu, encode_tcp


def frame(framing: Framing, request: Request, answer: Answer, faults: Faults) -> bytes:
    """Return the bytes that a client gets for its request; none for what fails its CRC.

    A gateway that speaks Modbus TCP checks the CRC of the line; a transparent one does not.
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
        pdu = _with_data(pdu[0], pdu[2:] + struct.pack(">f", 1.0) * int(more / 2))
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
