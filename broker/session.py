"""One client of the embedded broker: whether it may connect, its connection, its queue.

Replaces the protocol handler of amqtt 0.12.1, which waits 5 s for an acknowledgement and then
forgets the message, never closes a silent connection, and acknowledges messages that it has only
queued. Here a QoS 1 message stays in its session until it is acknowledged, packets are handled one
after the other, and every queue has a limit. tests/broker/test_amqtt.py fails when amqtt is fixed.
"""

import asyncio
import math
import secrets
from typing import Protocol

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter
from amqtt.errors import AMQTTError
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.publish import PublishPacket
from amqtt.plugins.manager import PluginManager
from amqtt.session import OutgoingApplicationMessage, Session

from broker import packets
from broker.packets import Connect, MalformedPacket, Packet, Publish
from broker.rights import Rights
from broker.users import Users

CONNECT_TIMEOUT_S = 10.0
MOST_IN_FLIGHT = 1000
MOST_QUEUED = 50_000
MOST_QUEUED_BYTES = 64_000_000
MOST_UNSENT_BYTES = 2_000_000
WRITE_TIMEOUT_S = 60.0
LAST_BYTES_S = 5.0


class ConnectionRefused(AMQTTError):
    """Raised when a CONNECT is refused; `answer` is the CONNACK with the reason."""

    def __init__(self, code: int, reason: str, level: int = 4) -> None:
        self.answer = packets.connack(code, level=level)
        super().__init__(reason)


async def read_connect(reader: ReaderAdapter) -> Connect:
    """Return the CONNECT with which a client begins.

    Raises MalformedPacket if the first packet is another one, TimeoutError if none arrives, and
    ConnectionAbortedError if the client closes without sending, as a port check does.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        packet = await packets.read_packet(reader)
    if packet is None:
        raise ConnectionAbortedError
    return packets.parse_connect(packet)


async def check_connect(connect: Connect, users: Users | None, rights: Rights) -> None:
    """Raise ConnectionRefused unless the client may connect; changes no session."""
    if connect.level != 4:
        version = {3: "3.1", packets.MQTT_5: "5"}.get(connect.level, f"level {connect.level}")
        raise ConnectionRefused(
            packets.WRONG_PROTOCOL,
            f"uses MQTT {version}; the embedded broker supports 3.1.1 only (Mosquitto also 5)",
            connect.level,
        )
    if users and connect.user is None:
        raise ConnectionRefused(packets.NOT_ALLOWED, "no user name and password given")
    if users and not await users.accept(connect.user, connect.password):
        raise ConnectionRefused(
            packets.BAD_PASSWORD, f"user {connect.user!r:.40}: unknown, or wrong password"
        )
    if not (connect.client_id or connect.clean_session):
        raise ConnectionRefused(packets.BAD_CLIENT_ID, "persistent session without a client id")
    will = connect.will
    if will and not rights.may_write(connect.user, connect.client_id, will.topic):
        raise ConnectionRefused(
            packets.NOT_ALLOWED,
            f"user {connect.user or '-'!r:.40}: not authorized for a last will on "
            f"{will.topic[:80]!r}",
        )


def new_session(connect: Connect, remote_address: str, remote_port: int) -> Session:
    """Return a session for a client that may connect."""
    session = Session()
    session.client_id = connect.client_id or f"auto-{secrets.token_hex(8)}"
    session.clean_session = connect.clean_session
    session.username = connect.user
    session.remote_address, session.remote_port = remote_address, remote_port
    # MQTT 3.1.1, 3.1.2.10: a client may be silent for one and a half keepalives.
    session.keep_alive = math.ceil(connect.keep_alive_s * 1.5)
    will = connect.will
    session.will_flag = will is not None
    if will:
        session.will_topic, session.will_message = will.topic, will.payload
        session.will_qos, session.will_retain = will.qos, will.retain
    return session


def enqueue(session: Session, topic: str, payload: bytes, *, retain: bool = False) -> bool:
    """Queue a QoS 1 message for a session until its client takes it; return False if full."""
    queued_bytes = session.attributes.get("queued_bytes", 0) + len(payload)
    if session.retained_messages.qsize() >= MOST_QUEUED or queued_bytes > MOST_QUEUED_BYTES:
        return False
    session.attributes["queued_bytes"] = queued_bytes
    message = OutgoingApplicationMessage(None, topic, 1, payload, retain)
    session.retained_messages.put_nowait(message)
    return True


class ClientWriter(StreamWriterAdapter):
    """Outgoing bytes of a client; never waits for a client that has stopped reading."""

    @property
    def unsent_bytes(self) -> int:
        """Number of bytes that the client has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def close(self) -> None:
        """Close the connection; unsent bytes have a few seconds left."""
        if not self.is_closed:
            self.is_closed: bool = True
            self._writer.close()
            asyncio.get_running_loop().call_later(LAST_BYTES_S, self._writer.transport.abort)


