"""MQTT 3.1.1 packets as a client may send them, parsed strictly.

Replaces the parsers of amqtt 0.12.1, which accept many malformed packets and then lose their place
in the stream. Here a packet that the standard forbids raises MalformedPacket, and its sender is
disconnected. tests/broker/test_amqtt.py fails when amqtt no longer accepts them.
"""

import asyncio
from dataclasses import dataclass
from itertools import pairwise

from amqtt.adapters import ReaderAdapter
from amqtt.errors import AMQTTError

CONNECT, PUBLISH, PUBACK, PUBREL = 1, 3, 4, 6
SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 8, 10, 12, 14
PINGRESP = b"\xd0\x00"
_FLAGS = {
    CONNECT: 0,
    PUBACK: 0,
    PUBREL: 2,
    SUBSCRIBE: 2,
    UNSUBSCRIBE: 2,
    PINGREQ: 0,
    DISCONNECT: 0,
}
LARGEST_PACKET = 262_144

WRONG_PROTOCOL, BAD_CLIENT_ID, FULL, BAD_PASSWORD, NOT_ALLOWED = 1, 2, 3, 4, 5
"""Return codes of MQTT 3.1.1 for a refused CONNECT."""
MQTT_5 = 5


class MalformedPacket(AMQTTError):
    """Raised when a client sends bytes that are not a valid packet."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"malformed packet ({fault})")


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet of a known kind, its body still to be parsed."""

    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Will:
    """The last will: a message to publish when the client disconnects without a DISCONNECT."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


@dataclass(frozen=True, slots=True)
class Connect:
    """A CONNECT; unless `level` is 4, which is MQTT 3.1.1, nothing else of it is parsed."""

    level: int
    client_id: str = ""
    clean_session: bool = True
    keep_alive_s: int = 0
    will: Will | None = None
    user: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    """A PUBLISH: a message."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int


async def read_packet(reader: ReaderAdapter) -> Packet | None:
    """Return the next packet, or None if the client has closed the connection."""
    try:
        first = (await reader.read(1) or b"")[:1]
        if not first:
            return None
        kind, flags = first[0] >> 4, first[0] & 0x0F
        if kind != PUBLISH and _FLAGS.get(kind) != flags:
            raise MalformedPacket(f"first byte 0x{first.hex()}")
        length = await _read_length(reader)
        if length > LARGEST_PACKET:
            raise MalformedPacket(f"{length} bytes, more than {LARGEST_PACKET}")
        return Packet(kind, flags, await reader.read(length) if length else b"")
    except (asyncio.IncompleteReadError, IndexError):
        return None


async def _read_length(reader: ReaderAdapter) -> int:
    length = 0
    for shift in (0, 7, 14, 21):
        digit = (await reader.read(1))[0]
        length |= (digit & 0x7F) << shift
        if not digit & 0x80:
            return length
    raise MalformedPacket("remaining length longer than 4 bytes")


