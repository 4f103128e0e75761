"""The embedded broker: amqtt's, with sessions, messages and refusals as MQTT 3.1.1 wants them.

The overrides reach into amqtt 0.12's private methods; the tests of the broker hold each of them.
"""

import asyncio
from typing import Any

from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from broker import packets
from broker.connection import ClientWriter, Connection, enqueue, read_connect
from broker.connection_limits import CONNECT_TIMEOUT_S, Admission, Refusal, session_of
from broker.log_filter import Complaints
from broker.packets import Publish
from broker.retained import RetainedMessages

SESSION_EXPIRY_S = 7 * 24 * 3600
MOST_SESSIONS = 10_000
MOST_SUBSCRIPTIONS = 200
REFUSED = 0x80
_RENEWED = (
    "will_flag",
    "will_message",
    "will_topic",
    "will_qos",
    "will_retain",
    "keep_alive",
    "clean_session",
    "remote_address",
    "remote_port",
)


class EveryoneAdmitted(BaseAuthPlugin):
    """Says yes to amqtt, which asks after our own check of users.

    amqtt's plugin for this marks sessions as anonymous, which costs them their queues.
    """

    async def authenticate(self, *, session: Session) -> bool:  # noqa: ARG002
        """Say yes."""
        return True


class EmbeddedBroker(Broker):
    """Sessions, subscriptions and retained messages of all clients."""

    def __init__(
        self, bind: str, *, admission: Admission, retained: RetainedMessages, complaints: Complaints
    ) -> None:
        super().__init__(
            {
                "listeners": {"default": {"type": "tcp", "bind": bind}},
                "plugins": {f"{__name__}.{EveryoneAdmitted.__name__}": {}},
                "session_expiry_interval": SESSION_EXPIRY_S,
            }
        )
        self._admission = admission
        self._retained = retained
        self.complaints = complaints

    async def close(self) -> None:
        """Disconnect all clients, say their last wills, and stop."""
        connections = [connection for _, connection in self._sessions.values()]
        await self.shutdown()
        for connection in connections:
            if connection.session.transitions.is_connected():
                await connection.finished.wait()

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one TCP connection."""
        await self._client_connected(
            listener_name, StreamReaderAdapter(reader), ClientWriter(writer)
        )

    def receive(self, session: Session, message: Publish) -> None:
        """Pass on what a client publishes; drop and tell what it has no right to."""
        topic = message.topic
        if not self._admission.may_write(session, topic):
            who = f"client {session.client_id} (user {session.username or '-'})"
            self.complaints.say(who, f"has no right to publish to {topic[:80]!r}; dropped")
            return
        self._pass_on(topic, message.payload, message.qos)
        if message.retain:
            self._retain(topic, message.payload, message.qos)

    async def subscribe(
        self, connection: Connection, packet_id: int, wanted: list[tuple[str, int]]
    ) -> None:
        """Subscribe a client, anew where a filter is known; answer, and send what is retained."""
        granted = [self._grant(connection, *subscription) for subscription in wanted]
        await connection.mqtt_acknowledge_subscription(packet_id, granted)
        for (topic_filter, _), qos in zip(wanted, granted, strict=True):
            if qos != REFUSED:
                self._send_retained(topic_filter, qos, connection)

    def unsubscribe(self, session: Session, filters: list[str]) -> None:
        """End subscriptions of a client."""
        for topic_filter in filters:
            self._del_subscription(topic_filter, session)
            if not self._subscriptions.get(topic_filter, True):
                del self._subscriptions[topic_filter]
            session.attributes.get("filters", set()).discard(topic_filter)

    def _grant(self, connection: Connection, topic_filter: str, qos: int) -> int:
        session = connection.session
        filters: set[str] = session.attributes.setdefault("filters", set())
        if topic_filter.startswith("$share/"):
            reason = "$share, which is refused: Mosquitto has it"
        elif not self._admission.may_read(session, topic_filter):
            reason = f"{topic_filter[:80]!r} without the right to all of it; refused"
        elif len(filters | {topic_filter}) > MOST_SUBSCRIPTIONS:
            reason = f"more than {MOST_SUBSCRIPTIONS} topic filters; refused"
        else:
            self._del_subscription(topic_filter, session)
            filters.add(topic_filter)
            granted = min(qos, 1)
            self._subscriptions.setdefault(topic_filter, []).append((session, granted))
            return granted
        connection.complain(f"subscribes to {reason}")
        return REFUSED

    async def _create_server_instance(
        self, listener_name: str, listener_type: Any, address: str | None, *rest: Any
    ) -> Any:
        address = address.strip("[]") if address else address
        return await super()._create_server_instance(listener_name, listener_type, address, *rest)

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[Connection, Session]:
        try:
            connect = await read_connect(reader, CONNECT_TIMEOUT_S)
            await self._admission.check(connect)
            session = session_of(connect, remote_address, remote_port)
            connection = Connection(self.plugins_manager, self)
            return connection, await self._resumed(session)
        except (AMQTTError, TimeoutError, OSError) as error:
            if isinstance(error, Refusal):
                writer.write(error.answer)
            if not isinstance(error, TimeoutError | ConnectionAbortedError):
                self.complaints.say(f"a client at {remote_address}", f"{error}; disconnected")
            await writer.close()
            raise AMQTTError(f"{remote_address}:{remote_port}: {error!r}") from error

    async def _resumed(self, session: Session) -> Session:
        """Return the session to go on with, after ending the client's earlier connection."""
        earlier, connection = self._sessions.get(session.client_id, (None, None))
        if earlier is None:
            if len(self._sessions) >= MOST_SESSIONS:
                raise Refusal(packets.FULL, f"sessions of {MOST_SESSIONS} clients are kept already")
            return session
        over = earlier.clean_session and not earlier.transitions.is_connected()
        if earlier.username != session.username and not over:
            raise Refusal(
                packets.BAD_CLIENT_ID,
                f"client id {session.client_id!r} belongs to another user's session",
            )
        if earlier.transitions.is_connected():
            await connection.handle_connection_closed()
            await connection.finished.wait()
        if session.clean_session or earlier.clean_session:
            await self._delete_session(session.client_id)
            return session
        for name in _RENEWED:
            setattr(earlier, name, getattr(session, name))
        earlier.parent = 1
        return earlier

    async def _client_message_loop(self, client_session: Session, handler: Connection) -> None:
        try:
            ended = asyncio.ensure_future(handler.wait_disconnect())
            await ended
            await self._handle_disconnect(client_session, handler, ended)
        finally:
            handler.finished.set()

    async def _broadcast_message(
        self, _sender: Any, topic: str, data: bytes, force_qos: int | None = None
    ) -> None:
        """Pass on a last will; amqtt has no other use for this."""
        self._pass_on(topic, data, force_qos or 0)

    async def retain_message(
        self, _source: Any, topic_name: str, data: bytes, qos: int | None = None
    ) -> None:
        """Keep a last will as the last message of its topic."""
        self._retain(topic_name, data, qos or 0)

    def _pass_on(self, topic: str, payload: bytes, qos: int) -> None:
        """Send a message once to each client that has a filter for it."""
        for client_id, granted in self._subscribers(topic).items():
            target, connection = self._sessions.get(client_id, (None, None))
            if target is None:
                continue
            if target.transitions.is_connected():
                connection.deliver(topic, payload, qos=min(granted, qos))
                continue
            waits = min(granted, qos) and not target.clean_session
            if waits and not enqueue(target, topic, payload):
                self.complaints.say(f"client {client_id}", "is away and its queue is full")

    def _subscribers(self, topic: str) -> dict[str, int]:
        granted: dict[str, int] = {}
        for topic_filter, subscriptions in self._subscriptions.items():
            if subscriptions and self._matches(topic, topic_filter):
                for session, qos in subscriptions:
                    granted[session.client_id] = max(qos, granted.get(session.client_id, 0))
        return granted

    def _retain(self, topic: str, payload: bytes, qos: int) -> None:
        if not self._retained.keep(topic, payload, min(qos, 1)):
            self.complaints.say("retained messages", "there is no room for more topics")

    def _send_retained(self, topic_filter: str, qos: int, connection: Connection) -> None:
        for topic, message in self._retained.items():
            if self._matches(topic, topic_filter):
                connection.deliver(topic, message.payload, qos=min(qos, message.qos), retain=True)

    async def _publish_retained_messages_for_subscription(self, *_: Any) -> None:
        """Nothing: amqtt would send every client's retained messages to whoever connects."""

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Nothing: the connection itself sends what waits, as fast as it is acknowledged."""