class Router(Protocol):
    """What a connection needs of its broker."""

    def receive(self, session: Session, message: Publish) -> None:
        """Route a message that the client has published."""

    async def subscribe(
        self, connection: "Connection", packet_id: int, requested: list[tuple[str, int]]
    ) -> None:
        """Subscribe the client, and acknowledge."""

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        """End subscriptions of the client."""

    def report(self, client: str, fault: str) -> None:
        """Log what a client does wrong."""


class Connection(BrokerProtocolHandler):
    """The broker's end of one connection."""

    def __init__(self, plugins_manager: PluginManager, router: Router) -> None:
        super().__init__(plugins_manager)
        self._router = router
        self._ended: asyncio.Future[DisconnectPacket | None] = self._loop.create_future()
        self._ready = False
        self.finished = asyncio.Event()
        """Set when the broker has finished with this connection, including its last will."""

    async def start(self) -> None:
        """Begin to read, and send unacknowledged messages again."""
        await super(BrokerProtocolHandler, self).start()

    async def stop(self) -> None:
        """Close the connection."""
        self._end(None)
        await super().stop()

    async def wait_disconnect(self) -> DisconnectPacket | None:
        """Return the client's DISCONNECT, or None if the connection ended without one."""
        return await self._ended

    async def handle_disconnect(self, disconnect: DisconnectPacket | None) -> None:
        """End the connection with the client's DISCONNECT."""
        self._end(disconnect)

    def deliver(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Send a message now, or at QoS 1 as soon as the client has room for it."""
        if qos:
            if not enqueue(self.session, topic, payload, retain=retain):
                self.report("takes no messages and its queue is full; new messages are dropped")
            self._send_queued()
        elif self._has_room():
            self._send(PublishPacket.build(topic, payload, None, False, 0, retain))

    def report(self, fault: str) -> None:
        """Log what the client does wrong."""
        if self.session:
            client = f"client {self.session.client_id} at {self.session.remote_address}"
            self._router.report(client, fault)

    async def write(self, answer: bytes) -> None:
        """Send an answer, and wait while the client takes none."""
        self.writer.write(answer)
        await self.writer.drain()

    async def _reader_loop(self) -> None:
        self._reader_ready.set()
        try:
            await self._read()
        except MalformedPacket as error:
            self.report(f"{error}; disconnected")
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
            # Without a timeout, a client that sends and never reads would block here forever.
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await self._handle(packet)

    async def _handle(self, packet: Packet) -> None:
        match packet.kind:
            case packets.PUBLISH:
                await self._handle_publish(packets.parse_publish(packet))
            case packets.PUBACK:
                self._handle_puback(packets.parse_packet_id(packet))
            case packets.PUBREL:
                packet_id = packets.parse_packet_id(packet)
                self.session.inflight_in.pop(packet_id, None)
                await self.write(packets.acknowledgement(0x70, packet_id))
            case packets.SUBSCRIBE:
                await self._router.subscribe(self, *packets.parse_subscribe(packet))
            case packets.UNSUBSCRIBE:
                packet_id, filters = packets.parse_unsubscribe(packet)
                self._router.unsubscribe(self.session, filters)
                await self.write(packets.acknowledgement(0xB0, packet_id))
            case packets.PINGREQ:
                self._send_queued()
                await self.write(packets.PINGRESP)
            case packets.DISCONNECT:
                self._end(DisconnectPacket())
            case _:
                raise MalformedPacket("second CONNECT")

    async def _handle_publish(self, message: Publish) -> None:
        """Route a message before it is acknowledged, at QoS 2 once for each packet id."""
        if message.qos < 2:
            self._router.receive(self.session, message)
            if message.qos:
                await self.write(packets.acknowledgement(0x40, message.packet_id))
            return
        if message.packet_id not in self.session.inflight_in:
            if len(self.session.inflight_in) >= MOST_IN_FLIGHT:
                raise MalformedPacket(f"more than {MOST_IN_FLIGHT} unfinished messages of QoS 2")
            self.session.inflight_in[message.packet_id] = message
            self._router.receive(self.session, message)
        await self.write(packets.acknowledgement(0x50, message.packet_id))

    def _handle_puback(self, packet_id: int) -> None:
        self.session.inflight_out.pop(packet_id, None)
        self._send_queued()

    async def _retry_deliveries(self) -> None:
        for message in self.session.inflight_out.values():
            self._send(message.build_publish_packet(dup=True))
        self._ready = True
        self._send_queued()

    def _send_queued(self) -> None:
        if not self._ready or self.session is None:
            return
        queued, in_flight = self.session.retained_messages, self.session.inflight_out
        while not queued.empty() and len(in_flight) < MOST_IN_FLIGHT and self._has_room():
            message = queued.get_nowait()
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
