"""paho's client (paho-mqtt 2.2.0) that reads and writes everything that waits at once.

paho reads each packet with three calls of `recv` or more, writes each with one of `send`, and wakes
its thread for each. Every call releases the interpreter: where another thread is busy, each may
have to wait for it. This client takes whole messages from a buffer and acknowledges many in one
packet: a recorder takes in a backlog four times as fast (measured). It sends a message and its
copies as one packet: a bridge publishes a reading and 32 scalars in a fifth of the time (measured).
"""

import contextlib
import time
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import MessageState, MQTTErrorCode

MOST_BYTES = 65_536
PUBLISH, PUBACK, QOS_2 = 3, 4, 0b100
RETAIN, QOS_1 = 1, 0b10
_NO_CONNECTION = paho.MQTT_ERR_NO_CONN


def _length(remaining: int) -> bytes:
    """Return the Remaining Length of a packet: seven bits a byte, the lowest first."""
    encoded = bytearray()
    while remaining > 0x7F:
        encoded.append(remaining & 0x7F | 0x80)
        remaining >>= 7
    encoded.append(remaining)
    return bytes(encoded)


_RETAINED = [chr(PUBLISH << 4 | RETAIN) + _length(n).decode("latin-1") for n in range(1024)]
"""The beginning of a retained QoS 0 message by its Remaining Length, a character for a byte."""


class _Topics(dict[str, str]):
    """Topics as they stand in a packet, after their length; a character for a byte."""

    def __missing__(self, topic: str) -> str:
        encoded = topic.encode()
        self[topic] = whole = (len(encoded).to_bytes(2, "big") + encoded).decode("latin-1")
        return whole


