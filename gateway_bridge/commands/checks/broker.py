"""The broker: whether it lets us in, passes on what we say, and whether a bridge speaks there."""

import os
import time
from collections.abc import Callable

from paho.mqtt.client import MQTTMessage

from contract import topics
from gateway_bridge.commands.findings import Finding, Tell
from gateway_bridge.settings import BridgeSettings
from service.mqtt import MqttClient, Subscription

CONNECT_S = 3.0
LISTEN_S = 0.3
COMES_BACK_S = 2.0
POLL_S = 0.05


def check_broker(settings: BridgeSettings, tell: Tell) -> None:
    """Connect to the broker as the bridge would, and listen for bridges that are online."""
    said: dict[str, bytes] = {}

    def heard(message: MQTTMessage) -> None:
        said[message.topic.split("/")[2]] = bytes(message.payload)

    client = MqttClient(
        settings,
        f"meters-doctor-{os.getpid()}",
        subscriptions=(Subscription(topics.bridge("+", "status"), 1),),
        on_message=heard,
    )
    address = f"{settings.mqtt_host}:{settings.mqtt_port}"
    unknown = client.trouble
    client.start()
    _wait(CONNECT_S, lambda: client.connected or client.trouble != unknown)
    if client.connected:
        time.sleep(LISTEN_S)
        tell(Finding("broker", "ok", f"the broker at {address} lets us in"))
        online = sorted(name for name, words in said.items() if words == topics.ONLINE.encode())
        if settings.bridge_name not in online:
            _check_rights(settings, client, said, tell)
    else:
        online = []
        remedy = "check MQTT_HOST, MQTT_PORT, MQTT_USER and MQTT_PASSWORD; is the broker running?"
        tell(Finding("broker", "fault", f"{address}: {client.trouble}", remedy))
    client.stop()
    for name in online:
        text = f"the bridge {name!r} is running"
        tell(Finding("broker", "look", text, "stop it while you look for a fault on its line"))


def _check_rights(
    settings: BridgeSettings, client: MqttClient, said: dict[str, bytes], tell: Tell
) -> None:
    """Say on the bridge's own topic what is true, and see whether it comes back.

    MQTT 3.1.1 has no word for a refusal: what one has no right to publish is acknowledged too.
    """
    said.pop(settings.bridge_name, None)
    topic = topics.bridge(settings.bridge_name, "status")
    client.publish(topic, topics.OFFLINE, qos=1, retain=False)
    if _wait(COMES_BACK_S, lambda: settings.bridge_name in said):
        return
    who = f"user {settings.mqtt_user!r}" if settings.mqtt_user else "whoever gives no user"
    tell(
        Finding(
            "broker",
            "fault",
            f"what we publish on {topic} is acknowledged, and does not come back",
            f"the broker's ACL must let {who} write there; see docs/brokers.md, Users and rights",
        )
    )


def _wait(timeout_s: float, condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; False where it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(POLL_S)
    return True
