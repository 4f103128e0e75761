"""The broker for trying out and for one machine: amqtt, bound to loopback, its faults mended.

It keeps everything in memory, speaks MQTT 3.1.1 only and has no shared subscriptions. The
overrides reach into amqtt 0.12's private methods; the tests of the broker hold each of them.
"""

import asyncio
import contextlib
import logging
import math
import signal
from typing import Any

from amqtt.adapters import ReaderAdapter, StreamReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.errors import AMQTTError, BrokerError, MQTTError, NoDataError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from broker.connection import ClientWriter, Connection, enqueue
from contract.errors import BusError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
SHUTDOWN_S = 5.0
SESSION_EXPIRY_S = 7 * 24 * 3600
REFUSED = 0x80
_RENEWED = (
    "will_flag",
    "will_message",
    "will_topic",
    "will_qos",
    "will_retain",
    "keep_alive",
    "clean_session",
    "username",
    "remote_address",
    "remote_port",
)


def run_embedded(host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises BusError where the broker cannot start."""
    # amqtt logs each connection, and each packet of a client that sends nonsense.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    asyncio.run(_serve(host, port))


async def _serve(host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = EmbeddedBroker(_configuration(host, port))
    try:
        await broker.start()
    except BrokerError as error:
        raise BusError(f"embedded broker on {host}:{port}: {error}") from error
    logger.info("embedded broker (amqtt) listens on %s:%d", host, port)
    logger.info(
        "it is for trying out: a restart forgets queues and retained values; no MQTT 5, "
        "no $share, some hundred messages a second; for more install mosquitto"
    )
    await stop.wait()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(broker.shutdown(), SHUTDOWN_S)


def _configuration(host: str, port: int) -> dict[str, Any]:
    address = f"[{host}]" if ":" in host else host
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{address}:{port}"}},
        "plugins": {f"{__name__}.EveryLocalClient": {}},
        "session_expiry_interval": SESSION_EXPIRY_S,
    }


class EveryLocalClient(BaseAuthPlugin):
    """Lets in whoever can reach the loopback.

    amqtt's own plugin for this marks sessions as anonymous, which costs them their queues.
    """

    async def authenticate(self, *, session: Session) -> bool:  # noqa: ARG002
        """Say yes."""
        return True


class EmbeddedBroker(Broker):
    """amqtt's broker, with sessions, retained messages and QoS as MQTT 3.1.1 wants them."""

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one TCP connection."""
        await self._client_connected(
            listener_name, StreamReaderAdapter(reader), ClientWriter(writer)
        )

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """Subscribe, anew where the filter is known; return the QoS granted, or the refusal."""
        topic_filter, qos = subscription
        if topic_filter.startswith("$share/"):
            logger.warning("client %s: $share is refused; Mosquitto has it", session.client_id)
            return REFUSED
        self._del_subscription(topic_filter, session)
        return await super().add_subscription((topic_filter, min(qos, 1)), session)

    async def _create_server_instance(
        self, listener_name: str, listener_type: Any, address: str | None, *rest: Any
    ) -> Any:
        address = address.strip("[]") if address else address
        return await super()._create_server_instance(listener_name, listener_type, address, *rest)

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[Connection, Session]:
        try:
            connection, session = await asyncio.wait_for(
                Connection.init_from_connect(reader, writer, self.plugins_manager),
                CONNECT_TIMEOUT_S,
            )
        except (TimeoutError, AMQTTError, MQTTError, NoDataError) as error:
            await writer.close()
            raise AMQTTError(f"{remote_address}:{remote_port}: {error!r}") from error
        # MQTT 3.1.1, 3.1.2.10: silence of one and a half keepalives is the end.
        session.keep_alive = math.ceil(session.keep_alive * 1.5)
        return connection, await self._resumed(session)

    async def _resumed(self, session: Session) -> Session:
        """Return the session to go on with, after ending the client's earlier connection."""
        earlier, connection = self._sessions.get(session.client_id, (None, None))
        if earlier is None:
            return session
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
            await super()._client_message_loop(client_session, handler)
        finally:
            handler.finished.set()

    async def _handle_message_delivery(
        self, client_session: Session, handler: Connection, wait_deliver: asyncio.Future[Any]
    ) -> bool:
        message = wait_deliver.result()
        if message is None:
            return True
        if not message.topic or message.topic.startswith("$") or set("+#") & set(message.topic):
            logger.warning("client %s: publishes to %.80r", client_session.client_id, message.topic)
            await handler.handle_connection_closed()
            return True
        payload = bytes(message.data)
        await self._broadcast_message(client_session, message.topic, payload, message.qos)
        if message.retain:
            await self.retain_message(client_session, message.topic, payload, message.qos)
        return True

    async def _broadcast_message(
        self,
        _sender: Session | None,
        topic: str,
        data: bytes,
        force_qos: int | None = None,
    ) -> None:
        """Pass a message on, once to each client that has a filter for it."""
        for client_id, granted in self._subscribers(topic).items():
            target, connection = self._sessions.get(client_id, (None, None))
            if target is None:
                continue
            qos = min(granted, force_qos or 0)
            if target.transitions.is_connected():
                connection.deliver(topic, data, qos=qos)
            elif qos and not target.clean_session:
                enqueue(target, topic, data)

    def _subscribers(self, topic: str) -> dict[str, int]:
        granted: dict[str, int] = {}
        for topic_filter, subscriptions in self._subscriptions.items():
            if subscriptions and self._matches(topic, topic_filter):
                for session, qos in subscriptions:
                    granted[session.client_id] = max(qos, granted.get(session.client_id, 0))
        return granted

    async def _handle_subscription(
        self, client_session: Session, handler: Connection, subscribe_waiter: asyncio.Future[Any]
    ) -> None:
        await super()._handle_subscription(client_session, handler, subscribe_waiter)
        for topic_filter, _ in subscribe_waiter.result().topics:
            for session, qos in self._subscriptions.get(topic_filter, []):
                if session is client_session:
                    self._send_retained(topic_filter, qos, handler)

    def _send_retained(self, topic_filter: str, qos: int, connection: Connection) -> None:
        for topic, message in self._retained_messages.items():
            if self._matches(topic, topic_filter):
                connection.deliver(topic, message.data, qos=min(qos, message.qos or 0), retain=True)

    async def _publish_retained_messages_for_subscription(self, *_: Any) -> None:
        """Nothing: amqtt would send every client's retained messages to whoever connects."""

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Nothing: the connection itself sends what waits, as fast as it is acknowledged."""
