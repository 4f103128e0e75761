"""The embedded broker, for trying out and for one machine: sessions, subscriptions, routing.

Replaces parts of the broker of amqtt 0.12.1, which sends any retained message to a client that
reconnects, subscribed or not, and lets one user into another's session. It also compares
each message with all topic filters, and encodes it for each subscriber. Private methods are
overridden; tests/broker/test_amqtt.py fails when amqtt is fixed.

Queues are in memory; MQTT 3.1.1 only, no shared subscriptions. docs/brokers.md has the whole list.
"""

import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from amqtt.adapters import WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError
from amqtt.errors import BrokerError as AmqttBrokerError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from broker import packets
from broker.packets import PacketReader, Publish, publish_head
from broker.retained import RetainedMessages
from broker.rights import Rights
from broker.session import (
    ClientSession,
    ClientWriter,
    Connection,
    ConnectionRefused,
    Message,
    check_connect,
    new_session,
    read_connect,
)
from broker.topic_cache import TopicCache
from broker.users import Users
from service.amounts import amount
from service.errors import BrokerError
from service.lifecycle import leave, set_up_log

logger = logging.getLogger(__name__)

SHUTDOWN_S = 5.0
SESSION_EXPIRY_S = 7 * 24 * 3600
MOST_SESSIONS = 10_000
MOST_SUBSCRIPTIONS = 200
REJECTED = 0x80
LOG_PERIOD_S = 60.0
MOST_LOGGED = 60
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


class Listener(NamedTuple):
    """What the settings decide, passed on the command line."""

    host: str
    port: int
    users_file: str | None
    acl_file: str | None
    state: str
    log_level: str


def main() -> None:
    """Run the broker that the first argument describes; `broker/__main__.py` starts it."""
    listener = Listener(*json.loads(sys.argv[1]))
    set_up_log(listener.log_level)
    leave("broker", lambda: run(listener))


