"""MQTT 3.1.1 packets as a client may send them, parsed strictly, and those that it is sent.

Replaces the parsers of amqtt 0.12.1, which accept many malformed packets and then lose their place
in the stream. Here a packet that the standard forbids raises MalformedPacket, and its sender is
disconnected. They also await each part of a packet; here all packets that have arrived are parsed
in one go. tests/broker/test_amqtt.py fails when amqtt is mended.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from amqtt.adapters import StreamReaderAdapter
from amqtt.errors import AMQTTError

from broker.topic_cache import TopicCache

CONNECT, PUBLISH, PUBACK, PUBREL = 1, 3, 4, 6
SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 8, 10, 12, 14
PINGRESP = b"\xd0\x00"
_FIRST_BYTES = frozenset((0x10, *range(0x30, 0x40), 0x40, 0x62, 0x82, 0xA2, 0xC0, 0xE0))
"""Kind and flags of the packets that a client may send; those of a PUBLISH are checked later."""
LARGEST_PACKET = 262_144
READ_BYTES = 65_536
DUP, RETAIN = 0x08, 0x01

WRONG_PROTOCOL, BAD_CLIENT_ID, FULL, BAD_PASSWORD, NOT_ALLOWED = 1, 2, 3, 4, 5
"""Return codes of MQTT 3.1.1 for a refused CONNECT."""
MQTT_5 = 5


class MalformedPacket(AMQTTError):
    """Raised when a client sends bytes that are not a valid packet."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"malformed packet ({fault})")


class Packet(NamedTuple):
    """A packet of a known kind, its body still to be parsed."""

    first: int
    body: bytes

    @property
    def kind(self) -> int:
        """The kind of packet: `CONNECT`, `PUBLISH`, ..."""
        return self.first >> 4


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


class Publish(NamedTuple):
    """A PUBLISH: a message."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    packet_id: int


class PacketReader(StreamReaderAdapter):
    """Incoming packets of a client, as many at a time as have arrived."""

    _data = b""

    async def receive(self) -> bool:
        """Wait for bytes; return False if the client has closed the connection."""
        received = await self._reader.read(READ_BYTES)
        self._data += received
        return bool(received)

    def packets(self) -> Iterator[Packet]:
        """Yield the packets that have arrived completely."""
        data, at = self._data, 0
        try:
            while len(data) - at >= 2:
                first, length, body = data[at], data[at + 1], at + 2
                if first not in _FIRST_BYTES:
                    raise MalformedPacket(f"first byte 0x{first:02x}")
                if length & 0x80:
                    length, body = _long_length(data, at + 1)
                if len(data) < body + length:
                    return
                at = body + length
                yield Packet(first, data[body:at])
        finally:
            self._data = data[at:]


def _long_length(data: bytes, at: int) -> tuple[int, int]:
    """Return the remaining length that is at `at`, and where the body begins.

    A length of which bytes are missing is returned as the largest one.
    """
    length = 0
    for place, digit in enumerate(data[at : at + 4]):
        length |= (digit & 0x7F) << 7 * place
        if not digit & 0x80:
            if length > LARGEST_PACKET:
                raise MalformedPacket(f"{length} bytes, more than {LARGEST_PACKET}")
            return length, at + place + 1
    if len(data) >= at + 4:
        raise MalformedPacket("remaining length longer than 4 bytes")
    return LARGEST_PACKET, len(data)


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
        return _text(self.take(self.number()))

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
    topic, qos = _topic(contents.take(contents.number())), flags >> 3 & 3
    if qos > 2:
        raise MalformedPacket("last will with QoS 3")
    return Will(topic, contents.take(contents.number()), min(qos, 1), bool(flags & 0x20))


def parse_publish(packet: Packet) -> Publish:
    """Parse a PUBLISH."""
    first, body = packet
    qos = first >> 1 & 3
    if qos > 2 or (not qos and first & DUP):
        raise MalformedPacket(f"PUBLISH with flags 0x{first & 15:x}")
    end = 2 + int.from_bytes(body[:2])
    payload = end + 2 if qos else end
    if len(body) < max(payload, 2):
        raise MalformedPacket("truncated")
    packet_id = int.from_bytes(body[end:payload])
    if qos and not packet_id:
        raise MalformedPacket("packet id 0")
    return Publish(_topic(body[2:end]), body[payload:], qos, bool(first & RETAIN), packet_id)


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


def _text(encoded: bytes) -> str:
    try:
        text = encoded.decode()
    except UnicodeDecodeError as error:
        raise MalformedPacket("string that is not UTF-8") from error
    if "\0" in text:
        raise MalformedPacket("string with a null character")
    return text


def _valid_topic(encoded: bytes) -> str:
    topic = _text(encoded)
    if not topic or "+" in topic or "#" in topic:
        raise MalformedPacket(f"invalid topic {topic[:80]!r}")
    return topic


_topic: TopicCache[bytes, str] = TopicCache(_valid_topic)


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


def suback(packet_id: int, codes: list[int]) -> bytes:
    """Return a SUBACK with the granted QoS, or the refusal, of each requested filter."""
    return b"\x90" + _length(2 + len(codes)) + packet_id.to_bytes(2) + bytes(codes)


def publish_head(topic: str, payload: bytes, qos: int, *, retain: bool = False) -> bytes:
    """Return a PUBLISH up to its packet id, which at QoS 0 does not exist, and its payload."""
    name = topic.encode()
    length = 2 + len(name) + (2 if qos else 0) + len(payload)
    first = PUBLISH << 4 | qos << 1 | retain
    return bytes((first, *_length(length))) + len(name).to_bytes(2) + name


def _length(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)
