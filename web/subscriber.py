"""The web service's MQTT client: receives everything under `meters/`, publishes posted readings.

paho runs in a native thread, which must not touch gevent's objects except for one: an async
watcher, which wakes the hub. A bounded deque hands the messages over.
"""

import time
from collections import deque
from datetime import UTC, datetime

import gevent
from gevent.event import Event
from paho.mqtt.client import MQTTMessage, MQTTMessageInfo

from contract import topics
from service.client_ids import client_id
from service.mqtt import MqttClient, Subscription
from service.settings import Settings
from web.latest import Message

MOST_WAITING = 4096


class Subscriber:
    """A client with an id of its own, so that several web services need no queue between them."""

    def __init__(self, settings: Settings) -> None:
        self.address = f"{settings.mqtt_host}:{settings.mqtt_port}"
        self._messages: deque[Message] = deque(maxlen=MOST_WAITING)
        self.dropped = 0
        """Messages that were dropped because too many waited."""
        self._changed = Event()
        self._watcher = gevent.get_hub().loop.async_()
        self._mqtt = MqttClient(
            settings,
            client_id("meters-web"),
            subscriptions=(Subscription(f"{topics.ROOT}/#", 0),),
            on_connect=self._watcher.send,
            on_disconnect=self._watcher.send,
            on_message=self._on_message,
        )

    @property
    def connected(self) -> bool:
        """Whether the client is connected to the broker, and can publish."""
        return self._mqtt.connected

    @property
    def trouble(self) -> str | None:
        """Why there is no connection or it may miss messages; None where all is well."""
        return self._mqtt.trouble or (None if self._mqtt.subscribed else "not subscribed yet")

    @property
    def waiting(self) -> int:
        """The number of messages that have arrived and are not handled yet."""
        return len(self._messages)

    def start(self) -> None:
        """Start to connect and to receive."""
        self._watcher.start(self._changed.set)
        self._mqtt.start()

    def stop(self) -> None:
        """Disconnect."""
        self._mqtt.stop()
        self._watcher.close()

    def wait(self, timeout_s: float) -> None:
        """Wait for a message or a change of the connection, at most `timeout_s`."""
        self._changed.wait(timeout_s)
        self._changed.clear()

    def next_message(self) -> Message | None:
        """Return the oldest waiting message, if there is one."""
        return self._messages.popleft() if self._messages else None

    def publish(self, topic: str, payload: str, *, qos: int, retain: bool) -> MQTTMessageInfo:
        """Publish a message."""
        return self._mqtt.publish(topic, payload, qos=qos, retain=retain)

    def _on_message(self, received: MQTTMessage) -> None:
        """Hand a message over to the hub; runs in paho's thread."""
        message = Message.of(
            received.topic,
            bytes(received.payload),
            retained=received.retain,
            arrived=datetime.now(UTC),
            now_s=time.monotonic(),
        )
        if message:
            self.dropped += len(self._messages) == MOST_WAITING
            self._messages.append(message)
            self._watcher.send()
