"""One client of the embedded broker: its admission, its session with the queue, its connection.

Replaces the protocol handler of amqtt 0.12.1, which waits 5 s for an acknowledgement and then
forgets the message, never closes a silent connection, and acknowledges messages that it has only
queued. Here a QoS 1 message stays in its session until it is acknowledged, packets are handled one
after the other, and every queue has a limit. A client is sent its packets in one write for each
turn of the event loop; amqtt writes each by itself. tests/broker/test_amqtt.py fails when amqtt is
fixed.
"""

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

from amqtt.adapters import ReaderAdapter, StreamWriterAdapter, WriterAdapter
from amqtt.errors import AMQTTError
from amqtt.mqtt.disconnect import DisconnectPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.manager import PluginManager
from amqtt.session import Session

from broker import packets
from broker.packets import Connect, MalformedPacket, Packet, PacketReader, Publish
from broker.rights import Rights
from broker.topic_cache import TopicCache
from broker.users import Users

CONNECT_TIMEOUT_S = 10.0
MOST_IN_FLIGHT = 1000
MOST_QUEUED = 50_000
MOST_QUEUED_BYTES = 64_000_000
MOST_UNSENT_BYTES = 2_000_000
MOST_UNREAD_ANSWERS_BYTES = 65_536
"""Unsent bytes of a client above which the broker reads no more of its packets."""
WRITE_TIMEOUT_S = 60.0
LAST_BYTES_S = 5.0

Message: TypeAlias = tuple[bytes, bytes]
"""A QoS 1 message, encoded once for all its subscribers: before its packet id, and after it."""


class ConnectionRefused(AMQTTError):
    """Raised when a CONNECT is refused; `answer` is the CONNACK with the reason."""

    def __init__(self, code: int, reason: str, level: int = 4) -> None:
        self.answer = packets.connack(code, level=level)
        super().__init__(reason)


async def read_connect(reader: PacketReader) -> Connect:
    """Return the CONNECT with which a client begins.

    Raises MalformedPacket if the first packet is another one, TimeoutError if none arrives, and
    ConnectionAbortedError if the client closes without sending, as a port check does.
    """
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        while await reader.receive():
            for packet in reader.packets():
                return packets.parse_connect(packet)
    raise ConnectionAbortedError


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


class ClientSession(Session):
    """What the broker keeps for a client, also while the client is away."""

    client_id: str

    def __init__(self, may_write: Callable[[str], bool]) -> None:
        super().__init__()
        self.may_write = TopicCache(may_write)
        self.connection: Connection | None = None
        self.filters: set[str] = set()
        self.queue: deque[Message] = deque()
        self.queued_bytes = 0
        self.in_flight: dict[int, Message] = {}
        """Messages that the client has not acknowledged yet, in the order in which they went."""
        self.unreleased: set[int] = set()
        """Packet ids of QoS 2 that the client has not released yet."""
        self._last_id = 0

    def enqueue(self, message: Message) -> bool:
        """Queue a QoS 1 message until the client takes it; return False if the queue is full."""
        queued_bytes = self.queued_bytes + len(message[1])
        if len(self.queue) >= MOST_QUEUED or queued_bytes > MOST_QUEUED_BYTES:
            return False
        self.queued_bytes = queued_bytes
        self.queue.append(message)
        return True

    def take(self) -> tuple[int, Message]:
        """Move the oldest message of the queue in flight; return its packet id and the message."""
        message = self.queue.popleft()
        self.queued_bytes -= len(message[1])
        while True:
            self._last_id = self._last_id % 65_535 + 1
            if self._last_id not in self.in_flight:
                self.in_flight[self._last_id] = message
                return self._last_id, message


def new_session(
    connect: Connect, rights: Rights, remote_address: str, remote_port: int
) -> ClientSession:
    """Return a session for a client that may connect."""
    client_id = connect.client_id or f"auto-{secrets.token_hex(8)}"
    session = ClientSession(partial(rights.may_write, connect.user, client_id))
    session.client_id = client_id
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