class ReadAhead:
    """A connection whose `recv` is served from a buffer; everything else is the connection's own.

    paho calls `pending` before it waits, as it does for TLS.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._buffer = b""
        self._at = 0

    def recv(self, most: int) -> bytes:
        """Return at most `most` bytes; reads from the connection when the buffer is empty."""
        self.fill()
        begin = self._at
        self._at = min(begin + most, len(self._buffer))
        return self._buffer[begin : self._at]

    def fill(self) -> None:
        """Read from the connection, if the buffer is empty."""
        if self._at == len(self._buffer):
            self._buffer, self._at = self._connection.recv(MOST_BYTES), 0

    def pending(self) -> int:
        """Return the number of bytes available without waiting."""
        left = len(self._buffer) - self._at
        below = getattr(self._connection, "pending", None)
        return left + (below() if below else 0)

    def next_packet(self) -> tuple[int, bytes] | None:
        """Return first byte and content of the next packet, if it is a complete PUBLISH or PUBACK.

        A message of QoS 2 is left to paho.
        """
        buffer, place, length, shift = self._buffer, self._at + 1, 0, 0
        if place > len(buffer) or not _is_taken(buffer[self._at]):
            return None
        while True:
            if place == len(buffer):
                return None
            digit = buffer[place]
            length |= (digit & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if not digit & 0x80:
                break
        end = place + length
        if end > len(buffer):
            return None
        head, self._at = buffer[self._at], end
        return head, buffer[place:end]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def _is_taken(head: int) -> bool:
    return head >> 4 == PUBACK or (head >> 4 == PUBLISH and not head & QOS_2)


class _Message(paho.MQTTMessage):
    """A received message: without the parts that serve to wait for its publication."""

    __slots__ = ()

    def __init__(self, topic: bytes, payload: bytes) -> None:
        self._topic, self.payload = topic, payload


class ReadAheadClient(paho.Client):
    """Overrides and uses private methods of paho; `tests/service/test_mqtt.py` covers them."""

    _topics = _Topics()

    def _create_socket(self) -> Any:
        return ReadAhead(super()._create_socket())

    def _handle_publish(self) -> MQTTErrorCode:
        head, packet = self._in_packet["command"], bytes(self._in_packet["packet"])
        return super()._handle_publish() if head & QOS_2 else self._pass_on(head, packet)

    def _pass_on(self, head: int, packet: bytes) -> MQTTErrorCode:
        """Pass a message on without the lock and the search for filters of paho's own method."""
        qos, topic_ends = head >> 1 & 3, 2 + int.from_bytes(packet[:2], "big")
        payload_begins = topic_ends + 2 * qos
        if payload_begins > len(packet):
            return paho.MQTT_ERR_PROTOCOL
        message = _Message(packet[2:topic_ends], packet[payload_begins:])
        message.qos, message.retain, message.dup = qos, bool(head & 1), bool(head & 8)
        message.mid = int.from_bytes(packet[topic_ends:payload_begins], "big")
        if on_message := self.on_message:
            on_message(self, None, message)
        if qos and not self._manual_ack:
            return self._send_puback(message.mid)
        return paho.MQTT_ERR_SUCCESS

    def _take(self, head: int, packet: bytes) -> MQTTErrorCode:
        if head >> 4 == PUBLISH:
            return self._pass_on(head, packet)
        if len(packet) != 2:
            return paho.MQTT_ERR_PROTOCOL
        with self._out_message_mutex:
            message = self._out_messages.pop(int.from_bytes(packet, "big"), None)
            if message:
                message.info._set_as_published()
                self._inflight_messages -= 1
                if len(self._out_messages) > self._inflight_messages:
                    return self._update_inflight()
        return paho.MQTT_ERR_SUCCESS

    def exchange(self, wait_s: float) -> bool:
        """Send and receive, waiting at most `wait_s`; return False where the connection ended."""
        return self.loop(wait_s) == paho.MQTT_ERR_SUCCESS

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """Take all complete messages and acknowledgements; leave anything else to paho."""
        connection = self._sock
        if not isinstance(connection, ReadAhead) or self._in_packet["command"]:
            return super().loop_read(max_packets)
        with contextlib.suppress(OSError):  # paho finds the same error
            connection.fill()
        found = connection.next_packet()
        if not found:
            return super().loop_read(max_packets)
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        while found:
            result = self._loop_rc_handle(self._take(*found))
            if result != paho.MQTT_ERR_SUCCESS:
                return result
            found = connection.next_packet()
        return paho.MQTT_ERR_SUCCESS

    def acknowledge(self, numbers: list[int]) -> None:
        """Send PUBACKs as one packet: one call of `send` instead of hundreds."""
        packets = b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in numbers)
        self._packet_queue(paho.PUBACK, packets, numbers[-1], 1)

    def publish_with(
        self, topic: str, payload: bytes, others: Iterable[tuple[str, str]]
    ) -> paho.MQTTMessageInfo:
        """Publish a message with QoS 1, and topics with their ASCII text with QoS 0, as one packet.

        All are retained. paho keeps the first until it is acknowledged, as with `publish`.
        """
        encoded = topic.encode()
        message = paho.MQTTMessage(self._mid_generate(), encoded)
        message.payload, message.qos, message.retain = payload, 1, True
        message.timestamp = time.monotonic()
        packets = self._retained(others)
        with self._out_message_mutex:
            known = self._out_messages
            if message.mid in known or 0 < self._max_queued_messages <= len(known):
                message.info.rc = paho.MQTT_ERR_QUEUE_SIZE
                return message.info
            known[message.mid] = message
            if self._sock is None:  # sent after a connection is made
                message.state, message.info.rc = MessageState.MQTT_MS_PUBLISH, _NO_CONNECTION
                return message.info
            if 0 < self._max_inflight_messages <= self._inflight_messages:
                message.state = MessageState.MQTT_MS_QUEUED
            else:
                message.state = MessageState.MQTT_MS_WAIT_FOR_PUBACK
                self._inflight_messages += 1
                remaining = 4 + len(encoded) + len(payload)
                head = bytes([PUBLISH << 4 | QOS_1 | RETAIN]) + _length(remaining)
                topic_length, mid = len(encoded).to_bytes(2, "big"), message.mid.to_bytes(2, "big")
                packets = b"".join((head, topic_length, encoded, mid, payload, packets))
            self._packet_queue(paho.PUBLISH, packets, message.mid, 1)
        return message.info

    def _retained(self, messages: Iterable[tuple[str, str]]) -> bytes:
        """Return the packets of retained QoS 0 messages."""
        topics = self._topics
        packets = [
            f"{_RETAINED[len(topics[topic]) + len(text)]}{topics[topic]}{text}"
            for topic, text in messages
        ]
        return "".join(packets).encode("latin-1")

    def _packet_queue(
        self,
        command: int,
        packet: bytes | bytearray,
        mid: int,
        qos: int,
        info: paho.MQTTMessageInfo | None = None,
    ) -> MQTTErrorCode:
        """Queue a packet; wake the client's thread, unless it has an earlier one to send anyway."""
        queued: Any = {
            "command": command,
            "mid": mid,
            "qos": qos,
            "pos": 0,
            "to_process": len(packet),
            "packet": packet,
            "info": info,
        }
        if command == paho.CONNECT:  # first, whatever another thread publishes in the meantime
            self._out_packet.appendleft(queued)
        else:
            self._out_packet.append(queued)
        with contextlib.suppress(IndexError, BlockingIOError):  # it is sent; the thread is awake
            if self._out_packet[0] is queued and self._sockpairW is not None:
                self._sockpairW.send(b"0")
        return paho.MQTT_ERR_SUCCESS
