"""The web service on the MQTT broker: hears everything under `meters/`, publishes what is posted.

paho runs in a native thread, where gevent's objects must not be touched but for one: an async
watcher, which wakes the hub. Messages pass in a bounded deque.
"""

import secrets
import time
from collections import deque
from datetime import UTC, datetime

import gevent
from gevent.event import Event
from paho.mqtt.client import MQTTMessage, MQTTMessageInfo

from contract import topics
from contract.readings import MAX_PAYLOAD_BYTES
from service.mqtt import MqttClient, Subscription
from service.settings import Settings
from web.latest import Message

MOST_WAITING = 4096


class Bus:
    """A subscriber of its own for this process, so that many need no queue between them."""

    def __init__(self, settings: Settings) -> None:
        self.address = f"{settings.mqtt_host}:{settings.mqtt_port}"
        self._messages: deque[Message] = deque(maxlen=MOST_WAITING)
        self._changed = Event()
        self._watcher = gevent.get_hub().loop.async_()
        self._mqtt = MqttClient(
            settings,
            f"meterflow-web-{secrets.token_hex(6)}",
            subscriptions=(Subscription(f"{topics.ROOT}/#", 0),),
            on_connect=self._watcher.send,
            on_disconnect=self._watcher.send,
            on_message=self._arrived,
        )

    @property
    def connected(self) -> bool:
        """Whether the connection to the broker stands."""
        return self._mqtt.connected

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, in words; None where there is one."""
        return self._mqtt.trouble

    def start(self) -> None:
        """Begin to connect and to listen."""
        self._watcher.start(self._changed.set)
        self._mqtt.start()

    def stop(self) -> None:
        """Disconnect."""
        self._mqtt.stop()
        self._watcher.close()

    def wait(self, timeout_s: float) -> None:
        """Wait until a message has come or the connection has changed, at most `timeout_s`."""
        self._changed.wait(timeout_s)
        self._changed.clear()

    def next_message(self) -> Message | None:
        """Return the message that has waited longest, if there is one."""
        return self._messages.popleft() if self._messages else None

    def publish(self, topic: str, payload: str, *, qos: int, retain: bool) -> MQTTMessageInfo:
        """Send a message to the broker."""
        return self._mqtt.publish(topic, payload, qos=qos, retain=retain)

    def _arrived(self, message: MQTTMessage) -> None:
        """Hand a message over to the hub; called in paho's thread."""
        if len(message.payload) > MAX_PAYLOAD_BYTES:
            return
        arrived, now_s = datetime.now(UTC), time.monotonic()
        heard = Message(message.topic, bytes(message.payload), message.retain, arrived, now_s)
        self._messages.append(heard)
        self._watcher.send()