class ClientWriter(StreamWriterAdapter):
    """Outgoing bytes of a client; never waits for a client that has stopped reading."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        super().__init__(writer)
        self._loop = asyncio.get_running_loop()
        self._pending: list[bytes] = []
        self._flush_due = False
        self.unsent_bytes = 0
        """Bytes that the client has not taken yet, as known at the last write."""

    def write(self, data: bytes) -> None:
        """Send bytes together with all others of this turn of the event loop."""
        if self.is_closed:
            return
        self._pending.append(data)
        self.unsent_bytes += len(data)
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)

    def has_room(self) -> bool:
        """Return whether the client has taken enough to be sent more."""
        if self.unsent_bytes < MOST_UNSENT_BYTES:
            return True
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return False

    def _flush(self) -> None:
        self._flush_due = False
        if self._pending:
            self._writer.write(b"".join(self._pending))
            self._pending.clear()
        self.unsent_bytes = self._writer.transport.get_write_buffer_size()

    async def drain(self) -> None:
        """Wait while the client takes nothing."""
        self._flush()
        await super().drain()

    async def close(self) -> None:
        """Close the connection; unsent bytes have a few seconds left."""
        if not self.is_closed:
            self._flush()
            self.is_closed: bool = True
            self._writer.close()
            self._loop.call_later(LAST_BYTES_S, self._writer.transport.abort)


class Router(Protocol):
    """What a connection needs of its broker."""

    def receive(self, session: ClientSession, message: Publish) -> None:
        """Route a message that the client has published."""

    def subscribe(
        self, connection: "Connection", packet_id: int, requested: list[tuple[str, int]]
    ) -> None:
        """Subscribe the client, and acknowledge."""

    def unsubscribe(self, session: ClientSession, filters: list[str]) -> None:
        """End subscriptions of the client."""

    def report(self, client: str, fault: str) -> None:
        """Log what a client does wrong."""


class Connection(BrokerProtocolHandler):
    """The broker's end of one connection."""

    session: ClientSession
    reader: PacketReader
    writer: ClientWriter

    def __init__(self, plugins_manager: PluginManager, router: Router) -> None:
        super().__init__(plugins_manager)
        self._router = router
        self._ended: asyncio.Future[DisconnectPacket | None] = self._loop.create_future()
        self._ready = False
        self._answered = False
        self.finished = asyncio.Event()
        """Set when the broker has finished with this connection, including its last will."""

    def attach(self, session: Session, reader: ReaderAdapter, writer: WriterAdapter) -> None:
        """Begin to serve a session."""
        super().attach(session, reader, writer)
        self.session.connection = self

    async def start(self) -> None:
        """Begin to read, and send unacknowledged messages again."""
        await super(BrokerProtocolHandler, self).start()

    async def stop(self) -> None:
        """Close the connection."""
        self._end(None)
        if self.session.connection is self:
            self.session.connection = None
        await super().stop()

    async def wait_disconnect(self) -> DisconnectPacket | None:
        """Return the client's DISCONNECT, or None if the connection ended without one."""
        return await self._ended

    async def handle_disconnect(self, disconnect: DisconnectPacket | None) -> None:
        """End the connection with the client's DISCONNECT."""
        self._end(disconnect)

    def send(self, packet: bytes) -> None:
        """Send a QoS 0 message, unless the client has too much to take already."""
        if self.writer.has_room():
            self.writer.write(packet)

    def enqueue(self, message: Message) -> None:
        """Send a QoS 1 message as soon as the client has room for it."""
        if not self.session.enqueue(message):
            self.report("takes no messages and its queue is full; new messages are dropped")
        self._send_queued()

    def report(self, fault: str) -> None:
        """Log what the client does wrong."""
        client = f"client {self.session.client_id} at {self.session.remote_address}"
        self._router.report(client, fault)

    def answer(self, packet: bytes) -> None:
        """Send an answer to a packet of the client."""
        self._answered = True
        self.writer.write(packet)

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
        """Handle packets; raise TimeoutError if the client sends none, or takes no answers."""
        keep_alive_s = self.session.keep_alive
        async with asyncio.timeout(keep_alive_s or None) as deadline:
            # Packets may have arrived together with the CONNECT.
            arrived = True
            while arrived and not self._ended.done():
                if await self._handle_arrived() and keep_alive_s:
                    deadline.reschedule(self._loop.time() + keep_alive_s)
                if self._answered and self.writer.unsent_bytes > MOST_UNREAD_ANSWERS_BYTES:
                    # A client that sends and never reads would block here forever.
                    deadline.reschedule(self._loop.time() + WRITE_TIMEOUT_S)
                    await self.writer.drain()
                    deadline.reschedule(self._loop.time() + keep_alive_s if keep_alive_s else None)
                self._answered = False
                arrived = await self.reader.receive()

    async def _handle_arrived(self) -> bool:
        """Handle the packets that have arrived; return whether there was one."""
        packet = None
        for packet in self.reader.packets():
            kind = packet.kind
            if kind == packets.PUBLISH:
                self._handle_publish(packets.parse_publish(packet))
            elif kind == packets.PUBACK:
                self._handle_puback(packets.parse_packet_id(packet))
            else:
                self._handle(packet)
                # A client that asks for much, again and again, does not stop all others.
                await asyncio.sleep(0)
            if self._ended.done():
                break
        return packet is not None

    def _handle(self, packet: Packet) -> None:
        match packet.kind:
            case packets.PUBREL:
                packet_id = packets.parse_packet_id(packet)
                self.session.unreleased.discard(packet_id)
                self.answer(packets.acknowledgement(0x70, packet_id))
            case packets.SUBSCRIBE:
                self._router.subscribe(self, *packets.parse_subscribe(packet))
            case packets.UNSUBSCRIBE:
                packet_id, filters = packets.parse_unsubscribe(packet)
                self._router.unsubscribe(self.session, filters)
                self.answer(packets.acknowledgement(0xB0, packet_id))
            case packets.PINGREQ:
                self._send_queued()
                self.answer(packets.PINGRESP)
            case packets.DISCONNECT:
                self._end(DisconnectPacket())
            case _:
                raise MalformedPacket("second CONNECT")

    def _handle_publish(self, message: Publish) -> None:
        """Route a message before it is acknowledged, at QoS 2 once for each packet id."""
        if message.qos < 2:
            self._router.receive(self.session, message)
            if message.qos:
                self.answer(packets.acknowledgement(0x40, message.packet_id))
            return
        unreleased = self.session.unreleased
        if message.packet_id not in unreleased:
            if len(unreleased) >= MOST_IN_FLIGHT:
                raise MalformedPacket(f"more than {MOST_IN_FLIGHT} unfinished messages of QoS 2")
            unreleased.add(message.packet_id)
            self._router.receive(self.session, message)
        self.answer(packets.acknowledgement(0x50, message.packet_id))

    def _handle_puback(self, packet_id: int) -> None:
        self.session.in_flight.pop(packet_id, None)
        if self.session.queue:
            self._send_queued()

    async def _retry_deliveries(self) -> None:
        for packet_id, (head, payload) in self.session.in_flight.items():
            again = bytes((head[0] | packets.DUP,)) + head[1:]
            self.writer.write(b"".join((again, packet_id.to_bytes(2), payload)))
        self._ready = True
        self._send_queued()

    def _send_queued(self) -> None:
        if not self._ready:
            return
        session, writer = self.session, self.writer
        while session.queue and len(session.in_flight) < MOST_IN_FLIGHT and writer.has_room():
            packet_id, (head, payload) = session.take()
            writer.write(b"".join((head, packet_id.to_bytes(2), payload)))

    def _end(self, disconnect: DisconnectPacket | None) -> None:
        if not self._ended.done():
            self._ended.set_result(disconnect)
