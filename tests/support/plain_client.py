"""An MQTT client without any code of ours, to see what other clients see."""

import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.parts import wait_until


class PlainClient:
    """Connects at once; keeps every message that arrives."""

    def __init__(
        self,
        port: int,
        client_id: str = "",
        *,
        clean_session: bool = True,
        manual_ack: bool = False,
        will: str | None = None,
        user: tuple[str, str] | None = None,
        protocol: int = paho.MQTTv311,
        transport: str = "tcp",
        ca_file: Path | None = None,
    ) -> None:
        self.messages: list[paho.MQTTMessage] = []
        self._granted: dict[int | None, list[Any]] = {}
        self.refusal = ""
        """Why the broker has rejected the connection."""
        self._connected = threading.Event()
        self._paho = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=clean_session if protocol == paho.MQTTv311 else None,
            protocol=protocol,
            transport=transport,
            manual_ack=manual_ack,
            reconnect_on_failure=False,
        )
        self._paho.on_connect = self._on_connect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_message = lambda _client, _data, message: self.messages.append(message)
        if will:
            self._paho.will_set(will, "gone", qos=1, retain=True)
        if user:
            self._paho.username_pw_set(*user)
        if ca_file:
            self._paho.tls_set(str(ca_file))
        self._paho.connect("127.0.0.1", port)
        self._paho.loop_start()
        wait_until(self._connected.is_set, what="CONNACK")

    def subscribe(self, topic_filter: str, qos: int = 1) -> bool:
        """Subscribe; return whether the broker has granted it."""
        _, mid = self._paho.subscribe(topic_filter, qos)
        wait_until(lambda: mid in self._granted, what="SUBACK")
        return not self._granted[mid][0].is_failure

    def publish(
        self, topic: str, payload: str | bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish, and at QoS 1 wait for the acknowledgement."""
        self.begin_publish(topic, payload, qos=qos, retain=retain).wait_for_publish(30)

    def begin_publish(
        self, topic: str, payload: str | bytes, *, qos: int = 1, retain: bool = False
    ) -> paho.MQTTMessageInfo:
        """Publish without waiting."""
        return self._paho.publish(topic, payload, qos, retain)

    def ack(self, message: paho.MQTTMessage) -> None:
        """Acknowledge a message, with `manual_ack`."""
        self._paho.ack(message.mid, message.qos)

    @property
    def payloads(self) -> list[str]:
        """The payloads of the messages so far."""
        return [message.payload.decode() for message in self.messages]

    @property
    def connected(self) -> bool:
        """Whether the connection is open."""
        return self._paho.is_connected()

    def vanish(self) -> None:
        """Close the connection without DISCONNECT, as a crash does."""
        connection = self._paho.socket()
        if connection:
            connection.shutdown(socket.SHUT_RDWR)
        self._paho.loop_stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._paho.disconnect()
        self._paho.loop_stop()

    def _on_connect(
        self, _client: object, _data: object, _flags: object, code: Any, *_: object
    ) -> None:
        self.refusal = str(code) if code.is_failure else ""
        self._connected.set()

    def _on_subscribe(
        self, _client: object, _data: object, mid: int, codes: list[Any], _properties: object
    ) -> None:
        self._granted[mid] = codes
