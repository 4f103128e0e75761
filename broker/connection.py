"""One client of the embedded broker: amqtt's protocol handler with its faults mended.

amqtt 0.12 waits 5 s for an acknowledgement and then forgets the message, never closes a silent
connection, and acknowledges what it has only queued. Here a QoS 1 message stays in its session
until it is acknowledged, packets are taken one after the other, and every queue has an end.
"""

import asyncio
from typing import Protocol

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.manager import PluginManager
from amqtt.session import OutgoingApplicationMessage, Session

from broker import packets
from broker.log_filter import Complaints
from broker.packets import MalformedPacket, Packet, Publish

MOST_IN_FLIGHT = 1000
MOST_QUEUED = 50_000
MOST_QUEUED_BYTES = 64_000_000
MOST_UNSENT_BYTES = 2_000_000
STUCK_S = 60.0
LAST_BYTES_S = 5.0


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


class Exchange(Protocol):
    """What a connection needs of its broker."""

    complaints: Complaints

    def receive(self, session: Session, message: Publish) -> None:
        """Take a message that the client has published."""

    async def subscribe(
        self, connection: "Connection", packet_id: int, wanted: list[tuple[str, int]]
    ) -> None:
        """Subscribe the client, and answer."""

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        """End subscriptions of the client."""


class Connection(BrokerProtocolHandler):
    """The broker's end of one connection."""

    def __init__(self, plugins_manager: PluginManager, exchange: Exchange) -> None:
        super().__init__(plugins_manager)
        self._exchange = exchange
        self._ended: asyncio.Future[DisconnectPacket | None] = self._loop.create_future()
        self._ready = False
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

    def deliver(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Send a message now, or at QoS 1 as soon as the client has room for it."""
        if qos:
            if not enqueue(self.session, topic, payload, retain=retain):
                self.complain("takes no messages; more than what waits are dropped")
            self._send_waiting()
        elif self._has_room():
            self._send(PublishPacket.build(topic, payload, None, False, 0, retain))

    def complain(self, what: str) -> None:
        """Say in the log what the client does wrong."""
        if self.session:
            who = f"client {self.session.client_id} at {self.session.remote_address}"
            self._exchange.complaints.say(who, what)

    async def write(self, answer: bytes) -> None:
        """Send an answer, and wait while the client takes none."""
        self.writer.write(answer)
        await self.writer.drain()

    async def _reader_loop(self) -> None:
        self._reader_ready.set()
        try:
            await self._read()
        except MalformedPacket as error:
            self.complain(f"sends {error}; disconnected")
        except (TimeoutError, OSError):
            pass  # silent for one and a half keepalives, or gone
        finally:
            self._end(None)
            self._reader_stopped.set()

    async def _read(self) -> None:
        keep_alive_s = self.session.keep_alive or None
        while not self._ended.done():
            async with asyncio.timeout(keep_alive_s):
                packet = await packets.read_packet(self.reader)
            if packet is None:
                return
            # A client that sends and never reads would keep us waiting for ever.
            async with asyncio.timeout(STUCK_S):
                await self._take(packet)

    async def _take(self, packet: Packet) -> None:
        match packet.kind:
            case packets.PUBLISH:
                await self._take_publish(packets.parse_publish(packet))
            case packets.PUBACK:
                self._take_puback(packets.parse_packet_id(packet))
            case packets.PUBREL:
                packet_id = packets.parse_packet_id(packet)
                self.session.inflight_in.pop(packet_id, None)
                await self.write(packets.acknowledgement(0x70, packet_id))
            case packets.SUBSCRIBE:
                await self._exchange.subscribe(self, *packets.parse_subscribe(packet))
            case packets.UNSUBSCRIBE:
                packet_id, filters = packets.parse_unsubscribe(packet)
                self._exchange.unsubscribe(self.session, filters)
                await self.write(packets.acknowledgement(0xB0, packet_id))
            case packets.PINGREQ:
                self._send_waiting()
                await self.write(packets.PINGRESP)
            case packets.DISCONNECT:
                self._end(DisconnectPacket())
            case _:
                raise MalformedPacket("a second CONNECT")

    async def _take_publish(self, message: Publish) -> None:
        """Pass a message on before it is acknowledged, at QoS 2 once for each packet id."""
        if message.qos < 2:
            self._exchange.receive(self.session, message)
            if message.qos:
                await self.write(packets.acknowledgement(0x40, message.packet_id))
            return
        if message.packet_id not in self.session.inflight_in:
            if len(self.session.inflight_in) >= MOST_IN_FLIGHT:
                raise MalformedPacket(f"more than {MOST_IN_FLIGHT} messages of QoS 2 at once")
            self.session.inflight_in[message.packet_id] = message
            self._exchange.receive(self.session, message)
        await self.write(packets.acknowledgement(0x50, message.packet_id))

    def _take_puback(self, packet_id: int) -> None:
        self.session.inflight_out.pop(packet_id, None)
        self._send_waiting()

    async def _retry_deliveries(self) -> None:
        for message in self.session.inflight_out.values():
            self._send(message.build_publish_packet(dup=True))
        self._ready = True
        self._send_waiting()

    def _send_waiting(self) -> None:
        if not self._ready or self.session is None:
            return
        waiting, in_flight = self.session.retained_messages, self.session.inflight_out
        while not waiting.empty() and len(in_flight) < MOST_IN_FLIGHT and self._has_room():
            message = waiting.get_nowait()
            self.session.attributes["queued_bytes"] -= len(message.data)
            message.packet_id = self.session.next_packet_id
            in_flight[message.packet_id] = message
            self._send(message.build_publish_packet())

    def _has_room(self) -> bool:
        return self.writer is not None and self.writer.unsent_bytes < MOST_UNSENT_BYTES

    def _send(self, packet: PublishPacket) -> None:
        self.writer.write(packet.to_bytes())

    def _end(self, disconnect: DisconnectPacket | None) -> None:
        if not self._ended.done():
            self._ended.set_result(disconnect)


def enqueue(session: Session, topic: str, payload: bytes, *, retain: bool = False) -> bool:
    """Keep a QoS 1 message for a session until its client takes it; False where it is full."""
    queued_bytes = session.attributes.get("queued_bytes", 0) + len(payload)
    if session.retained_messages.qsize() >= MOST_QUEUED or queued_bytes > MOST_QUEUED_BYTES:
        return False
    session.attributes["queued_bytes"] = queued_bytes
    message = OutgoingApplicationMessage(None, topic, 1, payload, retain)
    session.retained_messages.put_nowait(message)
    return True


async def read_connect(reader: ReaderAdapter, timeout_s: float) -> packets.Connect:
    """Return how a client introduces itself.

    Raises MalformedPacket where it does not, TimeoutError where nothing comes, and
    ConnectionAbortedError where it leaves without a word, as who only looks for a broker does.
    """
    async with asyncio.timeout(timeout_s):
        packet = await packets.read_packet(reader)
    if packet is None:
        raise ConnectionAbortedError
    return packets.parse_connect(packet)
