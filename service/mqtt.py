"""The MQTT client of every service: starts without a broker, and reconnects.

paho-mqtt speaks MQTT 3.1.1 in a thread of its own. This module adds the last will with its birth
message, a reconnect with exponential back-off and jitter, TCP_NODELAY (with Nagle's algorithm a
QoS 0 message waits 15 ms for a delayed acknowledgement), and a log line per change of state
instead of one per attempt.
"""

import contextlib
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contract.topics import OFFLINE, ONLINE
from service.own_topics import OwnTopics
from service.read_ahead import ReadAheadClient
from service.reporting import OncePerKey, Reporter
from service.settings import Settings

logger = logging.getLogger(__name__)

KEEPALIVE_S = 30
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 3.0
BRIEF_S = 5.0
"""Seconds that a connection must last to count as a success; until then the delay grows."""
LOOP_S = 1.0
NOT_CONNECTED_S = 0.2
"""Seconds to wait for the thread at the end where there is no connection to close."""
MAX_QUEUED = 10_000
"""Unsent QoS 1 messages to keep in memory while the broker is away."""
MAX_IN_FLIGHT = 4000
"""Messages to send before the first is acknowledged: more than a bridge sends ahead."""
OWN_QOS = 0
"""For subscriptions to own topics: a session must not queue them while we are away."""
NO_MQTT = "no MQTT response; check that this is a broker and whether it requires TLS"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter and the quality of service to request."""

    topic_filter: str
    qos: int


class MqttClient:
    """One connection to the broker, reconnected until the service stops.

    `on_connect` and `on_message` are called in the client's own thread. With `manual_ack` a
    message is acknowledged by `ack`, on the connection that delivered it or not at all.
    `status_topic` is set to `online` (retained) on each connect, and to `offline` by the last
    will or a clean stop. It is an own topic, as are those of `publish_own`, where these are
    subscribed to: if another client publishes there, ours is published again.
    """

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        *,
        subscriptions: tuple[Subscription, ...] = (),
        status_topic: str | None = None,
        on_connect: Callable[[], None] | None = None,
        on_disconnect: Callable[[], None] | None = None,
        on_message: Callable[[paho.MQTTMessage], None] | None = None,
        clean_session: bool = True,
        manual_ack: bool = False,
    ) -> None:
        self._settings = settings
        self._client_id = client_id
        own_status = (Subscription(status_topic, OWN_QOS),) if status_topic else ()
        self._subscriptions = (*subscriptions, *own_status)
        self._status_topic = status_topic
        self._own = OwnTopics()
        self._changed_by_others = OncePerKey()
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._on_message = on_message
        self._requested: dict[int | None, str] = {}
        self._stopping = threading.Event()
        self._up = threading.Event()
        address = f"{settings.mqtt_host}:{settings.mqtt_port}"
        self._subject = f"broker {address}"
        self._reporter = Reporter(logger, self._subject, advice="retrying")
        self._delay_s = FIRST_DELAY_S
        self._connected_at_s = time.monotonic()
        self._brief_ones = 0
        self._answered = False
        self.connection = 0
        """Counts connections, so that an acknowledgement never goes out on a later one."""
        self._paho = self._build(clean_session, manual_ack)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection and it is up."""
        return self._up.is_set()

    @property
    def subscribed(self) -> bool:
        """Whether the broker has acknowledged all subscriptions: from then on nothing is missed."""
        return self.connected and not self._requested

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, as an error message; None where there is one."""
        return None if self.connected else self._reporter.trouble or "not connected yet"

    def start(self) -> None:
        """Start to connect, in the background."""
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the connection is up; return False where it is not in time."""
        return self._up.wait(timeout_s)

    def stop(self, flush_s: float = 2.0) -> None:
        """Publish `offline`, send what is queued for at most `flush_s`, and disconnect."""
        if (connected := self.connected) and self._status_topic:
            info = self.publish_own(self._status_topic, OFFLINE)
            with contextlib.suppress(RuntimeError, ValueError):
                info.wait_for_publish(flush_s)
        self._stopping.set()
        with contextlib.suppress(OSError):  # the thread may be closing up, after a loss
            self._paho.disconnect()
        if self._thread.is_alive():
            self._thread.join(flush_s + 1 if connected else NOT_CONNECTED_S)
        if not self._thread.is_alive():  # else it is connecting, and closes up itself
            self._close_up()

    def _close_up(self) -> None:
        self._paho._reset_sockets()  # no public way to close the pair that wakes the loop

    def publish(
        self, topic: str, payload: str | bytes, *, qos: int, retain: bool
    ) -> paho.MQTTMessageInfo:
        """Send a message; while the broker is away QoS 0 is dropped and QoS 1 is queued."""
        return self._paho.publish(topic, payload, qos=qos, retain=retain)

    def publish_own(self, topic: str, payload: str) -> paho.MQTTMessageInfo:
        """Publish a retained QoS 1 message on a topic that no other client may change."""
        self._own.keep(topic, payload)
        return self._paho.publish(topic, payload, qos=1, retain=True)

    def publish_with(
        self, topic: str, payload: str, others: Iterable[tuple[str, str]]
    ) -> paho.MQTTMessageInfo:
        """Send a retained QoS 1 message, then retained QoS 0 ones with ASCII text, in one write.

        While the broker is away the first is queued and the others are dropped.
        """
        return self._paho.publish_with(topic, payload.encode(), others)

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription: a persistent session would keep it."""
        self._paho.unsubscribe(topic_filter)

    def ack(self, messages: Iterable[tuple[paho.MQTTMessage, int]]) -> None:
        """Acknowledge messages; the broker redelivers those of an earlier connection."""
        current = self.connection if self.connected else None
        ids = [message.mid for message, number in messages if message.qos and number == current]
        if ids:
            self._paho.acknowledge(ids)

    def _build(self, clean_session: bool, manual_ack: bool) -> ReadAheadClient:
        client = ReadAheadClient(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=clean_session,
            protocol=paho.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=manual_ack,
        )
        settings = self._settings
        if settings.mqtt_user:
            password = settings.mqtt_password
            client.username_pw_set(
                settings.mqtt_user, password.get_secret_value() if password else None
            )
        if settings.mqtt_tls:
            client.tls_set_context(ssl.create_default_context(cafile=settings.mqtt_ca_file))
        if self._status_topic:
            client.will_set(self._status_topic, OFFLINE, qos=1, retain=True)
        client.max_queued_messages_set(MAX_QUEUED)
        client.max_inflight_messages_set(MAX_IN_FLIGHT)
        client.connect_timeout = 5.0
        client.on_socket_open = _send_without_delay
        client.on_socket_register_write = _leave_to_its_thread
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        if self._on_message or self._subscriptions:
            client.on_message = self._received
        client.on_subscribe = self._subscribed
        return client

    def _run(self) -> None:
        host, port = self._settings.mqtt_host, self._settings.mqtt_port
        while not self._stopping.is_set():
            self._answered = False
            try:
                self._paho.connect(host, port, KEEPALIVE_S)
                if self._stopping.is_set():
                    break
                # not loop_forever: `publish` has no way to wake it
                while self._paho.exchange(LOOP_S):
                    self._correct()
                if not (self._answered or self._stopping.is_set()):
                    self._reporter.failed(NO_MQTT)
            except (OSError, ValueError) as error:
                self._reporter.failed(_message_of(error))
            self._up.clear()
            self._stopping.wait(self._delay_s * random.uniform(0.7, 1.3))
            self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)
        self._close_up()

    def _connected(
        self, client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any
    ) -> None:
        self._answered = True
        if code.is_failure:
            self._reporter.failed(f"connection rejected: {code}; check MQTT_USER and MQTT_PASSWORD")
            return
        self.connection += 1
        self._connected_at_s = time.monotonic()
        if not self._reporter.works("connected again"):
            logger.info("%s: connected", self._subject)
        self._requested.clear()  # an earlier connection may have ended before the answer
        for subscription in self._subscriptions:
            _, number = client.subscribe(subscription.topic_filter, subscription.qos)
            self._requested[number] = subscription.topic_filter
        self._own.connected()
        if self._status_topic:
            self.publish_own(self._status_topic, ONLINE)
        self._up.set()
        if self._on_connect:
            self._on_connect()

    def _received(self, _client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        topic = message._topic  # as bytes: a property would decode each
        if self._own.has(topic):
            self._own.received(topic, bytes(message.payload), time.monotonic())
        elif self._on_message:
            self._on_message(message)

    def _correct(self) -> None:
        """Publish own topics again that another client has changed."""
        for topic, payload in self._own.due(time.monotonic()):
            if self._changed_by_others.is_first(topic):
                logger.warning(
                    "%s: changed by another client; published again; check who may publish there",
                    topic,
                )
            self._paho.publish(topic, payload, qos=1, retain=True)

    def _subscribed(
        self, _client: paho.Client, _userdata: Any, number: int, codes: list[Any], _properties: Any
    ) -> None:
        requested = self._requested.pop(number, "?")
        if any(code.is_failure for code in codes):
            text = "%s: subscription %s rejected: not authorized, or $share unsupported"
            logger.error(text, self._subject, requested)

    def _disconnected(
        self, _client: paho.Client, _userdata: Any, _flags: Any, _code: Any, _properties: Any
    ) -> None:
        if not self._up.is_set():
            return
        self._up.clear()
        if not self._stopping.is_set():
            self._report_loss(time.monotonic() - self._connected_at_s < BRIEF_S)
        if self._on_disconnect:
            self._on_disconnect()

    def _report_loss(self, was_brief: bool) -> None:
        """Log the loss; a broker ends the older of two connections with the same client id.

        The id is not logged: it has a secret.
        """
        self._brief_ones = self._brief_ones + 1 if was_brief else 0
        if not was_brief:
            self._delay_s = FIRST_DELAY_S
        again = " repeatedly; check that no other program runs with a copy of this directory"
        self._reporter.failed(f"connection lost{again if self._brief_ones > 2 else ''}")


def is_done(message: paho.MQTTMessageInfo) -> bool:
    """Return whether a message is acknowledged, or was not even queued."""
    try:
        return message.is_published()
    except (RuntimeError, ValueError):
        return True


def _send_without_delay(_client: paho.Client, _userdata: Any, connection: Any) -> None:
    """Send small packets at once: with Nagle's algorithm they wait for an acknowledgement."""
    with contextlib.suppress(OSError, AttributeError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _leave_to_its_thread(_client: paho.Client, _userdata: Any, _connection: Any) -> None:
    """Keep `publish` from writing in the caller's thread.

    Without this callback paho does so beside its own thread, without a lock: where the socket
    takes only part of a packet, the two interleave and the broker drops the connection.
    """


def _message_of(error: Exception) -> str:
    """Return why there is no connection, and what to check."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; check that the broker is running"
    if isinstance(error, TimeoutError):
        return "no response"
    if isinstance(error, socket.gaierror):
        return "unknown host name; check MQTT_HOST"
    if isinstance(error, ssl.SSLError):
        return f"TLS handshake failed ({error.reason or error}); check MQTT_TLS and MQTT_CA_FILE"
    return str(error)