def run(listener: Listener) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises BrokerError if the broker cannot start, SettingsError if a file is invalid.
    """
    # amqtt logs every connection, and every malformed packet.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    # asyncio logs every write to a client that has gone.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.run(_serve(listener))


async def _serve(listener: Listener) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    host, port, users, rules, state, _ = listener
    retained = RetainedMessages(Path(state) / f"embedded-{port}.db")
    broker = EmbeddedBroker(
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        users=Users(Path(users)) if users else None,
        rights=Rights.load(Path(rules)) if rules else Rights.everything(),
        retained=retained,
    )
    try:
        await broker.start()
    except AmqttBrokerError as error:
        raise BrokerError(f"embedded broker on {host}:{port}: {error}") from error
    logger.info("embedded broker (amqtt) listens on %s:%d", host, port)
    logger.info(
        "the embedded broker is for trying out: it loses queues on restart, has no MQTT 5 and no "
        "$share; for more, install mosquitto"
    )
    await retained.write_behind(stop)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(broker.close(), SHUTDOWN_S)
    await retained.write()
    retained.close()


class LogFilter:
    """Logs what clients do wrong: each fault once a minute, and a limited number a minute."""

    def __init__(self) -> None:
        self._logged: set[tuple[str, str]] = set()
        self._suppressed = 0
        self._period_ends_s = 0.0

    def report(self, client: str, fault: str, now_s: float) -> None:
        """Log a fault of a client, unless it was logged in this minute."""
        if now_s >= self._period_ends_s:
            self._begin_period(now_s)
        if (client, fault) in self._logged or len(self._logged) >= MOST_LOGGED:
            self._suppressed += 1
            return
        self._logged.add((client, fault))
        logger.warning("%s: %s", client, fault)

    def _begin_period(self, now_s: float) -> None:
        if self._suppressed:
            logger.warning("%s about clients suppressed", amount(self._suppressed, "more message"))
        self._suppressed = 0
        self._logged.clear()
        self._period_ends_s = now_s + LOG_PERIOD_S


class EveryoneAccepted(BaseAuthPlugin):
    """Accepts every client when amqtt asks, which is after our own check.

    amqtt's plugin for this marks sessions as anonymous, which costs them their queues.
    """

    async def authenticate(self, *, session: Session) -> bool:  # noqa: ARG002
        """Accept the client."""
        return True


class EmbeddedBroker(Broker):
    """Sessions, subscriptions and retained messages of all clients."""

    def __init__(
        self, bind: str, *, users: Users | None, rights: Rights, retained: RetainedMessages
    ) -> None:
        super().__init__(
            {
                "listeners": {"default": {"type": "tcp", "bind": bind}},
                "plugins": {f"{__name__}.{EveryoneAccepted.__name__}": {}},
                "session_expiry_interval": SESSION_EXPIRY_S,
            }
        )
        self._users = users
        self._rights = rights
        self._retained = retained
        self._log_filter = LogFilter()
        self._subscribers = TopicCache(self._find_subscribers)

    async def close(self) -> None:
        """Disconnect all clients, publish their last wills, and stop."""
        connections = [connection for _, connection in self._sessions.values()]
        await self.shutdown()
        for connection in connections:
            if connection.session.transitions.is_connected():
                await connection.finished.wait()

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one TCP connection."""
        await self._client_connected(listener_name, PacketReader(reader), ClientWriter(writer))

    def report(self, client: str, fault: str) -> None:
        """Log what a client does wrong."""
        self._log_filter.report(client, fault, time.monotonic())

    def receive(self, session: ClientSession, message: Publish) -> None:
        """Route what a client publishes; drop and log what it is not authorized for."""
        topic, payload, qos, retain, _ = message
        if not session.may_write(topic):
            client = f"client {session.client_id} (user {session.username or '-'})"
            self.report(client, f"not authorized to publish to {topic[:80]!r}; message dropped")
            return
        self._route(topic, payload, qos)
        if retain:
            self._retain(topic, payload, qos)

    def subscribe(
        self, connection: Connection, packet_id: int, requested: list[tuple[str, int]]
    ) -> None:
        """Subscribe a client, again where a filter is known; answer, and send retained messages."""
        granted = [self._grant(connection, *subscription) for subscription in requested]
        connection.answer(packets.suback(packet_id, granted))
        for (topic_filter, _), qos in zip(requested, granted, strict=True):
            if qos != REJECTED:
                self._send_retained(topic_filter, qos, connection)

    def unsubscribe(self, session: ClientSession, filters: list[str]) -> None:
        """End subscriptions of a client."""
        for topic_filter in filters:
            self._del_subscription(topic_filter, session)
            if not self._subscriptions.get(topic_filter, True):
                del self._subscriptions[topic_filter]
            session.filters.discard(topic_filter)

    def _del_subscription(self, a_filter: str, session: Session) -> int:
        self._subscribers.clear()
        return super()._del_subscription(a_filter, session)

    def _grant(self, connection: Connection, topic_filter: str, qos: int) -> int:
        session = connection.session
        filters = session.filters
        if topic_filter.startswith("$share/"):
            reason = "shared subscriptions need Mosquitto"
        elif not self._rights.may_read(session.username, session.client_id, topic_filter):
            reason = "not authorized for all of it"
        elif len(filters | {topic_filter}) > MOST_SUBSCRIPTIONS:
            reason = f"more than {MOST_SUBSCRIPTIONS} topic filters"
        else:
            self._del_subscription(topic_filter, session)
            filters.add(topic_filter)
            granted = min(qos, 1)
            self._subscriptions.setdefault(topic_filter, []).append((session, granted))
            return granted
        connection.report(f"subscription to {topic_filter[:80]!r} rejected: {reason}")
        return REJECTED

    async def _create_server_instance(
        self, listener_name: str, listener_type: Any, address: str | None, *rest: Any
    ) -> Any:
        address = address.strip("[]") if address else address
        return await super()._create_server_instance(listener_name, listener_type, address, *rest)

    async def _initialize_client_session(
        self, reader: PacketReader, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[Connection, ClientSession]:
        try:
            connect = await read_connect(reader)
            await check_connect(connect, self._users, self._rights)
            session = new_session(connect, self._rights, remote_address, remote_port)
            connection = Connection(self.plugins_manager, self)
            return connection, await self._resumed(session)
        except (AMQTTError, TimeoutError, OSError) as error:
            if isinstance(error, ConnectionRefused):
                writer.write(error.answer)
            if not isinstance(error, TimeoutError | ConnectionAbortedError):
                self.report(f"client at {remote_address}", f"{error}; disconnected")
            await writer.close()
            raise AMQTTError(f"{remote_address}:{remote_port}: {error!r}") from error

    async def _resumed(self, session: ClientSession) -> ClientSession:
        """Return the session to go on with, after closing the client's earlier connection."""
        earlier, connection = self._sessions.get(session.client_id, (None, None))
        if earlier is None:
            if len(self._sessions) >= MOST_SESSIONS:
                raise ConnectionRefused(
                    packets.FULL, f"too many clients: {MOST_SESSIONS} sessions are open"
                )
            return session
        over = earlier.clean_session and not earlier.transitions.is_connected()
        if earlier.username != session.username and not over:
            raise ConnectionRefused(
                packets.BAD_CLIENT_ID,
                f"client id {session.client_id!r}: the session belongs to another user",
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
        """Route a last will; amqtt calls this for nothing else."""
        self._route(topic, data, force_qos or 0)

    async def retain_message(
        self, _source: Any, topic_name: str, data: bytes, qos: int | None = None
    ) -> None:
        """Retain a last will as the last message of its topic."""
        self._retain(topic_name, data, qos or 0)

    def _route(self, topic: str, payload: bytes, qos: int) -> None:
        """Send a message once to each client that has a filter for it."""
        packet: bytes | None = None
        message: Message | None = None
        for session, granted in self._subscribers(topic):
            if qos and granted:
                message = message or (publish_head(topic, payload, 1), payload)
                self._enqueue(session, message)
            elif session.connection:
                packet = packet or publish_head(topic, payload, 0) + payload
                session.connection.send(packet)

    def _enqueue(self, session: ClientSession, message: Message) -> None:
        if session.connection:
            session.connection.enqueue(message)
        elif not (session.clean_session or session.enqueue(message)):
            self.report(
                f"client {session.client_id}",
                "away and its queue is full; new messages are dropped",
            )

    def _find_subscribers(self, topic: str) -> list[tuple[ClientSession, int]]:
        """Return the session of each client with a filter for a topic, and its granted QoS."""
        granted: dict[str, tuple[ClientSession, int]] = {}
        for topic_filter, subscriptions in self._subscriptions.items():
            if subscriptions and self._matches(topic, topic_filter):
                for session, qos in subscriptions:
                    _, known = granted.get(session.client_id, (None, 0))
                    granted[session.client_id] = session, max(qos, known)
        return list(granted.values())

    def _retain(self, topic: str, payload: bytes, qos: int) -> None:
        if not self._retained.keep(topic, payload, min(qos, 1)):
            self.report("retained messages", "limit reached; new topics are not retained")

    def _send_retained(self, topic_filter: str, qos: int, connection: Connection) -> None:
        for topic, message in self._retained.items():
            if self._matches(topic, topic_filter):
                granted = min(qos, message.qos)
                head = publish_head(topic, message.payload, granted, retain=True)
                if granted:
                    connection.enqueue((head, message.payload))
                else:
                    connection.send(head + message.payload)

    async def _publish_retained_messages_for_subscription(self, *_: Any) -> None:
        """Do nothing: amqtt would send every client's retained messages to this one."""

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Do nothing: the connection sends its queue as fast as the client acknowledges."""


if __name__ == "__main__":
    main()
