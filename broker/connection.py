"""One client of the embedded broker: amqtt's protocol handler with its faults mended.

amqtt 0.12 waits 5 s for an acknowledgement and then forgets the message, never closes a silent
connection, and reads packets of any size. Here a QoS 1 message stays in its session until it is
acknowledged, and every queue has an end.
"""

import asyncio
import logging

import amqtt.mqtt.protocol.handler
from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.errors import AMQTTError
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.packet import RESERVED_0, RESERVED_15, MQTTFixedHeader
from amqtt.mqtt.pingreq import PingReqPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.manager import PluginManager
from amqtt.session import OutgoingApplicationMessage, Session

logger = logging.getLogger(__name__)

LARGEST_PACKET = 262_144
MOST_IN_FLIGHT = 1000
MOST_QUEUED = 50_000
MOST_UNSENT_BYTES = 2_000_000
LAST_BYTES_S = 5.0


class CheckedHeader(MQTTFixedHeader):
    """The start of a packet; whoever sends a reserved type or too much is disconnected."""

    @classmethod
    async def from_stream(cls, reader: ReaderAdapter) -> "CheckedHeader | None":
        """Read the start of a packet; raises AMQTTError for one that is not to be read on."""
        header = await super().from_stream(reader)
        if header is None:
            return None
        if header.packet_type in (RESERVED_0, RESERVED_15):
            raise AMQTTError(f"packet of the reserved type {header.packet_type}")
        if header.remaining_length > LARGEST_PACKET:
            raise AMQTTError(f"packet of {header.remaining_length} bytes, above {LARGEST_PACKET}")
        return header


# amqtt names its header class in these two places, and offers no other way to limit a packet.
amqtt.mqtt.protocol.handler.MQTTFixedHeader = CheckedHeader
ConnectPacket.FIXED_HEADER = CheckedHeader


class ClientWriter(StreamWriterAdapter):
    """Bytes on their way to a client; never waits for one that has stopped reading."""

    @property
    def unsent_bytes(self) -> int:
        """How much the client has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def close(self) -> None:
        """Close the connection; what is unsent has a few seconds left to go out."""
        if not self.is_closed:
            self.is_closed: bool = True
            self._writer.close()
            asyncio.get_running_loop().call_later(LAST_BYTES_S, self._writer.transport.abort)


class Connection(BrokerProtocolHandler):
    """The broker's end of one connection."""

    def __init__(
        self,
        plugins_manager: PluginManager,
        session: Session | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(plugins_manager, session, loop)
        self._ended: asyncio.Future[DisconnectPacket | None] = self._loop.create_future()
        self._ready = False
        self._full = False
        self.finished = asyncio.Event()
        """Set when the broker has done with this connection, its last will included."""

    async def start(self) -> None:
        """Begin to read, and send again what was never acknowledged."""
        await super(BrokerProtocolHandler, self).start()

    async def stop(self) -> None:
        """Close the connection."""
        self._end(None)
        await super().stop()

    async def wait_disconnect(self) -> DisconnectPacket | None:
        """Return the client's goodbye, or None where the connection just ended."""
        return await self._ended

    async def handle_disconnect(self, disconnect: DisconnectPacket | None) -> None:
        """Note the client's goodbye."""
        self._end(disconnect)

    def handle_read_timeout(self) -> None:
        """End a connection on which nothing came for one and a half keepalives."""
        self._end(None)

    async def handle_pingreq(self, pingreq: PingReqPacket) -> None:
        """Answer, and send what had to wait."""
        self._send_waiting()
        await super().handle_pingreq(pingreq)

    async def handle_puback(self, puback: PubackPacket) -> None:
        """Forget a message that has arrived, and send the next."""
        if self.session and puback.variable_header:
            self.session.inflight_out.pop(puback.variable_header.packet_id, None)
            self._send_waiting()

    def deliver(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Send a message now, or at QoS 1 as soon as the client has room for it."""
        if qos:
            enqueue(self.session, topic, payload, retain=retain)
            self._send_waiting()
        elif self._has_room():
            self._write(PublishPacket.build(topic, payload, None, False, 0, retain))

    async def _retry_deliveries(self) -> None:
        for message in self.session.inflight_out.values():
            self._write(message.build_publish_packet(dup=True))
        self._ready = True
        self._send_waiting()

    def _send_waiting(self) -> None:
        if not self._ready or self.session is None:
            return
        waiting, in_flight = self.session.retained_messages, self.session.inflight_out
        while not waiting.empty() and len(in_flight) < MOST_IN_FLIGHT and self._has_room():
            message = waiting.get_nowait()
            message.packet_id = self.session.next_packet_id
            in_flight[message.packet_id] = message
            self._write(message.build_publish_packet())

    def _has_room(self) -> bool:
        return self.writer is not None and self.writer.unsent_bytes < MOST_UNSENT_BYTES

    def _write(self, packet: PublishPacket) -> None:
        # A packet is one call, so that it cannot mix with another that waits in `drain`.
        self.writer.write(packet.to_bytes())

    def _end(self, disconnect: DisconnectPacket | None) -> None:
        if not self._ended.done():
            self._ended.set_result(disconnect)


def enqueue(session: Session, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """Keep a QoS 1 message for a session until its client takes it; a full queue drops it."""
    if session.retained_messages.qsize() >= MOST_QUEUED:
        if not session.attributes.get("queue_full"):
            logger.warning(
                "client %s: %d messages wait; more are dropped", session.client_id, MOST_QUEUED
            )
        session.attributes["queue_full"] = True
        return
    session.attributes.pop("queue_full", None)
    message = OutgoingApplicationMessage(None, topic, 1, payload, retain)
    session.retained_messages.put_nowait(message)
