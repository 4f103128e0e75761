"""The MQTT client that every service uses: starts without a broker, comes back by itself.

paho-mqtt speaks MQTT 3.1.1 in a thread of its own; what this module adds is the last will with
its birth message, a reconnect with exponential back-off and jitter, TCP_NODELAY (with Nagle's
algorithm a QoS 0 message waits 15 ms for a delayed acknowledgement), and one line of log per
change of state instead of one per attempt.
"""

import contextlib
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from contract.topics import OFFLINE, ONLINE
from service.read_ahead import ReadAheadClient
from service.settings import Settings
from service.sockets import in_words, left_to_its_thread, without_delay

logger = logging.getLogger(__name__)

KEEPALIVE_S = 30
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 5.0
BRIEF_S = 5.0
"""A connection that ends sooner than this is no success yet: the delay goes on growing."""
LOOP_S = 1.0
NOT_CONNECTED_S = 0.2
"""Without a connection there is nothing to wait for at the end."""
MAX_QUEUED = 10_000
"""How many unsent QoS 1 messages are kept in memory while the broker is away."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter and the quality of service wanted for it."""

    topic_filter: str
    qos: int


class MqttClient:
    """One connection to the broker, kept up for as long as the service lives.

    `on_connect` and `on_message` are called in the client's own thread. With `manual_ack` a
    message is acknowledged by `ack`, on the connection that delivered it or
    not at all. `status_topic` is set to `online` (retained) on each connect, and to `offline`
    by the last will or a clean stop.
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
        self._subscriptions = subscriptions
        self._status_topic = status_topic
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._on_message = on_message
        self._asked: dict[int | None, str] = {}
        self._stopping = threading.Event()
        self._up = threading.Event()
        self._trouble: str | None = None
        self._delay_s = FIRST_DELAY_S
        self._lost_at_s = self._connected_at_s = time.monotonic()
        self._brief_ones = 0
        self._answered = False
        self.connection = 0
        """Counts connections, so that an acknowledgement never goes out on a later one."""
        self._paho = self._build(clean_session, manual_ack)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the connection stands."""
        return self._up.is_set()

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, in words; None where there is one."""
        return None if self.connected else self._trouble or "not connected yet"

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._thread.start()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait until the connection stands; False where it does not in time."""
        return self._up.wait(timeout_s)

    def stop(self, flush_s: float = 2.0) -> None:
        """Say goodbye, send what is still queued for at most `flush_s`, and disconnect."""
        if (connected := self.connected) and self._status_topic:
            info = self._paho.publish(self._status_topic, OFFLINE, qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                info.wait_for_publish(flush_s)
        self._stopping.set()
        with contextlib.suppress(OSError):  # the thread may just be closing up, after a loss
            self._paho.disconnect()
        if self._thread.is_alive():
            self._thread.join(flush_s + 1 if connected else NOT_CONNECTED_S)
        if not self._thread.is_alive():  # else it is connecting, and will close up itself
            self._close_up()

    def _close_up(self) -> None:
        self._paho._reset_sockets()  # no public way to close the pair that wakes the loop

    def publish(
        self, topic: str, payload: str | bytes, *, qos: int, retain: bool
    ) -> paho.MQTTMessageInfo:
        """Send a message; while the broker is away QoS 0 is dropped and QoS 1 kept for later."""
        return self._paho.publish(topic, payload, qos=qos, retain=retain)

    def unsubscribe(self, topic_filter: str) -> None:
        """End a subscription for good: a lasting session would keep it."""
        self._paho.unsubscribe(topic_filter)

    def ack(self, messages: Iterable[tuple[paho.MQTTMessage, int]]) -> None:
        """Acknowledge messages; one whose connection has gone is left out, and will come again."""
        here = self.connection if self.connected else None
        numbers = [message.mid for message, came_on in messages if message.qos and came_on == here]
        if numbers:
            self._paho.acknowledge(numbers)

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
        client.connect_timeout = 5.0
        client.on_socket_open = without_delay
        client.on_socket_register_write = left_to_its_thread
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        if on_message := self._on_message:
            client.on_message = lambda _client, _userdata, message: on_message(message)
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
                # not loop_forever: that has nothing by which `publish` could wake it
                while self._paho.goes_on(LOOP_S):
                    pass
                if not (self._answered or self._stopping.is_set()):
                    self._tell_trouble("gives no answer in MQTT; is it a broker, does it want TLS?")
            except (OSError, ValueError) as error:
                self._tell_trouble(in_words(error))
            self._up.clear()
            self._stopping.wait(self._delay_s * random.uniform(0.7, 1.3))
            self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)
        self._close_up()

    def _connected(
        self, client: paho.Client, _userdata: Any, _flags: Any, code: Any, _properties: Any
    ) -> None:
        self._answered = True
        if code.is_failure:
            self._tell_trouble(f"refuses us: {code}; see MQTT_USER and MQTT_PASSWORD")
            return
        self.connection += 1
        self._connected_at_s = time.monotonic()
        away_s = self._connected_at_s - self._lost_at_s
        again = f" again after {away_s:.0f} s" if self.connection > 1 or self._trouble else ""
        logger.info("broker %s: connected%s", self._address, again)
        self._trouble = None
        for subscription in self._subscriptions:
            _, number = client.subscribe(subscription.topic_filter, subscription.qos)
            self._asked[number] = subscription.topic_filter
        if self._status_topic:
            client.publish(self._status_topic, ONLINE, qos=1, retain=True)
        self._up.set()
        if self._on_connect:
            self._on_connect()

    def _subscribed(
        self, _client: paho.Client, _userdata: Any, number: int, codes: list[Any], _properties: Any
    ) -> None:
        asked = self._asked.pop(number, "?")
        if any(code.is_failure for code in codes):
            words = "broker %s: refuses us %s: no right to it, or no $share in this broker"
            logger.error(words, self._address, asked)

    def _disconnected(
        self, _client: paho.Client, _userdata: Any, _flags: Any, _code: Any, _properties: Any
    ) -> None:
        if not self._up.is_set():
            return
        self._up.clear()
        self._lost_at_s = time.monotonic()
        if not self._stopping.is_set():
            self._tell_loss(self._lost_at_s - self._connected_at_s < BRIEF_S)
        if self._on_disconnect:
            self._on_disconnect()

    def _tell_loss(self, was_brief: bool) -> None:
        """Say so, and why: a broker ends the older of two connections with the same client id."""
        self._brief_ones = self._brief_ones + 1 if was_brief else 0
        if not was_brief:
            self._delay_s = FIRST_DELAY_S
        again = f" again and again; does another program go by the client id {self._client_id}?"
        self._tell_trouble(f"connection lost{again if self._brief_ones > 2 else ''}")

    @property
    def _address(self) -> str:
        return f"{self._settings.mqtt_host}:{self._settings.mqtt_port}"

    def _tell_trouble(self, trouble: str) -> None:
        if trouble != self._trouble:
            logger.warning("broker %s: %s; trying again", self._address, trouble)
        self._trouble = trouble
