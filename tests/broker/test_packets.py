"""Packets of clients: parsed wherever the bytes are cut, and those that clients are sent."""

import asyncio

import pytest

from broker.packets import (
    LARGEST_PACKET,
    MalformedPacket,
    Packet,
    PacketReader,
    parse_publish,
    publish_head,
)

PINGREQ = b"\xc0\x00"


def packets_of(*pieces: bytes) -> list[Packet]:
    """Return the packets that a reader finds in bytes that arrive in pieces."""

    async def read() -> list[Packet]:
        stream = asyncio.StreamReader()
        reader = PacketReader(stream)
        found: list[Packet] = []
        for piece in pieces:
            stream.feed_data(piece)
            await reader.receive()
            found += reader.packets()
        stream.feed_eof()
        while await reader.receive():
            found += reader.packets()
        return found

    return asyncio.run(read())


def publish(payload: bytes) -> bytes:
    return publish_head("t/1", payload, 0) + payload


def test_packets_are_found_wherever_the_bytes_are_cut() -> None:
    stream = PINGREQ + publish(b"short") + publish(b"x" * 300) + PINGREQ

    whole = packets_of(stream)

    assert [packet.first for packet in whole] == [0xC0, 0x30, 0x30, 0xC0]
    for cut in range(1, len(stream)):
        assert packets_of(stream[:cut], stream[cut:]) == whole
    assert packets_of(*(bytes((byte,)) for byte in stream)) == whole


@pytest.mark.parametrize("size", [0, 1, 122, 123, 16_000, 17_000, LARGEST_PACKET - 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_a_message_of_any_size_is_encoded_as_it_is_parsed(size: int, qos: int) -> None:
    payload = b"x" * (size - 2 * qos if size > 1 else size)
    packet_id = b"\x00\x07" if qos else b""

    [packet] = packets_of(publish_head("t/1", payload, qos, retain=True) + packet_id + payload)

    assert parse_publish(packet) == ("t/1", payload, qos, True, 7 if qos else 0)


def test_packets_before_a_malformed_one_are_handled() -> None:
    reader = PacketReader(None)
    reader._data = PINGREQ + b"\x00\x00"
    found = reader.packets()

    assert next(found).first == 0xC0
    with pytest.raises(MalformedPacket, match="first byte 0x00"):
        next(found)


def test_a_packet_that_is_too_long_is_refused_before_it_has_arrived() -> None:
    with pytest.raises(MalformedPacket, match="more than 262144"):
        packets_of(b"\x30\x81\x80\x10")