class _Contents:
    """The body of a packet, parsed from its start."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._body) - self._at

    def take(self, size: int) -> bytes:
        if self.left < size:
            raise MalformedPacket("truncated")
        self._at += size
        return self._body[self._at - size : self._at]

    def number(self, size: int = 2) -> int:
        return int.from_bytes(self.take(size))

    def text(self) -> str:
        try:
            text = self.take(self.number()).decode()
        except UnicodeDecodeError as error:
            raise MalformedPacket("string that is not UTF-8") from error
        if "\0" in text:
            raise MalformedPacket("string with a null character")
        return text

    def packet_id(self) -> int:
        number = self.number()
        if not number:
            raise MalformedPacket("packet id 0")
        return number

    def end(self) -> None:
        if self.left:
            raise MalformedPacket(f"{self.left} bytes too many")


def parse_connect(packet: Packet) -> Connect:
    """Parse a CONNECT; of MQTT versions other than 3.1.1 only the level."""
    contents = _Contents(packet.body)
    name, level = contents.text(), contents.number(1)
    if packet.kind != CONNECT or name not in {"MQTT", "MQIsdp"}:
        raise MalformedPacket("not a CONNECT of MQTT")
    if (name, level) != ("MQTT", 4):
        return Connect(level)
    flags, keep_alive_s, client_id = contents.number(1), contents.number(), contents.text()
    has_will, has_user, has_password = flags & 0x04, flags & 0x80, flags & 0x40
    if flags & 0x01 or (not has_will and flags & 0x38) or (has_password and not has_user):
        raise MalformedPacket(f"CONNECT with flags 0x{flags:02x}")
    will = _will(contents, flags) if has_will else None
    user = contents.text() if has_user else None
    # The standard allows any bytes; a password that is not text matches none of ours.
    password = contents.take(contents.number()).decode(errors="replace") if has_password else None
    contents.end()
    return Connect(4, client_id, bool(flags & 0x02), keep_alive_s, will, user, password)


def _will(contents: _Contents, flags: int) -> Will:
    topic, qos = _topic(contents), flags >> 3 & 3
    if qos > 2:
        raise MalformedPacket("last will with QoS 3")
    return Will(topic, contents.take(contents.number()), min(qos, 1), bool(flags & 0x20))


def parse_publish(packet: Packet) -> Publish:
    """Parse a PUBLISH."""
    contents = _Contents(packet.body)
    qos = packet.flags >> 1 & 3
    if qos > 2 or (not qos and packet.flags & 8):
        raise MalformedPacket(f"PUBLISH with flags 0x{packet.flags:x}")
    topic = _topic(contents)
    packet_id = contents.packet_id() if qos else 0
    return Publish(topic, contents.take(contents.left), qos, bool(packet.flags & 1), packet_id)


def parse_subscribe(packet: Packet) -> tuple[int, list[tuple[str, int]]]:
    """Return packet id, and filter and requested QoS of each subscription."""
    contents = _Contents(packet.body)
    packet_id = contents.packet_id()
    requested: list[tuple[str, int]] = []
    while contents.left or not requested:
        requested.append((_filter(contents), contents.number(1)))
        if requested[-1][1] > 2:
            raise MalformedPacket("subscription with QoS above 2")
    return packet_id, requested


def parse_unsubscribe(packet: Packet) -> tuple[int, list[str]]:
    """Return packet id and the filters."""
    contents = _Contents(packet.body)
    packet_id = contents.packet_id()
    filters = [_filter(contents)]
    while contents.left:
        filters.append(_filter(contents))
    return packet_id, filters


def parse_packet_id(packet: Packet) -> int:
    """Return the packet id of a PUBACK or PUBREL."""
    contents = _Contents(packet.body)
    packet_id = contents.packet_id()
    contents.end()
    return packet_id


def _topic(contents: _Contents) -> str:
    topic = contents.text()
    if not topic or "+" in topic or "#" in topic:
        raise MalformedPacket(f"invalid topic {topic[:80]!r}")
    return topic


def _filter(contents: _Contents) -> str:
    text = contents.text()
    levels = text.split("/")
    if not text or any(len(level) > 1 and set("+#") & set(level) for level in levels):
        raise MalformedPacket(f"invalid topic filter {text[:80]!r}")
    if any(level == "#" for level, _ in pairwise(levels)):
        raise MalformedPacket(f"invalid topic filter {text[:80]!r}")
    return text


def connack(code: int, *, session_present: bool = False, level: int = 4) -> bytes:
    """Return a CONNACK; `code` 0 accepts the connection."""
    if level == MQTT_5:
        return b"\x20\x03\x00\x84\x00"  # 0x84: unsupported protocol version
    return bytes((0x20, 2, session_present, code))


def acknowledgement(first: int, packet_id: int) -> bytes:
    """Return a four-byte packet that acknowledges `packet_id`."""
    return bytes((first, 2)) + packet_id.to_bytes(2)
